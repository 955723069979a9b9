"""Case 14, `predict`: each file of a folder, and each line of a manifest, has an outcome of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.archive import dataset, dicom, to_bytes
from support.learning import tiny_bundle

from dicom_workflow import cli
from dicom_workflow.learning.model import bundle
from dicom_workflow.storage import to_uri


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "bundle"
    bundle.save(tiny_bundle(["Edema", "Fracture"], mode="multi-label"), folder)
    return folder


def predict(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = cli.main(["predict", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def other(number: int, **changes: Any) -> bytes:
    made = dataset(number)
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return to_bytes(made)


RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "PixelData": bytes(768)}
DEEP = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(1024)}
OTHERS = {
    "color": (other(10, **RGB), "RGB"),
    "palette": (other(11, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
    "frames": (other(12, NumberOfFrames=2, PixelData=bytes(512)), "expected one frame, got 2"),
    "32 bits": (other(13, **DEEP), "expected 1 to 16 bits stored, got 32"),
    "text": (b"no image", "not a DICOM file"),
}


def test_every_file_has_an_outcome(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in {"first": dicom(0), **{name: data for name, (data, _) in OTHERS.items()}, "last": dicom(1)}.items():
        (tmp_path / name).write_bytes(data)
    files = [tmp_path / name for name in ("first", *OTHERS, "last")]
    code, result = predict(capsys, model, *files, "/dev/zero", tmp_path / "none")
    assert code == 1
    assert [found["file"] for found in result["predictions"]] == [str(files[0]), str(files[-1])]
    assert len(result["refused"]) == len(OTHERS) + 2
    for name, (_, reason) in OTHERS.items():
        assert reason in result["refused"][str(tmp_path / name)]


def test_every_line_of_a_manifest_has_an_outcome(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = []
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_bytes(dicom(number))
        good.append(json.dumps({"source-ref": to_uri(tmp_path / f"{number}.dcm")}))
    gone = to_uri(tmp_path / "gone.dcm")
    path = tmp_path / "input.manifest"
    path.write_text(
        "\n".join([good[0], json.dumps({"source-ref": gone}), '{"source": "zz"}', "broken", good[1], '{"labels": []}'])
    )
    code, result = predict(capsys, model, "--manifest", path)
    assert code == 1
    assert len(result["predictions"]) == 2
    assert list(result["refused"]) == [gone, "line 3", "line 4", "line 6"]
    assert "expected an Orthanc instance id" in result["refused"]["line 3"]
    assert "expected one whole JSON object" in result["refused"]["line 4"]
