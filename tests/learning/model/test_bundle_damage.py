"""A bundle with a changed, a missing or an added byte is refused; and what MONAI alone reads changes no prediction of ours."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.learning import LABELS, tiny_bundle

from dicom_workflow.errors import BundleError
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, bundle_archive, bundle_json, network
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.calibration import Calibration

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made() -> Bundle:
    return tiny_bundle(LABELS, mode="multi-label", calibration=Calibration("platt", {"Edema": 0.5}, {"Edema": 0.1}))


@pytest.fixture(scope="module")
def sound(made: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.save(made, tmp_path_factory.mktemp("damage") / "model")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


def test_every_flipped_bit_of_the_description_is_noticed(sound):
    """Every bit of every byte, so also spaces, digits of thresholds, and the seal itself."""
    data = (sound / "bundle.json").read_bytes()
    assert bundle_json.parse_description(data, "here")["labels"] == list(LABELS)
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(BundleError):
                bundle_json.parse_description(bytes(changed), "here")


def test_a_description_that_is_shorter_longer_or_written_anew_is_refused(sound):
    data = (sound / "bundle.json").read_bytes()
    others = [data[:length] for length in range(0, len(data), 7)] + [data + b"\n", b" " + data, data + data]
    others.append(json.dumps(json.loads(data)).encode())  # the same values, but who wrote them?
    for other in others:
        with pytest.raises(BundleError):
            bundle_json.parse_description(other, "here")


def test_a_description_without_its_seal_or_of_an_earlier_schema_is_refused(sound):
    data = (sound / "bundle.json").read_bytes()
    for number in (b"1", b"2"):
        with pytest.raises(BundleError, match=r"which this version no longer reads\. Train it again"):
            bundle_json.parse_description(data.replace(b"dicom-workflow/bundle/3", b"dicom-workflow/bundle/" + number), "here")
    unsealed = {key: value for key, value in json.loads(data).items() if key != "sha256"}
    with pytest.raises(BundleError, match="the file was changed"):
        bundle_json.parse_description(json.dumps(unsealed).encode(), "here")


def test_a_changed_byte_of_the_weights_is_refused_wherever_it_is(folder):
    path = folder / "model.safetensors"
    size = path.stat().st_size
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    places = [*range(8), *range(8, header, header // 12), header - 1, header, *range(header, size, size // 20), size - 1]
    with path.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            [byte] = stream.read(1)
            for wrong in (byte ^ 1, byte):
                stream.seek(place)
                stream.write(bytes([wrong]))
                stream.flush()
                if wrong != byte:
                    with pytest.raises(BundleError, match="the weights were changed or cut short"):
                        bundle.load(folder)
    assert bundle.load(folder).labels == LABELS


def test_weights_that_were_cut_or_prolonged_are_refused(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match="the weights were changed or cut short"):
            bundle.load(folder)
    path.write_bytes(data + b"\0")
    with pytest.raises(BundleError, match="the weights were changed or cut short"):
        bundle.load(folder)


def test_monais_files_are_not_read_so_their_damage_changes_nothing_here(sound, folder):
    image = np.random.default_rng(0).random((1, 1, 40, 40), dtype=np.float32)
    expected, name = predict.predict_images(bundle.load(sound), image), bundle.load(sound).identifier
    for path in sorted((folder / "configs").iterdir()):
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1 : len(data) // 2])
    found = bundle.load(folder)
    np.testing.assert_array_equal(predict.predict_images(found, image), expected)
    assert found.identifier == name
    shutil.rmtree(folder / "configs")
    assert bundle.load(folder).identifier == name


def test_a_threshold_is_changed_by_loading_and_saving_and_gives_another_identifier(sound, tmp_path):
    loaded = bundle.load(sound)
    other = bundle.load(bundle.save(replace(loaded, thresholds={**loaded.thresholds, "Edema": 0.25}), tmp_path / "other"))
    assert other.thresholds["Edema"] == 0.25
    assert other.identifier != loaded.identifier


def test_an_ensemble_comes_back_with_its_members(tmp_path):
    one, two = network.build(LABELS, seed=1), network.build(LABELS, seed=2)
    ensemble = network.Ensemble([one, two], [(0.3, 0.2), (0.5, 0.25)]).eval()
    several = replace(tiny_bundle(LABELS, mode="multi-label"), network=ensemble, input_mean=0.0, input_std=1.0)
    with pytest.raises(BundleError, match=r"network_arguments: expected 'members' .* got 1 and weights of 2"):
        bundle.save(several, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    folder = bundle.save(replace(several, network_arguments={"members": 2}), tmp_path / "model")
    loaded = bundle.load(folder)
    images = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(images), ensemble(images), rtol=0, atol=0)
    assert (
        bundle.load(bundle_archive.unpack(bundle_archive.pack(folder, tmp_path / "m.tar.gz"), tmp_path / "again")).labels
        == LABELS
    )
