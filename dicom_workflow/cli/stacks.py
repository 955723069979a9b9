"""The CloudFormation stacks of a deployment on AWS: `deploy`, `status` and `destroy`."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_workflow.aws.stacks.catalog import DEFAULT_NAME
from dicom_workflow.cli.common import Command, say
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    again = "CloudFormation finishes what it has begun; see the message above for how to go on."
    deploy = command(
        "deploy", _deploy, "create or update the stacks of a deployment, showing each change first", after_interrupt=again
    )
    deploy.add_argument("stacks", nargs="*", metavar="STACK", help="foundation, network, archive, … (default: all, in order)")
    _add_place(deploy)
    deploy.add_argument("--parameters", type=Path, metavar="FILE", help="YAML file of stack parameters")
    deploy.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one stack parameter")
    deploy.add_argument("--dry-run", action="store_true", help="show the resources and their costs; needs no account")
    deploy.add_argument("--yes", action="store_true", help="agree to every change that loses no data")
    deploy.add_argument(
        "--allow-replacement",
        action="append",
        default=[],
        metavar="LOGICAL_ID",
        help="let this resource be replaced or removed although it holds data",
    )
    deploy.add_argument("--dependencies", type=Path, metavar="FOLDER", help="wheels for notebooks that reach no package index")
    deploy.add_argument("--no-images", action="store_true", help="build no container images; what needs one is left out")

    status = command(
        "status",
        _status,
        "show the stacks of a deployment; exit code 1 when one is half deployed",
        after_interrupt="Nothing was changed.",
    )
    _add_place(status)
    status.add_argument("--drift", action="store_true", help="compare each stack with its actual resources")
    status.add_argument("--write", type=Path, metavar="FILE", help="write the parameters of the notebooks, as YAML")

    destroy = command(
        "destroy",
        _destroy,
        "delete the stacks of a deployment; data are kept unless their deletion is confirmed twice",
        after_interrupt=again,
    )
    _add_place(destroy)
    destroy.add_argument("--delete-data", action="store_true", help="delete data too; the deployment's name must be typed")
    destroy.add_argument("--yes", action="store_true", help="agree to removing the stacks, not to deleting data")
    destroy.add_argument("--yes-delete-data-of", default="", metavar="NAME", help="the name, where nobody can type it")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the deployment (default: %(default)s)")
    parser.add_argument("--region", default="", help="region of AWS (default: that of the environment)")
    parser.add_argument("--templates", type=Path, metavar="FOLDER", help="templates of your own (default: cfn/)")
    parser.add_argument("--poll-seconds", type=float, default=5.0, help="seconds between status polls (default: 5)")


def _deployment(settings: Settings, options: argparse.Namespace) -> Any:
    import boto3

    from dicom_workflow.aws.stacks.catalog import templates_folder
    from dicom_workflow.aws.stacks.cloudformation import Cloud
    from dicom_workflow.aws.stacks.deployment import Deployment

    # AWS_REGION is read by `Settings`, AWS's configuration files by boto3.
    configured = boto3.Session().region_name if settings.region == "us-east-1" else ""
    session = boto3.Session(region_name=options.region or configured or settings.region)
    cloud = Cloud(session, poll_seconds=options.poll_seconds)
    if not cloud.has_credentials() and not getattr(options, "dry_run", False):
        raise DeployError(
            "There are no AWS credentials. Set AWS_PROFILE, or sign in with `aws configure` or `aws sso login`. "
            "`dicom-workflow deploy --dry-run` needs none."
        )
    agrees = getattr(options, "yes", False)
    flags = ("--region", options.region) if options.region else ()
    folder = options.templates or templates_folder()
    return Deployment(options.name, cloud, say, lambda question: agrees or ask(question), folder, flags)


def ask(question: str) -> bool:
    """Return whether a person at the terminal says yes.

    Raises
    ------
    DeployError
        Nobody is there.
    """
    if not sys.stdin.isatty():
        raise DeployError(f"{question} Nobody is at the terminal to answer. Run it with --yes to agree beforehand.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _again(options: argparse.Namespace) -> str:
    """The command line as it was given, so that it can be repeated; values stay out of it where they may be secret."""
    words = ["dicom-workflow", "deploy", *options.stacks]
    if options.name != DEFAULT_NAME:
        words += ["--name", options.name]
    for flag in ("region", "templates", "parameters", "dependencies"):
        if getattr(options, flag):
            words += [f"--{flag}", str(getattr(options, flag))]
    line = shlex.join(words)
    return line + "".join(f" --set {shlex.quote(name)} …" for name, _ in options.set)


def _deploy(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.stacks import deploy as operations
    from dicom_workflow.aws.stacks.parameters import Given

    request = operations.Request(
        settings,
        stacks=options.stacks,
        given=Given.read(options.parameters, options.set),
        allowed=options.allow_replacement,
        dependencies=options.dependencies,
        again=_again(options),
        with_images=not options.no_images,
    )
    deployment = _deployment(settings, options)
    if options.dry_run:
        return operations.dry_run(deployment, request)
    with _interruptible(deployment, request.again):
        return operations.deploy(deployment, request)


@contextlib.contextmanager
def _interruptible(deployment: Any, again: str) -> Iterator[None]:
    """Say at Ctrl-C what becomes of what CloudFormation was asked for."""
    try:
        yield
    except KeyboardInterrupt:
        say(
            "\nWhat CloudFormation has begun goes on without this command; nothing further is begun. "
            f"How it stands: {deployment.command('status')}. To go on: {again}"
        )
        raise


def _status(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.stacks import status
    from dicom_workflow.aws.stacks.tables import table
    from dicom_workflow.pipeline import notebooks

    deployment = _deployment(settings, options)
    standing = status.read(deployment)
    say(f"deployment {deployment.name}, region {deployment.cloud.region}")
    differences = status.drift(deployment, standing) if options.drift else {}
    if differences:
        standing = status.read(deployment)
    say(table(status.HEADINGS, standing.rows()))
    for state in standing.states.values():
        if state and state.outputs:
            say(f"\n{state.name}\n" + table(("output", "value"), sorted(state.outputs.items())))
    for stack, rows in differences.items():
        say(
            f"\n{stack} differs from its template:\n" + table(("resource", "type", "how", "what"), rows)
            if rows
            else f"{stack}: no drift"
        )
    if options.write:
        status.write_notebook_parameters(deployment, options.write, notebooks.folder() / "parameters" / "aws.yaml")
        say(f"{options.write}: parameters of the notebooks")
    if not any(standing.states.values()):
        say(f"nothing of it stands there. Is it another --region or --name? To make it: {deployment.command('deploy')}")
    problems = standing.half_deployed
    for problem in problems:
        say(f"half deployed: {problem}")
    for caution in standing.cautions:
        say(caution)
    if problems:
        say(f"`{deployment.command('deploy')}` goes on with a deployment, `{deployment.command('destroy')}` with a removal")
    return {"ok": not problems, "stacks": standing.to_json(), "drift": differences}


def _destroy(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.stacks import destroy as removal
    from dicom_workflow.aws.stacks.tables import table

    deployment = _deployment(settings, options)
    if options.yes_delete_data_of and options.yes_delete_data_of != options.name:
        raise DeployError(
            f"--yes-delete-data-of: expected the deployment's name {options.name!r}, got another. Nothing was changed."
        )
    if options.yes_delete_data_of and not options.delete_data:
        raise DeployError("--yes-delete-data-of needs --delete-data. Nothing was changed.")
    who = deployment.cloud.identity
    say(f"account {who['Account']}, region {deployment.cloud.region}, as {who['Arn']}; deployment {deployment.name}")
    found = removal.inventory(deployment)
    if not found.stacks and not found.stays:
        say("nothing of it stands there. Is it another --region or --name?")
        return {"ok": True, "deleted": [], "left": []}
    if found.stacks:
        say("goes, in this order: " + ", ".join(f"{state.name} ({state.status})" for _, state in found.stacks))
        say(f"{found.goes} resources with them")
    if found.lost:
        say("\ngoes WITH WHAT IS IN IT (copy what you need first):")
        say(table(("stack", "logical id", "type", "address"), [item.row() for item in found.lost]))
    if found.stays:
        say("\nstays:" if not options.delete_data else "\nWILL BE DELETED WITH ALL DATA IN IT:")
        say(table(("stack", "logical id", "type", "address"), [item.row() for item in found.stays]))
    if options.delete_data:
        _must_type(options)
    elif found.stacks and not deployment.ask("Remove these stacks?"):
        raise DeployError("not done: nothing was changed.")
    with _interruptible(deployment, deployment.command("destroy", *(["--delete-data"] if options.delete_data else []))):
        removal.remove(deployment, found)
    left = removal.delete_data(deployment, found.stays) if options.delete_data else [(item, "kept") for item in found.stays]
    if left:
        say(
            "\nleft:\n"
            + table(("stack", "type", "why", "address"), [(item.stack, item.type, why, item.physical_id) for item, why in left])
        )
    if left and not options.delete_data:
        say(f"to delete these data too: {deployment.command('destroy', '--delete-data')}")
    return {
        "ok": not (options.delete_data and left),
        "deleted": [state.name for _, state in found.stacks],
        "left": [{"type": item.type, "address": item.physical_id, "why": why} for item, why in left],
    }


def _must_type(options: argparse.Namespace) -> None:
    if options.yes_delete_data_of == options.name:
        return
    if not sys.stdin.isatty():
        raise DeployError(
            f"--delete-data: nobody can type the deployment's name here. Add --yes-delete-data-of {options.name}. "
            "Nothing was changed."
        )
    print(f"Type {options.name} to delete all this data: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != options.name:
        raise DeployError("that is not the deployment's name: nothing was changed.")
