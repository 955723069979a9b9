"""What a manifest line points at.

Standard library only: this module ships inside the Lambda functions."""

from __future__ import annotations

import re

_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


def is_orthanc_id(text: str) -> bool:
    """Say whether a text is an Orthanc instance id: five groups of eight hexadecimal digits.

    Anything else must never be put into a URL: Orthanc resolves ``..`` in its paths.
    """
    return bool(_ORTHANC_ID.fullmatch(text))
