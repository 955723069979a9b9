"""Archives of DICOM instances: Orthanc's REST interface, any DICOMweb server, or a local folder, behind one protocol."""

from __future__ import annotations

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Settings

_OR_ATTACH = ", or take the settings that local_services.attach(settings) returns: it starts an Orthanc of this workspace."


def open_archive(settings: Settings) -> Archive:
    """Return the archive that the settings name; no request is made yet.

    Raises
    ------
    SettingsError
        An Orthanc or a DICOMweb server is wanted and its address or its credentials are missing.
    """
    if settings.archive == "folder":
        from dicom_workflow.archive.folder import FolderArchive

        return FolderArchive(settings.workspace / "folder-archive")
    if settings.archive == "dicomweb":
        from dicom_workflow.archive.authorization import dicomweb_auth
        from dicom_workflow.archive.dicomweb import DicomWebArchive

        if not settings.dicomweb_url:
            raise SettingsError(f"DICOMWEB_URL is empty. Set the server's address{_OR_ATTACH}")
        authorize = dicomweb_auth(
            settings.dicomweb_auth,
            user=settings.dicomweb_user,
            password=settings.dicomweb_password,
            token=settings.dicomweb_token,
            region=settings.region,
        )
        return DicomWebArchive(
            settings.dicomweb_url,
            authorize=authorize,
            timeout_seconds=settings.timeout_seconds,
            ca_bundle=settings.ca_bundle,
        )
    from dicom_workflow.archive.orthanc import OrthancArchive

    if not settings.orthanc_url:
        raise SettingsError(f"ORTHANC_URL is empty. Set Orthanc's address{_OR_ATTACH}")
    return OrthancArchive(
        settings.orthanc_url,
        user=settings.orthanc_user,
        password=settings.orthanc_password,
        timeout_seconds=settings.timeout_seconds,
        ca_bundle=settings.ca_bundle,
    )
