"""AWS and its S3 on a free port of this machine, for the tests of the rooms that read and write objects."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import boto3
import requests
from moto.server import ThreadedMotoServer

from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

BUCKET = "radiographs"


@contextlib.contextmanager
def aws_server() -> Iterator[str]:
    """Yield the address of an empty AWS on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        yield url
    finally:
        # What is stored belongs to this process, not to the server: the next one would find it.
        requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            server.stop()


@contextlib.contextmanager
def s3_storage(workspace: Path) -> Iterator[Storage]:
    """Yield a `Storage` over an S3 server of its own, with one empty bucket."""
    with aws_server() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        with contextlib.closing(client):
            client.create_bucket(Bucket=BUCKET)
            yield Storage(Settings(workspace, s3_url=url), client=client)
