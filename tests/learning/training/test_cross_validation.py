"""Folds: dealt out by patient, alike in their labels; and the ensemble that comes of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.learning import LABELS, write_channel, write_lines

from dicom_workflow.errors import DatasetError
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, bundle_json
from dicom_workflow.learning.training import cross_validation, script_run
from dicom_workflow.learning.training.script_run import METRIC_DEFINITIONS


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("channel")
    write_channel(folder, 60)
    return folder


def test_each_patient_is_in_one_fold_and_the_folds_are_alike(channel):
    samples = [sample for sample in read_channel(channel).samples if sample.split != "test"]
    dealt = cross_validation.assign_folds(samples, 4)
    assert set(dealt) == {sample.patient_id for sample in samples}
    images = Counter(dealt[sample.patient_id] for sample in samples)
    assert max(images.values()) - min(images.values()) <= 2, "two images per patient"
    for label in LABELS:
        positives = Counter(dealt[sample.patient_id] for sample in samples if sample.states[label] == "positive")
        assert max(positives.values()) - min(positives[fold] for fold in range(4)) <= 2
    assert cross_validation.assign_folds(samples, 4) == dealt
    assert cross_validation.assign_folds(list(reversed(samples)), 4) == dealt, "whatever the order of the lines"


def test_a_rare_label_is_spread_before_all_others(channel):
    [first, *_] = read_channel(channel).samples
    samples = [
        replace(first, patient_id=f"P{number}", states={"Edema": edema, "Fracture": "positive"})
        for number in range(30)
        for edema in ["positive" if number < 3 else "negative"]
    ]
    dealt = cross_validation.assign_folds(samples, 3)
    assert sorted(dealt[f"P{number}"] for number in range(3)) == [0, 1, 2]
    assert Counter(dealt.values()) == {0: 10, 1: 10, 2: 10}


def test_every_image_is_judged_in_one_fold_and_the_test_split_in_none(channel):
    whole = read_channel(channel)
    judged: Counter[str] = Counter()
    for fold in range(3):
        found = cross_validation.fold_channel(whole, 3, fold)
        splits = {split: {s.patient_id for s in found.samples if s.split == split} for split in ("train", "validation", "test")}
        assert len(set().union(*splits.values())) == sum(map(len, splits.values())), "no patient in two of them"
        assert all(splits.values())
        judged.update(sample.identifier for sample in found.samples if sample.split == "test")
        assert [s.identifier for s in found.samples] == [s.identifier for s in whole.samples], "one cached array for all folds"
        locked = {sample.identifier for sample in found.samples if sample.split == cross_validation.LOCKED}
        assert locked == {sample.identifier for sample in whole.samples if sample.split == "test"}
    assert judged == Counter(sample.identifier for sample in whole.samples if sample.split != "test")


def test_too_few_folds_or_patients_are_refused(channel):
    whole = read_channel(channel)
    with pytest.raises(DatasetError, match=r"expected from 3 to as many as there are patients \(26\), got 2"):
        cross_validation.fold_channel(whole, 2, 0)
    with pytest.raises(DatasetError, match="got 27"):
        cross_validation.fold_channel(whole, 27, 0)
    with pytest.raises(DatasetError, match="expected a number from 0 to 2, got 3"):
        cross_validation.fold_channel(whole, 3, 3)


def test_three_folds_become_one_bundle_with_both_reports(script, channel, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # an optimizer's first step sets it otherwise, for good
    settings = {"size_px": 32, "epochs": 1, "threads": 1, "workers": 1, "resamples": 20, "precision": "float32", "folds": 3}
    flags = {**settings, "channel": channel, "output_dir": tmp_path / "out", "model_dir": tmp_path / "model", "progress": False}
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    assert script.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "fold 3 of 3" in printed
    assert sum(len(re.findall(metric["Regex"], printed)) for metric in METRIC_DEFINITIONS if "cross" in metric["Name"]) == 3
    assert "\ntest_auroc=" in printed

    ensemble = bundle.load(tmp_path / "model")
    members = [bundle.load(tmp_path / "out" / f"fold-{fold}" / "model") for fold in range(3)]
    images = np.random.default_rng(1).random((2, 1, 32, 32), np.float32)
    expected = np.mean([_logits(member, images) for member in members], axis=0)
    np.testing.assert_allclose(_logits(ensemble, images), expected, atol=1e-5)
    assert predict.predict_images(ensemble, images).shape == (2, 3)

    validated = json.loads((tmp_path / "out" / "cross_validation.json").read_text())
    tested = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (validated["split"], validated["images"], tested["split"], tested["images"]) == ("cross-validation", 52, "test", 8)
    assert set(ensemble.metrics) == {"cross-validation", "test"}
    assert ensemble.network_arguments["members"] == 3
    assert (tmp_path / "model" / "model_card.md").is_file()

    # Each image's probability is that of the network which had not seen its patient, with that network's calibration.
    lines = [
        json.loads(line)
        for fold in range(3)
        for line in (tmp_path / "out" / f"fold-{fold}" / "predictions.jsonl").read_text().splitlines()
    ]
    assert len({line["source"] for line in lines}) == len(lines) == 52

    # A run that goes on finds its folds finished.
    before = bundle_json.read_description(tmp_path / "model")["weights"]
    assert script.main([*arguments, "--resume=true"]) == 0
    assert capsys.readouterr().out.count("epoch=1 ") == 0
    assert bundle_json.read_description(tmp_path / "model")["weights"] == before


def test_without_test_images_predictions_are_called_at_the_thresholds_they_are_judged_by(script, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    lines = [{**line, "split": "train"} for line in write_channel(tmp_path / "channel", 48)]
    for line in lines:  # one patient has the rare label: two of three folds, and two of three calibrations, know none
        line["states"] = {**line["states"], "No Finding": "positive" if line["patient_id"] == "P010" else "negative"}
        line["truth"] = line["states"]
    for name in ("validation", "test"):
        (tmp_path / "channel" / f"{name}.manifest").unlink()
    write_lines(tmp_path / "channel" / "train.manifest", lines)
    settings = {"size_px": 32, "epochs": 1, "threads": 1, "workers": 1, "resamples": 20, "precision": "float32", "folds": 3}
    flags = {**settings, "channel": tmp_path / "channel", "output_dir": tmp_path, "model_dir": tmp_path / "model"}
    assert script.main([f"--{name}={value}" for name, value in {**flags, "progress": False}.items()]) == 0
    report, whole = (json.loads((tmp_path / name).read_text()) for name in ("evaluation.json", "cross_validation.json"))
    assert report["against"] == whole["against"]
    judged = {label: values["threshold"] for label, values in report["against"]["truth"]["labels"].items()}
    assert judged != bundle_json.read_description(tmp_path / "model")["thresholds"], "those were chosen on these very images"
    for line in map(json.loads, (tmp_path / "predictions.jsonl").read_text().splitlines()):
        assert line["positive"] == [label for label, found in line["probabilities"].items() if found >= judged[label]]


def test_two_machines_go_on_with_the_folds_together_though_only_the_first_has_files(script, channel, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    settings = {"size_px": 32, "threads": 1, "workers": 1, "resamples": 0, "precision": "float32", "folds": 3}
    first = tmp_path / "machine-0"
    alone = {**settings, "channel": channel, "output_dir": first, "model_dir": first / "model", "progress": False}
    assert script.main([f"--{name}={value}" for name, value in {**alone, "epochs": 1, "microbatches": 2}.items()]) == 0
    printed, silent = _together(tmp_path, **settings, channel=channel, epochs=2, resume=True)
    assert [printed.count(text) for text in ("epoch=1 ", "epoch=2 ", "ensemble of 3 networks")] == [0, 3, 1]
    assert "fold" not in silent, "only the first process prints"
    assert not (tmp_path / "machine-1").exists(), "and only it writes"


def _together(folder: Path, **settings: object) -> list[str]:
    """Run the script as one training job of two machines, each with folders of its own; return what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SM_")} | {"OMP_NUM_THREADS": "1"}
    processes = []
    for machine in (0, 1):
        mine = folder / f"machine-{machine}"
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={machine}", "--nproc_per_node=1"]
        launcher += ["--master_addr=127.0.0.1", f"--master_port={port}", str(script_run.SCRIPT)]
        flags = {**settings, "output_dir": mine, "model_dir": mine / "model", "cache_dir": "", "progress": False}
        command = [sys.executable, *launcher, *(f"--{name}={value}" for name, value in flags.items())]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, env=environ, text=True, **pipes))
    try:
        told = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told[0][1][-2000:] + told[1][1][-2000:]
    return [printed for printed, _ in told]


def _logits(trained, images):
    from dicom_workflow.learning.model.network import logits_of

    return logits_of(trained.network, images, mean=trained.input_mean, std=trained.input_std).numpy()
