"""How good retrieval is on real radiographs, with and without reports, by networks that have not seen the query's patient.

    python benchmarks/retrieval.py                                    # both; the last line is JSON
    python benchmarks/retrieval.py --weights densenet121.safetensors  # one more baseline, weights from a file
    python benchmarks/retrieval.py --flag size_px=160 --flag epochs=20

Patients are dealt out into five folds. For each fold, `source/monai_dicom.py` trains a network on the other four, from random
weights unless --initial gives a bundle, and a whitening is estimated from their embeddings. The images of the fold are the
queries; all images of other patients may be found, as in an archive whose older images were trained on. The untrained network
has the same size and the same whitening. `pairs` is judged twice: by the cause that its source names, and by the findings in
its reports, as the local engine reads them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import quality_channel

from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.data.images import decode
from dicom_workflow.learning.inference.predict import predict_images
from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.initial_weights import initialize
from dicom_workflow.learning.model.network import build
from dicom_workflow.learning.training import cross_validation
from dicom_workflow.learning.training.script_run import run_training
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.evaluation import Retrieval, Truth, evaluate, own_report_rank, similarities
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.search.whitening import Whitening

FOLDS = 5
CHEST = default_label_set().labels
OURS, OURS_PLAIN, UNTRAINED, UNTRAINED_PLAIN, WEIGHTS = (
    "ours",
    "ours, not whitened",
    "untrained",
    "untrained, not whitened",
    "weights",
)
FLAGS: dict[str, Any] = {"mode": "multi-label", "size_px": 112, "epochs": 15, "batch_size": 8, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Images:
    """The images of a folder with what is known of them, in one order."""

    files: tuple[Path, ...]
    patients: tuple[str, ...]
    views: tuple[str, ...]
    learned: tuple[Mapping[str, str], ...]
    """Label → state that a network learns."""
    judged: Mapping[str, tuple[frozenset[str], ...]]
    """Name of a truth → positive labels of each image."""
    sources: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    """Report id of each image."""


def radiographs(folder: Path) -> Images:
    """Return the 167 radiographs; COVID-19 comes from another collection than the rest."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["label"] for row in rows})
    return Images(
        files=tuple(folder / row["file"] for row in rows),
        patients=tuple(row["patient_id"] for row in rows),
        views=(),
        learned=tuple({name: "positive" if name == row["label"] else "negative" for name in names} for row in rows),
        judged={"label": tuple(frozenset([row["label"]]) for row in rows)},
        sources=tuple("Cohen" if row["label"] == "COVID-19" else "NIH" for row in rows),
    )


def pairs(folder: Path) -> Images:
    """Return the radiographs with reports; a network learns the findings that the reports state, and the cause.

    What a report does not speak of is learned as negative, as the CheXpert labels do it.
    """
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "reports.jsonl").open(encoding="utf-8") as stream:
        reports = {line["report_id"]: line["text"] for line in map(json.loads, stream)}
    states = [dict(read_report(reports[row["report_id"]], report_id=row["report_id"]).label_states()) for row in rows]
    causes = sorted({row["finding"] for row in rows if row["finding"]})
    common = [name for name in causes if len({row["patient_id"] for row in rows if row["finding"] == name}) > 3]
    found = sorted({label for each in states for label in each})
    learned = [
        {label: each.get(label, "negative") for label in found}
        | {f"cause {name}": _state(row["finding"] == name) if row["finding"] else "unknown" for name in common}
        for each, row in zip(states, rows, strict=True)
    ]
    return Images(
        files=tuple(folder / row["file"] for row in rows),
        patients=tuple(row["patient_id"] for row in rows),
        views=tuple(row["view"] for row in rows),
        learned=tuple(learned),
        reports=tuple(row["report_id"] for row in rows),
        judged={
            "cause": tuple(frozenset(filter(None, [row["finding"]])) for row in rows),
            "findings": tuple(frozenset(label for label, state in each.items() if state == "positive") for each in states),
        },
    )


def _state(is_positive: bool) -> str:
    return "positive" if is_positive else "negative"


def measure(
    images: Images, folder: Path, *, flags: Mapping[str, Any], weights: str, seed: int, resamples: int
) -> dict[str, Any]:
    """Return the figures of each truth, and what the training took.

    Parameters
    ----------
    images : Images
    folder : Path
        For channels and training.
    flags : mapping
        Of the training script.
    weights : str
        File of a DenseNet121, for one more baseline; empty for none.
    seed : int
        Of folds, weights, resamples.
    resamples : int
        Of patients.
    """
    began = time.perf_counter()
    lines = [
        {
            **quality_channel.line(path.name, patient, "train", Path("images", path.name), list(states), []),
            "states": dict(states),
        }
        for path, patient, states in zip(images.files, images.patients, images.learned, strict=True)
    ]
    parent = images.files[0].parent
    quality_channel.write(folder / "all", lines, parent)
    fold_of = cross_validation.assign_folds(read_channel(folder / "all").samples, FOLDS, seed=seed)
    held = np.array([fold_of[patient] for patient in images.patients])
    scores: dict[str, NDArray[np.float32]] = {}
    labels = list(images.learned[0])
    probabilities = np.full((len(lines), len(labels)), np.nan)
    for fold in range(FOLDS):
        judged = held == fold
        here = [{**line, "split": "test" if is_held else "train"} for line, is_held in zip(lines, judged, strict=True)]
        quality_channel.write(folder / f"fold-{fold}", here, parent)
        run = run_training(
            folder / f"fold-{fold}", folder / f"fold-{fold}" / "training", seed=seed, threads=1, resamples=0, progress=False,
            cache_dir=str(folder / "image-cache"), **flags,
        )  # fmt: skip
        bundle = bundles.load(run.model_dir)
        decoded = np.stack([decode(path, bundle.size_px, bundle.preprocessing_version) for path in images.files])
        at = [labels.index(label) for label in bundle.labels]
        probabilities[np.ix_(judged, at)] = predict_images(bundle, decoded[judged])
        for name, similar in _scores(bundle, decoded, ~judged, weights, seed).items():
            scores.setdefault(name, np.zeros((len(judged), len(judged)), np.float32))[judged] = similar[judged]
        print(f"{parent.name}: fold {fold + 1} of {FOLDS} after {time.perf_counter() - began:.0f} s", flush=True)
    found: dict[str, Any] = {}
    for name, positive in images.judged.items():
        ids = tuple(path.name for path in images.files)
        truth = Truth(ids, positive, images.patients, images.views, images.sources)
        figures = evaluate(scores, truth, resamples=resamples, seed=seed)
        print(f"\n{parent.name}, {name}: {figures.to_markdown()}\n", flush=True)
        found[name] = _shown(figures)
    own = _own_report(images, labels, probabilities, resamples, seed) if images.reports else {}
    took = round(time.perf_counter() - began, 1)
    return {"images": len(lines), "patients": len(fold_of), "truths": found, **own, "seconds": took}


