"""Lists in pages, as SageMaker's List operations give them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from dicom_workflow.groundtruth.api.sigv4 import ApiError


def page(items: list[Any], request: Mapping[str, Any], default: int = 10) -> tuple[list[Any], dict[str, str]]:
    """Cut one page out of a list, and give the token of the next."""
    start = 0
    if token := request.get("NextToken"):
        try:
            start = int(base64.urlsafe_b64decode(token.encode()).decode())
        except ValueError:
            raise ApiError("ValidationException", "expected NextToken as an earlier answer gave it.") from None
    end = start + request.get("MaxResults", default)
    more = {"NextToken": base64.urlsafe_b64encode(str(end).encode()).decode()} if end < len(items) else {}
    return items[max(start, 0) : end], more
