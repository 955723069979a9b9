"""A bundle goes elsewhere: into an archive as DICOM SR, to other run-times as ONNX, to MONAI, and into ten lines of Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from monai.bundle.properties import MetaProperties
from pydicom.uid import generate_uid
from support.learning import dicom_file, picture, tiny_bundle

from dicom_workflow import cli, provenance
from dicom_workflow.errors import BundleError, DicomError, LearningError
from dicom_workflow.formats.labels import LabelSet, load_label_set
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.inference import onnx_export, predict, structured_report
from dicom_workflow.learning.model import bundle, bundle_archive, bundle_json, network
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.bundle_json import UNSEALED, sealed
from dicom_workflow.learning.model.calibration import Calibration

torch.set_num_threads(1)
LABELS = ("Edema", "Lung Opacity", "No Finding")
ROOT = Path(__file__).resolve().parents[3]


def make_bundle(mode: str = "multi-label") -> Bundle:
    return tiny_bundle(
        LABELS,
        mode=mode,
        calibration=Calibration("platt", {"Edema": 0.5}, {"Edema": 0.1}),
        provenance=provenance.model_provenance(manifests={}, parameters={}, commit="abc"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.save(make_bundle(), tmp_path_factory.mktemp("exchange") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Bundle:
    return bundle.load(folder)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = dicom_file(tmp_path / "image.dcm", picture(["Edema"], np.random.default_rng(0)))
    source = pydicom.dcmread(path)
    source.StudyInstanceUID, source.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    source.PatientID, source.PatientName = "P7", "Public^Jane"
    source.save_as(path)
    return path


# ---- DICOM SR ----------------------------------------------------------------------------------------------------------------


def test_a_report_refers_to_its_image_and_says_that_no_person_looked_at_it(model, image, tmp_path):
    prediction = predict.to_prediction(model, np.array([0.75, 0.125, 0.5]))
    run_uid = generate_uid()
    path = structured_report.write_report(model, image, prediction, tmp_path / "sr", run_uid=run_uid)
    report, source = pydicom.dcmread(path), pydicom.dcmread(image)
    assert path.name == f"{report.SOPInstanceUID}.dcm"
    assert (report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PARTIAL", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in report
    assert report.SeriesDescription == "AI findings, not verified"
    assert (report.PatientID, report.PatientName) == ("P7", "Public^Jane")
    assert (report.StudyInstanceUID, report.SOPClassUID.name) == ("1.2.3", "Comprehensive SR Storage")
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [referred] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert referred.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_highdicom_reads_every_finding_with_its_probability_and_call_again(model, image, tmp_path):
    from highdicom import sr

    prediction = predict.to_prediction(model, np.array([0.75, 0.125, 0.5]))
    path = structured_report.write_report(model, image, prediction, tmp_path, run_uid=generate_uid())
    groups = sr.srread(path).content.get_image_measurement_groups()
    found = []
    for group in groups:
        [measurement] = group.get_measurements()
        [presence] = [item for item in group.get_qualitative_evaluations() if item.name.meaning == "Presence"]
        assert measurement.name.meaning == "Certainty of Finding"
        assert group.source_images[0].referenced_sop_instance_uid == pydicom.dcmread(image).SOPInstanceUID
        finding = group.finding_type
        number, unit = float(measurement.value), measurement.unit.value
        found.append((finding.value, finding.scheme_designator, number, unit, presence.value.meaning))
    lung, nothing = (structured_report.code_of(label, model.label_set).value for label in LABELS[1:])
    assert found == [
        ("19242006", "SCT", 75.0, "%", "Present"),
        (lung, "99DCMWF", 12.5, "%", "Absent"),
        (nothing, "99DCMWF", 50.0, "%", "Absent"),  # called too, but withdrawn beside a finding
    ]


def test_codes_fit_their_element_and_depend_on_the_label_alone():
    labels = ["Edema", "Lung Opacity", "Lung Opacity!", "Enlarged Cardiomediastinum", "胸水", "x" * 200]
    found = [structured_report.code_of(label, load_label_set("chest")) for label in labels]
    assert len({code.value for code in found}) == len(labels)
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in found)
    assert structured_report.code_of("Lung Opacity", LabelSet()).value == "LUNGOPACI-" + found[1].value[-6:]


def test_a_report_on_an_image_without_study_is_refused(model, tmp_path):
    path = dicom_file(tmp_path / "image.dcm", picture([], np.random.default_rng(0)))
    prediction = predict.to_prediction(model, np.array([0.7, 0.2, 0.5]))
    with pytest.raises(DicomError, match="expected a StudyInstanceUID for a report to refer to, got 'None'"):
        structured_report.write_report(model, path, prediction, tmp_path, run_uid=generate_uid())


def test_the_command_line_writes_a_report_for_each_image_and_names_the_others(folder, image, tmp_path, capsys):
    (tmp_path / "broken.dcm").write_bytes(b"broken")
    arguments = ["predict", str(folder), str(image), str(tmp_path / "broken.dcm"), "--sr", str(tmp_path / "sr"), "--json"]
    assert cli.main(arguments) == 1
    result = json.loads(capsys.readouterr().out)
    assert list(result["refused"]) == [str(tmp_path / "broken.dcm")]
    [written] = result["predictions"]
    assert pydicom.dcmread(written["report"]).Modality == "SR"


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (Debian: dicom3tools) is not installed")
def test_a_report_has_no_error_for_dciodvfy(model, image, tmp_path):
    prediction = predict.to_prediction(model, np.array([0.7, 0.2, 0.5]))
    path = structured_report.write_report(model, image, prediction, tmp_path, run_uid=generate_uid())
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


# ---- ONNX --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command line, which needs no image for it."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} of requirements-dev.txt is not installed")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert cli.main(["predict", str(folder), "--onnx", str(path)]) == 0
    return path


def test_an_onnx_file_answers_as_torch_does_for_any_number_of_images(model, onnx_file):
    generator = np.random.default_rng(5)
    for count in (1, 2, 7):
        images = generator.random((count, 1, 40, 40), dtype=np.float32)
        assert onnx_export.largest_difference(model, onnx_file, images) < 1e-4


@pytest.mark.real_data
def test_an_onnx_file_answers_as_torch_does_for_real_images(model, onnx_file, sample_data):
    paths = sorted((sample_data / "radiographs").glob("*.dcm"))[::24]
    images = np.stack([dataset.decode(path, 40) for path in paths])
    assert onnx_export.largest_difference(model, onnx_file, images) < 1e-4


def test_an_onnx_file_says_itself_what_it_expects(model, onnx_file):
    import onnx

    says = {item.key: item.value for item in onnx.load(onnx_file).metadata_props}
    assert json.loads(says["labels"]) == list(LABELS)
    assert json.loads(says["thresholds"]) == dict(model.thresholds)
    assert json.loads(says["preprocessing"])["normalization"] == {"mean": 0.3, "std": 0.2}
    assert json.loads(says["preprocessing"])["version"] == model.preprocessing_version
    assert (says["size_px"], says["mode"], says["bundle"]) == ("40", "multi-label", model.identifier)
    assert sorted(path.name for path in onnx_file.parent.iterdir()) == ["model.onnx"], "weights are inside"


def test_without_the_packages_the_message_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(LearningError, match=r"the package onnx is not installed. Install it with `pip install 'onnx"):
        onnx_export.export(model, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(LearningError, match=r"highdicom is not installed\. Install it with `pip install"):
        structured_report.to_report(model, pydicom.Dataset(), {}, run_uid="1.2")


# ---- MONAI -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["multi-label", "single-label"])
def test_monai_builds_the_network_from_the_bundle_and_gives_our_probabilities(mode, tmp_path):
    folder = bundle.save(make_bundle(mode), tmp_path / "model")
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.read_meta(folder / "configs" / "metadata.json")
    parser["bundle_root"] = str(folder)
    before, trained, after = (parser.get_parsed_content(name) for name in ("preprocessing", "network", "postprocessing"))
    image = np.random.default_rng(0).random((1, 40, 40), dtype=np.float32)
    with torch.no_grad():
        found = after(trained(before(image)[None])[0])
    np.testing.assert_allclose(found, predict.predict_images(bundle.load(folder), image[None])[0], atol=1e-6)
    outputs = parser["_meta_"]["network_data_format"]["outputs"]["pred"]
    assert list(outputs["channel_def"].values()) == list(LABELS)


def test_monais_own_workflow_and_checks_take_the_bundle(folder, model, image, capsys):
    configs = {"config_file": f"{folder}/configs/inference.json", "meta_file": f"{folder}/configs/metadata.json"}
    for name in ("network_def", "network"):
        verify_net_in_out(name, **configs, device="cpu", bundle_root=str(folder))  # shapes and types as the metadata say
    with pytest.raises(ValueError, match="output channel number `3` doesn't match: `4`"):
        wrong = {"_meta_#network_data_format#outputs#pred#num_channels": 4}
        verify_net_in_out("network_def", **configs, device="cpu", **wrong)
    given = {"bundle_root": str(folder), "files": [str(image)]}
    workflow = ConfigWorkflow(**configs, workflow_type="inference", logging_file=False, **given)
    workflow.initialize()
    for name, wanted in MetaProperties.items():
        assert getattr(workflow, name) or not wanted["required"], name
    capsys.readouterr()
    workflow.run()
    assert capsys.readouterr().out.strip() == str(predict.predict(model, [image]))


def test_monai_builds_an_ensemble_and_its_logits_are_ours(tmp_path):
    ensemble = network.Ensemble([network.build(LABELS, seed=seed) for seed in (1, 2)], [(0.3, 0.2), (0.5, 0.25)]).eval()
    both = replace(make_bundle(), network=ensemble, input_mean=0.0, input_std=1.0, network_arguments={"members": 2})
    folder = bundle.save(both, tmp_path / "model")
    parser = ConfigParser(ConfigParser.load_config_file(folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(folder)
    images = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        found = parser.get_parsed_content("network")(images)
        torch.testing.assert_close(found, bundle.load(folder).network(images), rtol=0, atol=0)
        assert not torch.allclose(found, ensemble.members[0](images))


def test_an_archives_own_monai_files_are_not_taken_from_it(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "configs" / "inference.json").write_text('{"run": ["$__import__(\'os\').abort()"]}')
    again = bundle_archive.unpack(bundle_archive.pack(copy, tmp_path / "model.tar.gz"), tmp_path / "again")
    for name in ("inference.json", "metadata.json"):
        assert (again / "configs" / name).read_bytes() == (folder / "configs" / name).read_bytes()
    (copy / "bundle.json").write_bytes(sealed(json.dumps({"schema": bundle_json.BUNDLE_SCHEMA, "sha256": UNSEALED})))
    with pytest.raises(BundleError, match="the description is incomplete: KeyError"):
        bundle_archive.unpack(bundle_archive.pack(copy, tmp_path / "half.tar.gz"), tmp_path / "half")


# ---- Ten lines ---------------------------------------------------------------------------------------------------------------


def test_every_snippet_of_the_documentation_runs_in_at_most_ten_lines(folder, onnx_file, image, tmp_path, monkeypatch):
    shutil.copyfile(onnx_file, tmp_path / "model.onnx")
    shutil.copytree(folder, tmp_path / "model", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "model-bundle.md").read_text(), re.DOTALL)
    [expected] = predict.predict(bundle.load(folder), [image])
    assert len(snippets) == 4
    for snippet in snippets:
        assert len(snippet.splitlines()) <= 10
        names: dict[str, object] = {}
        exec(snippet, names)  # noqa: S102  our own documentation
        for label in LABELS if "probabilities" in snippet else ():
            assert names["probabilities"][label] == pytest.approx(expected[label], abs=1e-4)
    assert sum("probabilities" in snippet for snippet in snippets) == 3
