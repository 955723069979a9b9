"""Training, prediction, the handlers, the server and the maps of what a network looked at give it the same tensor, bit by bit.

Search is to use what they all use: `learning.dataset.decode`, or `load_images` for many files.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from support.learning import LABELS, entry, write_lines
from support.pixels import compressed, dataset_of, file_bytes, lut
from torch import Tensor, nn

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.learning.data import decoder_pool
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.inference import endpoint_handlers, predict, saliency, server
from dicom_workflow.learning.model import architectures, network
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.training.batches import Augmentation, BatchLoader

torch.set_num_threads(1)
SIZE_PX = 40
MEAN, STD = 0.3, 0.2
VERSIONS = dataset.preprocessing_versions()


class Witness(nn.Module):
    """A network that keeps what it is given and answers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.class_layers = nn.ModuleDict({"relu": nn.Conv2d(1, len(LABELS), 8, stride=8)})
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return self.class_layers["relu"](images).mean(dim=(2, 3))


def radiograph(shape: tuple[int, int], bits: int, *, signed: bool = False) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    made = 0.5 + 0.4 * np.sin(7 * x) * np.cos(5 * y) + np.random.default_rng(bits).normal(0, 0.02, shape)
    return np.clip(made * 2**bits, 0, 2**bits - 1) - 2 ** (bits - 1) * signed


def built(folder: Path) -> list[Path]:
    """A dozen files of many kinds."""
    table = lut(0, 12, [round(4095 * (value / 4095) ** 0.7) for value in range(4096)])
    window = {"WindowCenter": 2000, "WindowWidth": 1700}
    made = [
        dataset_of(radiograph((97, 64), 8), bits=8),
        dataset_of(radiograph((61, 90), 12), photometric="MONOCHROME1"),
        dataset_of(radiograph((120, 80), 16), bits=16, PixelPaddingValue=65535),
        dataset_of(radiograph((80, 80), 12, signed=True), signed=True, RescaleIntercept=-1024, RescaleSlope=2),
        dataset_of(radiograph((64, 50), 14), bits=14, PresentationLUTShape="INVERSE", VOILUTFunction="SIGMOID", **window),
        compressed(dataset_of(radiograph((99, 77), 12), VOILUTSequence=table), RLELossless),
        compressed(dataset_of(radiograph((99, 77), 10), bits=10, photometric="MONOCHROME1"), JPEGLSLossless),
        compressed(dataset_of(radiograph((500, 401), 12), **window), JPEG2000Lossless),
        compressed(dataset_of(radiograph((333, 500), 16), bits=16, photometric="MONOCHROME1"), JPEG2000Lossless),
        compressed(dataset_of(radiograph((60, 60), 8), bits=8), JPEG2000Lossless),
    ]
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        made.append(dataset_of(radiograph((70, 90), 12), **window))
        made[-1].file_meta.TransferSyntaxUID = syntax
    paths = []
    for number, each in enumerate(made):
        paths.append(folder / f"{number:02}.dcm")
        paths[-1].write_bytes(file_bytes(each))
    return paths


