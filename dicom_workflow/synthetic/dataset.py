"""A folder of synthetic chest radiographs as valid DICOM, with the reference standard beside it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from dicom_workflow.errors import NotDicomError
from dicom_workflow.formats.answers import Region
from dicom_workflow.processes import output_lines
from dicom_workflow.storage import to_path, to_uri
from dicom_workflow.synthetic import chest as phantom
from dicom_workflow.synthetic.chest.conditions import LABELS
from dicom_workflow.synthetic.chest.plan import TRANSFER_SYNTAXES, Planned, plan
from dicom_workflow.synthetic.chest.radiograph import to_dataset

__all__ = ["TRANSFER_SYNTAXES", "Phantoms", "Planned", "make_dataset", "plan", "to_dataset"]

TRUTH_FILE, REGIONS_FILE = "truth.csv", "regions.json"

_WORTH_A_PROCESS = 24  # images; below that a second process costs more than it saves


@dataclass(frozen=True)
class Phantoms:
    """The files that `make_dataset` wrote, and what is planted in each."""

    labels: tuple[str, ...]
    positive: dict[str, frozenset[str]]
    """SOP Instance UID -> its positive labels."""
    patient_id: dict[str, str]
    regions: dict[str, tuple[Region, ...]]
    paths: tuple[Path, ...]
    """The DICOM files, in the order of the table."""


def make_dataset(
    folder: str | Path,
    *,
    patients: int,
    seed: int,
    size_px: int = 512,
    labels: Sequence[str] = LABELS,
    transfer_syntaxes: Sequence[str] = TRANSFER_SYNTAXES,
    processes: int | None = None,
    progress: bool = True,
) -> Phantoms:
    """Write chest phantoms of `patients` patients as DICOM files, and what is planted in each.

    Parameters
    ----------
    folder : str or Path
        Gets ``images/<patient id>/<number>.dcm``, ``truth.csv`` (sop_instance_uid, patient_id and one column of 1 or 0 per
        label) and ``regions.json`` (SOP Instance UID -> regions in image pixels, corner origin).
    patients : int
        Each has one to three studies of one image; about 1.6 images per patient.
    seed : int
        The same seed and arguments give the same files, UIDs included.
    size_px : int
        Rows and columns.
    labels : sequence of str
        The columns of the truth, a part of the chest label set; only these are planted.
    transfer_syntaxes : sequence of str
        UIDs, used by turns.
    processes : int, optional
        Two for more than a few images unless said otherwise; the files do not depend on it.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        No patient, a label or transfer syntax that cannot be made, or an image too small to show anything.
    ServiceError
        A helper process failed.
    """
    _check(patients, size_px, labels, transfer_syntaxes)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    plans = plan(patients=patients, seed=seed, labels=labels, transfer_syntaxes=transfer_syntaxes)
    workers = processes or (2 if len(plans) >= _WORTH_A_PROCESS else 1)
    share = _Share(str(root), patients, seed, size_px, tuple(labels), tuple(map(str, transfer_syntaxes)), workers)
    drawn = (_write(item, size_px, root) for item in plans) if workers == 1 else _drawn_elsewhere(share)
    regions: dict[str, tuple[Region, ...]] = {}
    for uid, marked in tqdm(drawn, total=len(plans), desc="chest phantoms", unit="image", disable=not progress):
        regions[uid] = marked
    made = Phantoms(
        labels=tuple(labels),
        positive={item.sop_instance_uid: item.positive for item in plans},
        patient_id={item.sop_instance_uid: item.patient_id for item in plans},
        regions={item.sop_instance_uid: regions[item.sop_instance_uid] for item in plans},
        paths=tuple(item.path_under(root) for item in plans),
    )
    _write_truth(root, made)
    return made


def images_from(
    source_folder: str, phantoms_folder: Path, *, patients: int, size_px: int, seed: int
) -> tuple[Path, dict[str, str]]:
    """Return a folder of DICOM files, and the URIs of its reference standard where they are phantoms.

    Parameters
    ----------
    source_folder : str
        Path or file:// URI of a folder; when empty, synthetic chest phantoms are made.
    phantoms_folder : Path
        Gets a folder for each set of phantoms; one that is complete is used again.
    patients, size_px, seed : int
        Of the phantoms: how many patients, rows and columns of an image, and the seed.

    Returns
    -------
    Path, dict of str to str
        For phantoms the URIs are ``truth`` (CSV table) and ``regions`` (JSON); for a given folder there are none.

    Raises
    ------
    NotDicomError
        There is no such folder.
    """
    if source_folder:
        folder = to_path(source_folder).expanduser()
        if not folder.is_dir():
            raise NotDicomError(f"There is no folder {folder}. Give the full path of a folder of DICOM files.")
        return folder.resolve(), {}
    folder = phantoms_folder / f"seed-{seed}-{patients}-patients-{size_px}px"
    if not (folder / REGIONS_FILE).is_file():  # it is written last
        make_dataset(folder, patients=patients, seed=seed, size_px=size_px)
    return folder / "images", {
        "truth": to_uri(folder / TRUTH_FILE),
        "regions": to_uri(folder / REGIONS_FILE),
    }


def _check(patients: int, size_px: int, labels: Sequence[str], transfer_syntaxes: Sequence[str]) -> None:
    if patients < 1:
        raise ValueError(f"expected at least one patient, got {patients}.")
    if size_px < 64:
        raise ValueError(f"expected images of at least 64 pixels, got size_px={size_px}.")
    unknown = sorted(set(labels) - set(LABELS))
    if unknown or not labels:
        raise ValueError(f"expected labels of the chest label set, got {', '.join(map(repr, unknown)) or 'none'}.")
    strange = [uid for uid in transfer_syntaxes if uid not in TRANSFER_SYNTAXES]
    if strange or not transfer_syntaxes:
        raise ValueError(f"expected transfer syntaxes among synthetic.TRANSFER_SYNTAXES, got {strange or 'none'}.")


@dataclass(frozen=True)
class _Share:
    """The part of a data set that one helper process draws: enough to make the same plan again."""

    folder: str
    patients: int
    seed: int
    size_px: int
    labels: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    parts: int
    part: int = 0


def _drawn_elsewhere(share: _Share) -> Iterator[tuple[str, tuple[Region, ...]]]:
    """Draw in `share.parts` processes and yield what each has written, as it comes.

    Not `multiprocessing`: a fork may hang beside threads, and a spawn imports the caller's main module once more.
    """
    code = f"import {__name__} as dataset; dataset.{draw_share.__name__}()"
    shares = [json.dumps(asdict(replace(share, part=part))) for part in range(share.parts)]
    for line in output_lines([[sys.executable, "-c", code, text] for text in shares]):
        uid, marked = json.loads(line)
        yield uid, tuple(Region.parse(region) for region in marked)


def draw_share() -> None:
    """Draw the part of a plan that the JSON in the first argument names; print a line for each image written."""
    share = _Share(**json.loads(sys.argv[1]))
    plans = plan(patients=share.patients, seed=share.seed, labels=share.labels, transfer_syntaxes=share.transfer_syntaxes)
    for item in plans[share.part :: share.parts]:
        uid, marked = _write(item, share.size_px, Path(share.folder))
        print(json.dumps([uid, [region.to_json() for region in marked]]), flush=True)


def _write(item: Planned, size_px: int, root: Path) -> tuple[str, tuple[Region, ...]]:
    chest, regions = phantom.compose_with(item.anatomy, item.positive, size_px, item.anatomy.texture_seed)
    dataset = to_dataset(item, phantom.expose(chest))
    path = item.path_under(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return item.sop_instance_uid, tuple(regions)


def _write_truth(root: Path, made: Phantoms) -> None:
    with (root / TRUTH_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sop_instance_uid", "patient_id", *made.labels])
        for uid, positive in made.positive.items():
            writer.writerow([uid, made.patient_id[uid], *(int(label in positive) for label in made.labels)])
    regions = {uid: [region.to_json() for region in marked] for uid, marked in made.regions.items()}
    (root / REGIONS_FILE).write_text(json.dumps(regions, indent=0) + "\n", encoding="utf-8")
