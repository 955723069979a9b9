"""`serve`: run a trained model locally, behind a SageMaker endpoint or in a batch transform."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, Run, say, values_of
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    kinds = command(
        "serve",
        _local,
        "serve a trained model locally or on SageMaker",
        after_interrupt="Operations that SageMaker has accepted continue; its console lists the endpoints.",
    ).add_subparsers(dest="what", required=True, metavar="WHAT")

    def kind(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as one JSON object")
        sub.set_defaults(run=run)
        return sub

    local = kind("local", _local, "serve a model on this machine until Ctrl-C")
    local.add_argument("model", help="model bundle folder, or model.tar.gz as a path or URI")
    local.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1 (default: 8080)")

    image = kind("image", _image, "write the build context of the inference container to a folder")
    image.add_argument("folder", type=Path, help="empty or new folder")

    endpoint = kind("endpoint", _endpoint, "create a SageMaker endpoint and wait until it is in service")
    _add_model(endpoint, "EndpointRequest", "--set serverless_memory_mb 4096")

    batch = kind("batch", _batch, "start a batch transform over the DICOM files of an S3 folder or manifest")
    _add_model(batch, "BatchRequest", "--set instance_count 2")
    batch.add_argument("input_uri", help="s3:// folder of DICOM files, or a manifest with s3:// 'source-ref' lines")
    batch.add_argument("output_uri", help="s3:// folder of the predictions")

    delete = kind("delete", _delete, "delete an endpoint with its configuration and model")
    delete.add_argument("name", help="name of the endpoint")


def _add_model(parser: argparse.ArgumentParser, fields_of: str, example: str) -> None:
    parser.add_argument("model_uri", help="s3:// address of model.tar.gz")
    parser.add_argument("--image", required=True, help="inference container in a registry, see docs/deploy.md")
    parser.add_argument("--role-arn", required=True, help="execution role")
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help=f"one more field of {fields_of}, such as {example}",
    )


def _model_of(options: argparse.Namespace) -> dict[str, Any]:
    given = {"image": options.image, "model_uri": options.model_uri, "role": options.role_arn}
    return {**given, **values_of(options.set)}


def _local(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning.inference import local_server
    from dicom_workflow.storage import Storage

    with local_server.serve_local(options.model, port=options.port, storage=Storage(settings)) as server:
        say(f"POST DICOM files to {server.url}/invocations with Content-Type application/dicom. Stop with Ctrl-C.")
        try:
            raise DeployError(f"The server ended by itself with exit code {server.wait()}.")
        except KeyboardInterrupt:
            say("stopped")
    return {"ok": True, "url": server.url}


def _image(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.packaging import stage_image

    folder = stage_image(options.folder)
    say(f"docker build --platform linux/amd64 --tag dicom-workflow:1 {folder}")
    return {"ok": True, "folder": str(folder)}


def _endpoint(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.endpoints import EndpointRequest, deploy_endpoint

    endpoint = deploy_endpoint(settings, EndpointRequest.parse(_model_of(options)))
    say(f"endpoint {endpoint.name} is in service and charged until `dicom-workflow serve delete {endpoint.name}`")
    return {"ok": True, "endpoint": endpoint.name, "arn": endpoint.arn}


def _batch(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.batch_transforms import BatchRequest, batch_transform

    places = {"input_uri": options.input_uri, "output_uri": options.output_uri}
    job = batch_transform(settings, BatchRequest.parse({**_model_of(options), **places}))
    say(f"batch transform {job.name} started; it writes its predictions to {job.output_uri}")
    return {"ok": True, "job": job.name, "arn": job.arn, "output_uri": job.output_uri}


def _delete(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.endpoints import delete_endpoint

    deleted = delete_endpoint(settings, options.name)
    say(f"deleted: {', '.join(deleted) or 'nothing, the endpoint does not exist'}")
    return {"ok": bool(deleted), "deleted": list(deleted)}
