"""Tables for a person's terminal: columns that fit its width, with no word cut in two, so that addresses can be copied."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable, Sequence

from dicom_workflow.aws.stacks.stack_state import plain

USUAL_WIDTH = 100
"""Of a page that nobody's terminal shows: a log, a pipe."""

_GAP = "  "
_RESOURCE_TYPE = re.compile(r"\w+::\w+::\w+")


def terminal_width() -> int:
    """Return how many characters fit beside each other where a person reads, which is standard error."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.__stderr__.fileno()).columns or USUAL_WIDTH if sys.__stderr__ else USUAL_WIDTH
    except (OSError, ValueError):  # no terminal, or no file at all
        return USUAL_WIDTH


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, width: int = 0) -> str:
    """Return rows as text in columns, below their headings; a column in which no row says anything is left out.

    Parameters
    ----------
    headings : sequence of str
    rows : iterable of sequences
    width : int, optional
        In characters; the terminal's when not given. A single word that is longer is not cut.
    """
    lines = [tuple(headings), *(tuple(map(plain, row)) for row in rows)]
    said = [column for column in range(len(headings)) if len(lines) == 1 or any(line[column] for line in lines[1:])]
    lines = [tuple(line[column] for column in said) for line in lines]
    widths = _widths(lines, width or terminal_width())
    ruled = [lines[0], tuple("─" * size for size in widths), *lines[1:]]
    return "\n".join(text for line in ruled for text in _laid_out(line, widths))


def _widths(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Of each column, so that all fit: the widest gives way first, to no less than its longest word."""
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [max(len(word.rstrip()) for cell in column for word in _words(cell)) for column in columns]
    room = width - len(_GAP) * (len(columns) - 1)
    # A long address at the end of a line runs on beyond the edge; that is no reason to break what stands before it.
    least[-1] = min(least[-1], max(20, room // 3))
    while sum(widths) > room:
        wide = [column for column in range(len(columns)) if widths[column] > least[column]]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _words(cell: str) -> list[str]:
    """The pieces between which a cell may be broken, each with the space after it."""
    if _RESOURCE_TYPE.fullmatch(cell):
        return re.split(r"(?<=::)", cell)
    return re.findall(r"\S+\s*", cell) or [""]


def _laid_out(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row as as many lines as its fullest cell needs."""
    cells = [_wrapped(cell, size) for cell, size in zip(line, widths, strict=True)]
    return [
        _GAP.join(part.ljust(size) for part, size in zip(parts, widths, strict=True)).rstrip()
        for parts in itertools.zip_longest(*cells, fillvalue="")
    ]


def _wrapped(cell: str, width: int) -> list[str]:
    found = [""]
    for word in _words(cell):
        if found[-1] and len(found[-1] + word.rstrip()) > width:
            found.append("")
        found[-1] += word
    return [part.rstrip() for part in found]
