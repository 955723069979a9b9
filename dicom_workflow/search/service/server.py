"""Starts the search service: a token printed once, a port opened, requests under way finished on SIGTERM."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dicom_workflow.errors import SearchError, ServiceError, SettingsError, WorkflowError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.search.query import ImageQuery, ReportQuery
from dicom_workflow.search.service.access import Access, LocalToken, NoAccessControl
from dicom_workflow.search.service.guard import LOOPBACK_HOSTS, Guard
from dicom_workflow.search.service.images import ImageLoader
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.oidc_tokens import OidcTokens
from dicom_workflow.search.service.uploads import QueryEmbedder
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.settings import Secret, Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from dicom_workflow.search.service.executor import Executor

log = logging.getLogger(__name__)

DEFAULT_PORT = 8600
ACCESS_KINDS = ("token", "oidc", "off")


@dataclass(frozen=True)
class ServeOptions:
    """Where the service listens and who may search.

    Raises
    ------
    SettingsError
        The access control cannot be, or a proxy is no address.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    access: str = "token"
    """One of `ACCESS_KINDS`; ``off`` on a loopback address only."""
    token: Secret = field(default_factory=Secret)
    """For ``token``; a new one is made and printed when it is empty."""
    issuer: str = ""
    """For ``oidc``: of a Cognito user pool ``https://cognito-idp.<region>.amazonaws.com/<user pool>``."""
    audience: str = ""
    """For ``oidc``: the client id."""
    client_secret: Secret = field(default_factory=Secret)
    """For ``oidc``: of a client that has one, for signing people in with a browser."""
    hosts: tuple[str, ...] = ()
    """Accepted host names, without port, where the service listens on other than a loopback address; any when empty."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks whose X-Forwarded-Proto is believed."""
    keep_alive_seconds: int = 75
    """Of idle connections; more than a load balancer's, so that it does not send into a closing one."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.access not in ACCESS_KINDS:
            raise SettingsError(f"expected access control as one of {', '.join(ACCESS_KINDS)}, got {self.access!r}.")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise SettingsError(
                    f"expected a trusted proxy as an address or a network like 10.0.0.0/16, got {proxy!r}."
                ) from None

    @property
    def url(self) -> str:
        """Where the page is, for a browser on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104  any address includes this one
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def accepted_hosts(self) -> tuple[str, ...]:
        """Return the host names that requests may come with; of a loopback address those of this machine alone."""
        return self.hosts or (LOOPBACK_HOSTS if is_loopback(self.host) else ())


