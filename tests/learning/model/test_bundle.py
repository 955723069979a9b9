"""A bundle says what it is, and one that was changed is not loaded."""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile

import pytest
import safetensors.torch
import torch

import dicom_workflow
from dicom_workflow import provenance
from dicom_workflow.errors import BundleError, LearningError
from dicom_workflow.learning.data.images import preprocessing_version
from dicom_workflow.learning.model import architectures, bundle, bundle_archive, bundle_json, network
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.training import run_state

torch.set_num_threads(1)
LABELS = ("Edema", "No Finding")
GRAY = architectures.DEFAULT_ARCHITECTURE


@pytest.fixture(autouse=True)
def _inductor_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # an optimizer's first step sets it otherwise, for good


@pytest.fixture(scope="module")
def trained() -> Bundle:
    return Bundle(
        network=network.build(LABELS, seed=3).eval(),
        labels=LABELS,
        mode="multi-label",
        size_px=32,
        preprocessing_version=preprocessing_version(),
        input_mean=0.4,
        input_std=0.2,
        thresholds={"Edema": 0.3, "No Finding": 0.6},
        metrics={"validation_auroc": 0.9},
        provenance=provenance.model_provenance(manifests={"train.manifest": "0" * 64}, parameters={"epochs": 2}, commit="abc"),
    )


@pytest.fixture
def folder(trained, tmp_path):
    return bundle.save(trained, tmp_path / "model")


def change(folder, **values):
    """Write other values into a description, with a seal that fits them."""
    path = folder / "bundle.json"
    text = json.dumps({**json.loads(path.read_text()), **values, "sha256": bundle_json.UNSEALED})
    path.write_bytes(bundle_json.sealed(text))


def test_a_bundle_comes_back_as_it_was_saved(trained, folder):
    loaded = bundle.load(folder)
    assert loaded.describe() == trained.describe()
    assert not loaded.network.training
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "configs", "model.safetensors"]


def test_the_description_says_what_made_it(folder):
    says = bundle_json.read_description(folder)
    assert says["schema"] == "dicom-workflow/bundle/3"
    assert says["labels"] == list(LABELS)
    assert says["preprocessing"]["normalization"] == {"mean": 0.4, "std": 0.2}
    assert says["weights"]["size_bytes"] == (folder / "model.safetensors").stat().st_size
    made_by = says["provenance"]
    assert made_by["versions"]["dicom_workflow"] == dicom_workflow.__version__
    assert made_by["versions"]["torch"] == torch.__version__
    assert made_by["commit"] == "abc"
    assert made_by["parameters"] == {"epochs": 2}
    assert made_by["manifests_sha256"] == {"train.manifest": "0" * 64}


def test_weights_with_one_changed_byte_are_refused(folder):
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"expected SHA-256 [0-9a-f]{12}… as in bundle.json, got [0-9a-f]{12}…"):
        bundle.load(folder)
    weights.unlink()
    with pytest.raises(BundleError, match="the weights of the bundle cannot be read: No such file"):
        bundle.load(folder)


