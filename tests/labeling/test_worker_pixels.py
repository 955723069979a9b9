"""The images of the worker page look as `dicom.pixels.to_display` says, in a real browser: every case of the standard, every
compression, and the real radiographs. What is wrong with a file is said in words that a reader can use."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from support.cases import case_folder
from support.pixels import compressed, dataset_of, file_bytes, lut
from support.worker_pixels import PixelPage, pixel_page

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset

pytestmark = pytest.mark.browser

TOLERANCE = 1 / 512
"""Half a gray level of 8 bits, the least a screen shows."""
LOSSY = 0.03

COLUMN, ROW = np.meshgrid(np.arange(24), np.arange(20))


def ramp(bits: int, *, signed: bool = False) -> Any:
    """An uneven ramp over most of the range, with a texture."""
    values = (COLUMN * 97 + ROW * 331) * 2**bits // 12_000 + COLUMN * ROW % 7
    return values % 2**bits - (2 ** (bits - 1) if signed else 0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PixelPage]:
    with pixel_page(tmp_path_factory.mktemp("page")) as made:
        yield made


def display_bytes(dataset: Dataset) -> bytes:
    return np.ascontiguousarray(pixels.to_display(dataset)).tobytes()


# Frames of DCMTK's dcmcjpeg 3.6.7 of `ramp`; no encoder for them is at hand everywhere.
FRAMES = {
    "lossless 8":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAUABgBAREA/8QAGQABAQEBAQEAAAAAAAAAAAAAAwIBAAQI/9oACAEBAAEAAPn+qqqqqqqqquqqqqqe7u7s"
    "7u7u4u7u7O7dESESERIRYREhEhEdVlZWVWVxZVZWVlVdsbGzGxubMbGxsxsd+5+7n7X7ufufu5+f0bu7u+ja3d30bu7u+jXqqqqqrqqqqqqqqq3u7u7N"
    "Lu7s7u7uzS3REhElESESERIRJRHVZWWlVlZWVWVlpVXbGx8xsbGzGxsbsbHfu9Hdz9z93P3Pvc/P6Nrd3fRu7u76N2t3fRr1V1VVVVVVVVdVVVT2l3dn"
    "d3d2dpd3Z3bqiQiQiJCJCokIkInoVZWVlVlZXFWVlZVXbGxsxsbG7GxsbMbHfufu5+5+3n7n7ufv/9k=",
    "lossless 12":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAUABgBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAABgUHEP/aAAgBAQABAADkKFChQoUKFCiQoUKFChQoUSFC"
    "hQ7gjRIkSJFbRIkaJEitokSJEjRW0SLcUiNHcRo7iNGkuI0dxGjR3EiO4jR7ilSXUl1JdSJLyS6kupEl1JeSXUiTcU15LeS3ryW8mvJb15LeS3k168lv"
    "binv301+/fTX0Ca/fvpr99NfQX01/cU6FAgQIECdAgQoECBOgQIECFAnQbihRIUKFChQoUKJChQoUKFChRIUKHcUSNEiRIraJEiRokVtEiRIkSO2iRbi"
    "jSI7iNHcRo0d1GjuI0aO4jSXEaPcUiW6kupLqRJdS3Ul1IkupLqW6kSbilvpbyW9eS3kt5NevJbyW8lvX0t7cU19Amv376a/fTIL99Nfvpr99Amv7inQ"
    "IUCBAgToECBCgQJ0CBAgQIU6DcUKFEhQoUKFChQokKFChQoUKFEhQ7iiRI0SJFbRIkSJGitokSJEiRXESLcUaNJcRo7iNGjuJEdxGjR3EaO4kR7ikSXk"
    "l1JdSJLqS6lupEl1JdSXUqTcUt5LfS3ryW8lvJb95LeS3kt68mvbimv309+/fTX76a+gvpr99Nfv309////Z",
    "lossless 16":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAUABgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACgsQ/9oACAEBAAEAAMhFCSEkIoSQkhJCKEkJISQihJCS"
    "EkIoSQkhJCKEkJISuHoTQmhJCaE0JoLQmhNCaEkJoTQYhJCaE0JoSQmgxCaEriCFEJoUQahRCaDUKIUQmg1CiFEGIUQohRBiFEKINQmhS4ghRCqDkKoN"
    "Qqg5CqFEHIVQchRByFUKoNQqg5CqDUKoVuHoWQehZByFkHoPQqg9CyD0KoPQehZByFkHoWQcg9CyD7iCF0IIPQuhBCCD0LoQQghZCCEEHoXQghBCyEEI"
    "IQQshC4ghdCKEUIoQQihFDCEEIoRQihBCKGEIoQQihFCKEEMIRuHoSQkhJCKEkJISQihJCSEkIoSQkhJCKEkJISQihJCSEriCE0JoSQmhNCaC0JoTQmh"
    "JCaE0GISQmhNCaEkJoMQmhK4ghRCaFEGoUQmg1CiFEJoNQohRBiFEKIUQYhRCiDUJoUuIIUQqg5CqDUKoOQqhRByFUHIUQchVCqDUKoOQqg1CqFbh6Fk"
    "HoVQehZB6DkLIPQsg5CyD0HoVQehZB6FUHoPQsg64ghdB6EELoQQehBC6EEHoXQghBB6F0IIQQshBCCEELIQuIIXQihFCKEEIoRQwhBCKEUIoQQihhCK"
    "EEIoRQihBDCEbh6EkJISQihJCSEkIoSQkhJCKEkJISQihJCSEkIoSQkhK4ghNCaEkJoTQmgtCaE0JoSQmhNBiEkJoTQmhJCaDEJoSuIITQohRBqE0KIN"
    "QohNCiDUKITQahRCiE0GoUQogxCiFLh6FUKoOQog5CqDkKIVQchVBqFUHIVQog5CqDkKIOQqhW4ghZB6FUHoWQeg5CyD0LIOQsg9B6FUHoWQehVB6D0L"
    "IOuIIXQehBC6EEHoQQuhBB6F0IIQQehdCCEELIQQghBCyEP//9k=",
    "lossless sv4 12":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAUABgBAREA/8QAGwABAQEBAQEBAQAAAAAAAAAAAQMEBgcCABD/2gAIAQEABAAA/uh6Hoeh6Hoeh6Hoei6H"
    "oeh6Hoeh6Hoei6Hoeh6H3D6VWKqsVVYr7irFVWKqsVV9xWOiKrHRFVjoiq+4sdEdEVjojoisdEdEVj7isdEVWOiKrHRD6V9x/fTFVf0lVYqr7jFVWKqs"
    "VVYvuKqsVVYqqxX3FWKqsVVYqr7isdEVWOiKrHRFV9xY6I6IrHRDTFY6I6IfTH3F/S0RVY6IqsdEVX3FWKqsVVYqr7jFVWKqsVVYvuKqsVVYqqxX3FWK"
    "qsVVYr++n3FY6IqsdEPpWOiKr7ixvLRFY6I6IrHRHRFY+4rHRFVjoiqx0RVf/9k=",
    "extended 12":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkK"
    "Cgr/wQALDAAUABgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACwoN/8QAMxAAAQEFBQUECwAAAAAAAAAAAQIDBgoRIQAECAwSBQkWQUMUMlFiGCIkKDE0"
    "QkZjgfD/2gAIAQEAAD8AyAKGky/owTd3f9yhBVoZfb4JJIHlp/fpCWGmy/ndwh32YwUIqWQmHfB5is9NkI4aTL+l3Jd5AwTo7zIkcPilPHTZdmGiy/uB"
    "ddgJRgnJkhmDpd0+AnP1LISw0uX90FnsBKcE506mIJDumUpjyWQjhpcv8JJd4HBOdM2RJLuHTOVPotdJDRwY24HF22CPRL7qGMvaGHMV6FkJYaaDF3Ax"
    "4fBwl9Rin5hh8Jp/BZCOGlgx9wOVu4ThMqSgk9oYchToW//Z",
    "baseline 8":
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkK"
    "Cgr/wAALCAAUABgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABwYJ/8QALxAAAQIDBAcIAwAAAAAAAAAAAQIRAwQGABIhQQUHCDEyUYEUIiMkQkNS8HGh"
    "4f/aAAgBAQAAPwDIWm9n+AiAnySL1z4gkkj9feiHTez5LhKUiSRiQOEHPe9kKnNn+XKoaBIo3uQw5c7L1L6gU9nTckSe56YZ5Yv9/qJT2oJBQlKZE3XA"
    "JEMsz/iyFTeoFPhlUgWvPjDLOxa11TdGaAEsGlOGGluoxsiU3RVPm6DJ+4E78nFkKnKM0ATCUZTEkknDJ2yt/9k=",
}


def case(values: Any = None, *, bits: int = 12, signed: bool = False, **tags: Any) -> Dataset:
    return dataset_of(ramp(bits, signed=signed) if values is None else values, bits=bits, signed=signed, **tags)


def with_elements(dataset: Dataset, vr: str, **values: Any) -> Dataset:
    """The instance with elements of another value representation than the standard's."""
    for keyword, value in values.items():
        dataset.add_new(keyword, vr, value)
    return dataset


