"""What all operations of the interface share: the error of a refused request, text parameters, and paged lists."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from dicom_workflow.errors import WorkflowError


class ApiError(WorkflowError):
    """A request that the service refuses; boto3 shows `code` as the code of the error."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def texts(request: object, *names: str) -> list[str]:
    """Return string members of a request.

    Raises
    ------
    ApiError
        ``ValidationException``: one is missing or is not a string.
    """
    values = [request.get(name) if isinstance(request, dict) else None for name in names]
    if not all(isinstance(value, str) for value in values):
        raise ApiError("ValidationException", f"{', '.join(names)}: expected strings.")
    return [str(value) for value in values]


def page(items: list[Any], request: Mapping[str, Any], default: int = 10) -> tuple[list[Any], dict[str, str]]:
    """Return one page of a list, and ``NextToken`` when there is another page.

    Parameters
    ----------
    items : list
        The whole list.
    request : Mapping
        ``MaxResults`` and ``NextToken`` of a List operation.
    default : int
        Items per page when the request has no ``MaxResults``.

    Raises
    ------
    ApiError
        ``ValidationException``: the token is not one of this service.
    """
    start = 0
    if token := request.get("NextToken"):
        try:
            start = int(base64.urlsafe_b64decode(token.encode()).decode())
        except ValueError:
            raise ApiError("ValidationException", "NextToken: expected the token of an earlier response.") from None
    end = start + request.get("MaxResults", default)
    more = {"NextToken": base64.urlsafe_b64encode(str(end).encode()).decode()} if end < len(items) else {}
    return items[max(start, 0) : end], more
