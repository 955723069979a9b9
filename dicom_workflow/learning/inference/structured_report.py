"""Predictions as DICOM Structured Reports (TID 1500).

Comprehensive SR after TID 1500: the observer is a device, and each label is a measurement group (TID 1501) on the source image
with its finding as a coded concept, the model's probability in percent, and present or absent at the bundle's threshold. A
label that excludes a present one is absent: a report must not contradict itself. The parameters of the algorithm name the
labels that the model does not predict. The document is unverified, preliminary and partial: no person has looked at it.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from dicom_workflow import __version__
from dicom_workflow.dicom.reading import name_of, read_dataset
from dicom_workflow.errors import DicomError, LearningError, WorkflowError
from dicom_workflow.formats.labels import LabelSet
from dicom_workflow.learning.model.architectures import architecture_of
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.storage import write_atomically

LOCAL_SCHEME = "99DCMWF"
"""Of labels for which SNOMED CT has no concept that means just this; private schemes begin with 99 (PS3.16 8.2)."""

_PRESENCE = Code("705057003", "SCT", "Presence")
_PRESENT, _ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")  # CID 241
_CLASSIFICATION = Code("IMAGECLASS", LOCAL_SCHEME, "Image classification")
_CHEST_XRAY = Code("399208008", "SCT", "Plain chest X-ray")
_TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def code_of(label: str, label_set: LabelSet) -> Code:
    """Return the coded concept of a label: that of the label set, or a local one whose code depends on the label alone."""
    if label in label_set.codes:
        return Code(*label_set.codes[label])
    letters = re.sub(r"[^A-Z0-9]", "", label.upper())[:9]
    return Code(f"{letters}-{hashlib.sha256(label.encode()).hexdigest()[:6]}", LOCAL_SCHEME, label[:64])


def to_report(bundle: Bundle, source: Dataset, prediction: Mapping[str, Any], *, run_uid: str, number: int = 1) -> Dataset:
    """Return the Structured Report of one image's prediction.

    Parameters
    ----------
    bundle : Bundle
        The model that predicted.
    source : Dataset
        The image; patient and study are taken from it. Its pixels are not needed.
    prediction : mapping
        As `predict.to_prediction` returns it.
    run_uid : str
        UID of the run; the reports of a run on one study are one series.
    number : int
        Instance number in that series.

    Raises
    ------
    DicomError
        The image lacks a UID that a report must refer to.
    LearningError
        highdicom is not installed.

    References
    ----------
    PS3.16 TID 1500, TID 1501, TID 1004 (device observer), TID 4019 (algorithm); PS3.3 A.35.3 (Comprehensive SR).
    """
    try:
        from highdicom import sr
    except ImportError:
        raise LearningError(
            "reports: highdicom is not installed. Install it with `pip install 'highdicom>=0.26,<1'`."
        ) from None

    evidence = _evidence(source)
    made_by = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=_device_uid(bundle),
            name="dicom-workflow",
            manufacturer_name="dicom-workflow",
            model_name="Image classifier, artificial intelligence",
            serial_number=bundle.identifier[:64] or "unsaved bundle",
        ),
    )
    image = sr.SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID)
    calibrated = "calibrated" if bundle.is_calibrated else "not calibrated"
    # Said in the document: that a label is missing does not mean that it is absent.
    untaught = [f"not predicted: {label}, {why}" for label, why in bundle.untaught.items()]
    groups = []
    for label, probability in prediction["probabilities"].items():
        algorithm = sr.AlgorithmIdentification(
            name=f"dicom-workflow {architecture_of(bundle.architecture).title}",
            version=__version__,
            parameters=[f"bundle {bundle.identifier[:12]}", f"threshold {bundle.thresholds[label]:.6g}", calibrated, *untaught],
            family=codes.DCM.ArtificialIntelligence,
        )
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier=label),
                finding_type=code_of(label, bundle.label_set),
                algorithm_id=algorithm,
                measurements=[sr.Measurement(codes.DCM.CertaintyOfFinding, round(100 * probability, 1), codes.UCUM.Percent)],
                qualitative_evaluations=[
                    sr.QualitativeEvaluation(_PRESENCE, _PRESENT if label in prediction["consistent"] else _ABSENT)
                ],
                source_images=[image],
            )
        )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=made_by),
        procedure_reported=_procedure(source),
        imaging_measurements=groups,
    )
    return sr.ComprehensiveSR(
        evidence=[evidence],
        content=report,
        series_instance_uid=generate_uid(entropy_srcs=[run_uid, evidence.StudyInstanceUID]),
        series_number=9000,
        sop_instance_uid=generate_uid(entropy_srcs=[run_uid, evidence.SOPInstanceUID, str(number)]),
        instance_number=number,
        manufacturer="dicom-workflow",
        manufacturer_model_name="Image classifier",
        software_versions=__version__,
        device_serial_number=bundle.identifier[:64] or "unsaved bundle",
        series_description="AI findings, not verified",
        is_complete=False,
        is_final=False,
        is_verified=False,
    )


def write_report(
    bundle: Bundle,
    source: str | Path | bytes | Dataset,
    prediction: Mapping[str, Any],
    folder: str | Path,
    *,
    run_uid: str,
    number: int = 1,
) -> Path:
    """Write the Structured Report of one image into a folder, as ``<its SOP Instance UID>.dcm``, and return the path.

    Parameters
    ----------
    bundle, prediction, run_uid, number
        As for `to_report`.
    source : path, bytes or Dataset
        The image.
    folder : str or Path
        Made when it is missing.

    Raises
    ------
    DicomError, LearningError
        As `to_report`; or the image's own patient and study cannot be repeated in a report.
    """
    dataset = source if isinstance(source, Dataset) else read_dataset(source)
    content = io.BytesIO()
    try:
        report = to_report(bundle, dataset, prediction, run_uid=run_uid, number=number)
        report.save_as(content, enforce_file_format=True)
    except WorkflowError:
        raise
    except Exception as error:  # the text of the error may hold a name and is not repeated here
        raise DicomError(
            f"{name_of(dataset)}: no report can be written, because an attribute of patient or study breaks the rules of its "
            "value representation. Correct the image's sex, dates, times or character set."
        ) from error
    path = Path(folder) / f"{report.SOPInstanceUID}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    return path


def _evidence(source: Dataset) -> Dataset:
    """Return the attributes that a report copies from its image: patient, study, references. Type 2 may be empty."""
    evidence = Dataset()
    for keyword in _UIDS:
        value = source.get(keyword)
        if not value or not UID(str(value)).is_valid:
            raise DicomError(f"{name_of(source)}: expected a {keyword} for a report to refer to, got {str(value)[:64]!r}.")
        setattr(evidence, keyword, str(value))
    for keyword in _TYPE_2:
        try:
            setattr(evidence, keyword, source.get(keyword))
        except Exception as error:  # whatever pydicom's parsers raise; the value may be a name and is not repeated here
            raise DicomError(f"{name_of(source)}: {keyword}, which a report repeats, cannot be read. Correct it.") from error
    evidence.ReferringPhysicianName = source.get("ReferringPhysicianName")
    if source.get("SpecificCharacterSet"):
        evidence.SpecificCharacterSet = source.SpecificCharacterSet
    evidence.Modality = source.get("Modality")
    return evidence


def _procedure(source: Dataset) -> Code:
    """Return the reported procedure: a plain chest X-ray where the image's modality and body part say so."""
    is_chest_xray = source.get("Modality") in ("CR", "DX") and str(source.get("BodyPartExamined") or "CHEST") == "CHEST"
    return _CHEST_XRAY if is_chest_xray else _CLASSIFICATION


def _device_uid(bundle: Bundle) -> str:
    """Return the UID of the observing device: the same bundle has the same UID everywhere."""
    return str(generate_uid(entropy_srcs=["dicom-workflow", bundle.identifier]))
