"""What authorizes a request to an archive: user and password, a bearer token, or AWS Signature Version 4."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import requests
from requests.auth import AuthBase

from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Secret

AUTH_KINDS = ("basic", "bearer", "sigv4")
_HEALTH_IMAGING = "medical-imaging"


class HasSha256(Protocol):
    """A request body that tells its SHA-256."""

    def sha256(self) -> str:
        """Return the SHA-256 of the body in hexadecimal digits."""
        ...


Authorize = Callable[[str, str, HasSha256 | None], Mapping[str, str]]
"""Method, URL and body of a request → the headers that authorize it."""


def basic_auth(user: str, password: Secret | None) -> Authorize:
    """Return what authorizes a request by user and password; an empty user sends neither."""
    token = base64.b64encode(f"{user}:{(password or Secret()).reveal()}".encode()).decode("ascii")
    headers = {"Authorization": f"Basic {token}"} if user else {}
    return lambda method, url, body: headers


def dicomweb_auth(
    kind: str = "", *, user: str = "", password: Secret | None = None, token: Secret | None = None, region: str = ""
) -> Authorize:
    """Return what authorizes the requests to a DICOMweb server.

    Parameters
    ----------
    kind : {'', 'basic', 'bearer', 'sigv4'}
        Empty: bearer with a token, else basic with a user, else nothing.
    user, password : optional
        For HTTP basic authentication.
    token : Secret, optional
        For ``Authorization: Bearer``.
    region : str
        AWS region of a HealthImaging data store, whose requests are signed with boto3's own credentials.

    Raises
    ------
    SettingsError
        Another kind; or what the kind needs is missing, or is no token.
    """
    if kind and kind not in AUTH_KINDS:
        raise SettingsError(f"DICOMWEB_AUTH: expected one of {', '.join(AUTH_KINDS)} or nothing, got {kind!r}.")
    if kind == "sigv4":
        return _SigV4(region)
    if kind == "bearer" or (not kind and token):
        if not token:
            raise SettingsError("DICOMWEB_TOKEN is empty. DICOMWEB_AUTH=bearer needs it.")
        value = token.reveal()
        if not (value.isascii() and value.isprintable()):  # the HTTP client would name it, token and all
            raise SettingsError("DICOMWEB_TOKEN holds a line break or another character that no token has. Copy it again.")
        headers = {"Authorization": f"Bearer {value}"}
        return lambda method, url, body: headers
    if kind == "basic" and not user:
        raise SettingsError("DICOMWEB_USER is empty. DICOMWEB_AUTH=basic needs it.")
    return basic_auth(user, password)


class _SigV4:
    """Signs requests to AWS HealthImaging with the credentials that boto3 finds, renewed when they run out."""

    def __init__(self, region: str, credentials: Any = None) -> None:
        import botocore.session

        self._credentials = credentials or botocore.session.Session().get_credentials()
        if self._credentials is None:
            raise SettingsError("DICOMWEB_AUTH=sigv4: there are no AWS credentials. Sign in, or set AWS_PROFILE.")
        self._region = region

    def __call__(self, method: str, url: str, body: HasSha256 | None) -> Mapping[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        given = {"X-Amz-Content-SHA256": body.sha256()} if body else {}
        request = AWSRequest(method, url, headers=given)
        SigV4Auth(self._credentials.get_frozen_credentials(), _HEALTH_IMAGING, self._region).add_auth(request)
        return dict(request.headers.items())


class _RequestsAuth(AuthBase):
    """The same for a session of `requests`, whose requests have no body here."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._authorize(request.method or "GET", request.url or "", None))
        return request


def requests_session(authorize: Authorize, ca_bundle: str) -> requests.Session:
    """Return a session of `requests` whose requests are authorized; a proxy or ``.netrc`` of the environment is not used.

    A redirect is an error: the headers of AWS's temporary credentials would follow it to another host.
    """
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.auth = _RequestsAuth(authorize)
    session.verify = ca_bundle or ssl.get_default_verify_paths().cafile or True
    return session
