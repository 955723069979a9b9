"""Nothing in a file of weights runs: every crafted pickle is refused at every door a model comes in by."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import random
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.learning import LABELS, tiny_bundle
from support.pickles import OPTIONAL, containers, greedy_pickles, legacy, live_pickles, zipped

from dicom_workflow.errors import BundleError, LearningError, WeightsError
from dicom_workflow.learning.model import bundle, bundle_archive, initial_weights, network
from dicom_workflow.learning.model.bundle_json import write_description
from dicom_workflow.learning.training import run_state

torch.set_num_threads(1)
PLACE = Path("/nowhere/canary")  # only the names are taken from here

OPEN_ALL = """
import copyreg, json, os, pickle, sys, warnings
warnings.simplefilter("ignore")
for code in (240,):
    copyreg.add_extension("os", "system", code)
ran = []
for name, path, canary in json.load(open(sys.argv[1])):
    try:
        with open(path, "rb") as file:
            pickle.load(file)
    except BaseException as error:
        print(name, repr(error)[:300], file=sys.stderr)
    if os.path.lexists(canary):
        ran.append(name)
json.dump(ran, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return network.build(LABELS, seed=1)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return bundle.save(tiny_bundle(LABELS, mode="multi-label"), tmp_path_factory.mktemp("sound") / "model")


@pytest.fixture(scope="module", autouse=True)
def _memory():
    """Memory of the whole process, in KB, at its highest: all refusals together may not need more than this."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def live_names() -> list[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return list(live_pickles(Path(folder) / "canary"))


LIVE = live_names()
GREEDY = list(greedy_pickles())


def forms(data: bytes) -> dict[str, bytes]:
    """The files in which PyTorch would look for a pickle."""
    return {"bare": data, "zip": zipped(data), "legacy": legacy(data)}


def refused_as_initial_weights(net, folder: Path, data: bytes, *, pinned: bool) -> None:
    for form, content in forms(data).items():
        for ending in ("pt", "safetensors"):
            path = folder / f"{form}.{ending}"
            path.write_bytes(content)
            with pytest.raises(WeightsError, match=r"only opened with its SHA-256|expected a safetensors file|damaged"):
                initial_weights.initialize(net, str(path))
            if pinned:
                with pytest.raises(WeightsError, match=r"expected|damaged"):
                    initial_weights.initialize(net, str(path), sha256=hashlib.sha256(content).hexdigest())


def refused_as_bundle(sound: Path, folder: Path, data: bytes) -> None:
    description = json.loads((sound / "bundle.json").read_text())
    description["weights"]["sha256"] = hashlib.sha256(data).hexdigest()  # whoever made the pickle made the hash, too
    model = folder / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(data)
    write_description(description, model)
    with pytest.raises(BundleError, match=r"these are not the weights of a densenet121-gray"):
        bundle.load(bundle_archive.unpack(bundle_archive.pack(model, folder / "inside.tar.gz"), folder / "unpacked"))
    (model / "bundle.json").write_bytes(data)
    with pytest.raises(BundleError, match="not JSON"):
        bundle.load(model)


def refused_as_archive(folder: Path, data: bytes) -> None:
    (folder / "bare.tar.gz").write_bytes(data)
    (folder / "packed.tar.gz").write_bytes(gzip.compress(data, 1))
    with tarfile.open(folder / "other.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("model.pth")  # the name that PyTorch's containers look for
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    for name in ("bare", "packed", "other"):
        with pytest.raises(BundleError, match=r"not a \.tar\.gz|missing at the root|expected model\."):
            bundle_archive.unpack(folder / f"{name}.tar.gz", folder / "out")


def refused_as_checkpoint(net, folder: Path, data: bytes) -> None:
    path = folder / "last.safetensors"
    path.write_bytes(data)
    with pytest.raises(LearningError, match="not a checkpoint of this network"):
        run_state.load_checkpoint(path, {"network": net})


def refused_everywhere(net, sound: Path, folder: Path, data: bytes, *, pinned: bool = True) -> None:
    """Refuse it at every door; `pinned` also where the caller vouches for the file by its SHA-256."""
    refused_as_initial_weights(net, folder, data, pinned=pinned)
    refused_as_bundle(sound, folder, data)
    refused_as_archive(folder, data)
    refused_as_checkpoint(net, folder, data)


def test_the_pickles_are_alive(tmp_path):
    """Python's own pickle runs each of them, in a process of its own: what is refused below is no straw man."""
    listed = []
    for number, name in enumerate(LIVE):
        folder = tmp_path / str(number)
        folder.mkdir()
        canary = folder / "canary"
        (folder / "it").write_bytes(live_pickles(canary)[name])
        if name not in OPTIONAL or importlib.util.find_spec(OPTIONAL[name]):
            listed.append((name, str(folder / "it"), str(canary)))
    (tmp_path / "list.json").write_text(json.dumps(listed))
    command = [sys.executable, "-c", OPEN_ALL, str(tmp_path / "list.json"), str(tmp_path / "ran.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, stdin=subprocess.DEVNULL)
    ran = json.loads((tmp_path / "ran.json").read_text())
    assert ran == [name for name, *_ in listed], done.stderr
    assert len(ran) >= 38


@pytest.mark.parametrize("name", LIVE)
def test_a_pickle_that_runs_something_is_refused_everywhere(name, net, sound, tmp_path):
    canary = tmp_path / "canary"
    refused_everywhere(net, sound, tmp_path, live_pickles(canary)[name])
    assert not canary.exists()


@pytest.mark.parametrize("name", GREEDY)
def test_a_pickle_that_asks_for_too_much_is_not_opened_unless_its_hash_is_given(name, net, sound, tmp_path):
    refused_everywhere(net, sound, tmp_path, greedy_pickles()[name], pinned=False)


@pytest.mark.parametrize("name", list(containers(PLACE)))
def test_a_crafted_file_is_refused_everywhere(name, net, sound, tmp_path):
    canary = tmp_path / "canary"
    refused_everywhere(net, sound, tmp_path, containers(canary)[name])
    assert not canary.exists()


def test_damaged_files_are_refused_and_nothing_else_happens(net, tmp_path):
    """A thousand damaged files at the doors that open them: an error of ours each time, whatever the readers made of them."""
    generator = random.Random(5)
    numbers = {"features.conv0.weight": torch.zeros(2, 1, 3, 3), "b": torch.arange(4)}
    torch.save(numbers, tmp_path / "zip.pt")
    torch.save(numbers, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(numbers, tmp_path / "table.safetensors", metadata={"checkpoint": "{}"})
    (tmp_path / "archive").mkdir()
    with tarfile.open(tmp_path / "archive" / "sound.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("model.safetensors", b"12345"), ("bundle.json", b"{}"), ("long" * 60, b"")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    refused = 0
    for original in [*sorted(tmp_path.glob("*.*")), tmp_path / "archive" / "sound.tar.gz"]:
        sound = original.read_bytes()
        path = tmp_path / f"changed-{original.name}"
        for _ in range(250):
            data = bytearray(sound)
            for _ in range(generator.choice((1, 1, 2, 8))):
                data[generator.randrange(len(data))] = generator.choice((0, 0x2E, 0x52, 0xFF, generator.randrange(256)))
            path.write_bytes(data[: generator.choice((len(data), generator.randrange(len(data))))])
            with pytest.raises(LearningError, match=r"expected|damaged|not a|missing|not all finite|negative"):
                if original.name.endswith(".tar.gz"):
                    bundle_archive.unpack(path, tmp_path / "out")
                else:
                    initial_weights.initialize(net, str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            refused += 1
            if original.suffix == ".safetensors":
                with pytest.raises(LearningError, match=r"(expected|not) a checkpoint"):
                    run_state.load_checkpoint(path, {"network": net})
    assert refused == 1000


def test_an_archive_whose_headers_unpack_to_gigabytes_is_refused(tmp_path):
    with tarfile.open(tmp_path / "long.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("model.safetensors")
        member.pax_headers = {"comment": "x" * 2**21}
        tar.addfile(member)
    (tmp_path / "long.tar.gz").write_bytes(gzip.compress((tmp_path / "long.tar").read_bytes(), 1))
    with pytest.raises(BundleError, match=r"expected headers of at most 1,048,576 bytes, got 2097664"):
        bundle_archive.unpack(tmp_path / "long.tar.gz", tmp_path / "out")