def large(bits: int, *, signed: bool = False, **tags: Any) -> Dataset:
    """As large as an encoder of JPEG 2000 wants it."""
    return case(np.tile(ramp(bits, signed=signed), (4, 3)), bits=bits, signed=signed, **tags)


def shifted(high_bit: int) -> Dataset:
    """12 bits below `high_bit`, with garbage around them."""
    low = high_bit - 11
    garbage = (1 << low) - 1 | (0xFFFF << high_bit + 1 & 0xFFFF)
    made = case((ramp(12) << low | garbage) & 0xFFFF, bits=16)
    made.BitsStored, made.HighBit = 12, high_bit
    return made


def frame_of(dataset: Dataset) -> bytes:
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def in_syntax(dataset: Dataset, syntax: str) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def big_endian(dataset: Dataset, vr: str = "OW") -> Dataset:
    """Bytes in the order of the syntax; 8-bit pixels as words lie in pairs the other way round."""
    if dataset.BitsAllocated == 16 or vr == "OW":
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = vr
    return in_syntax(dataset, ExplicitVRBigEndian)


def with_words(dataset: Dataset, keyword: str, first: int, bits: int, table: Any) -> Dataset:
    """A table as words of type OW, as most devices write it."""
    setattr(dataset, keyword, lut(first, bits, [0], count=len(table) & 0xFFFF))
    item = getattr(dataset, keyword)[0]
    item.add_new("LUTData", "OW", np.asarray(table).astype("<u2").tobytes())
    return dataset


