"""Descriptions of ICD-10-CM codes, for people who read facets: from the lexicon, else from the whole classification."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger(__name__)


def code_text(code: str) -> str:
    """Return the description of a code, or the code itself where it has none."""
    known = _lexicon().get(code)
    return known if known is not None else _classified(code)


@cache
def _lexicon() -> dict[str, str]:
    from dicom_workflow.search.radiology_reports.lexicon import concepts

    return {concept.code: concept.code_text for concept in concepts().values()}


@cache
def _classified(code: str) -> str:
    """Return the description in the classification; only reports read by another service have codes outside the lexicon."""
    try:
        import simple_icd_10_cm  # seconds to load

        return str(simple_icd_10_cm.get_description(code)) if simple_icd_10_cm.is_valid_item(code) else code
    except ImportError:
        log.warning("simple-icd-10-cm is not installed, so codes have no description: pip install 'dicom-workflow[search]'")
        return code
