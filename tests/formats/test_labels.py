"""Label sets: order, trees, exclusions; what is refused, and how a manifest line carries them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.labels import LabelSet, default_label_set, load_label_set

TREE: dict[str, Any] = {
    "name": "skin",
    "labels": ["Benign", "Nevus", "Malignant", "Melanoma", "Scar"],
    "parents": {"Nevus": "Benign", "Melanoma": "Malignant"},
    "exclusions": {"Benign": ["Malignant"]},
    "definitions": {"Nevus": "a mole"},
    "codes": {"Nevus": ["400096001", "SCT", "Melanocytic nevus"]},
}


def test_a_set_is_written_as_it_was_read() -> None:
    for value in (TREE, load_label_set("chest").to_json(), {"labels": ["a"]}):
        assert LabelSet.parse(json.loads(json.dumps(value))).to_json() == value


def test_the_chest_set_has_fourteen_labels_in_the_order_of_chexpert() -> None:
    chest = load_label_set("chest")
    assert len(chest.labels) == 14
    assert (chest.labels[0], chest.labels[-2:]) == ("Atelectasis", ("Support Devices", "No Finding"))
    assert chest.conflicts(["Edema", "Support Devices", "No Finding"]) == ["Edema"]
    assert chest.excluders(["Edema", "Support Devices", "No Finding"]) == ["No Finding"]
    assert chest.conflicts(["Edema", "Fracture", "Support Devices"]) == []


def test_other_labels_get_the_rules_that_apply_to_them() -> None:
    covid = default_label_set(["Pneumonia", "COVID-19", "No Finding"])
    assert covid.conflicts(["COVID-19", "No Finding"]) == ["COVID-19"]
    assert covid.codes["COVID-19"] == ("840539006", "SCT", "COVID-19")
    assert default_label_set(["cat", "dog"]).rules == {}
    assert LabelSet.parse(TREE).over(["Scar", "Nevus", "Melanoma"]).rules == {}


def test_an_exclusion_holds_for_the_whole_branch() -> None:
    skin = LabelSet.parse(TREE)
    assert skin.conflicts(["Nevus", "Melanoma"]) == ["Melanoma"]
    assert skin.excludes("Nevus", "Malignant")
    assert not skin.excludes("Benign", "Nevus")
    assert not skin.excludes("Benign", "Scar")
    assert (skin.ancestors("Nevus"), skin.descendants("Malignant")) == (("Benign",), ("Melanoma",))


def test_an_exclusive_label_stands_alone_but_for_its_own_branch() -> None:
    labels = LabelSet(("Normal", "Clearly normal", "Finding", "Pacemaker"), parents={"Clearly normal": "Normal"},
                      exclusive={"Normal": ("Pacemaker",)})  # fmt: skip
    assert labels.conflicts(["Normal", "Clearly normal", "Finding", "Pacemaker"]) == ["Finding"]
    assert labels.conflicts(["Clearly normal", "Finding"]) == ["Finding"]


def test_a_parent_that_is_left_out_is_replaced_by_the_nearest_one() -> None:
    deep = LabelSet(("a", "b", "c"), parents={"b": "a", "c": "b"})
    assert deep.over(["a", "c"]).parents == {"c": "a"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"labels": ["a", "a"]}, "a more than once"),
        ({"labels": []}, "at least one label"),
        ({"labels": ["a", ""]}, "none of them empty"),
        ({"labels": ["a"], "parents": {"a": "b"}}, "parents name 'b', which is not among the labels"),
        ({"labels": ["a", "b"], "parents": {"a": "b", "b": "a"}}, "parents form a circle: a → b → a"),
        ({"labels": ["a"], "parents": {"a": "a"}}, "parents form a circle: a → a"),
        ({"labels": ["a"], "exclusions": {"a": ["b"]}}, "exclusions name 'b', which is not among the labels"),
        ({"labels": ["a"], "exclusive": {"c": []}}, "exclusive name 'c'"),
        ({"labels": ["a"], "exclusions": {"a": ["a"]}}, "'a' excludes 'a', which is itself or on its own branch"),
        ({"labels": ["a", "b"], "parents": {"b": "a"}, "exclusions": {"a": ["b"]}}, "on its own branch"),
        ({"labels": ["a"], "definitions": {"b": "what"}}, "definitions name 'b'"),
        ({"labels": ["a"], "exclusions": {"a": "b"}}, "exclusions of 'a' as a list of texts"),
        ({"labels": ["a"], "parents": ["a"]}, "parents of a label set as a JSON object"),
        ({"labels": ["a"], "name": 3}, "name of a label set as a text"),
        ({"labels": ["a"], "codes": {"a": ["1"]}}, "a code as value, scheme and meaning"),
        (7, "'labels' as a list of texts"),
    ],
)
def test_what_does_not_fit_together_is_refused(value: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        LabelSet.parse(value)


def test_a_manifest_line_carries_rules_that_are_not_the_default_sets() -> None:
    skin = LabelSet.parse(TREE)
    line = json.loads(json.dumps(skin.to_line()))
    assert set(line) == {"labels", "label_rules"}
    assert LabelSet.of_line(line).rules == skin.rules
    assert default_label_set().to_line() == {"labels": list(default_label_set().labels)}
    assert LabelSet.of_line({"labels": "Edema, No Finding"}).conflicts(["Edema", "No Finding"]) == ["Edema"]
    assert LabelSet.of_line({"labels": ["Edema", "No Finding"], "label_rules": {}}).rules == {}
    assert LabelSet.of_line({"source": "x"}).labels == ()
    with pytest.raises(RecordError, match="'label_rules' as a JSON object"):
        LabelSet.of_line({"labels": ["a"], "label_rules": [1]})


def test_a_label_category_file_is_a_flat_set() -> None:
    file = {"document-version": "2018-11-28", "labels": [{"label": "a"}, {"label": "b"}]}
    assert LabelSet.parse(file) == LabelSet(("a", "b"))


def test_an_unknown_set_is_named_with_those_there_are() -> None:
    with pytest.raises(RecordError, match="expected the name of a label set, chest, got 'chets'"):
        load_label_set("chets")
