"""Sentences of a report: decimals, abbreviations, initials, numbered lists and missing spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_workflow.search.radiology_reports.phrases import word_set

_ABBREVIATIONS = word_set(
    "dr mr mrs ms prof st vs approx fig a.m p.m no nos al e.g i.e cf etc dept resp min max sec yr yrs mo wk hr hrs cm mm"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
_MEASURES = word_set("a.m p.m cm mm no nos yr yrs mo wk hr hrs min max etc")
"""Of these a sentence may end with; a capital letter behind the dot says so."""
MAX_SENTENCE_CHARACTERS = 2_000
"""A longer one is cut at a space: no sentence of a report is as long, and the time for one grows with its square."""
_BREAK = re.compile(
    r"(?P<stop>[.!?]{1,9})[\"')\]]{0,4}(?=\s|\Z|<|(?-i:[A-Z][a-z]))"  # a dot, perhaps with the next sentence glued to it
    r"|(?P<line>\r?\n[ \t]{0,80}\r?\n|\r[ \t]{0,80}\r)"  # a blank line
    r"|(?P<item>[\r\n](?=[ \t]{0,80}(?:\d{1,2}[.)]|[-*•·])\s))"  # the next item of a list
    r"|(?P<part>[\r\n](?=[ \t]{0,80}(?-i:[A-Z])[A-Za-z /&]{2,40}:))"  # the next organ: "Lungs: clear"
    r"|(?P<inline>(?<=\s)(?=\d{1,2}[.)]\s+(?-i:[A-Z])))"
    r"|(?P<html><(?:br|p|/p|li|/li|div|/div)\b[^<>]{0,40}>)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s{0,80}(?:\d{1,2}[.)]|[-*•·])\s")
_LAST_WORD = re.compile(r"([A-Za-z.]+|\d+)\Z")


def split_sentences(text: str, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the offsets of each sentence in a part of a text, without surrounding space and list numbers.

    Parameters
    ----------
    text : str
        The whole text.
    begin, end : int
        The part to split; offsets stay those of the whole text.
    """
    end = len(text) if end is None else end
    start = begin
    for found in _BREAK.finditer(text, begin, end):
        if found.start() < start or (found["stop"] and not _ends(text, start, found, end)):
            continue
        yield from _trimmed(text, start, found.end() if found["stop"] else found.start())
        start = found.end()
    yield from _trimmed(text, start, end)


def _ends(text: str, start: int, found: re.Match[str], end: int) -> bool:
    """Whether a dot ends the sentence."""
    if found["stop"] == "?" and re.match(r"\s?[a-z]", text[found.end() : end]):
        return text[found.start() - 1 : found.start()].isalnum() and text[start : found.start()].strip() != ""
    if found["stop"] != ".":
        return True
    word = _LAST_WORD.search(text[max(start, found.start() - 24) : found.start()])
    before = word[1] if word else ""
    glued = found.end() < end and not text[found.end()].isspace() and text[found.end()] != "<"
    following = text[found.end() : found.end() + 40].lstrip()
    if before.isdigit():
        return not (glued or _is_number_of_list(text, start, found.start(), before))
    if glued:  # "atelectasis.Catheter", but not "e.g.This" or "J.Smith"
        return len(before) > 2 and before.lower() not in _ABBREVIATIONS
    if len(before) == 1 and before.isalpha() and before.isupper():
        return before in "IVX"
    if before.lower() in _ABBREVIATIONS:
        return before.lower() in _MEASURES and (not following or following[0].isupper())
    return True


def _is_number_of_list(text: str, start: int, dot: int, number: str) -> bool:
    return len(number) <= 2 and not text[start : dot - len(number)].strip()


def _trimmed(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    number = _NUMBER.match(text, begin, end)
    if number:
        begin = number.end()
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    while end - begin > MAX_SENTENCE_CHARACTERS:
        cut = text.rfind(" ", begin + 1, begin + MAX_SENTENCE_CHARACTERS)
        cut = cut if cut > begin else begin + MAX_SENTENCE_CHARACTERS
        yield from _trimmed(text, begin, cut)
        begin = cut
    if any(character.isalnum() for character in text[begin:end]):
        yield begin, end
