"""Archives of DICOM instances: Orthanc's REST interface, any DICOMweb server, or a local folder, behind one protocol."""

from __future__ import annotations

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Settings


def open_archive(settings: Settings) -> Archive:
    """Return the archive that the settings name; nothing is asked of it yet.

    Raises
    ------
    SettingsError
        Orthanc is wanted and there is no address.
    """
    if settings.archive == "folder":
        from dicom_workflow.archive.folder import FolderArchive

        return FolderArchive(settings.workspace / "folder-archive")
    from dicom_workflow.archive.orthanc import OrthancArchive

    if not settings.orthanc_url:
        raise SettingsError(
            "expected Orthanc's address, ORTHANC_URL is empty. Set it, or take what services.attach(settings) returns: it "
            "starts an Orthanc of this workspace."
        )
    return OrthancArchive(
        settings.orthanc_url,
        user=settings.orthanc_user,
        password=settings.orthanc_password,
        timeout_seconds=settings.timeout_seconds,
        ca_bundle=settings.ca_bundle,
    )
