"""What a model calls positive, made free of contradiction: "No Finding" beside a finding.

Each label has a sigmoid of its own, so both may be called. The rule is one-sided on purpose: a called finding stands, and "No
Finding" is withdrawn; the other way round a finding would be hidden. It is applied in a place of its own, so that what the
network called stays to be seen, and the cases are counted in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dicom_workflow.formats.labels import default_label_set

RULE = "No Finding is withdrawn where a finding is called"


def consistent(positive: Sequence[str]) -> list[str]:
    """Return the labels called positive without a "No Finding" that contradicts another of them."""
    withdrawn = default_label_set().excluders(positive)
    return [label for label in positive if label not in withdrawn]


def report(called: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return how often the rule had work to do.

    Parameters
    ----------
    called : ndarray, shape (n, labels), bool
    labels : sequence of str

    Returns
    -------
    dict
        `rule`, `images`, `no_finding` (images called so), `contradicted` (of these, with a finding called too), `with` (label →
        images it contradicted), `nothing_called` (images with neither a finding nor "No Finding"); empty without that label.
    """
    label_set = default_label_set(labels)
    if not label_set.exclusive:
        return {}
    rows = [[label for label, is_called in zip(labels, row, strict=True) if is_called] for row in called]
    conflicts = [label_set.conflicts(row) for row in rows]
    beside = {label: sum(label in found for found in conflicts) for label in labels}
    return {
        "rule": RULE,
        "images": len(rows),
        "no_finding": sum(any(label in row for label in label_set.exclusive) for row in rows),
        "contradicted": sum(bool(found) for found in conflicts),
        "with": {label: count for label, count in beside.items() if count},
        "nothing_called": sum(not row for row in rows),
    }
