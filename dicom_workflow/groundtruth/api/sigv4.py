"""Verify the AWS Signature Version 4 of a request against the one key pair of this service.

botocore's signer signs the received request again, and the signatures are compared.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dicom_workflow.groundtruth.api.requests import ApiError
from dicom_workflow.settings import Secret

SERVICE = "sagemaker"
MAX_SKEW_SECONDS = 15 * 60
MUST_BE_SIGNED = ("host", "x-amz-date", "x-amz-target")

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


def check(
    headers: Mapping[str, str], body: bytes, *, path: str, access_key: str, secret_key: Secret, region: str, now: float
) -> None:
    """Return when a POST was signed with the key pair for this region within the last 15 minutes.

    Parameters
    ----------
    headers : Mapping
        Names in lower case.
    body : bytes
        The raw request body.
    path : str
        Path and query of the request.
    access_key, secret_key : str, Secret
        The key pair.
    region : str
        Region that the credential scope must name.
    now : float
        Seconds since 1970.

    Raises
    ------
    ApiError
        ``MissingAuthenticationTokenException``, ``IncompleteSignatureException`` (malformed header),
        ``UnrecognizedClientException`` (another key) or ``InvalidSignatureException`` (wrong secret, changed request,
        expired date).
    """
    given = headers.get("authorization", "")
    if not given:
        raise ApiError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(given)
    if match is None:
        raise ApiError("IncompleteSignatureException", "The Authorization header does not have the form of AWS4-HMAC-SHA256.")
    if not hmac.compare_digest(match["key"].encode(), access_key.encode()):
        raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if match["region"] != region or match["service"] != SERVICE:
        raise ApiError(
            "InvalidSignatureException",
            f"Credential should be scoped to '{region}/{SERVICE}', got '{match['region'][:40]}/{match['service'][:40]}'.",
        )
    names = match["headers"].split(";")
    if missing := [name for name in MUST_BE_SIGNED if name not in names or name not in headers]:
        raise ApiError("InvalidSignatureException", f"The signature does not cover the headers {', '.join(missing)}.")
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, match["day"], now)
    if headers.get("x-amz-content-sha256", hashlib.sha256(body).hexdigest()) != hashlib.sha256(body).hexdigest():
        raise ApiError("InvalidSignatureException", "x-amz-content-sha256 is not the hash of the body.")
    signed = {name: headers[name] for name in names if name in headers}
    request = AWSRequest("POST", f"http://{headers['host']}{path}", data=body, headers=signed)
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(access_key, secret_key.reveal()), SERVICE, region)
    try:
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    except ValueError:
        raise ApiError("IncompleteSignatureException", "The Host header is not the name of a host.") from None
    if not hmac.compare_digest(expected, match["signature"]):
        raise ApiError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your secret access key.",
        )


def _check_time(stamp: str, day: str, now: float) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ApiError("IncompleteSignatureException", "x-amz-date does not have the form YYYYMMDDTHHMMSSZ.") from None
    if abs(now - signed_at) > MAX_SKEW_SECONDS or not stamp.startswith(day):
        here = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        raise ApiError("InvalidSignatureException", f"Signature expired: {stamp} is more than 15 min. away from {here}.")
