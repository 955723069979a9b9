"""Text tables that fit the terminal: words are not broken, so that ARNs can be copied."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable, Sequence

from dicom_workflow.aws.stacks.stack_state import plain

DEFAULT_WIDTH = 100
"""Width in characters when the output is not a terminal but a log or a pipe."""

_GAP = "  "
_RESOURCE_TYPE = re.compile(r"\w+::\w+::\w+")


def terminal_width() -> int:
    """Return the width in characters of the terminal that shows standard error."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stderr__.fileno()).columns or DEFAULT_WIDTH if sys.__stderr__ else DEFAULT_WIDTH
    except (OSError, ValueError):  # no terminal, or no open file
        return DEFAULT_WIDTH


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, width: int = 0) -> str:
    """Return rows as text in columns below their headings; empty columns are left out.

    Parameters
    ----------
    headings : sequence of str
    rows : iterable of sequences
    width : int, optional
        In characters; the terminal's when not given. A longer word is not broken.
    """
    lines = [tuple(headings), *(tuple(map(plain, row)) for row in rows)]
    used = [column for column in range(len(headings)) if len(lines) == 1 or any(line[column] for line in lines[1:])]
    lines = [tuple(line[column] for column in used) for line in lines]
    widths = _widths(lines, width or terminal_width())
    ruled = [lines[0], tuple("─" * size for size in widths), *lines[1:]]
    return "\n".join(text for line in ruled for text in _row_lines(line, widths))


def _widths(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Width of each column, so that all fit: the widest is reduced first, to no less than its longest word."""
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [max(len(word.rstrip()) for cell in column for word in _words(cell)) for column in columns]
    available = width - len(_GAP) * (len(columns) - 1)
    # A long ARN in the last column may exceed the width, so that the other columns are not broken for it.
    least[-1] = min(least[-1], max(20, available // 3))
    while sum(widths) > available:
        wide = [column for column in range(len(columns)) if widths[column] > least[column]]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _words(cell: str) -> list[str]:
    """The parts between which a cell may be broken, each with its trailing space."""
    if _RESOURCE_TYPE.fullmatch(cell):
        return re.split(r"(?<=::)", cell)
    return re.findall(r"\S+\s*", cell) or [""]


def _row_lines(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of one row; their number depends on its longest cell."""
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
