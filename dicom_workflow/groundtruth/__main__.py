"""The labeling service as a process: ``python -m dicom_workflow.groundtruth --port 8501``."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import sys
from types import FrameType

import uvicorn

from dicom_workflow.errors import SettingsError, WorkflowError
from dicom_workflow.groundtruth.app import make_app, open_database
from dicom_workflow.http_server import HeaderTimeoutProtocol
from dicom_workflow.settings import Settings

REQUESTS_SECONDS = 10
"""How long requests may go on when the service is told to end. With the engine's step and the last transaction it ends within
25 seconds, before a container's 30 are over."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; finish the requests that are under way."""
    arguments = _arguments()
    # The first process of a container ignores a signal that it has no handler for, also while it waits for its database.
    signal.signal(signal.SIGTERM, _end)
    # Warnings and errors only, and no access log: addresses and times of workers are personal data.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # what it warns of is said once, by us
    if not _is_loopback(arguments.host):
        logging.getLogger(__name__).warning("listening beyond this machine: put a TLS reverse proxy in front")
    is_ended = True
    try:
        settings = Settings.from_env()
        database = open_database(settings)
        with database.alone(wait_seconds=arguments.wait_seconds):
            app = make_app(settings, database=database, hosts=tuple(arguments.hosts))
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    http=HeaderTimeoutProtocol,
                    host=arguments.host,
                    port=arguments.port,
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    proxy_headers=True,
                    forwarded_allow_ips=_proxies(arguments.trust_proxy),
                    timeout_keep_alive=arguments.keep_alive_seconds,
                    timeout_graceful_shutdown=REQUESTS_SECONDS,
                    limit_concurrency=200,
                )
            )
            database.when_taken(lambda: setattr(server, "should_exit", True))
            try:
                server.run()
            finally:
                is_ended = getattr(app.state, "is_ended", True)
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if not is_ended:  # a step waits for a storage that does not answer; the next process does it again
            logging.getLogger(__name__).warning("the engine is cut off in its step")
            logging.shutdown()
            os._exit(0)
    return 0 if server.started else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dicom_workflow.groundtruth", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond this machine only behind TLS")
    parser.add_argument(
        "--trust-proxy",
        action="append",
        metavar="ADDRESS",
        help="address or network of a proxy whose X-Forwarded-For and -Proto are believed (127.0.0.1 and ::1 when not given)",
    )
    parser.add_argument(
        "--hosts", nargs="+", default=[], metavar="NAME", help="host names to answer to, with or without port; any if not given"
    )
    parser.add_argument(
        "--keep-alive-seconds", type=int, default=5, help="how long an idle connection stays; above that of the load balancer"
    )
    parser.add_argument(
        "--wait-seconds", type=float, default=0.0, help="how long to wait at the start for the database or for another service"
    )
    return parser.parse_args()


def _proxies(given: list[str] | None) -> list[str]:
    for text in given or ():
        try:
            ipaddress.ip_network(text)
        except ValueError:
            expected = "expected an address or a network such as 10.0.0.0/16"
            raise SettingsError(f"--trust-proxy: {expected}, got {text!r}. Whoever is trusted can claim any address.") from None
    return given or ["127.0.0.1", "::1"]


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
