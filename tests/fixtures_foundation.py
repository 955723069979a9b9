"""A real S3 server on a free port, for the tests of the rooms that read and write objects."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

BUCKET = "radiographs"


@contextlib.contextmanager
def s3_storage(workspace: Path) -> Iterator[Storage]:
    """Yield a `Storage` over an S3 server of its own, with one empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        with contextlib.closing(client):
            client.create_bucket(Bucket=BUCKET)
            yield Storage(Settings(workspace, s3_url=url), client=client)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            server.stop()
