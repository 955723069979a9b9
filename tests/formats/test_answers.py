"""What an answer may be is said once, in its schema, and this package reads it as a full implementation of JSON Schema does."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from dicom_workflow.errors import AnswerError
from dicom_workflow.formats.answers import ANSWER_SCHEMA, Answer, LabelState, Region, answer_schema, unusable_reasons
from dicom_workflow.formats.json_schema import Schema

PLAIN: dict[str, Any] = {"schema": ANSWER_SCHEMA, "pixel_origin": "corner", "labels": {}, "regions": []}
WHOLE: dict[str, Any] = {
    **PLAIN,
    "labels": {"Edema": "positive", "__proto__": "uncertain", "No Finding": "negative", "Ödem": "unknown"},
    "regions": [
        {"label": "Edema", "shape": "rectangle", "points_px": [[0, 0.5], [10, 20]], "comment": "left"},
        {"label": "Edema", "shape": "ellipse", "points_px": [[1, 2], [3, 4]]},
        {"label": "", "shape": "polygon", "points_px": [[0, 0], [1, 0], [1, 1]]},
        {"label": "Edema", "shape": "point", "points_px": [[-3, 1e6]]},
    ],
    "comment": "two\nlines",
    "unusable": "",
    "measurements": [
        {"kind": "length", "points_px": [[0, 0], [3, 4]], "value": 5, "unit": "px"},
        {"kind": "angle", "points_px": [[0, 0], [3, 4], [5, 5]]},
    ],
    "image": {"sop_instance_uid": "1.2.3", "rows": 20, "columns": 10.0, "stand_in": False},
    "viewport": {
        "window_center": -0.5, "window_width": 1e-3, "inverted": True, "center_px": [5, 10], "zoom": 2, "rotation_deg": 90,
        "mirrored": False,
    },
    "timings": {"opened_at": "2026-11-21T10:00:00Z", "sent_at": "", "first_image_ms": 0, "active_seconds": 12.5},
    "actions": {"clicks": 2, "keys": 0, "changes": 3, "undone": 1, "by_kind": {"label": 2, "__proto__": 1}},
    "assistance": {
        "mode": "after-first-read",
        "model": "densenet",
        "probabilities": {"Edema": 0.7, "Fracture": 0},
        "first": {"labels": {"Edema": "negative"}, "regions": [], "unusable": ""},
        "taken_regions": 0,
    },
    "adjudication": {"readers": 2, "agreed": ["Edema"], "decided": {"Fracture": ["A"], "Other": []}},
    "page": "0.1.0",
}  # fmt: skip
STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2.0, 0.5, 1e6, 1_000_000.5, -1_000_001, 10**30, "", "x", "positive", "rectangle", "corner",
    "y" * 41, "y" * 201, "y" * 1001, "y" * 4001, "😀" * 200, [], {}, [1], [1, 2], [[1, 2]], [[1, 2], [3, 4]], [[1, 2]] * 4,
    {"a": 1}, {"": "positive"}, {"a" * 201: "positive"}, [None], ["a"], 360, 45, "motion", "blurred",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every part of a JSON value, the whole left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    whole = copy.deepcopy(value)
    part = whole
    for key in path[:-1]:
        part = part[key]
    change(part, path[-1])
    return whole


def mutated() -> Iterator[Any]:
    """Every part left out, doubled, and replaced by strange values; then pairs of such changes, seeded."""
    for path in places(WHOLE):
        yield changed(WHOLE, path, lambda part, key: part.pop(key))
        yield changed(WHOLE, path, lambda part, key: part.append(part[key]) if isinstance(part, list) else part.update(more=1))
        for strange in STRANGE:
            yield changed(WHOLE, path, lambda part, key, strange=strange: part.__setitem__(key, copy.deepcopy(strange)))
    draw = random.Random(11)
    for _ in range(500):
        twice = WHOLE
        for _ in range(2):
            path = draw.choice(list(places(twice)))
            twice = changed(twice, path, lambda part, key: part.__setitem__(key, copy.deepcopy(draw.choice(STRANGE))))
        yield twice
    for many in (5000, 5001):
        yield {**PLAIN, "regions": [{"label": "a", "shape": "polygon", "points_px": [[0, 0]] * many}]}
    for many in (500, 501):
        yield {**PLAIN, "regions": [{"label": "a", "shape": "point", "points_px": [[0, 0]]}] * many}


def is_read(value: Any) -> bool:
    try:
        Answer.parse(value)
    except AnswerError as error:
        assert re.search(r"^expected |^\S+ is missing\.$|^\S+ is not in the schema\.$", str(error)), error
        assert len(str(error)) < 500
        return False
    return True


def test_what_is_read_is_what_the_schema_lets_through() -> None:
    validator = jsonschema.Draft7Validator(answer_schema().schema)
    jsonschema.Draft7Validator.check_schema(answer_schema().schema)
    verdicts = {True: 0, False: 0}
    for value in (PLAIN, WHOLE, *mutated()):
        if value.get("schema") != ANSWER_SCHEMA:
            continue  # another form
        valid = validator.is_valid(value)
        assert is_read(value) == valid, value
        verdicts[valid] += 1
    assert min(verdicts.values()) > 500, verdicts


def test_a_whole_answer_comes_back_from_its_json() -> None:
    answer = Answer.parse({"annotation": json.dumps(WHOLE)})
    assert answer.labels["__proto__"] is LabelState.UNCERTAIN
    assert answer.regions[0] == Region("Edema", "rectangle", ((0, 0.5), (10, 20)), "left")
    assert (answer.page, answer.actions["clicks"], answer.image["columns"]) == ("0.1.0", 2, 10)
    assert answer.to_json() == {name: value for name, value in WHOLE.items() if name != "unusable"}
    assert Answer.parse(answer.to_json()) == answer


def test_the_first_read_is_what_was_said_before_the_suggestions() -> None:
    answer = Answer.parse(WHOLE)
    assert answer.first_read == Answer(labels={"Edema": LabelState.NEGATIVE})
    assert Answer.parse({**WHOLE, "assistance": {"mode": "shown", "model": "m"}}).first_read is None
    assert Answer.parse(PLAIN).first_read is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("labels", "Edema"), "maybe", r"labels\.Edema as one of positive, uncertain, negative, unknown, got 'maybe'\."),
        (("labels", "Edema"), True, r"labels\.Edema as one of .*, got True\."),
        (("regions", 1, "shape"), "blob", r"regions\[1\]\.shape as one of rectangle, ellipse, polygon, point, got 'blob'\."),
        (("regions", 0, "points_px", 1, 0), 1e20, r"regions\[0\]\.points_px\[1\]\[0\] with at most 1000000, got 1e\+20"),
        (("regions", 0, "points_px", 1, 0), float("nan"), r"points_px\[1\]\[0\] as a finite number, got nan\."),
        (("regions", 0, "points_px", 1, 0), 10**400, r"points_px\[1\]\[0\] as a finite number"),
        (("regions", 2, "points_px"), [[0, 0], [1, 1]], r"regions\[2\]\.points_px with at least 3 items, got 2 items\."),
        (("image", "rows"), 0.5, r"image\.rows as a whole number, got 0\.5\."),
        (("unusable",), "rotated", "unusable as one of not-displayed, poor-quality, .*, got 'rotated'"),
        (("comment",), "x" * 4001, "comment with at most 4000 characters, got 4001 characters"),
        (("worker",), "w1", "worker is not in the schema"),
        (("pixel_origin",), "centre", "pixel_origin as 'corner', got 'centre'"),
    ],
)
def test_a_refusal_names_the_place_and_what_was_expected(path: tuple[Any, ...], value: Any, message: str) -> None:
    broken = changed(WHOLE, path, lambda part, key: part.__setitem__(key, value))
    with pytest.raises(AnswerError, match=message):
        Answer.parse(broken)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(AnswerError, match="pixel_origin is missing"):
        Answer.parse({name: value for name, value in PLAIN.items() if name != "pixel_origin"})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_without_end_is_no_json_here(text: str) -> None:
    with pytest.raises(AnswerError):
        Answer.parse(json.dumps({**PLAIN, "timings": {"active_seconds": 7}}).replace("7", text))


def test_the_reasons_come_from_the_schema() -> None:
    assert {"not-displayed", "wrong-view", "identity-visible", "other"} < set(unusable_reasons())
    assert "" not in unusable_reasons()
    for reason in unusable_reasons():
        assert Answer.parse(Answer(unusable=reason).to_json()).unusable == reason


def test_a_schema_with_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="got patternProperties"):
        Schema({"properties": {"a": {"patternProperties": {}}}})
    with pytest.raises(ValueError, match="got oneOf"):
        Schema({"definitions": {"a": {"oneOf": []}}})
