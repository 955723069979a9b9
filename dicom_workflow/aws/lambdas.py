"""The two Lambda packages of a labeling job."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from dicom_workflow.aws.packaging import PACKAGE, modules_named
from dicom_workflow.errors import DeployError
from dicom_workflow.formats.answers import SCHEMA_FILE

LAMBDA_KINDS = ("pre_annotation", "post_annotation")
LAMBDA_HANDLER = "lambda_function.lambda_handler"
"""The handler name of both Lambda packages, which is also AWS's own default."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE = 0o644 << 16  # without the rights Lambda cannot read the file


def build_lambda_zip(kind: str) -> bytes:
    """Return the deployment package of one Lambda function: its modules of this package, the schema of answers and an entry.

    The same code gives the same bytes on every machine, so that a stack is only changed when the code was. Its handler is
    `LAMBDA_HANDLER`; the Python runtime of Lambda has all the rest (boto3 is needed to read S3, and is there).

    Parameters
    ----------
    kind : str
        One of `LAMBDA_KINDS`.

    Raises
    ------
    DeployError
        There is no such kind.
    """
    if kind not in LAMBDA_KINDS:
        raise DeployError(f"expected the kind of function as one of {', '.join(LAMBDA_KINDS)}, got {kind!r}.")
    handlers = f"{PACKAGE.name}.labeling.handlers"
    entry = f'from {handlers} import {kind} as lambda_handler\n\n__all__ = ["lambda_handler"]\n'
    files = {"lambda_function.py": entry.encode()}
    for path in (*modules_named([handlers]), Path(PACKAGE.name, SCHEMA_FILE)):
        files[path.as_posix()] = (PACKAGE.parent / path).read_bytes()
    stream = io.BytesIO()
    # Not compressed: what zlib makes of the same text depends on its version, and a package has 70 kB.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = _UNIX  # else the machine's own, and Windows has none of the rights below
            member.external_attr = _READABLE
            archive.writestr(member, content)
    return stream.getvalue()
