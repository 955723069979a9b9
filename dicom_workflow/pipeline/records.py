"""Records: what each step of the workflow made, kept in the workspace, and how the next step finds its input.

A command and a notebook leave the same record: one JSON object beside the artifact, and one in ``<workspace>/records``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_workflow import __version__
from dicom_workflow.archive import open_archive
from dicom_workflow.errors import NotebookError, ObjectNotFoundError, WorkflowError
from dicom_workflow.formats import manifests
from dicom_workflow.pipeline import local_services
from dicom_workflow.provenance import git_commit
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri
from dicom_workflow.synthetic import dataset

RECORD_MIME_TYPE = "application/vnd.dicom-workflow.result+json"

UPLOAD = "01_upload_to_orthanc"
MANIFEST = "02_create_manifest"
LABEL = "03_run_labeling_job"
PARSE = "04_parse_output_manifest"
VISUALIZE = "05_visualize_samples"
TRAIN = "06_train_densenet"
EVALUATE = "07_evaluate_and_predict"
STEPS = (UPLOAD, MANIFEST, LABEL, PARSE, VISUALIZE, TRAIN, EVALUATE)
"""The steps by the names of their notebooks, in order."""
SEARCH = "08_search_similar_images"
"""What needs the extra ``[search]`` and follows on its own: no other step reads its record."""
NOTEBOOKS = (*STEPS, SEARCH)
"""All notebooks."""

PHANTOMS = "phantoms"
"""Instead of a folder: synthetic patients, also for an archive that the settings name."""


@dataclass(frozen=True)
class Record:
    """What one step left: its artifact, its figures, and what made it."""

    step: str
    """One of `NOTEBOOKS`."""
    artifact_uri: str
    """What the step leaves for the next one."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures; JSON values."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name → URI of everything the step read."""
    uris: Mapping[str, str] = field(default_factory=dict)
    """Name → URI of further artifacts."""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """Version, commit, time, and the SHA-256 of each input that is a file; filled in by `keep`."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Record:
        """Return the record of one JSON object.

        Raises
        ------
        NotebookError
            It has no step or no artifact, or one of its values is of another type.
        """
        if not data.get("step") or not data.get("artifact_uri"):
            raise NotebookError(f"A record needs 'step' and 'artifact_uri'; this one has keys {sorted(data)[:8]}.")
        given = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        for name, value in given.items():
            if not isinstance(value, str if name in ("step", "artifact_uri") else Mapping):
                raise NotebookError(f"A record needs another type of value in '{name}' than {type(value).__name__}.")
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def keep(result: Record, settings: Settings) -> Record:
    """Write a record beside its artifact and into the workspace, and return it with what made it."""
    storage = Storage(settings)
    made_by = {
        "dicom_workflow": __version__,
        "commit": git_commit(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "input_sha256": {name: digest for name, uri in result.inputs.items() if (digest := _sha256(storage, uri))},
    }
    complete = replace(result, made_by=made_by)
    text = json.dumps(complete.to_json(), indent=2, ensure_ascii=False)
    storage.write_text(f"{result.artifact_uri.rstrip('/')}.record.json", text)
    storage.write_text(_latest_uri(settings, result.step), text)
    return complete


def show(result: Record) -> None:
    """Display a record in the notebook that made it, where `notebooks.read_records` finds it again."""
    lines = [f"{result.step} → {result.artifact_uri}", *(f"  {name} = {value}" for name, value in result.metrics.items())]
    text = "\n".join(line if len(line) <= 200 else f"{line[:197]}…" for line in lines)
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
        return
    display({RECORD_MIME_TYPE: result.to_json(), "text/plain": text}, raw=True)


def latest(settings: Settings, step: str) -> Record | None:
    """Return the newest record of a step in this workspace, or None.

    Raises
    ------
    NotebookError
        The record is damaged; the message names the file.
    """
    uri = _latest_uri(settings, step)
    try:
        return Record.parse(json.loads(Storage(settings).read_text(uri)))
    except ObjectNotFoundError:
        return None
    except (NotebookError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotebookError(f"{uri} is damaged ({str(error).rstrip('.')}). Delete it and run {step} again.") from None


def find_input(settings: Settings, step: str, given: str = "", *, name: str = "", required: bool = True) -> str:
    """Return the URI that a step reads: the one given, else what an earlier step left in this workspace.

    When the step has not run in this workspace, it is run first, with its defaults: a notebook opened alone works.

    Parameters
    ----------
    settings : Settings
        Its workspace holds the records.
    step : str
        The earlier notebook.
    given : str
        The parameter's value; empty means not given.
    name : str
        One of the record's further `uris` instead of its artifact.
    required : bool
        When False, a step that did not run or left no such URI gives an empty text.

    Raises
    ------
    NotebookError
        The earlier step could not be run, or left no such URI.
    """
    if given:
        return to_uri(given)
    found = latest(settings, step)
    if not required:
        return found.uris.get(name, "") if found and name else found.artifact_uri if found else ""
    if found is None:
        print(f"{step} has not run in {settings.workspace}: running it first, with its defaults.")
        _run_elsewhere(settings, step)
        found = latest(settings, step)
    if found is None:
        raise NotebookError(f"{step} ran and left no record in {settings.workspace}. Open its output notebook there.")
    if name and name not in found.uris:
        left = ", ".join(found.uris) or "only its artifact"
        raise NotebookError(f"{step} left no '{name}' in {settings.workspace}, only {left}. Give its URI as a parameter.")
    return found.uris[name] if name else found.artifact_uri


def source_images(
    source_folder: str, settings: Settings, *, patients: int = 24, size_px: int = 256, seed: int = 7
) -> tuple[Path, dict[str, str]]:
    """Return the folder of DICOM files to upload, and the URIs of what is known of them.

    Without a folder, synthetic patients (phantoms) are made, but only for an archive that was started for this workspace and
    holds nothing else: invented patients have no place in a PACS.

    Parameters
    ----------
    source_folder : str
        Path or file:// URI; empty for phantoms in the workspace's own archive; ``phantoms`` for phantoms in any archive.
    settings : Settings
        As `local_services.attach` returns them.
    patients, size_px, seed : int
        Of the phantoms: their number, rows and columns of an image, and the seed.

    Returns
    -------
    Path, dict of str to str
        For phantoms the URIs are ``truth`` (CSV table) and ``regions`` (JSON); for a given folder there are none.

    Raises
    ------
    NotebookError
        Phantoms would go into an archive that the settings name, or among the images of an earlier upload.
    NotDicomError
        The given folder does not exist.
    """
    phantoms = settings.workspace / PHANTOMS
    if not source_folder:
        _refuse_phantoms(settings)
    given = "" if source_folder == PHANTOMS else source_folder
    return dataset.images_from(given, phantoms, patients=patients, size_px=size_px, seed=seed)


def _refuse_phantoms(settings: Settings) -> None:
    if not local_services.serves_local_archive(settings):
        raise NotebookError(
            "No source_folder was given, and the settings name an archive of yours. Synthetic phantoms are stored only in an "
            "archive that was started for the workspace. Give source_folder, or unset the archive's address "
            f"(ORTHANC_URL, DICOMWEB_URL). To store phantoms there all the same, give source_folder={PHANTOMS!r}."
        )
    earlier = latest(settings, UPLOAD)
    if earlier and not is_of_phantoms(earlier, settings):
        images = earlier.inputs.get("folder", "an archive")
        raise NotebookError(
            f"No source_folder was given, and this workspace holds images of {images}. Synthetic phantoms are not mixed with "
            "them. Give source_folder, or set DICOM_WORKFLOW_WORKSPACE to a new folder."
        )


def phantom_uids(settings: Settings) -> set[str]:
    """Return the SOP Instance UIDs of all synthetic images that `source_images` made in this workspace."""
    found: set[str] = set()
    for table in (settings.workspace / PHANTOMS).glob(f"*/{dataset.TRUTH_FILE}"):
        with table.open(newline="", encoding="utf-8") as stream:
            found.update(row["sop_instance_uid"] for row in csv.DictReader(stream))
    return found


def is_of_phantoms(upload: Record, settings: Settings) -> bool:
    """Return whether an upload was one of the synthetic patients that `source_images` made."""
    return upload.inputs.get("folder", "").startswith(to_uri(settings.workspace / PHANTOMS))


def find_instances(settings: Settings, given: str = "", *, make: bool = True) -> str:
    """Return the URI of ``instances.jsonl``: the one given, what an upload left in the workspace, or a new list of the archive.

    Parameters
    ----------
    settings : Settings
        As `local_services.attach` returns them.
    given : str
        Path or URI; empty means not given.
    make : bool
        In a workspace without any image, run the upload notebook with its defaults; otherwise that is an error.

    Raises
    ------
    NotebookError
        The archive holds no image, or the upload notebook failed.
    """
    if given:
        return to_uri(given)
    if earlier := latest(settings, UPLOAD):
        return earlier.artifact_uri
    listed = tuple(open_archive(settings).search_for_instances())
    if not listed:
        if make and local_services.serves_local_archive(settings):
            return find_input(settings, UPLOAD)
        raise NotebookError("The archive holds no instance. Upload images first: `dicom-workflow upload FOLDER`.")
    uri = to_uri(settings.workspace / "archive" / "instances.jsonl")
    manifests.write(uri, (instance.to_json() for instance in listed), storage=Storage(settings), check=False)
    keep(Record(UPLOAD, uri, {"listed": len(listed)}), settings)
    return uri


def _latest_uri(settings: Settings, step: str) -> str:
    return to_uri(settings.workspace / "records" / f"{step}.json")


def _run_elsewhere(settings: Settings, step: str) -> None:
    """Run a step in a process of its own: a kernel cannot wait for another kernel inside its own event loop."""
    output = settings.workspace / "notebooks" / f"{step}.ipynb"
    command = [sys.executable, "-m", "dicom_workflow.pipeline.notebooks", step, str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotebookError(f"{step} failed:\n{done.stderr.strip()[-2000:]}")


def _sha256(storage: Storage, uri: str) -> str:
    digest = hashlib.sha256()
    try:
        with storage.open(uri) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except WorkflowError:
        return ""  # a folder or an archive, not one object
    return digest.hexdigest()
