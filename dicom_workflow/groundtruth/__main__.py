"""Run the labeling service: ``python -m dicom_workflow.groundtruth --port 8501``."""

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
from dicom_workflow.http_server import HeaderTimeoutProtocol, is_loopback
from dicom_workflow.settings import Settings

REQUESTS_SECONDS = 10
"""How long open requests may take when the service is told to stop. With the engine's step and the last transaction the service
stops within 25 seconds, before a container is killed after 30."""


def main() -> int:
    """Serve until SIGTERM or SIGINT, finish open requests, and return the exit code."""
    arguments = _arguments()
    # Process 1 of a container ignores signals without a handler, also while it waits for its database.
    signal.signal(signal.SIGTERM, _exit)
    # Warnings and errors only, and no access log: addresses and times of workers are personal data.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # `postgres` logs the same once
    if not is_loopback(arguments.host):
        logging.getLogger(__name__).warning("listening on a non-loopback address: put a TLS reverse proxy in front")
    is_stopped = True
    try:
        settings = Settings.from_env()
        database = open_database(settings)
        with database.exclusive(wait_seconds=arguments.wait_seconds):
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
            database.on_lock_lost(lambda: setattr(server, "should_exit", True))
            try:
                server.run()
            finally:
                is_stopped = getattr(app.state, "is_stopped", True)
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if not is_stopped:  # a step is waiting for storage that does not answer; the next process repeats it
            logging.getLogger(__name__).warning("stopped during a step of the engine; the next start repeats the step")
            logging.shutdown()
            os._exit(0)
    return 0 if server.started else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dicom_workflow.groundtruth", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; non-loopback only behind TLS")
    parser.add_argument(
        "--trust-proxy",
        action="append",
        metavar="ADDRESS",
        help="trusted proxy (address or network) for X-Forwarded-For and -Proto (default: 127.0.0.1 and ::1)",
    )
    parser.add_argument(
        "--hosts", nargs="+", default=[], metavar="NAME", help="accepted host names, with or without port (default: any)"
    )
    parser.add_argument(
        "--keep-alive-seconds", type=int, default=5, help="keep-alive of idle connections; more than the load balancer's"
    )
    parser.add_argument(
        "--wait-seconds", type=float, default=0.0, help="how long to wait at startup for the database or another service"
    )
    return parser.parse_args()


def _proxies(given: list[str] | None) -> list[str]:
    for text in given or ():
        try:
            ipaddress.ip_network(text)
        except ValueError:
            raise SettingsError(f"--trust-proxy: expected an address or a network such as 10.0.0.0/16, got {text!r}.") from None
    return given or ["127.0.0.1", "::1"]


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