WINDOW = {"WindowCenter": 1800, "WindowWidth": 1500}
PADDING = {"PixelPaddingValue": 100, "PixelPaddingRangeLimit": 900}
BORDERED = np.where(COLUMN < 5, 0, ramp(12) // 2 + 1000)
CURVE = (4095 * np.linspace(0, 1, 4096) ** 0.6).astype(int)
NOISE = np.random.default_rng(0)
SCATTERED = NOISE.integers(0, 5000, 4096).tolist()

CASES: dict[str, Callable[[], Dataset]] = {
    **{f"{bits} bits": lambda bits=bits: case(bits=bits) for bits in range(8, 17)},
    **{f"{bits} signed bits": lambda bits=bits: case(bits=bits, signed=True) for bits in (8, 10, 12, 16)},
    **{
        f"{bits} bits, MONOCHROME1, {'signed' if signed else 'unsigned'}": lambda bits=bits, signed=signed: case(
            bits=bits, signed=signed, photometric="MONOCHROME1"
        )
        for bits in (8, 12)
        for signed in (False, True)
    },
    "6 bits in 8": lambda: case(bits=6),
    "INVERSE": lambda: case(PresentationLUTShape="INVERSE", **WINDOW),
    "MONOCHROME1 and INVERSE": lambda: case(photometric="MONOCHROME1", PresentationLUTShape="INVERSE", **WINDOW),
    "MONOCHROME1 and IDENTITY": lambda: case(photometric="MONOCHROME1", PresentationLUTShape="IDENTITY", **WINDOW),
    "window": lambda: case(**WINDOW),
    "window of one": lambda: case(WindowCenter=1800, WindowWidth=1),
    "window of one, rescaled": lambda: case(RescaleSlope=0.01, RescaleIntercept=-3, WindowCenter=12, WindowWidth=1),
    "window below one": lambda: case(RescaleSlope=0.001, WindowCenter=2, WindowWidth=0.5),
    "window of zero": lambda: case(WindowCenter=1800, WindowWidth=0),
    "two windows, the first impossible": lambda: case(WindowCenter=[1, 1800], WindowWidth=[-5, 900]),
    "more centers than widths": lambda: case(WindowCenter=[1800, 1000], WindowWidth=[900]),
    "LINEAR_EXACT": lambda: case(VOILUTFunction="LINEAR_EXACT", **WINDOW),
    "LINEAR_EXACT, narrow": lambda: case(VOILUTFunction="LINEAR_EXACT", WindowCenter=1800, WindowWidth=3),
    "SIGMOID": lambda: case(VOILUTFunction="SIGMOID", **WINDOW),
    "SIGMOID, MONOCHROME1": lambda: case(VOILUTFunction="SIGMOID", photometric="MONOCHROME1", **WINDOW),
    "SIGMOID without window": lambda: case(VOILUTFunction="SIGMOID"),
    "rescale": lambda: case(RescaleSlope=2, RescaleIntercept=-1024),
    "rescale, in fractions": lambda: case(RescaleSlope=0.123, RescaleIntercept=7.5, WindowCenter=200, WindowWidth=300),
    "rescale, falling": lambda: case(RescaleSlope=-1, RescaleIntercept=4095),
    "rescale, falling, 8 bits": lambda: case(bits=8, RescaleSlope=-0.5, RescaleIntercept=10),
    "rescale of zero": lambda: case(RescaleSlope=0, RescaleIntercept=5),
    "rescale, large": lambda: case(bits=16, RescaleSlope=1000, RescaleIntercept=-1e6),
    "signed, rescaled and windowed": lambda: case(signed=True, RescaleIntercept=-1000, WindowCenter=-900, WindowWidth=900),
    "modality LUT": lambda: case(ModalityLUTSequence=lut(500, 16, list(range(0, 60_000, 30))), RescaleSlope=9),
    "modality LUT, neither rising nor falling": lambda: case(ModalityLUTSequence=lut(0, 16, SCATTERED)),
    "modality LUT below zero": lambda: case(signed=True, ModalityLUTSequence=lut(-1000, 12, list(range(2000)))),
    "modality LUT as bytes": lambda: with_words(case(), "ModalityLUTSequence", 0, 12, CURVE[::-1]),
    "VOI LUT": lambda: case(VOILUTSequence=lut(0, 12, CURVE.tolist()), WindowCenter=3, WindowWidth=2),
    "VOI LUT as bytes": lambda: with_words(case(), "VOILUTSequence", 0, 12, CURVE),
    "VOI LUT of 65,536 entries": lambda: with_words(case(bits=16), "VOILUTSequence", 0, 16, np.arange(65_536)[::-1]),
    "VOI LUT, packed bytes": lambda: case(bits=8, VOILUTSequence=lut(0, 8, [0x3300, 0xFF66], count=4)),
    "VOI LUT after rescale to halves": lambda: case(
        RescaleSlope=0.5, RescaleIntercept=-200, VOILUTSequence=lut(-200, 12, CURVE.tolist()[:2000])
    ),
    "VOI LUT with fewer bits than its entries": lambda: case(VOILUTSequence=lut(0, 8, CURVE.tolist())),
    "VOI LUT shorter than its descriptor": lambda: case(VOILUTSequence=lut(0, 12, CURVE.tolist()[:3000], count=4096)),
    "VOI LUT below zero, written as US": lambda: case(
        RescaleIntercept=-1024, RescaleSlope=1, VOILUTSequence=lut(64_512, 12, CURVE.tolist())
    ),
    "modality LUT below zero, written as US": lambda: case(
        signed=True, ModalityLUTSequence=lut(63_488, 16, list(range(4096))), WindowCenter=1500, WindowWidth=900
    ),
    **{
        f"window written as {vr}": lambda vr=vr, value=value: with_elements(
            case(), vr, WindowCenter=value(1800), WindowWidth=value(900)
        )
        for vr, value in {"US": int, "SL": int, "FL": float, "FD": float, "SV": int, "UV": int, "UT": str, "LO": str}.items()
    },
    **{
        f"{vr} element before the pixels": lambda vr=vr, value=value: with_elements(
            case(**WINDOW), vr, **{f"Selector{vr}Value": value}
        )
        for vr, value in {"OV": bytes(16), "SV": [-(2**40), 7], "UV": [2**40, 7]}.items()
    },
    "VOI LUT, inverted": lambda: case(photometric="MONOCHROME1", VOILUTSequence=lut(0, 12, CURVE.tolist())),
    "padding": lambda: case(BORDERED, PixelPaddingValue=0),
    "padding, MONOCHROME1": lambda: case(BORDERED, PixelPaddingValue=0, photometric="MONOCHROME1"),
    "padding, brightest": lambda: case(np.where(COLUMN < 5, 4095, ramp(12) // 2), PixelPaddingValue=4095),
    "padding, a range": lambda: case(PixelPaddingValue=3900, PixelPaddingRangeLimit=4095),
    "padding, signed": lambda: case(np.where(COLUMN < 5, -2000, ramp(11)), bits=16, signed=True, PixelPaddingValue=-2000),
    "padding, 8 bits": lambda: case(np.where(COLUMN < 5, 255, ramp(8) // 2), bits=8, PixelPaddingValue=255),
    "padding of 16 bits": lambda: case(np.where(COLUMN < 5, 65_535, ramp(16)), bits=16, PixelPaddingValue=65_535),
    "padding alone": lambda: case(np.full((4, 4), 7), PixelPaddingValue=7),
    "padding under a VOI LUT": lambda: case(VOILUTSequence=lut(0, 12, CURVE.tolist()), **PADDING),
    "padding under a SIGMOID": lambda: case(VOILUTFunction="SIGMOID", **PADDING, **WINDOW),
    "one value": lambda: case(np.full((4, 4), 700)),
    "one value, MONOCHROME1": lambda: case(np.full((4, 4), 700), photometric="MONOCHROME1"),
    "a few bright pixels": lambda: case(np.where((COLUMN == 3) & (ROW == 3), 3000, 0)),
    "high bit 15": lambda: shifted(15),
    "high bit 13": lambda: shifted(13),
    "garbage above": lambda: shifted(11),
    "odd size": lambda: case(ramp(8)[:7, :9], bits=8),
    "implicit": lambda: in_syntax(case(**WINDOW), ImplicitVRLittleEndian),
    "implicit, VOI LUT": lambda: in_syntax(with_words(case(), "VOILUTSequence", 0, 12, CURVE), ImplicitVRLittleEndian),
    "implicit, signed, modality LUT": lambda: in_syntax(
        with_words(case(signed=True), "ModalityLUTSequence", -2048, 12, CURVE), ImplicitVRLittleEndian
    ),
    "big endian": lambda: big_endian(case(**WINDOW)),
    "big endian, signed": lambda: big_endian(case(bits=16, signed=True)),
    "big endian, 8 bits in words": lambda: big_endian(case(bits=8)),
    "big endian, 8 bits in bytes": lambda: big_endian(case(bits=8), "OB"),
    "big endian, VOI LUT": lambda: big_endian(case(VOILUTSequence=lut(0, 12, CURVE.tolist()))),
    "deflated": lambda: in_syntax(case(**WINDOW), DeflatedExplicitVRLittleEndian),
    "deflated, 8 bits": lambda: in_syntax(case(bits=8), DeflatedExplicitVRLittleEndian),
    **{
        f"{name}, {bits} bits": lambda bits=bits, syntax=syntax: compressed(large(bits), syntax)
        for name, syntax in (("RLE", RLELossless), ("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless))
        for bits in (8, 12, 16)
    },
    "RLE, signed": lambda: compressed(case(signed=True), RLELossless),
    "JPEG 2000, signed": lambda: compressed(large(12, signed=True), JPEG2000Lossless),
    "JPEG-LS, signed": lambda: compressed(case(bits=16, signed=True), JPEGLSLossless),
    "JPEG-LS, MONOCHROME1, window": lambda: compressed(case(photometric="MONOCHROME1", **WINDOW), JPEGLSLossless),
}


@pytest.mark.parametrize("name", CASES)
def test_an_image_looks_as_the_archive_displays_it(page: PixelPage, name: str) -> None:
    data = file_bytes(CASES[name]())
    image = page.load(data, display_bytes(read_dataset(data)))
    assert "code" not in image, image
    assert image["worst"] <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "bits", "syntax"),
    [
        ("lossless 8", 8, JPEGLosslessSV1),
        ("lossless 12", 12, JPEGLosslessSV1),
        ("lossless 16", 16, JPEGLosslessSV1),
        ("lossless sv4 12", 12, JPEGLossless),
        ("extended 12", 12, JPEGExtended12Bit),
        ("baseline 8", 8, JPEGBaseline8Bit),
        ("baseline 8", 8, JPEGExtended12Bit),
    ],
)
def test_a_jpeg_image_looks_as_what_was_compressed(page: PixelPage, name: str, bits: int, syntax: str) -> None:
    window = {"VOILUTFunction": "LINEAR_EXACT", "WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    original, made = case(bits=bits, **window), in_syntax(case(bits=bits, **window), syntax)
    made.PixelData = encapsulate([base64.b64decode(FRAMES[name])])
    made["PixelData"].VR = "OB"
    image = page.load(file_bytes(made), display_bytes(original))
    assert "code" not in image, image
    assert image["worst"] <= (0.0001 if "lossless" in name else LOSSY)


def test_a_frame_in_several_fragments_is_whole(page: PixelPage) -> None:
    made = compressed(large(12), JPEG2000Lossless)
    expected = display_bytes(made)
    made.PixelData = encapsulate([frame_of(made)], fragments_per_frame=3, has_bot=False)
    assert page.load(file_bytes(made), expected)["worst"] <= TOLERANCE


@pytest.mark.real_data
def test_every_real_radiograph_looks_as_the_archive_displays_it(page: PixelPage, sample_data: Path) -> None:
    files = sorted((sample_data / "radiographs").glob("*.dcm")) + sorted((sample_data / "rsna").glob("*.dcm"))
    assert len(files) >= 169
    wrong = {}
    for path in files:
        dataset = read_dataset(path)
        image = page.load(path.read_bytes(), display_bytes(dataset))
        # JPEG decoders may round the cosine transform each in its own way, by one level.
        lossy = dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        if not image.get("worst", 1) <= (1.5 / 255 if lossy else TOLERANCE):
            wrong[path.name] = image
    assert wrong == {}


@pytest.mark.parametrize("path", [
    "23-extended-offset-table/extended-offset-table.dcm", "27-voi-lut/modality-lut-signed-high.dcm",
    "27-voi-lut/modality-lut-signed-high-US.dcm", "27-voi-lut/voi-rescaled-first-1024-implicit.dcm", "27-voi-lut/voi-short.dcm",
])  # fmt: skip
def test_a_collected_file_looks_as_the_network_sees_it(page: PixelPage, path: str) -> None:
    folder, name = path.split("/")
    data = (case_folder(folder) / name).read_bytes()
    image = page.load(data, display_bytes(read_dataset(data)))
    assert "code" not in image, image
    assert image["worst"] <= TOLERANCE


# what else an image says


def test_an_image_names_what_it_is_and_nobody(page: PixelPage) -> None:
    image = page.load(file_bytes(case(
        Modality="DX", ViewPosition="PA", ImageLaterality="L", PatientName="Doe^Jane", PatientBirthDate="19700101",
        PixelSpacing=[0.2, 0.1], SOPInstanceUID="1.2.3",
    )))  # fmt: skip
    assert image["caption"] == "DX PA L"
    assert image["sopInstanceUid"] == "1.2.3"
    assert image["spacing_mm"] == {"row": 0.2, "column": 0.1}
    assert image["spacingAt"] == "patient"
    assert image["pixelAspect"] == 0.5
    assert image["standIn"] == ""
    assert "Doe" not in str(image)


@pytest.mark.parametrize(
    ("tags", "spacing", "place", "aspect"),
    [
        ({}, None, None, 1),
        ({"ImagerPixelSpacing": [0.14, 0.14]}, 0.14, "detector", 1),
        ({"NominalScannedPixelSpacing": [0.17, 0.17]}, 0.17, "detector", 1),
        ({"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.14, 0.14]}, 0.14, "detector", 1),
        ({"PixelSpacing": [0.12, 0.12], "ImagerPixelSpacing": [0.14, 0.14]}, 0.12, "patient", 1),
        (
            {"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.14, 0.14], "PixelSpacingCalibrationType": "FIDUCIAL"},
            0.14, "patient", 1,
        ),
        ({"PixelSpacing": [0, 0]}, None, None, 1),
        ({"PixelSpacing": ["-1", "1"], "PixelAspectRatio": [2, 1]}, None, None, 0.5),
        ({"PixelAspectRatio": [1, 0]}, None, None, 1),
    ],
)  # fmt: skip
def test_a_spacing_is_that_of_the_patient_or_of_the_detector(
    page: PixelPage, tags: dict[str, Any], spacing: float | None, place: str | None, aspect: float
) -> None:
    image = page.load(file_bytes(case(**tags)))
    assert image["spacing_mm"] == (None if spacing is None else {"row": spacing, "column": spacing})
    assert (image["spacingAt"], image["pixelAspect"]) == (place, aspect)


def test_presets_come_from_the_header_and_the_histogram(page: PixelPage) -> None:
    made = case(
        WindowCenter=[2048, 1000, 1500], WindowWidth=[4096, 500, 700],
        WindowCenterWidthExplanation=["<b>NORMAL</b>", "", "x" * 64],
    )  # fmt: skip
    image = page.load(file_bytes(made))
    names = [preset["name"] for preset in image["presets"]]
    assert names == ["<b>NORMAL</b>", "Header 2", "x" * 31 + "…", "Auto 1–99 %", "Lungs", "Soft tissue", "Bone", "Full range"]
    assert image["presets"][0]["window"] == image["initial"] == {"center": 2047.5, "width": 4095}
    low, high = np.sort(ramp(12).ravel())[[4, 475]]  # the least with 1 % and with 99 % of 480 pixels at or below it
    assert image["presets"][3]["window"] == {"center": (low + high) / 2, "width": high - low}
    lungs, bone = image["presets"][4]["window"], image["presets"][6]["window"]
    assert lungs["center"] < bone["center"]


def test_on_an_inverted_image_lungs_have_the_high_values(page: PixelPage) -> None:
    image = page.load(file_bytes(case(photometric="MONOCHROME1")))
    windows = {preset["name"]: preset["window"] for preset in image["presets"]}
    assert image["inverted"] is True
    assert windows["Lungs"]["center"] > windows["Bone"]["center"]


def test_values_keep_the_smallest_type(page: PixelPage) -> None:
    types = {
        "8 bits": "Uint8Array", "8 signed bits": "Int16Array", "12 bits": "Uint16Array", "12 signed bits": "Int16Array",
        "rescale": "Int16Array", "rescale, in fractions": "Float32Array", "padding": "Int16Array", "VOI LUT": "Uint16Array",
    }  # fmt: skip
    assert {name: page.load(file_bytes(CASES[name]()))["type"] for name in types} == types


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_in_the_widest_window_too(page: PixelPage, photometric: str) -> None:
    image = page.load(file_bytes(case(BORDERED, PixelPaddingValue=0, photometric=photometric)))
    middle, reach = (image["highest"] + image["lowest"]) / 2, image["highest"] - image["lowest"]
    shown = np.clip((image["first"][0] - middle) / (10 * reach) + 0.5, 0, 1)
    assert (1 - shown if image["inverted"] else shown) == 0
    assert image["lowest"] > 0


def test_a_large_image_is_there_at_once(page: PixelPage) -> None:
    y, x = np.mgrid[0:2828, 0:2320]
    values = (x * 11 + y * 5 + NOISE.integers(0, 400, x.shape)) % 65_536
    data = file_bytes(case(values, bits=16))
    loads = [page.load(data) for _ in range(3)]
    assert loads[0]["type"] == "Uint16Array"
    assert min(image["ms"] for image in loads) < 1500  # a tenth of it is usual, fetching included


# what can go wrong


def test_an_image_that_is_not_there_is_missing(page: PixelPage) -> None:
    image = page.at(f"{page.images.url}/nowhere")
    assert image["code"] == "missing"
    assert "eport it as not displayed" in image["message"]
    assert page.at("")["code"] == "missing"


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "refused"), (403, "refused"), (410, "missing"), (500, "unreachable"), (503, "unreachable")],
)
def test_a_status_has_its_own_words(page: PixelPage, status: int, code: str) -> None:
    page.images.statuses[f"/{status}"] = status
    image = page.at(f"{page.images.url}/{status}")
    assert image["code"] == code
    assert "eport it as not displayed" in image["message"]


def test_a_server_that_does_not_answer_is_unreachable(page: PixelPage) -> None:
    assert page.at("http://127.0.0.1:9/none")["code"] == "unreachable"


def test_no_cookie_goes_to_another_origin(page: PixelPage) -> None:
    page.images.seen.clear()
    page.load(file_bytes(case()))
    assert [cookie for _, cookie in page.images.seen] == [""]


def test_a_web_page_instead_of_an_image_is_named(page: PixelPage) -> None:
    image = page.load(b"<!doctype html><title>Please sign in</title>" + b" " * 300)
    assert image["code"] == "not-dicom"
    assert image["message"].startswith("A web page was sent instead of the image")


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "truncated"), (b"hello", "truncated"), (bytes(1000), "not-dicom"), (bytes(128) + b"DICM", "truncated"),
     (bytes(128) + b"DICM" + b"\xff" * 5000, "truncated")],
)  # fmt: skip
def test_what_is_no_image_is_told_from_what_is_cut(page: PixelPage, data: bytes, code: str) -> None:
    assert page.load(data)["code"] == code


@pytest.mark.parametrize(
    "name",
    ["12 bits", "implicit, VOI LUT", "big endian", "deflated", "RLE, 12 bits", "JPEG-LS, 12 bits", "JPEG 2000, 12 bits"],
)
def test_an_image_cut_anywhere_is_an_error(page: PixelPage, name: str) -> None:
    whole = file_bytes(CASES[name]())
    for end in np.linspace(133, len(whole) - 9, 12).astype(int):
        assert page.load(whole[:end])["code"] in ("truncated", "unsupported"), end


@pytest.mark.parametrize("name", ["RLE, 12 bits", "JPEG-LS, 12 bits", "JPEG 2000, 12 bits"])
def test_a_cut_code_stream_is_truncated(page: PixelPage, name: str) -> None:
    made = CASES[name]()
    frame = frame_of(made)
    made.PixelData = encapsulate([frame[: len(frame) // 3]])
    assert page.load(file_bytes(made))["code"] == "truncated"


def test_a_promise_of_four_gigapixels_is_refused(page: PixelPage) -> None:
    assert page.load(file_bytes(case(Rows=65_535, Columns=65_535)))["code"] == "unsupported"


def test_a_code_stream_of_another_size_than_the_header_is_refused(page: PixelPage) -> None:
    made = compressed(large(12), JPEG2000Lossless)
    made.Rows += 1
    assert page.load(file_bytes(made))["code"] == "unsupported"


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"bits": 8, "photometric": "RGB", "SamplesPerPixel": 3, "Columns": 8}, "it is in color"),
        ({"NumberOfFrames": 2, "Rows": 10}, "more than one frame"),
        ({"BitsAllocated": 32}, "depth"),
    ],
)
def test_what_is_not_shown_says_why(page: PixelPage, tags: dict[str, Any], words: str) -> None:
    image = page.load(file_bytes(case(**tags)))
    assert image["code"] == "unsupported"
    assert words in image["message"]


def test_sequences_nested_without_end_are_an_error(page: PixelPage) -> None:
    item, delimiters = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b""
    sequence = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item
    meta = file_bytes(case())[: file_bytes(case()).index(b"\x08\x00\x16\x00")]
    assert page.load(meta + sequence * 100_000 + delimiters)["code"] == "truncated"


def test_an_inflated_bomb_is_refused(page: PixelPage) -> None:
    meta = file_bytes(in_syntax(case(), DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = 132 + 12 + int.from_bytes(meta[140:144], "little")
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(20)) + packer.flush()
    assert page.load(meta[:start] + bomb)["code"] == "unsupported"


@pytest.mark.parametrize("behind", [b"\0", b"N\xd0XE\x1a\x02\x04\0"])
def test_what_lies_behind_a_deflated_image_does_no_harm(page: PixelPage, behind: bytes) -> None:
    data = file_bytes(CASES["deflated"]()) + behind
    assert page.load(data, display_bytes(read_dataset(data)))["worst"] <= TOLERANCE


def test_random_bytes_behind_a_preamble_end_in_words(page: PixelPage) -> None:
    generator = np.random.default_rng(3)
    whole = file_bytes(compressed(case(VOILUTSequence=lut(0, 12, CURVE.tolist())), JPEGLSLossless))
    for number in range(40):
        data = bytearray(whole)
        for at in generator.integers(132, len(data), 6):
            data[at] = generator.integers(0, 256)
        image = page.load(bytes(data) if number % 4 else bytes(128) + b"DICM" + generator.bytes(600))
        assert image.get("code", "shown") in ("shown", "truncated", "unsupported"), image


def test_an_image_that_stops_coming_is_slow(page: PixelPage) -> None:
    page.images.files["/stuck"], page.images.pauses_s["/stuck"] = file_bytes(case()), 3.0
    image = page.at(f"{page.images.url}/stuck", stall_ms=1000)
    assert image["code"] == "slow"
    assert image["message"].startswith("No data of the image has arrived for 1 second.")


# pictures, and what stands in


def png(values: Any, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8), mode=None).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_png_is_a_image_without_spacing(page: PixelPage, mode: str) -> None:
    image = page.load(png(ramp(8), mode), np.ascontiguousarray(ramp(8) / 255, np.float32).tobytes())
    assert image["worst"] <= 0.0001
    assert (image["rows"], image["columns"], image["spacing_mm"], image["type"]) == (20, 24, None, "Uint8Array")
    assert image["standIn"] == ""


def test_a_cut_png_is_truncated(page: PixelPage) -> None:
    assert page.load(png(ramp(8))[:60])["code"] == "truncated"


def unknown_compression() -> Dataset:
    made = compressed(case(PixelSpacing=[0.2, 0.2]), JPEGLSLossless)
    return in_syntax(made, HTJ2KLossless)


def test_a_rendered_picture_stands_in_for_an_unknown_compression(page: PixelPage) -> None:
    image = page.load(file_bytes(unknown_compression()), rendered=png(ramp(8)[::2, ::2]))
    assert (image["rows"], image["columns"], image["spacing_mm"]) == (20, 24, {"row": 0.2, "column": 0.2})
    assert image["standIn"].startswith("The pixels of this image could not be decoded here.")
    assert page.load(file_bytes(unknown_compression()))["code"] == "unsupported"


def test_places_on_a_picture_that_stands_in_are_places_on_the_image(page: PixelPage) -> None:
    half = np.where(np.arange(12) < 6, 0, 255) * np.ones((10, 1))  # an edge between columns 11 and 12 of the image
    image = page.load(file_bytes(unknown_compression()), rendered=png(half))
    row = np.array(image["first"][:24])
    assert np.all(row[:11] == 0)
    assert np.all(row[13:] == 255)
    assert row[11] + row[12] == pytest.approx(255, abs=1)


def test_a_picture_of_another_shape_stands_in_for_nothing(page: PixelPage) -> None:
    assert page.load(file_bytes(unknown_compression()), rendered=png(ramp(8)[:10]))["code"] == "unsupported"


def test_a_broken_picture_leaves_the_first_error(page: PixelPage) -> None:
    assert page.load(file_bytes(unknown_compression()), rendered=b"no picture")["code"] == "unsupported"


@pytest.mark.parametrize(
    "policy",
    [
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src *",
        "default-src 'none'; script-src 'self'; worker-src blob:; connect-src *",
    ],
)
def test_where_the_decoder_may_not_run_the_page_says_so_or_shows_the_picture(page: PixelPage, policy: str) -> None:
    data = file_bytes(compressed(large(12), JPEG2000Lossless))
    image = page.load(data, policy=policy)
    assert image["code"] == "worker"
    assert "Try another browser" in image["message"]
    assert page.load(data, rendered=png(np.tile(ramp(8), (4, 3))), policy=policy)["standIn"]
    # what needs no decoder is shown all the same
    plain = file_bytes(case())
    assert page.load(plain, display_bytes(case()), policy=policy)["worst"] <= TOLERANCE


def test_images_are_decoded_in_a_sandbox_of_no_origin(page: PixelPage) -> None:
    policy = "sandbox allow-scripts; default-src 'none'; script-src * 'wasm-unsafe-eval'; worker-src blob:; connect-src *"
    data = file_bytes(compressed(large(12), JPEG2000Lossless))
    image = page.load(data, display_bytes(read_dataset(data)), policy=policy)
    assert image.get("worst", image) <= TOLERANCE