def _own_report(
    images: Images, labels: Sequence[str], probabilities: NDArray[np.float64], resamples: int, seed: int
) -> dict[str, Any]:
    """Return how well an image finds its own report by the findings alone; labels that no network was taught are left out."""
    taught = [at for at, label in enumerate(labels) if label in CHEST and np.isfinite(probabilities[:, at]).any()]
    known = probabilities[:, taught]
    known = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
    reports = sorted(set(images.reports))
    row_of = {report: images.reports.index(report) for report in reports}
    number = {"positive": 1.0, "negative": 0.0}
    stated = np.array([[number.get(images.learned[row_of[each]][labels[at]], np.nan) for at in taught] for each in reports])
    own = np.array([reports.index(each) for each in images.reports])
    found = own_report_rank(known, stated, own, images.patients, resamples=resamples, seed=seed)
    print(
        f"own report by its findings: above {found['value']:.3f} of the others, {found['interval']}; chance 0.5\n", flush=True
    )
    return {"own_report": {**found, "labels": [labels[at] for at in taught]}}


def _scores(
    bundle: Bundle, decoded: NDArray[np.float16], learned: NDArray[np.bool_], weights: str, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return the similarity of each two images by each network, whitened by the images that it learned from."""
    random = build(bundle.labels, architecture=bundle.architecture, seed=seed)
    ours, untrained = (
        Embedder(each).of_images(decoded) for each in (bundle, replace(bundle, network=random, weights_sha256=""))
    )
    found = {OURS: ours, UNTRAINED: untrained}
    if weights:
        network = build(bundle.labels, architecture=bundle.architecture, seed=seed)
        mean, std = initialize(network, weights).normalization or (bundle.input_mean, bundle.input_std)
        found[WEIGHTS] = Embedder(replace(bundle, network=network, input_mean=mean, input_std=std)).of_images(decoded)
    whitened = {name: similarities(Whitening.fit(vectors[learned]).apply(vectors)) for name, vectors in found.items()}
    return whitened | {OURS_PLAIN: similarities(ours), UNTRAINED_PLAIN: similarities(untrained)}


def _shown(figures: Retrieval) -> dict[str, Any]:
    """Return the figures without the intervals of every measure: those of P@1 say enough."""
    return {
        "queries": figures.queries,
        "is_above_all": figures.is_above_all,
        **{
            name: {measure: each["value"] for measure, each in row.items()} | {"P@1_interval": row["P@1"]["interval"]}
            for name, row in figures.figures.items()
        },
        "above": {name: row["P@1"] for name, row in figures.above.items()},
        "within_source_P@1": {name: row["P@1"] for name, row in figures.within_source.items()},
        "by_label_P@1": figures.by_label[OURS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with radiographs/ and pairs/; from DICOM_WORKFLOW_SAMPLE_DATA otherwise"
    )
    parser.add_argument("--only", choices=("radiographs", "pairs"), help="leave the other one out")
    parser.add_argument("--initial", default="", metavar="BUNDLE", help="weights to start from (default: random ones)")
    parser.add_argument("--weights", default="", metavar="FILE", help="weights of a DenseNet121, for one more baseline")
    parser.add_argument("--folder", type=Path, help="new folder to keep everything in")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--flag", action="append", default=[], metavar="NAME=VALUE", help="for the training script")
    chosen = parser.parse_args()
    data = chosen.data or Path(os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", ""))
    flags = {**FLAGS, **dict(each.split("=", 1) for each in chosen.flag)} | (
        {"init_weights": chosen.initial} if chosen.initial else {}
    )
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        for read in (radiographs, pairs):
            if chosen.only in (None, read.__name__) and (data / read.__name__).is_dir():
                settings = flags | ({"mode": "single-label"} if read is radiographs else {})
                found[read.__name__] = measure(
                    read(data / read.__name__),
                    folder / read.__name__,
                    flags=settings,
                    weights=chosen.weights,
                    seed=chosen.seed,
                    resamples=chosen.resamples,
                )
    if not found:
        parser.error("set DICOM_WORKFLOW_SAMPLE_DATA, or give --data: there are neither radiographs nor pairs")
    print(json.dumps({"benchmark": "retrieval", **found, "settings": {**flags, "init_weights": bool(chosen.initial)}}))


if __name__ == "__main__":
    main()