def serve(
    store: SearchStore,
    settings: Settings,
    *,
    embedder: QueryEmbedder | None = None,
    loader: ImageLoader | None = None,
    options: ServeOptions | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Answer until SIGTERM or SIGINT; requests under way are finished.

    Parameters
    ----------
    store : SearchStore
        Stays open.
    settings : Settings
        Archive and S3, for pictures; the salt of patient keys.
    embedder : QueryEmbedder, optional
        For uploaded images; without it there is no search by an uploaded image.
    loader : ImageLoader, optional
        Reads the files behind the index; `images.StoredImages` when not given.
    options : ServeOptions, optional
    say : callable
        Gets the address, once, with a token that was made.

    Raises
    ------
    SettingsError
        Access control or settings that cannot be.
    SearchError
        The store does not serve the embedding space of the model.
    ServiceError
        The port cannot be opened.
    """
    import uvicorn

    from dicom_workflow.http_server import protocol_with_header_timeout
    from dicom_workflow.search.service.images import StoredImages

    options = options or ServeOptions()
    limits = options.limits
    token = options.token or (LocalToken.new() if options.access == "token" else Secret())
    access = access_of(options, token)
    loader = loader or StoredImages(settings)
    executor = executor_of(store, settings, embedder, loader, limits)
    app = make_app(executor, access, loader, hosts=options.accepted_hosts(), client_secret=options.client_secret)
    listener = _listener(options.host, options.port)
    config = uvicorn.Config(
        app,
        http=protocol_with_header_timeout(),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=True,
        forwarded_allow_ips=list(options.trusted_proxies),
        timeout_keep_alive=options.keep_alive_seconds,
        timeout_graceful_shutdown=int(limits.drain_seconds),
        limit_concurrency=limits.concurrency,
    )
    _log_requests()
    if not is_loopback(options.host):
        log.warning("listening on other than a loopback address: put TLS in front of it")
    shown = f"#token={token.reveal()}" if options.access == "token" and not options.token else ""
    say(f"Search at {options.url}{shown}")
    # uvicorn raises the signal again when it has finished; an orderly end is exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    ended = threading.Event()
    warming = threading.Thread(target=warm, args=(store, ended), name="warm search store")
    warming.start()
    try:
        with listener:
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        ended.set()
        warming.join()


def warm(store: SearchStore, ended: threading.Event) -> None:
    """Ask a store each kind of question once, so that it reads or builds its indexes before somebody waits for them.

    Parameters
    ----------
    store : SearchStore
    ended : Event
        Nothing more is asked when it is set.
    """

    def similar() -> None:
        if spaces := store.spaces():
            store.similar_images(ImageQuery(vector=np.ones(spaces[0].dimensions, np.float32), k=1))

    for act in (
        lambda: store.facets(ReportQuery(), ["positive_codes"]),
        lambda: store.image_facets(None, ["view_position"]),
        similar,
    ):
        if ended.is_set():
            return
        try:
            act()
        except WorkflowError as error:
            log.warning("a first question to the store failed: %s", type(error).__name__)


def executor_of(
    store: SearchStore, settings: Settings, embedder: QueryEmbedder | None, loader: ImageLoader, limits: Limits | None = None
) -> Executor:
    """Return the schema over a store, with uploads and similarity maps where there is a model.

    Parameters
    ----------
    store : SearchStore
    settings : Settings
        The salt of patient keys.
    embedder : QueryEmbedder or None
        For uploaded images; of an `Embedder` also for the maps.
    loader : ImageLoader
        Reads the files behind the index.
    limits : Limits, optional

    Raises
    ------
    SearchError
        The store does not have the embedding space of the model.
    """
    from dicom_workflow.search.service.executor import Executor
    from dicom_workflow.search.service.similarity import SimilarityMaps
    from dicom_workflow.search.service.uploads import UploadedImages, UploadReader

    limits = limits or Limits()
    uploads = UploadedImages(limits)
    reader = explain = None
    if embedder is not None:
        from dicom_workflow.search.embeddings import Embedder
        from dicom_workflow.search.patient_keys import open_keys

        _check_space(store, embedder)
        if isinstance(embedder, Embedder):
            explain = SimilarityMaps(embedder, store, loader, uploads, limits)
        reader = UploadReader(embedder, open_keys(store.url, settings), uploads, limits)
    return Executor(store, uploads=uploads, accept_upload=reader, explain=explain, limits=limits)


def _check_space(store: SearchStore, embedder: QueryEmbedder) -> None:
    if embedder.space.space_id not in {space.space_id for space in store.spaces()}:
        raise SearchError(
            f"The index has no embeddings of this model ({embedder.space.description}), so images cannot be compared with it. "
            "Serve with the model that the index was made with, or run `dicom-workflow search index` with this one."
        )


def _log_requests() -> None:
    """Log on standard error what this package alone has to say: routes, numbers and kinds of errors."""
    ours = logging.getLogger("dicom_workflow.search.service")
    ours.setLevel(logging.INFO)
    if not logging.getLogger().handlers and not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        ours.addHandler(handler)


def make_app(
    executor: Executor,
    access: Access,
    loader: ImageLoader,
    *,
    hosts: Iterable[str] = (),
    client_secret: Secret | None = None,
) -> Starlette:
    """Return the service as one ASGI application.

    Parameters
    ----------
    executor : Executor
        Schema, store, uploads and limits.
    access : Access
        Who may search.
    loader : ImageLoader
        Reads the files behind the index.
    hosts : iterable of str
        Accepted host names, without port; any when empty.
    client_secret : Secret, optional
        Of the client of an OpenID Connect issuer, where it has one.
    """
    from starlette.applications import Starlette

    from dicom_workflow.search.service.authorization_code import AuthorizationCodeFlow
    from dicom_workflow.search.service.routes import Routes

    flow = AuthorizationCodeFlow(access, client_secret) if isinstance(access, OidcTokens) else None
    app = Starlette(routes=Routes(executor, access, loader, flow).all())
    app.router.redirect_slashes = False
    app.add_middleware(Guard, hosts=tuple(hosts))
    return app


def access_of(options: ServeOptions, token: Secret) -> Access:
    """Return the access control that the options ask for.

    Raises
    ------
    SettingsError
        It cannot be.
    """
    if options.access == "off":
        return NoAccessControl(options.host)
    if options.access == "token":
        return LocalToken(token)
    return OidcTokens(options.issuer, options.audience)


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServiceError(
            f"{host}:{port} cannot be opened: {error.strerror}. Stop what listens there, or take another port."
        ) from error
    return listener