def channel_of(paths: list[Path], folder: Path) -> Path:
    """A training channel whose samples are these files."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, path in enumerate(paths):
        lines.append(entry(number, ("Edema",) if number % 2 else ("No Finding",), "train", image=f"images/{path.name}"))
        (folder / "images" / path.name).write_bytes(path.read_bytes())
    write_lines(folder / "train.manifest", lines)
    write_lines(folder / "validation.manifest", [])
    return folder


def normalized(images: np.ndarray) -> np.ndarray:
    return network.normalize(torch.from_numpy(images), MEAN, STD).numpy()


def bits(array: Any) -> bytes:
    array = np.ascontiguousarray(array)
    return str((array.shape, array.dtype)).encode() + array.tobytes()


@pytest.fixture(params=["built", pytest.param("real", marks=pytest.mark.real_data)])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    if request.param == "built":
        return built(tmp_path)
    data: Path = request.getfixturevalue("sample_data")
    chosen = sorted((data / "radiographs").rglob("*.dcm"))[::56] + sorted((data / "rsna").rglob("*.dcm"))
    names = ("RG3_J2KR", "JLSL_16_15_1_1F", "mlut_18", "vlut_04", "JPEG-LL")
    return chosen + [data / "dicom_variety" / f"{name}.dcm" for name in names]


@pytest.fixture(params=VERSIONS)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    torch.manual_seed(0)
    return Bundle(
        network=Witness().eval(),
        labels=LABELS,
        mode="multi-label",
        size_px=SIZE_PX,
        preprocessing_version=request.param,
        input_mean=MEAN,
        input_std=STD,
        thresholds=dict.fromkeys(LABELS, 0.5),
    )


def seen_by(bundle: Bundle, work: Callable[[], Any]) -> np.ndarray:
    """What reaches the network while something is done, shape (N, 1, S, S)."""
    witness = bundle.network
    assert isinstance(witness, Witness)
    witness.seen.clear()
    work()
    return torch.cat(witness.seen).numpy()


def posted(app: server.App, body: bytes, content_type: str) -> dict[str, Any]:
    """The answer of the ASGI application to one request, without a network."""
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": [(b"content-type", content_type.encode())]}
    asyncio.run(app(scope, receive, send))
    assert answers[0]["status"] == 200, answers[1]["body"]
    found: dict[str, Any] = json.loads(answers[1]["body"])
    return found


def test_there_are_a_dozen_files_and_some_take_the_short_way(tmp_path: Path) -> None:
    paths = built(tmp_path)
    assert len(paths) == 12
    whole, reduced = ([dataset.decode(path, SIZE_PX, version) for path in paths] for version in VERSIONS)
    assert [n for n, pair in enumerate(zip(whole, reduced, strict=True)) if not np.array_equal(*pair)] == [7, 8]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_everyone_sees_the_same_image(files: list[Path], bundle: Bundle, tmp_path: Path) -> None:
    version = bundle.preprocessing_version
    images = np.stack([dataset.decode(path, SIZE_PX, version) for path in files])
    assert images.dtype == np.float16
    expected, network_sees = bits(images), bits(normalized(images))

    # the one path, and bytes or a data set instead of a file
    assert bits(np.stack([pixels.to_model_input(read_dataset(path), size_px=SIZE_PX, version=version) for path in files])
                .astype(np.float16)) == expected  # fmt: skip
    assert bits(np.stack([dataset.decode(path.read_bytes(), SIZE_PX, version) for path in files])) == expected
    assert bits(np.stack([dataset.decode(read_dataset(path), SIZE_PX, version) for path in files])) == expected

    # training: in memory, into a cache, and out of it
    channel = channel_of(files, tmp_path / "channel")
    samples = read_channel(channel).samples
    options: dict[str, Any] = {"size_px": SIZE_PX, "progress": False}
    cached: dict[str, Any] = {"cache_dir": tmp_path / "cache"}
    for workers in (1, 3):
        assert bits(dataset.load_images(samples, version=version, workers=workers, **options).images) == expected
    for decoded in (len(files), 0):
        loaded = dataset.load_images(samples, version=version, **options, **cached)
        assert (loaded.decoded, loaded.note, bits(loaded.images)) == (decoded, "", expected)
    data = dataset.read_training_set(read_channel(channel), reduced=version == pixels.REDUCED_VERSION, **options, **cached)
    assert bits(data.images) == expected

    # what reaches the network: judging while it trains, predicting, serving, explaining
    feed = BatchLoader(data.images, device=torch.device("cpu"), augment=Augmentation(0, 0, 0, 0), mean=MEAN, std=STD)
    normal: dict[str, Any] = {"mean": MEAN, "std": STD}
    contents = [path.read_bytes() for path in files]
    app = server.App(bundle)
    ways: dict[str, Callable[[], Any]] = {
        "judging": lambda: network.logits_of(bundle.network, feed.images, batch_size=5, **normal),
        "predict": lambda: predict.predict(bundle, files, batch_size=4),
        "predict_fn": lambda: endpoint_handlers.predict_fn(contents, bundle),
        "predict_channel": lambda: predict.predict_channel(
            bundle, channel, tmp_path / "predictions.jsonl", splits=("train",), progress=False
        ),
        "predict_channel from the cache": lambda: predict.predict_channel(
            bundle, channel, tmp_path / "predictions.jsonl", splits=("train",), progress=False, **cached
        ),
        "a request for each file": lambda: [posted(app, content, "application/dicom") for content in contents],
        "a request for all": lambda: posted(
            app,
            json.dumps({"instances": [base64.b64encode(content).decode() for content in contents]}).encode(),
            "application/json",
        ),
    }
    for name, work in ways.items():
        assert bits(seen_by(bundle, work)) == network_sees, name
    layer = architectures.Layer("class_layers.relu", step_px=8, first_px=3.5)
    explained = seen_by(bundle, lambda: saliency.grad_cam(bundle, files[0], LABELS[0], layer=layer))
    assert bits(explained[:1]) == bits(normalized(images[:1]))


@pytest.mark.parametrize("version", VERSIONS)
def test_processes_that_decode_see_what_threads_see(tmp_path: Path, version: str) -> None:
    files = built(tmp_path)
    row = SIZE_PX * SIZE_PX * 2
    found = []
    for name, processes in (("threads", False), ("processes", True)):
        target = tmp_path / name
        target.write_bytes(bytes(len(files) * row))
        jobs = [decoder_pool.Job(path, b"", target, number * row) for number, path in enumerate(files)]
        outcomes = decoder_pool.decode_all(jobs, SIZE_PX, version, dataset.decode, workers=2, processes=processes)
        assert not any(outcome.problem for outcome in outcomes)
        found.append(target.read_bytes())
    assert found[0] == found[1] == b"".join(dataset.decode(path, SIZE_PX, version).tobytes() for path in files)


def test_a_training_batch_without_changes_is_the_image_too(tmp_path: Path) -> None:
    images = np.stack([dataset.decode(path, SIZE_PX) for path in built(tmp_path)])
    feed = BatchLoader(images, device=torch.device("cpu"), augment=Augmentation(0, 0, 0, 0), mean=MEAN, std=STD)
    rows = np.array([3, 0, 11, 7])
    (batch,) = feed.batches([(rows, torch.Generator().manual_seed(0))])
    np.testing.assert_allclose(batch.numpy(), normalized(images[rows]), atol=1e-5)
