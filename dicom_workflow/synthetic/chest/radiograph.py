"""The radiograph of a phantom: the exposed image, and its DICOM instance.

Most instances are Digital X-Ray images for presentation. Pixels that this IOD forbids and archives hold nevertheless (signed
values, a rescale other than identity, no window) become Computed Radiography images, so that every file is valid.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_workflow import __version__
from dicom_workflow.synthetic.chest.plan import Planned
from dicom_workflow.synthetic.chest.thickness import FIELD_CM, Array, Chest, blurred

_LUNG_DENSITY = 0.26  # of soft tissue; the rest of a lung's thickness lets the rays pass
_TISSUE_PER_CM, _BONE_PER_CM, _METAL_PER_CM = 0.19, 0.42, 4.0  # effective attenuation at chest tube voltages


def expose(chest: Chest) -> Array:
    """Return the image: attenuation along each ray, scatter, quantum noise, detector blur, then a characteristic curve.

    Parameters
    ----------
    chest : Chest
        Thickness of tissue, lung, bone and metal along each ray.

    Returns
    -------
    ndarray, shape (size_px, size_px), float32 in [0, 1]
        0 is black (air), 1 white.
    """
    anatomy = chest.anatomy
    rng = np.random.default_rng([anatomy.texture_seed, 2])
    lung = chest.lungs[-1] + chest.lungs[1]
    soft = chest.tissue - lung * ((1.0 - _LUNG_DENSITY) * chest.air) + chest.vessels + chest.marks
    path = _TISSUE_PER_CM * np.maximum(soft, 0.0) + _BONE_PER_CM * chest.bone + _METAL_PER_CM * chest.metal
    primary = np.exp(-path)
    small = Image.fromarray(primary).resize((24, 24), Image.Resampling.BOX)
    scatter = np.asarray(small.resize(primary.shape, Image.Resampling.BICUBIC), np.float32)
    light = blurred(primary, 0.55 * chest.size_px / 512) + 0.05 * np.clip(scatter, 0.0, 0.35) + 0.004
    quanta = 16000.0 * anatomy.exposure / anatomy.noise**2
    grain = blurred(rng.standard_normal(light.shape, np.float32), 0.5)
    light = np.maximum(light + np.sqrt(light / quanta) * grain * 1.6, 1e-4)
    density = -np.log(light)
    # As automatic exposure does: aerated lung becomes dark gray, the densest tissue nearly white, in thin and thick patients.
    inside = density[(lung > 5.0) & (chest.air > 0.8)][::7]
    low = float(np.percentile(inside, 10)) - 0.72 if inside.size > 500 else 0.9
    high = float(np.percentile(density[::4, ::4], 98.0)) + 0.25
    value = np.clip((density - low) / (high - low), 0.0, 1.0)
    return (value * value * (3 - 2 * value) * 0.45 + value * 0.55).astype(np.float32)


def to_dataset(item: Planned, image: NDArray[np.float32]) -> FileDataset:
    """Return the instance of one drawn image.

    Parameters
    ----------
    item : Planned
        Who, when and how it is stored.
    image : ndarray, shape (rows, columns), float32 in [0, 1]
        0 is black.
    """
    meta = FileMetaDataset()
    sop_class = UID(ComputedRadiographyImageStorage if item.computed else DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(item.sop_instance_uid)
    native = UID(ImplicitVRLittleEndian) if item.transfer_syntax == ImplicitVRLittleEndian else UID(ExplicitVRLittleEndian)
    meta.TransferSyntaxUID = native
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = item.sop_instance_uid
    _describe(dataset, item)
    _describe_image(dataset, item)
    _store_pixels(dataset, item, image)
    if item.transfer_syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.compress(item.transfer_syntax, generate_instance_uid=False)
    return dataset


def _describe(dataset: Dataset, item: Planned) -> None:
    """Patient, study, series and equipment."""
    age = item.anatomy.age_years
    day = item.study_date
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^Seed {item.seed} No {item.patient}"
    dataset.PatientID = item.patient_id
    dataset.PatientBirthDate = date(day.year - age, 1, 1).strftime("%Y%m%d")
    dataset.PatientSex = item.sex
    dataset.PatientAge = f"{age:03d}Y"
    dataset.PatientComments = "Synthetic image, no patient."
    dataset.StudyInstanceUID = item.uid("study", item.patient, item.study)
    dataset.SeriesInstanceUID = item.uid("series", item.patient, item.study)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day.strftime("%Y%m%d")
    clock = f"{8 + item.number % 10:02d}{item.number * 7 % 60:02d}00"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = clock
    dataset.StudyID = str(item.study)
    dataset.AccessionNumber = f"P{item.seed}N{item.number}"[:16]
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest phantom"
    dataset.SeriesDescription = "Chest " + ("AP" if item.anatomy.ap_view else "PA")
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Modality = "CR" if item.computed else "DX"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP" if item.anatomy.ap_view else "PA"
    dataset.Manufacturer = "dicom-workflow"
    dataset.ManufacturerModelName = "chest phantom"
    dataset.DeviceSerialNumber = str(item.seed)
    dataset.SoftwareVersions = __version__


def _describe_image(dataset: Dataset, item: Planned) -> None:
    """What the CR or DX image modules ask for."""
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ImageComments = "Synthetic"
    if item.computed:
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        return
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = DicomSequence([_code("51185008", "Thorax")])
    view = ("399348003", "antero-posterior") if item.anatomy.ap_view else ("272479007", "postero-anterior")
    dataset.ViewCodeSequence = DicomSequence([_code(*view)])
    dataset.PositionerType = ""
    dataset.AcquisitionContextSequence = DicomSequence([])
    dataset.DetectorType = "DIRECT"
    dataset.DetectorConfiguration = "AREA"
    dataset.DetectorDescription = "None: computed thickness"
    dataset.PixelIntensityRelationship = "LOG"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _store_pixels(dataset: Dataset, item: Planned, image: NDArray[np.float32]) -> None:
    """Put [0, 1] into a part of the range of stored values, as detectors do; the window says which part."""
    bits, top = item.bits, 2**item.bits - 1
    low, high = (0.0, float(top)) if bits == 8 else (0.06 * top, 0.90 * top)
    shown = 1.0 - image if item.monochrome1 else image
    stored: NDArray[Any] = np.rint(low + shown * (high - low))
    offset = 2 ** (bits - 1) if item.signed else 0
    kind = f"{'i' if item.signed else 'u'}{1 if bits == 8 else 2}"
    spacing = FIELD_CM * 10 / image.shape[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if item.monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    dataset.PixelRepresentation = int(item.signed)
    dataset.ImagerPixelSpacing = [round(spacing, 5)] * 2
    if item.signed:  # centered on 0 in the file, moved back and scaled by the rescale
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = offset * 2, 2, "US"
        low, high = low * 2, high * 2
    elif not item.computed:
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    if not item.computed:
        dataset.PresentationLUTShape = "INVERSE" if item.monochrome1 else "IDENTITY"
        dataset.PixelIntensityRelationshipSign = -1 if item.monochrome1 else 1
    if item.windowed:
        # LINEAR: the first value shown black is c - 0.5 - (w - 1) / 2, the last one white w - 1 further (C.11.2.1.2.1).
        dataset.WindowCenter, dataset.WindowWidth = round((low + high) / 2 + 0.5, 1), round(high - low + 1, 1)
    dataset.PixelData = (stored - offset).astype(f"<{kind}").tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 and item.transfer_syntax != ImplicitVRLittleEndian else "OW"
