"""Every error the package raises on purpose.

::

    WorkflowError
    ├── SettingsError                 a setting is missing or cannot be used
    ├── RecordError                   a datum at a border does not have its documented shape
    ├── StorageError                  an object could not be read, written or listed
    │   └── ObjectNotFoundError       there is no object at that URI
    ├── ManifestError                 a manifest line breaks the contract; knows its URI and line
    ├── DicomError                    a file cannot be used as DICOM
    │   ├── NotDicomError             it is not DICOM at all
    │   ├── TruncatedDicomError       it ends before its own lengths say it should
    │   └── UnsupportedPixelsError    it has no pixel data, or pixels this package does not display
    ├── ArchiveError                  the archive refused or answered nonsense
    │   ├── ArchiveUnavailableError   nothing answers there
    │   ├── ArchiveCredentialsError   it answers, but not to this user
    │   ├── InstanceNotFoundError     it holds no such instance
    │   ├── InstanceTooLargeError     it, or a proxy before it, takes no file of this size
    │   └── VerificationError         what was read back is not what was sent
    ├── LabelingError                 a labeling job cannot be created, read or finished
    │   ├── JobParametersError        the request breaks a limit of CreateLabelingJob
    │   ├── NotFoundError             the labeling service has no job or team of that name
    │   ├── TemplateError             a worker template cannot be rendered
    │   └── AnswerError               a worker's answer does not have the agreed form
    ├── LearningError                 a model cannot be trained, loaded or evaluated
    │   ├── DatasetError              the training data do not fit together
    │   ├── BundleError               a model bundle is incomplete or was changed
    │   ├── WeightsError              a file of weights cannot be trusted, or is not of this network
    │   └── CacheError                decoded images cannot be kept on disk
    ├── SearchError                   a search cannot be answered, or an image not be indexed
    │   ├── SearchStoreError          the search store is missing, of another version, read-only, full or does not answer
    │   ├── NothingRelevantError      no image of a truth table has a similar one of another patient
    │   └── ReportError               a report cannot be read
    ├── DeployError                   something could not be packed or sent to AWS
    ├── ServiceError                  a local service did not start or stopped answering
    └── NotebookError                 a notebook could not be run or has no record
        └── UnknownParameterError     a parameter that the notebook does not have

A message says what happened, with which value and where, and what to do next.
"""

from __future__ import annotations

import re


def printable(text: object) -> str:
    """Return a text, or a path, that can be printed: bytes that are no UTF-8 and control characters become ``\\xNN``."""
    escaped = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", str(text))
    # A file name may hold an escape sequence, which a terminal would follow; line ends are those of messages.
    escaped = re.sub("[\x00-\x09\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", escaped)
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


class WorkflowError(Exception):
    """Base of all errors of this package.

    Catch it where one bad input must not end a batch::

        try:
            instance = inspect(path)
        except WorkflowError as error:
            refused.append((path, str(error)))
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class SettingsError(WorkflowError):
    """A setting is missing or cannot be used."""


class RecordError(WorkflowError):
    """A datum at a border does not have its documented shape."""


class StorageError(WorkflowError):
    """An object could not be read, written or listed."""


class ObjectNotFoundError(StorageError):
    """There is no object at that URI."""


class ManifestError(WorkflowError):
    """A manifest line breaks the contract.

    Parameters
    ----------
    uri : str
        The manifest; also an attribute.
    line : int or None
        1-based line number, None when the whole file is meant; also an attribute.
    message : str
        What is wrong, without the place.
    """

    def __init__(self, uri: str, line: int | None, message: str) -> None:
        self.uri = uri
        self.line = line
        where = uri if line is None else f"{uri}, line {line}"
        super().__init__(f"{where}: {message}")


class DicomError(WorkflowError):
    """A file cannot be used as DICOM."""


class NotDicomError(DicomError):
    """The bytes are not DICOM at all."""


class TruncatedDicomError(DicomError):
    """The file ends before its own lengths say it should."""


class UnsupportedPixelsError(DicomError):
    """There is no pixel data, or pixels this package does not display."""


class ArchiveError(WorkflowError):
    """The archive refused a request or answered nonsense."""


class ArchiveUnavailableError(ArchiveError):
    """Nothing answers at the archive's address."""


class ArchiveCredentialsError(ArchiveError):
    """The archive answers, but not to this user and password."""


class InstanceNotFoundError(ArchiveError):
    """The archive holds no such instance."""


class InstanceTooLargeError(ArchiveError):
    """The archive, or a proxy before it, takes no file of this size."""


class VerificationError(ArchiveError):
    """What was read back is not what was sent."""


class LabelingError(WorkflowError):
    """A labeling job cannot be created, read or finished."""


class JobParametersError(LabelingError):
    """The request breaks a limit of CreateLabelingJob."""


class NotFoundError(LabelingError):
    """The labeling service has no job or team of that name."""


class TemplateError(LabelingError):
    """A worker template cannot be rendered."""


class AnswerError(LabelingError):
    """A worker's answer does not have the agreed form."""


class LearningError(WorkflowError):
    """A model cannot be trained, loaded or evaluated."""


class DatasetError(LearningError):
    """The training data do not fit together."""


class BundleError(LearningError):
    """A model bundle is incomplete or was changed."""


class WeightsError(LearningError):
    """A file of weights cannot be trusted, or is not of this network."""


class CacheError(LearningError):
    """Decoded images cannot be kept on disk."""


class SearchError(WorkflowError):
    """A search cannot be answered, or an image cannot be indexed."""


class SearchStoreError(SearchError):
    """The search store is missing, of another version, read-only, full, or does not answer."""


class NothingRelevantError(SearchError):
    """No image of a truth table has a similar one of another patient, so retrieval cannot be measured with it."""


class ReportError(SearchError):
    """A report cannot be read."""


class DeployError(WorkflowError):
    """Something could not be packed or sent to AWS."""


class ServiceError(WorkflowError):
    """A local service did not start or stopped answering."""


class NotebookError(WorkflowError):
    """A notebook could not be run or has no record."""


class UnknownParameterError(NotebookError):
    """A parameter was given that the notebook does not have."""
