"""Label sets: which labels a task has, in which order, and what the labels say of each other.

A label set is data. It travels as ``labels`` and ``label_rules`` in every manifest line, from there into the training
manifest and the model bundle. A list of names alone, which is all that Ground Truth hands to a post-annotation function and
all that the lines of the published AWS sample have, gets the rules of the default set (`default_label_set`).

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown

LABEL_SETS_FOLDER = "formats/label_sets"
"""Folder of the label sets that ship with this package; one JSON file per set, named after it."""

DEFAULT_LABEL_SET = "chest"
"""Name of the set that is used where nobody says which."""

RULES_KEY = "label_rules"
"""Key of a manifest line: the rules of the line's ``labels``, as `LabelSet.rules` gives them."""

_RULES = ("parents", "exclusions", "exclusive")


@dataclass(frozen=True)
class LabelSet:
    """The labels of a task, ordered, with their rules.

    Raises
    ------
    RecordError
        An empty label, a label that is not a text or comes twice; a rule or definition of an unknown label; parents that
        form a circle; a label that excludes itself, an ancestor or a descendant.
    """

    labels: tuple[str, ...] = ()
    name: str = ""
    """Of the set, for people and for `load_label_set`; a list of labels has none."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Label → the broader label above it. Labels without a parent are the roots."""
    exclusions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label → labels that cannot be positive beside it."""
    exclusive: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label → the only labels that may be positive beside it; every other label, also one outside of the set, may not."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Label → what it means, for people."""
    codes: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Label → code value, coding scheme and meaning (PS3.16), for reports; also of labels that `over` may bring in."""

    def __post_init__(self) -> None:
        if any(not isinstance(label, str) or not label.strip() for label in self.labels):
            raise RecordError(f"expected labels as texts that are not empty, got {shown(list(self.labels))}.")
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise RecordError(f"expected each label once, got {', '.join(twice)} more than once.")
        for what in (*_RULES, "definitions"):
            for label, value in getattr(self, what).items():
                others = () if what == "definitions" else (value,) if isinstance(value, str) else value
                unknown = [name for name in (label, *others) if name not in self.labels]
                if unknown:
                    raise RecordError(f"{what} name {shown(unknown[0])}, which is not among the labels of the set.")
        for label in self.parents:
            self._check_parents(label)
        for label, excluded in self.exclusions.items():
            related = {label, *self.ancestors(label), *self.descendants(label)} & set(excluded)
            if related:
                raise RecordError(f"exclusions: {label!r} excludes {min(related)!r}, which is itself or on its own branch.")

    def _check_parents(self, label: str) -> None:
        seen = [label]
        while (above := self.parents.get(seen[-1])) is not None:
            if above in seen:
                raise RecordError(f"parents form a circle: {' → '.join([*seen, above])}.")
            seen.append(above)

    @classmethod
    def parse(cls, value: object) -> LabelSet:
        """Return the label set of a JSON value.

        Parameters
        ----------
        value : object
            The object that `to_json` returns; a label category file of Ground Truth (``{"labels": [{"label": …}, …]}``); or
            what `parse_label_list` reads: a list of texts, or one text with commas.

        Raises
        ------
        RecordError
            None of these forms, or what the class refuses.
        """
        if not isinstance(value, Mapping):
            return cls(parse_label_list(value))
        given = value.get("labels")
        if isinstance(given, list):
            given = category_names(given)
        return cls(
            labels=parse_label_list(given),
            name=_text(value.get("name", ""), "name"),
            parents=_texts(value, "parents"),
            exclusions=_lists(value, "exclusions"),
            exclusive=_lists(value, "exclusive"),
            definitions=_texts(value, "definitions"),
            codes={label: _code(code) for label, code in _lists(value, "codes").items()},
        )

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> LabelSet:
        """Return the label set of a manifest line; an empty one where the line has no ``labels``.

        A line without ``label_rules``, as the published AWS sample's, has the rules of the default set for its labels.

        Raises
        ------
        RecordError
            The labels or their rules do not have their form.
        """
        if "labels" not in line:
            return cls()
        rules = line.get(RULES_KEY)
        if rules is None:
            return default_label_set(parse_label_list(line["labels"]))
        if not isinstance(rules, Mapping):
            raise RecordError(f"expected '{RULES_KEY}' as a JSON object, got {shown(rules)}.")
        known = {name: rules[name] for name in _RULES if name in rules}
        return cls.parse({**known, "labels": parse_label_list(line["labels"])})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads, without what is empty."""
        data: dict[str, Any] = {"name": self.name, "labels": list(self.labels), **self.rules}
        data["definitions"] = dict(self.definitions)
        data["codes"] = {label: list(code) for label, code in self.codes.items()}
        return {key: value for key, value in data.items() if value or key == "labels"}

    def to_line(self) -> dict[str, Any]:
        """Return the keys that `of_line` reads: ``labels``, and ``label_rules`` where they are not the default set's."""
        line: dict[str, Any] = {"labels": list(self.labels)}
        return line if self.rules == default_label_set(self.labels).rules else {**line, RULES_KEY: self.rules}

    @property
    def rules(self) -> dict[str, Any]:
        """Parents, exclusions and exclusive labels as a JSON object, without what is empty."""
        data: dict[str, Any] = {
            "parents": dict(self.parents),
            "exclusions": {label: list(others) for label, others in self.exclusions.items()},
            "exclusive": {label: list(others) for label, others in self.exclusive.items()},
        }
        return {name: rule for name, rule in data.items() if rule}

    def over(self, labels: Iterable[str]) -> LabelSet:
        """Return the set with other labels and, of the rules, definitions and codes, those that apply to them.

        A label whose parent is left out hangs below the nearest ancestor that is not. An exclusive label stays exclusive
        whatever the others are.

        Parameters
        ----------
        labels : iterable of str
            In the order the new set is to have.
        """
        chosen = tuple(labels)
        if chosen == self.labels:
            return self
        parents = {}
        for label in chosen:
            above = next((ancestor for ancestor in self.ancestors(label) if ancestor in chosen), None)
            if above is not None:
                parents[label] = above
        excluded = {a: tuple(b for b in others if b in chosen) for a, others in self.exclusions.items() if a in chosen}
        return LabelSet(
            labels=chosen,
            parents=parents,
            exclusions={label: others for label, others in excluded.items() if others},
            exclusive={a: tuple(b for b in others if b in chosen) for a, others in self.exclusive.items() if a in chosen},
            definitions={label: text for label, text in self.definitions.items() if label in chosen},
            codes=self.codes,
        )

    def ordered(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return labels once each: those of the set in its order, then the others by name."""
        given = set(labels)
        return (*(label for label in self.labels if label in given), *sorted(given - set(self.labels)))

    def ancestors(self, label: str) -> tuple[str, ...]:
        """Return the labels above one, the nearest first."""
        above: list[str] = []
        while (parent := self.parents.get(above[-1] if above else label)) is not None:
            above.append(parent)
        return tuple(above)

    def descendants(self, label: str) -> tuple[str, ...]:
        """Return the labels below one, in the order of the set."""
        return tuple(other for other in self.labels if label in self.ancestors(other))

    def excludes(self, label: str, other: str) -> bool:
        """Say whether a positive `label` forbids a positive `other`; what an ancestor of either forbids counts."""
        branch, others = (label, *self.ancestors(label)), (other, *self.ancestors(other))
        if label in others or other in branch:
            return False
        if any(excluded in others for name in branch for excluded in self.exclusions.get(name, ())):
            return True
        return any(name in self.exclusive and not set(self.exclusive[name]) & set(others) for name in branch)

    def conflicts(self, positive: Iterable[str]) -> list[str]:
        """Return the positive labels that another positive label excludes, in the order given."""
        called = list(positive)
        return [label for label in called if any(self.excludes(other, label) for other in called)]

    def excluders(self, positive: Iterable[str]) -> list[str]:
        """Return the positive labels that exclude another positive label, in the order given.

        To withdraw them leaves a positive finding standing; to withdraw the `conflicts` instead would hide it.
        """
        called = list(positive)
        return [label for label in called if any(self.excludes(label, other) for other in called)]

    def doubted(self, positive: Iterable[str]) -> set[str]:
        """Return the positive labels that cannot stand together: the `conflicts` and the `excluders`."""
        called = list(positive)
        return {*self.conflicts(called), *self.excluders(called)}


@cache
def load_label_set(name: str) -> LabelSet:
    """Return a label set that ships with the package.

    Raises
    ------
    RecordError
        There is no such set.
    """
    folder = resources.files("dicom_workflow").joinpath(*LABEL_SETS_FOLDER.split("/"))
    names = sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
    if name not in names:
        raise RecordError(f"expected the name of a label set, {' or '.join(names)}, got {shown(name)}.")
    return LabelSet.parse(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def default_label_set(labels: Iterable[str] = ()) -> LabelSet:
    """Return the default label set, or other labels under its rules.

    Parameters
    ----------
    labels : iterable of str, optional
        Of the set to return; all labels of the default set when there are none.
    """
    default = load_label_set(DEFAULT_LABEL_SET)
    return default.over(tuple(labels) or default.labels)


def parse_label_list(value: object) -> tuple[str, ...]:
    """Return the labels of a manifest line, in order.

    Parameters
    ----------
    value : object
        A list of texts, or one text with commas between the labels (the form of the published AWS sample); a label with a
        comma in it stands in double quotes, as in a CSV file.

    Raises
    ------
    RecordError
        Another type, an empty list, an empty label or the same label twice.
    """
    try:
        if isinstance(value, str):
            return _label_names(tuple(_split(value)), value)
        if isinstance(value, list | tuple):
            return _label_names(tuple(value), None)
    except TypeError:  # something in the list has no hash, so it is no text
        pass
    raise RecordError(f"expected 'labels' as a list of texts or one text with commas, got {shown(value)}.")


@lru_cache(maxsize=64)  # every line of a manifest has the same list
def _label_names(parts: tuple[object, ...], text: str | None) -> tuple[str, ...]:
    given = list(parts) if text is None else text
    labels = tuple(part.strip() for part in parts if isinstance(part, str))
    if len(labels) != len(parts):
        raise RecordError(f"expected 'labels' as a list of texts or one text with commas, got {shown(given)}.")
    if not labels or not all(labels):
        raise RecordError(f"expected at least one label and none of them empty, got {shown(given)}.")
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise RecordError(f"expected each label once, got {', '.join(twice)} more than once.")
    return labels


def category_names(items: Iterable[object]) -> list[object]:
    """Return the labels of a label category file's list: of each ``{"label": …}`` its label, of anything else itself."""
    return [item.get("label") if isinstance(item, Mapping) else item for item in items]


def _split(text: str) -> Sequence[str]:
    try:
        rows = list(csv.reader([re.sub(r'"\s+(?=,|$)', '"', text)], skipinitialspace=True, strict=True))
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]  # behind it is advice for programmers
        raise RecordError(f"the label list {shown(text)} is not CSV: {reason}. Put a label with a comma in quotes.") from None
    return rows[0] if rows else ()


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"expected {what} of a label set as a text, got {shown(value)}.")
    return value


def _rule(data: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    value = data.get(what) or {}
    if not isinstance(value, Mapping) or not all(isinstance(label, str) for label in value):
        raise RecordError(f"expected {what} of a label set as a JSON object by label, got {shown(value)}.")
    return value


def _texts(data: Mapping[str, Any], what: str) -> dict[str, str]:
    return {label: _text(text, what) for label, text in _rule(data, what).items()}


def _lists(data: Mapping[str, Any], what: str) -> dict[str, tuple[str, ...]]:
    for label, value in _rule(data, what).items():
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise RecordError(f"expected {what} of {label!r} as a list of texts, got {shown(value)}.")
    return {label: tuple(value) for label, value in _rule(data, what).items()}


def _code(code: tuple[str, ...]) -> tuple[str, str, str]:
    if len(code) != 3:
        raise RecordError(f"expected a code as value, scheme and meaning, got {shown(list(code))}.")
    return code[0], code[1], code[2]