def test_weights_of_another_network_are_refused(folder):
    labels = ["A", "B", "C"]
    change(folder, labels=labels, label_set={"labels": labels}, thresholds={"A": 0.5, "B": 0.5, "C": 0.5})
    with pytest.raises(BundleError, match=r"these are not the weights of a densenet121-gray"):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": "dicom-workflow/bundle/9"}, "expected schema 'dicom-workflow/bundle/3', got 'dicom-workflow/bundle/9'"),
        (
            {"schema": "dicom-workflow/bundle/2"},
            "bundle/2', which this version no longer reads. Train it again",
        ),
        ({"mode": "both"}, "expected mode multi-label or single-label"),
        ({"size_px": 10**9}, "size_px from 16 to 8192"),
        ({"size_px": "wide"}, "invalid literal"),
        ({"labels": ["A", "A"]}, "expected each label once"),
        ({"thresholds": {}}, "'thresholds.Edema' is missing"),
        (
            {"network": {"name": "os.system", "arguments": {}}},
            "a network of densenet121-gray, densenet121-rgb, got 'os",
        ),
        ({"preprocessing": {"version": "0", "normalization": {}}}, "expected preprocessing version .* Train again"),
        ({"weights": {}}, "'weights.sha256' is missing"),
        ({"size_px": math.inf}, "cannot convert float infinity"),
        ({"metrics": [1]}, "cannot convert dictionary update sequence"),
        ({"thresholds": dict.fromkeys(LABELS, math.nan)}, "finite mean, std and thresholds, got 0.0, 0.4, 0.2 and .nan"),
        (
            {"network": {"name": GRAY, "arguments": {"dropout": 5}}},
            "a dropout from 0 to 1 and .* got 5.0",
        ),
        ({"network": {"name": GRAY, "arguments": {"members": 2}}}, "got 2 and weights of 1"),
        (
            {"network": {"name": GRAY, "arguments": {"members": 0}}},
            "a whole number from 1 to 32 .* got 0 and",
        ),
        ({"network": {"name": GRAY, "arguments": {"members": 33}}}, "got 33 and"),
        ({"network": {"name": GRAY, "arguments": {"members": True}}}, "got True and"),
        ({"network": {"name": GRAY, "arguments": {"members": "2"}}}, "got 2 and"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(BundleError, match=message):
        bundle.load(folder)


def test_a_folder_without_bundle_or_with_broken_json_is_refused(folder, tmp_path):
    with pytest.raises(BundleError, match=r"no model bundle is there"):
        bundle.load(tmp_path / "nothing")
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        bundle.load(folder)


def test_an_archive_goes_out_and_comes_back(folder, tmp_path):
    archive = bundle_archive.pack(folder, tmp_path / "model.tar.gz")
    again = bundle_archive.unpack(archive, tmp_path / "again")
    assert bundle.load(again).labels == LABELS


def test_an_archive_cannot_write_outside_its_folder(folder, tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("../escaped.txt", "/tmp/escaped.txt"):  # noqa: S108  what an attacker would write
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BundleError, match=r"model\.safetensors and bundle\.json missing at the root of the archive"):
        bundle_archive.unpack(archive, tmp_path / "target" / "deep")
    assert not (tmp_path / "target" / "escaped.txt").exists()
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(BundleError, match=r"not a \.tar\.gz"):
        bundle_archive.unpack(tmp_path / "text.tar.gz", tmp_path / "target")


def test_an_archive_cannot_promise_more_than_memory_holds(folder, tmp_path):
    sparse = tarfile.TarInfo("model.safetensors")
    sparse.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" * 2  # one hole, and after it a hundred gigabytes of nothing
    header[483:495] = (0x80 << 88 | 100 * 2**30).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    with gzip.open(tmp_path / "sparse.tar.gz", "wb") as stream:
        stream.write(bytes(header) + bytes(1024))
    with pytest.raises(BundleError, match=r"expected model\.safetensors of at most 1,073,741,824 bytes, got 107,374,182,400"):
        bundle_archive.unpack(tmp_path / "sparse.tar.gz", tmp_path / "target")


def test_a_checkpoint_comes_back_with_its_optimizer_and_a_pickle_does_not(trained, tmp_path):
    one, two = (network.build(LABELS, seed=seed) for seed in (3, 4))
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1, fused=True) for model in (one, two)]
    one(torch.rand(2, 1, 32, 32)).sum().backward()
    optimizers[0].step()
    state = {"epoch": 3, "loss": 0.1 + 0.2}
    path = run_state.save_checkpoint(tmp_path / "deep" / "last.safetensors", {"a": one, "b": two}, optimizers[0], state=state)
    assert run_state.load_checkpoint(path, {"a": two}, optimizers[1]) == state
    for left, right in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    first, second = (optimizer.state_dict()["state"] for optimizer in optimizers)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[index][name], second[index][name]) for index in first for name in first[index])
    torch.save({"epoch": 3}, path)
    with pytest.raises(LearningError, match=r"not a checkpoint of this network: .* Start with --resume false"):
        run_state.load_checkpoint(path, {"a": two})
    with pytest.raises(LearningError, match="expected a checkpoint of schema"):
        run_state.load_checkpoint(bundle.save(trained, tmp_path / "model") / "model.safetensors", {"a": two})


@pytest.mark.parametrize(
    ("header", "moments"),
    [
        ("[]", {}),
        ('{"schema": "dicom-workflow/checkpoint/1"}', {}),
        ('{"schema": "dicom-workflow/checkpoint/1", "state": 5}', {}),
        ('{"schema": "dicom-workflow/checkpoint/1", "state": {}}', {"optimizer/99999/exp_avg": torch.zeros(1)}),
        ('{"schema": "dicom-workflow/checkpoint/1", "state": {}}', {"optimizer/first": torch.zeros(1)}),
    ],
)
def test_a_checkpoint_that_nobody_saved_is_refused(tmp_path, header, moments):
    model = network.build(LABELS, seed=3)
    tensors = {f"a/{name}": tensor for name, tensor in model.state_dict().items()}
    path = tmp_path / "last.safetensors"
    path.write_bytes(safetensors.torch.save({**tensors, **moments}, metadata={"checkpoint": header}))
    with pytest.raises(LearningError, match=r"(expected|not) a checkpoint of"):
        run_state.load_checkpoint(path, {"a": model}, torch.optim.AdamW(model.parameters()))


def test_git_commit_is_a_hash_or_empty():
    commit = provenance.git_commit().removesuffix("-dirty")
    assert commit == "" or (len(commit) == 40 and set(commit) <= set("0123456789abcdef"))
