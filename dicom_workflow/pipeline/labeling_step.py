"""The labeling step: a job is prepared and created, its team reads, its output manifest is recorded; then adjudication.

`start` and `finish` stand under both notebook 3 and ``dicom-workflow label``; between them the person is told where to sign in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.manifest_validation import Validation
from dicom_workflow.labeling import adjudication, agreement, jobs, output, reference_standard, suggestions, templates
from dicom_workflow.labeling.client import client as service_client
from dicom_workflow.labeling.client import job_arns
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Task
from dicom_workflow.pipeline import pending_job, records
from dicom_workflow.pipeline.pending_job import PendingJob
from dicom_workflow.pipeline.records import Record
from dicom_workflow.settings import Settings
from dicom_workflow.simulation import teams
from dicom_workflow.storage import Storage, join


@dataclass(frozen=True)
class Readers:
    """Who reads: a named work team, simulated readers of known skill, or people in the local portal."""

    simulated: int = 0
    """How many simulated readers; with 0, people read."""
    sensitivity: float = 0.85
    specificity: float = 0.92
    uncertain_rate: float = 0.03
    """Skill of the middle simulated reader, as probabilities per label."""
    truth_uri: str = ""
    """CSV table that simulated readers answer from."""
    regions_uri: str = ""
    """JSON with the true places of findings, to be marked; when empty, ``regions.json`` beside the table."""
    seed: int = 7
    """Same seed, same errors of the simulated readers."""
    workteam_arn: str = ""
    """Private work team, on AWS."""


@dataclass(frozen=True)
class Started:
    """A labeling job whose team can read."""

    job_name: str
    label_attribute: str
    labels: tuple[str, ...]
    manifest_uri: str
    """The manifest that was given."""
    accepted: Validation
    """Its lines that are not in the job, and why."""
    team: teams.Team
    truth: Mapping[str, Mapping[str, bool]]
    """SOP Instance UID → label → present, for simulated readers."""
    regions: Mapping[str, Mapping[str, Sequence[Any]]]
    notes: tuple[str, ...]
    """What to know before reading: a job that is waited for again, labels that the simulated readers cannot answer."""


@dataclass(frozen=True)
class Labeled:
    """A finished labeling job."""

    state: jobs.JobState
    summary: agreement.Summary
    images_without_truth: int
    """Images that the table of the simulated readers does not have: they were left unanswered."""
    record: Record


def start(
    manifest_uri: str,
    output_uri: str,
    settings: Settings,
    *,
    readers: Readers,
    job_name: str = "",
    label_attribute: str = "findings",
    workers_per_object: int = 3,
    predictions_uri: str = "",
    assistance: str = suggestions.AFTER_FIRST_READ,
    options: Mapping[str, str] | None = None,
    task: str = registry.DEFAULT_TASK,
) -> Started:
    """Check everything that a labeling job needs, then create the job and its team.

    A job of the same manifest that was interrupted and is not finished is not made again: its team goes on.

    Parameters
    ----------
    manifest_uri : str
        Input manifest. One broken line would fail the whole job, so the job gets the good lines.
    output_uri : str
        Folder or s3:// URI that the job writes to.
    settings : Settings
        As `local_services.attach` returns them.
    readers : Readers
    job_name : str
        1 to 63 letters, digits and hyphens; made from the deployment, the task and the time when empty.
    label_attribute : str
        Key of the label in the output manifest.
    workers_per_object : int
        Answers for each image, 1 to 9.
    predictions_uri : str
        ``predictions.jsonl`` of a model for the readers to see; empty shows none.
    assistance : {'after-first-read', 'shown', 'off'}
        When readers see the model.
    options : mapping of str to str, optional
        For AWS: ``assets_url``, the public address of the folder worker-ui; ``role_arn``, ``pre_annotation_arn`` and
        ``post_annotation_arn`` of the job. The self-hosted service has its own.
    task : str
        Name of the labeling task (`labeling.tasks.registry`): it brings the page, its title and the functions of the job.

    Raises
    ------
    RecordError
        There is no such task.
    LabelingError
        Simulated readers have no table to answer from, or one that knows none of the labels; or the service refused the job.
    JobParametersError
        The request breaks a limit of CreateLabelingJob.
    ManifestError
        The manifest has no good line, or a table cannot be read.
    ServiceError
        The labeling service does not answer.
    """
    storage, kind = Storage(settings), registry.find(task)
    truth = ReferenceStandard.read(readers.truth_uri, storage=storage)
    regions = reference_standard.read_regions(_regions_uri(readers, storage), storage=storage)
    accepted_uri = join(output_uri, "accepted.manifest")
    accepted = manifest_validation.accept(manifest_uri, accepted_uri, storage=storage)
    notes = _truth_notes(readers, truth, accepted.label_set.labels)
    job_uri = suggestions.suggest(
        accepted_uri, predictions_uri, join(output_uri, "suggested.manifest"), mode=assistance, storage=storage
    )
    client, on_aws = service_client(settings), dict(options or {})
    name = job_name or _job_name(settings, kind)
    key = pending_job.key(storage.read_bytes(job_uri), output_uri, kind.name)
    pending = pending_job.find(settings, key, client, job_name=job_name)
    if pending:
        name, label_attribute = pending.job, pending.attribute
        notes = (f"Labeling job {name} of this manifest is not finished; it goes on.", *notes)
    team = teams.assemble(
        settings,
        client,
        simulated_readers=readers.simulated,
        sensitivity=readers.sensitivity,
        specificity=readers.specificity,
        uncertain_rate=readers.uncertain_rate,
        seed=readers.seed,
        workteam_arn=readers.workteam_arn,
    )
    if not pending:
        template_uri = join(output_uri, kind.template_file)
        job = jobs.LabelingJob(
            name=name,
            manifest_uri=job_uri,
            output_uri=output_uri,
            template_uri=templates.publish_template(
                template_uri, storage, assets_url=on_aws.get("assets_url") or None, task=kind
            ),
            title=kind.title,
            description=kind.description,
            label_categories_uri=templates.publish_label_categories(
                join(output_uri, "labels.json"), accepted.label_set.labels, storage
            ),
            workteam_arn=team.arn,
            label_attribute=label_attribute,
            workers_per_object=workers_per_object,
            **job_arns(
                settings,
                task=kind.name,
                role=on_aws.get("role_arn", ""),
                pre_annotation=on_aws.get("pre_annotation_arn", ""),
                post_annotation=on_aws.get("post_annotation_arn", ""),
            ),
        )
        jobs.create(client, job, storage=storage)
        pending_job.keep(settings, PendingJob(name, label_attribute, key))
    known = truth.by_instance() if truth else {}
    return Started(name, label_attribute, accepted.label_set.labels, manifest_uri, accepted, team, known, regions, notes)


def finish(
    started: Started,
    settings: Settings,
    *,
    on_poll: Callable[[jobs.JobState], None] | None = None,
    poll_seconds: float = 1.0,
) -> Labeled:
    """Wait until a labeling job is finished and record its output manifest.

    Interrupting ends the waiting, not the job; no accepted answer is lost.

    Parameters
    ----------
    started : Started
    settings : Settings
    on_poll : callable, optional
        Called with every state that was seen.
    poll_seconds : float
        Time between two looks at the job.

    Raises
    ------
    LabelingError
        The job failed, or was stopped before anything was labeled.
    """
    storage = Storage(settings)
    state, reading = teams.label(
        settings,
        service_client(settings),
        started.job_name,
        started.team,
        truth=started.truth,
        regions=started.regions,
        on_poll=on_poll,
        poll_seconds=poll_seconds,
    )
    pending_job.forget(settings)
    objects = list(output.read_output(state.output_manifest_uri, attribute=started.label_attribute, storage=storage))
    found = agreement.summarize(objects, started.labels)
    without_truth = max((reader.without_truth for reader in reading), default=0)
    metrics = {
        "job": started.job_name,
        "objects": state.total,
        "labeled": state.labeled,
        "failed": state.failed,
        "lines_refused": started.accepted.refused,
        "answers": sum(found.answers.values()),
        "agreement": found.overall_kappa,
        "images_without_truth": without_truth,
    }
    record = Record(records.LABEL, state.output_manifest_uri, metrics, {"manifest": started.manifest_uri})
    return Labeled(state, found, without_truth, records.keep(record, settings))


@dataclass(frozen=True)
class Adjudication:
    """The two manifests of an adjudication: the second job's input, or the first job's output with the decisions."""

    uri: str
    """Empty when the readers agree on everything."""
    objects: int
    disputed: int
    """Objects that need an adjudicator, or that one decided."""
    record: Record | None = None
    """Of the decided output manifest, which the next step then reads."""


def adjudicate(
    output_manifest_uri: str,
    target_uri: str,
    settings: Settings,
    *,
    decisions_uri: str = "",
    attribute: str = "",
    any_difference: bool = True,
    seed: int = 0,
) -> Adjudication:
    """Write the input manifest of a second job for what readers did not agree on, or join its decisions to the first output.

    Parameters
    ----------
    output_manifest_uri : str
        Output manifest of the first job.
    target_uri : str
        The manifest to write.
    settings : Settings
    decisions_uri : str
        Output manifest of the adjudication job. When empty, that job's input manifest is written.
    attribute : str
        Label attribute of the first job; found by its metadata when empty.
    any_difference : bool
        An adjudicator sees every image on which two readers differ; otherwise only those without a majority.
    seed : int
        Another seed gives the earlier readers other letters.

    Raises
    ------
    LabelingError
        The label attribute of the first job is not known.
    """
    storage = Storage(settings)
    first = list(output.read_output(output_manifest_uri, attribute=attribute, storage=storage))
    if not decisions_uri:
        entries = list(adjudication.adjudication_entries(first, any_difference=any_difference, seed=seed))
        if not entries:
            return Adjudication("", len(first), 0)
        manifests.write(target_uri, entries, storage=storage)
        return Adjudication(target_uri, len(first), len(entries))
    name = attribute or next((item.attribute for item in first if item.attribute), "")
    if not name:
        raise LabelingError(f"{output_manifest_uri}: no line has a label attribute. Give its name.")
    second = list(output.read_output(decisions_uri, storage=storage))
    joined = list(adjudication.apply_adjudication(first, second, attribute=name, any_difference=any_difference))
    manifests.write(target_uri, (item.line for item in joined), storage=storage, limits=False)
    decided = sum(bool(item.labels) for item in joined)
    metrics = {"objects": len(joined), "adjudicated": decided}
    inputs = {"manifest": output_manifest_uri, "decisions": decisions_uri}
    record = records.keep(Record(records.LABEL, target_uri, metrics, inputs), settings)
    return Adjudication(target_uri, len(joined), decided, record)


def _truth_notes(readers: Readers, truth: ReferenceStandard | None, labels: Sequence[str]) -> tuple[str, ...]:
    """What simulated readers cannot answer, before a job is created."""
    if not readers.simulated:
        return ()
    if truth is None:
        raise LabelingError(
            "Simulated readers answer from a table of what is true, and there is none. Give the table, or let people read "
            "(no simulated readers)."
        )
    unknown = [label for label in labels if label not in truth.labels]
    if labels and len(unknown) == len(labels):
        raise LabelingError(
            f"{readers.truth_uri}: the table knows none of the labels of the manifest ({', '.join(labels)}), but "
            f"{', '.join(truth.labels)}. Write the manifest with the labels of the table."
        )
    left = f"The table does not know {', '.join(unknown)}: the simulated readers leave it unanswered." if unknown else ""
    return (left,) if left else ()


def _regions_uri(readers: Readers, storage: Storage) -> str:
    if readers.regions_uri or not readers.truth_uri:
        return readers.regions_uri
    beside = join(readers.truth_uri.rpartition("/")[0], "regions.json")
    return beside if storage.exists(beside) else ""


def _job_name(settings: Settings, task: Task) -> str:
    """The deployment comes first where there is one: its roles allow only jobs whose names begin with it."""
    return "-".join(filter(None, (settings.deployment, task.name, f"{datetime.now():%Y%m%d-%H%M%S}")))
