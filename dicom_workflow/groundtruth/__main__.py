"""The labeling service as a process: ``python -m dicom_workflow.groundtruth --port 8501``."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import sys

import uvicorn

from dicom_workflow.errors import WorkflowError
from dicom_workflow.groundtruth.patience import ImpatientProtocol
from dicom_workflow.groundtruth.server import folder_of, make_app, only_one
from dicom_workflow.settings import Settings


def main() -> int:
    """Serve until SIGTERM or SIGINT; finish the requests that are under way."""
    parser = argparse.ArgumentParser(prog="python -m dicom_workflow.groundtruth", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond this machine only behind TLS")
    arguments = parser.parse_args()
    # Warnings and errors only, and no access log: addresses and times of workers are personal data.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not _is_loopback(arguments.host):
        logging.getLogger(__name__).warning("listening beyond this machine: put a TLS reverse proxy in front")
    try:
        settings = Settings.from_env()
        with only_one(folder_of(settings)):
            app = make_app(settings)
            uvicorn.run(
                app,
                http=ImpatientProtocol,
                host=arguments.host,
                port=arguments.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
                limit_concurrency=200,
            )
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
