"""The connection to OpenSearch: verified TLS, credentials, timeouts, and errors that say what to do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth, exceptions

from dicom_workflow.errors import RecordError, SearchStoreError, SettingsError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.settings import Secret

TIMEOUT_SECONDS = 60
RETRIES = 3
_PARAMETERS = ("ca", "region", "service")


@dataclass(frozen=True)
class Address:
    """Where a store is: a cluster, the prefix of its indexes there, and how to sign in."""

    host: str
    port: int
    use_tls: bool
    prefix: str
    user: str = ""
    password: Secret = field(default_factory=Secret)
    region: str = ""
    """Not empty: requests are signed with AWS's Signature Version 4."""
    service: str = "es"
    ca: str = ""
    """File with the certificate authorities to trust; empty means the system's."""

    @property
    def url(self) -> str:
        """The URL without the password and without parameters."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.use_tls else 'http'}://{user}{host}:{self.port}/{self.prefix}"


def address_of(url: str) -> Address:
    """Return the address that a URL names: ``https://USER:PASSWORD@HOST:PORT/PREFIX``.

    A host of Amazon OpenSearch Service is signed in to with the AWS credentials of this machine, unless the URL has a user.
    Parameters: ``region`` and ``service`` (``es`` or ``aoss``) for such a service behind a name of your own, ``ca`` for a file
    with certificate authorities.

    Raises
    ------
    SettingsError
        The URL cannot be read, or would send what it asks for without TLS to another machine.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its message may repeat the password
        raise SettingsError(f"The URL of the search store cannot be read. Expected {_FORM}.") from None
    host, prefix = parts.hostname or "", parts.path.strip("/") or "dicom-workflow"
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not host or parts.scheme not in ("https", "http") or set(given) - set(_PARAMETERS):
        raise SettingsError(f"The URL of the search store cannot be read. Expected {_FORM}.")
    if not prefix.replace("-", "").replace("_", "").isalnum() or prefix != prefix.lower() or prefix[0] in "-_":
        raise SettingsError(f"expected a prefix of indexes of small letters, digits and hyphens in the URL, got {prefix!r}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"http://{host} would send reports in clear over the network. Use https://.")
    region, service = given.get("region", ""), given.get("service", "es")
    labels = host.split(".")
    if not parts.username and not region and ".amazonaws.com" in host and len(labels) >= 5:
        region, service = labels[-4], labels[-3]  # NAME.REGION.es.amazonaws.com
        if host.endswith(".cn"):
            region, service = labels[-5], labels[-4]
    return Address(
        host=host,
        port=port or (443 if parts.scheme == "https" else 9200),
        use_tls=parts.scheme == "https",
        prefix=prefix,
        user=unquote(parts.username or ""),
        password=Secret(unquote(parts.password or "")),
        region=region,
        service=service,
        ca=given.get("ca", ""),
    )


_FORM = "https://USER:PASSWORD@HOST:PORT/PREFIX; special characters of a password are written as %XX"


def client_of(address: Address) -> OpenSearch:
    """Return a client of the cluster; nothing is sent yet.

    Raises
    ------
    SettingsError
        There are no AWS credentials to sign with.
    """
    # Below warnings, this library logs whole requests and answers, and with them the text of reports.
    for name in ("opensearch", "opensearchpy.trace"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = (
        {"use_ssl": address.use_tls, "verify_certs": True, "ssl_show_warn": False} if address.use_tls else {}
    )
    if address.ca:
        options["ca_certs"] = address.ca
    return OpenSearch(
        hosts=[{"host": address.host, "port": address.port}],
        http_auth=_credentials(address),
        timeout=TIMEOUT_SECONDS,
        max_retries=RETRIES,
        retry_on_timeout=False,
        retry_on_status=(429, 502, 503, 504),
        http_compress=True,
        pool_maxsize=16,
        **options,
    )


def _credentials(address: Address) -> Any:
    if address.user:
        return (address.user, address.password.reveal())
    if not address.region:
        return None
    import boto3

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise SettingsError(
            f"{address.url} is signed in to with AWS credentials, and there are none. Run aws sso login, or put a user and a "
            "password into the URL."
        )
    return Urllib3AWSV4SignerAuth(credentials, address.region, address.service)


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the errors of the client into those of a store. Messages of the server are left out: they may repeat a text.

    Raises
    ------
    SearchStoreError
        The cluster does not answer, refuses the user, is read-only or full.
    RecordError
        It refuses a value.
    """
    try:
        yield
    except exceptions.ConnectionTimeout as error:
        raise SearchStoreError(f"{url}: no answer within {TIMEOUT_SECONDS} s. Try again, or look at the load there.") from error
    except exceptions.SSLError:
        raise SearchStoreError(
            f"{url}: the certificate of the server cannot be verified. Name its authority: add ?ca=FILE to the URL."
        ) from None
    except exceptions.ConnectionError as error:
        raise SearchStoreError(
            f"{url}: the search store does not answer. Check the address and that the server runs, then try again; what was "
            "acknowledged before is kept."
        ) from error
    except exceptions.TransportError as error:
        raise failure(url, error.status_code, str(error.error)) from None


def no_store(url: str) -> SearchStoreError:
    """Return the error for a place without a store; the URL has no password."""
    return SearchStoreError(f"There is no search store in {url}. Create it: dicom-workflow search index SOURCE --store {url}")


def failure(url: str, status: int | str, kind: str) -> SearchStoreError | RecordError:
    """Return the error for an answer of the cluster.

    Parameters
    ----------
    url : str
        For messages; without a password.
    status : int or str
        HTTP status.
    kind : str
        The cluster's name of the error, such as ``index_not_found_exception``.
    """
    kind = kind if kind.replace("_", "").isalpha() else "no further reason"
    if kind == "index_not_found_exception":
        return SearchStoreError(
            f"There is no search store in {url}. Create it: dicom-workflow search index SOURCE --store {url}"
        )
    if kind == "cluster_block_exception":
        return SearchStoreError(
            f"{url}: the indexes are read-only, as OpenSearch makes them when a disk is nearly full. Free space, then set "
            "index.blocks.read_only_allow_delete to null."
        )
    if status in (401, 403):
        return SearchStoreError(
            f"{url}: the server refuses this user ({status}). Check the user, and that its role may "
            "read and write indexes with this prefix."
        )
    if status == 413:
        return SearchStoreError(
            f"{url}: a document is larger than the server takes in one request. Leave it out, or raise http.max_content_length."
        )
    if status in (429, 502, 503, 504):
        return SearchStoreError(f"{url}: the cluster is too busy ({status}, {kind}). Try again later.")
    if status == 400 and ("mapper" in kind or "mapping" in kind or "illegal_argument" in kind):
        return RecordError(f"OpenSearch refuses a value ({kind}). Leave the document out, or correct it.")
    return SearchStoreError(f"{url}: the server answers {status} ({kind}).")
