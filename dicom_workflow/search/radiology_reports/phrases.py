"""Phrases as data: a small pattern language over the words of a sentence, and an index that finds all phrases in one pass.

A pattern is a sequence of words: ``a|b`` are alternatives, ``stem*`` is any word that begins so, ``[word]`` may be missing,
and ``~`` stands for up to a few other words. A word also matches its plural in s. The first element has to be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

Meaning = TypeVar("Meaning")


def word_set(words: str) -> frozenset[str]:
    """Return the words of a text with spaces between them."""
    return frozenset(words.split())


_TOKEN = re.compile(
    r"\b(?:b/l|c/w|h/o|r/o|s/p|w/o)\b|\bcan(?:['’]t|\s?not)\b"
    r"|[a-z]+(?=n['’]t\b)|n['’]t\b"  # "isn't" is two words, so that "not" is found in it
    r"|[a-z0-9]+(?:[.'’][a-z0-9]+)*|[,;:()/&+>—]"
    r"|(?<![^\s(])\?(?=\s?[a-z])|\?(?=\W*\Z)"  # before a word or at the end; elsewhere it is a lost character
    r"|(?<=\s)[-–—]+(?=\s)",
    re.IGNORECASE,
)
_PUNCTUATION = frozenset(",;:()/&+>?-–—")
_WRITTEN_OUT = {"n't": "not", "can't": "cannot", "can not": "cannot", "w/o": "without", "b/l": "bilateral"}
_OFTEN_MISSPELLED = word_set(
    "atelectasis cardiomegaly consolidation effusion emphysema hyperinflation infiltrate mediastinum pleural pneumonia"
    " pneumothorax"
)
_FEWEST_LETTERS = 7
"""Of a word that may be a misspelled one: shorter words are too often other words."""
_GAP_STOPS = word_set(
    "no without but however although which except normal unremarkable clear otherwise negative free despite whereas"
    " granuloma granulomas granulomata"
)


@dataclass(frozen=True)
class Token:
    """A word in lower case or a punctuation mark, and its offsets in the sentence."""

    word: str
    begin: int
    end: int

    @property
    def is_word(self) -> bool:
        """Whether it is no punctuation mark."""
        return self.word[0] not in _PUNCTUATION


def tokens_of(sentence: str) -> list[Token]:
    """Return the words and punctuation marks of a sentence; hyphens inside words separate them."""
    return [Token(_word(found.group()), *found.span()) for found in _TOKEN.finditer(sentence)]


@lru_cache(maxsize=65_536)
def _word(text: str) -> str:
    word = " ".join(text.lower().replace("’", "'").split())
    return _WRITTEN_OUT.get(word, word)


def _right_spelling(word: str) -> str:
    """Return the frequent word from which a word differs by one letter, or by the order of two; empty where there is none."""
    return next((right for right in _OFTEN_MISSPELLED if right[0] == word[0] and _one_letter_away(word, right)), "")


def _one_letter_away(word: str, right: str) -> bool:
    if word == right or abs(len(word) - len(right)) > 1 or len(word) < _FEWEST_LETTERS:
        return False
    at = next((at for at, pair in enumerate(zip(word, right, strict=False)) if pair[0] != pair[1]), min(len(word), len(right)))
    left, wanted = word[at:], right[at:]
    swapped = left[:2] == wanted[1::-1] and left[2:] == wanted[2:]
    return left[1:] == wanted or left == wanted[1:] or left[1:] == wanted[1:] or swapped


@dataclass(frozen=True)
class Found(Generic[Meaning]):
    """A phrase that was found: what it means, and the positions of its own tokens, without those that ``~`` passed over."""

    meaning: Meaning
    positions: tuple[int, ...]


@dataclass(frozen=True)
class _Step:
    element: int
    optional: bool
    gap: bool  # other words may stand before it


class PhraseIndex(Generic[Meaning]):
    """All patterns of a lexicon, ready to be found in sentences."""

    def __init__(self, patterns: Iterable[tuple[str, Meaning]], *, gap_words: int = 4, gap_commas: bool = False) -> None:
        self._gap, self._commas = gap_words, gap_commas
        self._elements: dict[str, int] = {}
        self._exact: dict[str, set[int]] = {}
        self._prefixes: dict[str, set[int]] = {}
        self._starting: dict[int, list[tuple[tuple[_Step, ...], Meaning]]] = {}
        self._known: dict[str, frozenset[int]] = {}
        for text, meaning in patterns:
            steps = self._parse(text)
            self._starting.setdefault(steps[0].element, []).append((steps, meaning))

    def find(self, tokens: Sequence[Token]) -> list[Found[Meaning]]:
        """Return every phrase in the tokens, by position of its first token."""
        meant = [self._elements_of(token.word) for token in tokens]
        found: list[Found[Meaning]] = []
        for at, elements in enumerate(meant):
            for element in elements:
                for steps, meaning in self._starting.get(element, ()):
                    positions = self._follow(steps, 1, at, meant, tokens)
                    if positions is not None:
                        found.append(Found(meaning, (at, *positions)))
        return found

    def _follow(
        self, steps: tuple[_Step, ...], step: int, at: int, meant: list[frozenset[int]], tokens: Sequence[Token]
    ) -> tuple[int, ...] | None:
        if step == len(steps):
            return ()
        wanted = steps[step]
        for following in range(at + 1, min(len(tokens), at + 2 + (self._gap if wanted.gap else 0))):
            if wanted.element in meant[following]:
                rest = self._follow(steps, step + 1, following, meant, tokens)
                if rest is not None:
                    return (following, *rest)
            word = tokens[following].word
            if word in _GAP_STOPS or (not tokens[following].is_word and word not in (",/:" if self._commas else "/:")):
                break
        return self._follow(steps, step + 1, at, meant, tokens) if wanted.optional else None

    def _parse(self, text: str) -> tuple[_Step, ...]:
        steps: list[_Step] = []
        gap = False
        for part in text.split():
            if part == "~":
                gap = True
                continue
            steps.append(_Step(self._element(part.strip("[]")), part.startswith("["), gap))
            gap = False
        if not steps or gap or steps[0].gap or steps[0].optional:
            raise ValueError(f"pattern {text!r}: expected a word at its beginning and at its end.")
        return tuple(steps)

    def _element(self, text: str) -> int:
        if text not in self._elements:
            number = self._elements[text] = len(self._elements)
            for word in text.split("|"):
                if word.endswith("*"):
                    self._prefixes.setdefault(word[:-1], set()).add(number)
                    continue
                self._exact.setdefault(word, set()).add(number)
                if len(word) > 3 and not word.endswith("s"):
                    self._exact.setdefault(word + "s", set()).add(number)
        return self._elements[text]

    def _elements_of(self, word: str) -> frozenset[int]:
        known = self._known.get(word)
        if known is None:
            matching = set(self._exact.get(word, ()))
            for length in range(1, len(word) + 1):
                matching |= self._prefixes.get(word[:length], set())
            if not matching and (right := _right_spelling(word)):
                matching = set(self._elements_of(right))
            known = frozenset(matching)
            if len(self._known) < 100_000:
                self._known[word] = known
        return known


def longest(found: list[Found[Meaning]]) -> list[Found[Meaning]]:
    """Return the phrases whose words are not all words of another one."""
    if len(found) < 2:
        return found
    sets = [frozenset(item.positions) for item in found]
    return [item for item, words in zip(found, sets, strict=True) if not any(words < other for other in sets)]
