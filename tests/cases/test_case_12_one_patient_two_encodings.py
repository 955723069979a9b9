"""Case 12: the Patient ID of one patient in different character sets: one text, one patient, one split."""

from __future__ import annotations

import pytest
from pydicom.charset import encode_string
from support.archive import dataset, to_bytes
from support.cases import case_folder

from dicom_workflow.dicom.element_values import decode_text
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.formats.splits import assign_splits

# Character set as declared, bytes in it, the text: every repertoire of PS3.3 C.12.1.1.2.
REPERTOIRES = [
    (b"", b"A-17", "A-17"),
    (b"ISO_IR 6", b"A-17", "A-17"),
    (b"ISO_IR 100", "Größe-7".encode("latin-1"), "Größe-7"),
    (b"ISO_IR 101", "Łódź-1".encode("iso8859_2"), "Łódź-1"),
    (b"ISO_IR 109", "Ġ-ħ".encode("iso8859_3"), "Ġ-ħ"),
    (b"ISO_IR 110", "Ķ-ž".encode("iso8859_4"), "Ķ-ž"),
    (b"ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    (b"ISO_IR 127", "قباني".encode("iso8859_6"), "قباني"),
    (b"ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    (b"ISO_IR 138", "שרון".encode("iso8859_8"), "שרון"),
    (b"ISO_IR 148", "Çavuşoğlu".encode("iso8859_9"), "Çavuşoğlu"),
    (b"ISO_IR 203", "Œ-€".encode("iso8859_15"), "Œ-€"),
    (b"ISO_IR 166", "ไทย-1".encode("tis_620"), "ไทย-1"),
    (b"ISO_IR 13", b"\xd4\xcf\xc0\xde-1", "ﾔﾏﾀﾞ-1"),
    (b"ISO_IR 192", "김희중0".encode(), "김희중0"),
    (b"GB18030", "张三-1".encode("gb18030"), "张三-1"),
    (b"GBK", "张三-1".encode("gbk"), "张三-1"),
    (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"\x1b-AGr\xf6\xdfe", "Größe"),
    (b"\\ISO 2022 IR 101", b"\x1b-B\xa3\xf3d\xbc", "Łódź"),
    (b"\\ISO 2022 IR 144", b"\x1b-L" + "Люк".encode("iso8859_5"), "Люк"),
    (b"\\ISO 2022 IR 127", b"\x1b-G" + "قباني".encode("iso8859_6"), "قباني"),
    (b"\\ISO 2022 IR 126", b"\x1b-F" + "Διον".encode("iso8859_7"), "Διον"),
    (b"\\ISO 2022 IR 138", b"\x1b-H" + "שרון".encode("iso8859_8"), "שרון"),
    (b"\\ISO 2022 IR 148", b"\x1b-M" + "Çağ".encode("iso8859_9"), "Çağ"),
    (b"\\ISO 2022 IR 166", b"\x1b-T" + "ไทย".encode("tis_620"), "ไทย"),
    (b"\\ISO 2022 IR 203", b"\x1b-b\xa4\xbc", "€Œ"),
    (b"\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf0", "김희중0"),
    (b"ISO 2022 IR 149", b"\xb1\xe8\xc8\xf1\xc1\xdf0", "김희중0"),
    (b"\\ISO 2022 IR 58", b"\x1b$)A" + "张三".encode("gb2312") + b"-1", "张三-1"),
    (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B-1", "山田-1"),
    (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J-1", "ﾔﾏﾀﾞ=山田-1"),
    (b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\x1b$B;3\x1b$(D0!\x1b(B", "山丂"),
    (b"\\ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-A\xe9\x1b-L\xbb", "éЛ"),
]


@pytest.mark.parametrize(("character_set", "raw", "text"), REPERTOIRES, ids=str)
def test_every_repertoire_is_decoded_as_the_standard_says(character_set: bytes, raw: bytes, text: str) -> None:
    assert decode_text(raw, character_set) == text
    assert decode_text(raw + b" ", character_set) == text


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # pydicom does not know ISO_IR 203
@pytest.mark.parametrize(("character_set", "raw", "text"), [row for row in REPERTOIRES if row[0]], ids=str)
def test_the_patient_id_of_a_file_is_the_same_as_in_utf_8(character_set: bytes, raw: bytes, text: str) -> None:
    made = dataset()
    made.SpecificCharacterSet = character_set.decode().split("\\")
    made.PatientID = "X" * (len(raw) + len(raw) % 2)
    data = to_bytes(made).replace(b"X" * (len(raw) + len(raw) % 2), raw + b" " * (len(raw) % 2))
    assert inspect(data).patient_id == text


def test_a_line_break_ends_what_an_escape_sequence_began() -> None:
    """PS3.5 6.1.2.5.3."""
    assert decode_text(b"\x1b-L\xbb\r\n\xe9", b"ISO 2022 IR 100\\ISO 2022 IR 144") == "Л\r\né"


def test_bytes_that_are_no_text_keep_patients_apart() -> None:
    one, other = decode_text(b"M\xfcller", b"ISO_IR 192"), decode_text(b"M\xf6ller", b"ISO_IR 192")
    assert one != other
    assert one.isprintable()


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        (b"ISO 2022 IR 6\\ISO_IR 192", "김희중0".encode(), "김희중0"),
        (b"ISO_IR 192\\ISO 2022 IR 100", "Größe".encode(), "Größe"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 149", "김희중0".encode("euc_kr"), "김희중0"),
        (b"\\ISO 2022 IR 58", "张三".encode("gb2312"), "张三"),
        (b"ISO_IR 13", "山田ﾔﾏ".encode("shift_jis"), "山田ﾔﾏ"),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", "山田".encode("shift_jis"), "山田"),
        (b"ISO 2022 IR 87", b"\x1b$B;3ED", "山田"),
        (b"", b"\x1b$B;3ED\x1b(B", "山田"),
    ],
    ids=str,
)
def test_what_writers_leave_out_or_mean_makes_no_second_patient(character_set: bytes, raw: bytes, text: str) -> None:
    """UTF-8 beside another term, an escape sequence that is missing, Shift JIS under the name of its katakana."""
    assert decode_text(raw, character_set) == text


@pytest.mark.parametrize("term", ["ISO_IR 192", "ISO IR 192", "iso_ir_192", "ISO-IR 192", "UTF-8", "ISO 2022 IR 192"])
def test_a_defined_term_with_other_punctuation_is_understood(term: str) -> None:
    assert decode_text("Größe".encode(), term) == "Größe"


def test_korean_names_are_read_as_pydicom_writes_them() -> None:
    assert decode_text(encode_string("김희중", ["iso8859", "euc_kr"]), b"\\ISO 2022 IR 149") == "김희중"


def test_the_collected_files_are_two_patients_each_in_one_split() -> None:
    folder = case_folder("12-one-patient-two-encodings") / "in"
    patients = [inspect(path).patient_id for path in sorted(folder.glob("*.dcm"))]
    assert sorted(set(patients)) == ["김희중0", "김희중1"]
    assert all(patients.count(patient) == 2 for patient in patients)
    assert assign_splits({patient: ["Edema"] for patient in patients}).keys() == {"김희중0", "김희중1"}
