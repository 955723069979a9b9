"""The whole workflow in one run: seven notebooks, each reading the record of the one before, and an HTML report of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_workflow.errors import SettingsError
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.labeling.client import client
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.pipeline import local_services, notebooks
from dicom_workflow.pipeline.html_report import write_report
from dicom_workflow.pipeline.records import EVALUATE, LABEL, MANIFEST, PARSE, SEARCH, STEPS, TRAIN, UPLOAD, VISUALIZE, Record
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

DRILLS = ("kill-portal",)
READERS = 3

# What the run on synthetic phantoms needs to reach a macro AUROC of 0.90 within its minutes on two cores.
PHANTOM_PARAMETERS: dict[str, dict[str, Any]] = {
    UPLOAD: {"patients": 400, "image_size_px": 320},
    TRAIN: {"image_size_px": 112, "epochs": 10, "batch_size": 8, "learning_rate": 0.0015},
}
REAL_PARAMETERS: dict[str, dict[str, Any]] = {
    TRAIN: {"image_size_px": 80, "epochs": 15, "batch_size": 8},  # docs/training.md: few images
}


@dataclass
class Demo:
    """One run of the seven notebooks in a workspace of its own.

    Parameters
    ----------
    settings : Settings
        Its workspace is the run's folder.
    data : Path, optional
        Folder of DICOM files; synthetic phantoms are made when not given.
    truth : Path, optional
        CSV table that the simulated readers answer from (`labeling.reference_standard.ReferenceStandard`); needed with `data`.
    seed : int
        For phantoms, readers, splits and training.
    drill : str
        ``kill-portal`` kills the labeling portal with SIGKILL in the middle of the labeling.
    parameters : mapping
        Further parameters by notebook.
    """

    settings: Settings
    data: Path | None = None
    truth: Path | None = None
    seed: int = 7
    drill: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _records: dict[str, Record] = field(default_factory=dict, init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)
    drilled: dict[str, Any] = field(default_factory=dict, init=False)
    """What the drill did, once it has."""

    def __post_init__(self) -> None:
        if self.drill and self.drill not in DRILLS:
            raise SettingsError(f"DRILL: expected one of {', '.join(DRILLS)}, got {self.drill!r}.")
        if self.data is not None and self.truth is None:
            raise SettingsError("DATA was given without TRUTH, the table that simulated readers answer from: TRUTH=table.csv.")
        for name, path in (("DATA", self.data), ("TRUTH", self.truth)):
            if path is not None and not path.exists():
                raise SettingsError(f"{name}: there is no {path}. Check the path.")

    def run(self) -> dict[str, Any]:
        """Run all notebooks and return the summary, which is also written to ``summary.json``.

        Services that had to be started are stopped at the end, also when a step fails or the run is interrupted.
        """
        started = time.monotonic()
        settings = self.run_steps(STEPS)
        summary = self._summary(settings, time.monotonic() - started)
        folder = self.settings.workspace
        (folder / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        self._write_report(summary)
        return summary

    def run_search(self, images: Path | None = None) -> dict[str, Any]:
        """Train on phantoms, then search them, or a folder with ``reports.jsonl`` and ``pairs.csv``; return the figures.

        The images of a folder go into an archive of their own, which the phantoms are not in.
        """
        started = time.monotonic()
        training, steps = (UPLOAD, MANIFEST, LABEL, PARSE, TRAIN), []
        if images:
            print("A network is trained on phantoms first.", flush=True)
            phantoms = self.settings.with_(workspace=self.settings.workspace / "training-on-phantoms")
            trained = Demo(phantoms, seed=self.seed, parameters=self.parameters)
            trained.run_steps(training)
            steps = trained.executed()
            beside = {"reports": "reports.jsonl", "pairs": "pairs.csv"}
            given = {name: str(images.resolve() / file) for name, file in beside.items() if (images / file).is_file()}
            given["model_uri"] = trained._records[TRAIN].artifact_uri
            self.data, self.parameters = images, {**self.parameters, SEARCH: given}
            print("Your images are searched.", flush=True)
        self.run_steps((UPLOAD, SEARCH) if images else (*training, SEARCH))
        found = self._records[SEARCH].metrics
        print(*said_of_search(found), sep="\n", flush=True)
        seconds = round(time.monotonic() - started, 1)
        steps += self.executed()
        subtitle = f"{images or 'synthetic phantoms'} · {seconds:.0f} seconds in all"
        path = self.settings.workspace / "report.html"
        write_report(path, title="Search for similar images", subtitle=subtitle, key=found, steps=steps)
        return {**found, "seconds": seconds, "report": str(path)}

    def run_steps(self, steps: Sequence[str]) -> Settings:
        """Run some notebooks, in order, with the services they need; return the settings they ran with."""
        settings = local_services.attach(self.settings)
        try:
            print(f"Archive: {_archive_line(settings)}", flush=True)
            with _workspace_variable(settings.workspace):
                for step in steps:
                    with self._drill(step, settings):
                        self._run_step(step)
        finally:
            local_services.detach(self.settings)
        return settings

    def _run_step(self, step: str) -> None:
        print(f"  {step:<28}", end="", flush=True)
        start = time.monotonic()
        output = self.settings.workspace / f"{step}.ipynb"
        records = notebooks.run(notebooks.folder() / f"{step}.ipynb", output, self._parameters_of(step))
        self._seconds[step] = time.monotonic() - start
        self._records[step] = records[-1]
        print(f"{self._seconds[step]:5.0f} s   {_one_line(step, records[-1])}", flush=True)

    def _parameters_of(self, step: str) -> dict[str, Any]:
        truth_uri = to_uri(self.truth) if self.truth else ""
        records = self._records
        chained: dict[str, dict[str, Any]] = {
            UPLOAD: {"source_folder": str(self.data.resolve()) if self.data else "", "seed": self.seed},
            MANIFEST: {"labels": self._labels()},
            LABEL: {"truth_uri": truth_uri, "simulated_readers": READERS, "seed": self.seed},
            PARSE: {"truth_uri": truth_uri, "seed": self.seed},
            VISUALIZE: {},
            TRAIN: {"seed": self.seed},
            EVALUATE: {},
        }
        inputs = {
            MANIFEST: ("instances_uri", UPLOAD),
            LABEL: ("manifest_uri", MANIFEST),
            PARSE: ("output_manifest_uri", LABEL),
            VISUALIZE: ("training_manifest_uri", PARSE),
            TRAIN: ("training_manifest_uri", PARSE),
            EVALUATE: ("model_uri", TRAIN),
        }
        parameters = {**(PHANTOM_PARAMETERS if self.data is None else REAL_PARAMETERS).get(step, {}), **chained.get(step, {})}
        if step in inputs:
            name, earlier = inputs[step]
            parameters[name] = records[earlier].artifact_uri
        return {**parameters, **self.parameters.get(step, {})}

    def _labels(self) -> list[str]:
        truth = ReferenceStandard.read(to_uri(self.truth) if self.truth else "")
        return list(truth.labels) if truth else list(default_label_set().labels)

    @contextlib.contextmanager
    def _drill(self, step: str, settings: Settings) -> Iterator[None]:
        if step != LABEL or self.drill != "kill-portal":
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._kill_portal, args=(settings, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _kill_portal(self, settings: Settings, over: threading.Event) -> None:
        """Wait until a third of the objects are labeled, then kill the portal; its supervisor starts it again."""
        sagemaker = client(settings)
        while not over.wait(0.1):
            for summary in sagemaker.list_labeling_jobs()["LabelingJobSummaryList"]:
                counters = summary["LabelCounters"]
                state = local_services.State.read(settings.workspace)
                if state and 0 < counters["TotalLabeled"] + counters["Unlabeled"] <= 3 * counters["TotalLabeled"]:
                    os.kill(state.pids["portal"], signal.SIGKILL)
                    self.drilled = {"killed": "portal", "objects_labeled_then": counters["TotalLabeled"]}
                    return

    def _summary(self, settings: Settings, seconds: float) -> dict[str, Any]:
        metrics = {step: dict(record.metrics) for step, record in self._records.items()}
        upload, labeling = metrics[UPLOAD], metrics[LABEL]
        parsed, training = metrics[PARSE], metrics[TRAIN]
        return {
            "archive": settings.archive,
            "data": str(self.data) if self.data else "synthetic phantoms",
            "instances_uploaded": upload["instances_uploaded"],
            "instances_verified": upload["instances_verified"],
            "upload_outcomes": upload["outcomes"],
            "objects_labeled": parsed["objects_labeled"],
            "objects_failed": parsed["objects_failed"],
            "answers_refused": parsed["answers_refused"],
            "answers": labeling["answers"],
            "readers": READERS,
            "agreement": parsed["agreement"],
            "consolidated_accuracy": parsed["consolidated_accuracy"],
            "best_single_reader_accuracy": parsed["best_single_reader_accuracy"],
            "macro_auroc": training["macro_auroc"],
            "macro_auroc_interval": training["macro_auroc_interval"],
            "auroc": training["auroc"],
            "auroc_against": training["auroc_against"],
            "images": training["images"],
            "images_refused": training["images_refused"],
            "images_left_out": training["images_left_out"],
            **({"drill": self.drilled} if self.drill else {}),
            "seconds": {**{step: round(taken, 1) for step, taken in self._seconds.items()}, "total": round(seconds, 1)},
        }

    def _write_report(self, summary: Mapping[str, Any]) -> None:
        names = ("instances_verified", "objects_labeled", "agreement", "consolidated_accuracy", "best_single_reader_accuracy")
        key = {name: summary[name] for name in (*names, "macro_auroc")}
        total = summary["seconds"]["total"]
        subtitle = f"{summary['data']} · archive: {summary['archive']} · {total:.0f} seconds in all"
        title = "From DICOM files to a trained classifier"
        write_report(self.settings.workspace / "report.html", title=title, subtitle=subtitle, key=key, steps=self.executed())

    def executed(self) -> list[tuple[Path, Record, float]]:
        """Return the executed notebooks of this run in order, each with its record and its seconds."""
        folder = self.settings.workspace
        return [(folder / f"{step}.ipynb", record, self._seconds[step]) for step, record in self._records.items()]


def new_run_folder(parent: Path) -> Path:
    """Return a new folder for a run below `parent`, named by the time, and point ``latest`` at it."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = parent / stamp
    number = 1
    while folder.exists():
        number += 1
        folder = parent / f"{stamp}_{number}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)  # it may hold patient data
    link = parent / "latest"
    fresh = parent / f".latest.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)
    return folder


