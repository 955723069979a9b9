"""`deploy`, `status` and `destroy`: the CloudFormation stacks of a deployment on AWS."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_workflow.aws.deployment_settings import DEFAULT_NAME
from dicom_workflow.cli.common import Command, say
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    interrupted = "CloudFormation finishes the operation in progress; the message above says how to continue."
    deploy = command(
        "deploy",
        _deploy,
        "create or update the stacks of a deployment on AWS, showing each change first",
        after_interrupt=interrupted,
    )
    deploy.add_argument("stacks", nargs="*", metavar="STACK", help="foundation, network, archive, … (default: all, in order)")
    _add_place(deploy)
    deploy.add_argument("--parameters", type=Path, metavar="FILE", help="YAML file of stack parameters")
    deploy.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one stack parameter")
    deploy.add_argument("--dry-run", action="store_true", help="show the plan and its costs; needs no account")
    deploy.add_argument("--yes", action="store_true", help="confirm all changes that lose no data")
    deploy.add_argument(
        "--allow-replacement",
        action="append",
        default=[],
        metavar="LOGICAL_ID",
        help="let this resource be replaced or removed although it holds data",
    )
    deploy.add_argument(
        "--dependencies", type=Path, metavar="FOLDER", help="wheels for notebooks without access to a package index"
    )
    deploy.add_argument(
        "--no-images", action="store_true", help="build no container images; services that need one are left out"
    )

    status = command(
        "status",
        _status,
        "show the stacks of a deployment; exit code 1 when one is half deployed",
        after_interrupt="Nothing was changed.",
    )
    _add_place(status)
    status.add_argument("--drift", action="store_true", help="run drift detection on each stack")
    status.add_argument("--write", type=Path, metavar="FILE", help="write the notebook parameters as YAML")

    destroy = command(
        "destroy",
        _destroy,
        "delete the stacks of a deployment; data is kept unless its deletion is confirmed twice",
        after_interrupt=interrupted,
    )
    _add_place(destroy)
    destroy.add_argument("--delete-data", action="store_true", help="delete data too; asks for the deployment's name")
    destroy.add_argument("--yes", action="store_true", help="confirm the deletion of the stacks, but not of data")
    destroy.add_argument("--yes-delete-data-of", default="", metavar="NAME", help="the deployment's name, without a terminal")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the deployment (default: %(default)s)")
    parser.add_argument("--region", default="", help="AWS region (default: from the environment)")
    parser.add_argument("--templates", type=Path, metavar="FOLDER", help="folder of your own templates (default: cfn/)")
    parser.add_argument("--poll-seconds", type=float, default=5.0, help="seconds between status polls (default: 5)")


def _deployment(settings: Settings, options: argparse.Namespace) -> Any:
    import boto3

    from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
    from dicom_workflow.aws.stacks.deployment import Deployment, templates_folder

    # AWS_REGION is read by `Settings`, AWS's configuration files by boto3.
    configured = boto3.Session().region_name if settings.region == "us-east-1" else ""
    session = boto3.Session(region_name=options.region or configured or settings.region)
    cloud = CloudFormationClient(session, poll_seconds=options.poll_seconds)
    if not cloud.has_credentials() and not getattr(options, "dry_run", False):
        raise DeployError(
            "There are no AWS credentials. Set AWS_PROFILE, or sign in with `aws configure` or `aws sso login`. "
            "`dicom-workflow deploy --dry-run` needs none."
        )
    confirmed = getattr(options, "yes", False)
    flags = ("--region", options.region) if options.region else ()
    folder = options.templates or templates_folder()
    return Deployment(options.name, cloud, say, lambda question: confirmed or ask(question), folder, flags)


def ask(question: str) -> bool:
    """Ask a yes/no question at the terminal and return whether the answer is yes.

    Raises
    ------
    DeployError
        Standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise DeployError(f"{question} Standard input is not a terminal. Confirm with --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _resume_command(options: argparse.Namespace) -> str:
    """The given command line, for repeating it; the values of --set are left out, because they may be secret."""
    words = ["dicom-workflow", "deploy", *options.stacks]
    if options.name != DEFAULT_NAME:
        words += ["--name", options.name]
    for flag in ("region", "templates", "parameters", "dependencies"):
        if getattr(options, flag):
            words += [f"--{flag}", str(getattr(options, flag))]
    line = shlex.join(words)
    return line + "".join(f" --set {shlex.quote(name)} …" for name, _ in options.set)


def _deploy(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.stacks import deploy
    from dicom_workflow.aws.stacks.parameters import ParameterOverrides

    request = deploy.Request(
        settings,
        stacks=options.stacks,
        overrides=ParameterOverrides.read(options.parameters, options.set),
        allowed_replacements=options.allow_replacement,
        dependencies=options.dependencies,
        resume_command=_resume_command(options),
        with_images=not options.no_images,
    )
    deployment = _deployment(settings, options)
    if options.dry_run:
        return deploy.dry_run(deployment, request)
    with _interruptible(deployment, request.resume_command):
        return deploy.deploy(deployment, request)


@contextlib.contextmanager
def _interruptible(deployment: Any, resume_command: str) -> Iterator[None]:
    """On Ctrl-C, say that CloudFormation continues and how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        say(
            "\nInterrupted. CloudFormation finishes the operation in progress; nothing else is started. "
            f"Status: {deployment.command('status')}. To continue: {resume_command}"
        )
        raise


def _status(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.deployment_settings import write_notebook_parameters
    from dicom_workflow.aws.stacks.deployment import STATUS_HEADINGS
    from dicom_workflow.aws.stacks.tables import table
    from dicom_workflow.pipeline import notebooks

    deployment = _deployment(settings, options)
    say(f"deployment {deployment.name}, region {deployment.cloud.region}")
    differences = deployment.drift() if options.drift else {}
    found = deployment.status()
    say(table(STATUS_HEADINGS, found.rows()))
    for state in found.states.values():
        if state and state.outputs:
            say(f"\n{state.name}\n" + table(("output", "value"), sorted(state.outputs.items())))
    for stack, rows in differences.items():
        say(
            f"\n{stack} differs from its template:\n" + table(("resource", "type", "how", "what"), rows)
            if rows
            else f"{stack}: no drift"
        )
    if options.write:
        base = notebooks.folder() / "parameters" / "aws.yaml"
        place = {"name": deployment.name, "region": deployment.cloud.region}
        write_notebook_parameters(options.write, deployment.outputs(), template=base, **place)
        say(f"wrote the notebook parameters to {options.write}")
    if not any(found.states.values()):
        say(f"No stack of it exists. Check --region and --name, or deploy it: {deployment.command('deploy')}")
    problems = found.half_deployed
    for problem in problems:
        say(f"half deployed: {problem}")
    for caution in found.cautions:
        say(caution)
    if problems:
        say(f"`{deployment.command('deploy')}` continues a deployment, `{deployment.command('destroy')}` a deletion")
    return {"ok": not problems, "stacks": found.to_json(), "drift": differences}


def _destroy(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.aws.stacks import destroy
    from dicom_workflow.aws.stacks.tables import table

    deployment = _deployment(settings, options)
    if options.yes_delete_data_of and options.yes_delete_data_of != options.name:
        raise DeployError(
            f"--yes-delete-data-of: expected {options.name!r}, the name of the deployment, got {options.yes_delete_data_of!r}. "
            "Nothing was changed."
        )
    if options.yes_delete_data_of and not options.delete_data:
        raise DeployError("--yes-delete-data-of needs --delete-data. Nothing was changed.")
    who = deployment.cloud.identity
    say(f"account {who['Account']}, region {deployment.cloud.region}, as {who['Arn']}; deployment {deployment.name}")
    found = destroy.inventory(deployment)
    if not found.stacks and not found.retained:
        say("No stack and no data of it exist. Check --region and --name.")
        return {"ok": True, "deleted": [], "left": []}
    if found.stacks:
        say("will be deleted, in this order: " + ", ".join(f"{state.name} ({state.status})" for _, state in found.stacks))
        say(f"{found.resource_count} resources are deleted with them")
    if found.lost:
        say("\nwill be deleted WITH THEIR DATA (copy what you need first):")
        say(table(("stack", "logical id", "type", "address"), [item.row() for item in found.lost]))
    if found.retained:
        say("\nkept:" if not options.delete_data else "\nWILL BE DELETED WITH ALL DATA:")
        say(table(("stack", "logical id", "type", "address"), [item.row() for item in found.retained]))
    if options.delete_data:
        _confirm_name(options)
    elif found.stacks and not deployment.confirm("Delete these stacks?"):
        raise DeployError("Declined: nothing was changed.")
    with _interruptible(deployment, deployment.command("destroy", *(["--delete-data"] if options.delete_data else []))):
        destroy.delete_stacks(deployment, found)
    left = (
        destroy.delete_data(deployment, found.retained) if options.delete_data else [(item, "kept") for item in found.retained]
    )
    if left:
        say(
            "\nremaining:\n"
            + table(("stack", "type", "why", "address"), [(item.stack, item.type, why, item.physical_id) for item, why in left])
        )
    if left and not options.delete_data:
        say(f"to delete this data too: {deployment.command('destroy', '--delete-data')}")
    return {
        "ok": not (options.delete_data and left),
        "deleted": [state.name for _, state in found.stacks],
        "left": [{"type": item.type, "address": item.physical_id, "why": why} for item, why in left],
    }


def _confirm_name(options: argparse.Namespace) -> None:
    if options.yes_delete_data_of == options.name:
        return
    if not sys.stdin.isatty():
        raise DeployError(
            f"--delete-data: standard input is not a terminal. Confirm with --yes-delete-data-of {options.name}. "
            "Nothing was changed."
        )
    print(f"Type {options.name} to delete all this data: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != options.name:
        raise DeployError("That is not the deployment's name. Nothing was changed.")
