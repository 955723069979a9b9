"""How an approximate index is searched so that a filter costs no hits.

Measured at 50,000 to 300,000 x 1,024 (recall@10): probing 20 partitions finds .99 without a filter, but .16 under one that
leaves 0.1 % and .03 under one that follows the clusters; probing all of them finds 1.0 under each.

How many of the nearest are read and compared in full follows from the two bits a number that the index has. Chosen on other
queries than those of the benchmark, at 100,000: 3, 4 and 6 times k find .993, .996 and .996 without a filter; under the one
that follows the clusters .984, .996 and .999.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

INDEX_FROM_ROWS = 10_000
"""Fewer embeddings are compared one by one."""
EXACT_UP_TO_ROWS = 500
"""A filter that leaves at most so many is searched exactly. At 1,000 rows of 1,024 numbers that takes 19 ms of one core, and
probing all partitions of 100,000 rows 14 ms."""
ROWS_PER_PARTITION = 1_000
_LEAST_PROBES = 20
_PLAIN_SHARE = 25
_PLAIN_REFINE, _FILTER_REFINE = 4, 6
_LEAST_COMPARED = 40


@dataclass(frozen=True)
class Plan:
    """Compare everything that the filter leaves (`exact`), or probe so many partitions and refine `refine` times k hits."""

    exact: bool
    probes: int = 0
    refine: int = 0

    def refine_of(self, k: int) -> int:
        """Return how many times k hits are refined; more for a few, so that the first of them is right."""
        return max(self.refine, math.ceil(_LEAST_COMPARED / k))


EXACT = Plan(exact=True)


def partitions_for(rows: int) -> int:
    """Return how many partitions an index over so many rows gets."""
    return max(1, rows // ROWS_PER_PARTITION)


def plan_search(rows: int, partitions: int, matching: int | None) -> Plan:
    """Return how to search.

    Parameters
    ----------
    rows : int
        Images in the store.
    partitions : int
        Of the index; 0 where there is none.
    matching : int or None
        Images that the filter leaves; None without a filter.
    """
    left = rows if matching is None else matching
    if not partitions or left <= EXACT_UP_TO_ROWS:
        return EXACT
    if matching is None:
        probes = max(_LEAST_PROBES, math.ceil(partitions / _PLAIN_SHARE))
        return Plan(False, min(probes, partitions), _PLAIN_REFINE)
    return Plan(False, partitions, _FILTER_REFINE)