def _archive_line(settings: Settings) -> str:
    kind = {"orthanc": "Orthanc at", "dicomweb": "DICOMweb at"}.get(settings.archive, "folder")
    return f"{kind} {settings.archive_address}"


@contextlib.contextmanager
def _workspace_variable(workspace: Path) -> Iterator[None]:
    """The notebooks' kernels inherit the workspace, and find the services that run there."""
    before = os.environ.get("DICOM_WORKFLOW_WORKSPACE")
    os.environ["DICOM_WORKFLOW_WORKSPACE"] = str(workspace)
    try:
        yield
    finally:
        os.environ.pop("DICOM_WORKFLOW_WORKSPACE")
        if before is not None:
            os.environ["DICOM_WORKFLOW_WORKSPACE"] = before


def _one_line(step: str, record: Record) -> str:
    said = {
        UPLOAD: "{instances_verified:,} images are in the archive, each read back and compared",
        MANIFEST: "{lines:,} images are listed for labeling",
        LABEL: "{answers:,} answers of {readers} simulated readers",
        PARSE: "{objects_labeled:,} images labeled, readers agree with kappa {agreement}, accuracy {consolidated_accuracy}",
        VISUALIZE: "{samples_shown} labeled images shown",
        TRAIN: "macro AUROC {macro_auroc} for patients it was not trained on (1 is perfect, 0.5 is chance)",
        EVALUATE: "mean sensitivity {mean_sensitivity}, specificity {mean_specificity}, {images_predicted} images predicted",
        SEARCH: "{images_in_index:,} images and {reports_in_index:,} reports are in the index",
    }[step]
    return said.format(**{"agreement": None, "consolidated_accuracy": None, **record.metrics, "readers": READERS})


def said_of_search(found: Mapping[str, Any]) -> list[str]:
    """Return sentences that say what the search notebook found.

    Parameters
    ----------
    found : mapping
        The metrics of its record.
    """
    lines = ["Similar images: too few images are known to be alike to measure how good they are."]
    if found["queries"]:
        lines = [
            f"Similar images: for {found['precision_at_1']:.0%} of {found['queries']:,} images, the most similar image of "
            f"another patient shows the same findings; one taken by chance does so for {found['precision_at_1_by_chance']:.0%}."
        ]
    lines += [
        f"Audit: pairs that look like one exposure stored twice: {found['duplicates']:,}; labels that say the opposite of the "
        f"report: {found['labels_at_odds_with_report']:,}; labels that differ from what similar images show: "
        f"{found['labels_at_odds_with_neighbors']:,}."
    ]
    who = f"{found['answers']:,} answers" if found["answers"] else "it waits for its readers"
    lines += [
        f"Next labeling job: {found['selected']:,} images whose reports state the chosen finding, "
        f"{found['suggested']:,} with suggestions; {who}."
    ]
    return lines
