"""Where a run's images come from: a folder that is given, or phantoms that are made."""

from __future__ import annotations

from pathlib import Path

from dicom_workflow.errors import NotDicomError
from dicom_workflow.storage import to_path, to_uri
from dicom_workflow.synthetic import dataset


def images_from(
    source_folder: str, phantoms_folder: Path, *, patients: int, size_px: int, seed: int
) -> tuple[Path, dict[str, str]]:
    """Return a folder of DICOM files, and the URIs of what is known of them.

    Parameters
    ----------
    source_folder : str
        Path or file:// URI of a folder; when empty, synthetic chest phantoms are made in `phantoms_folder`, unless they are
        there already.
    patients, size_px, seed : int
        What phantoms are made: patients, rows and columns, and the seed.

    Returns
    -------
    Path, dict of str to str
        For phantoms the URIs are ``truth`` (CSV table) and ``regions`` (JSON); for a given folder there are none.

    Raises
    ------
    NotDicomError
        The folder that was given is not there.
    """
    if source_folder:
        folder = to_path(source_folder).expanduser()
        if not folder.is_dir():
            raise NotDicomError(f"expected a folder of DICOM files, found none at {folder}. Give its full path.")
        return folder.resolve(), {}
    folder = phantoms_folder / f"seed-{seed}-{patients}-patients-{size_px}px"
    if not (folder / dataset.REGIONS_FILE).is_file():  # it is written last
        dataset.make_dataset(folder, patients=patients, seed=seed, size_px=size_px)
    return folder / "images", {
        "truth": to_uri(folder / dataset.TRUTH_FILE),
        "regions": to_uri(folder / dataset.REGIONS_FILE),
    }
