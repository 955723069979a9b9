"""The two Lambda packages of a labeling job."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from dicom_workflow.answers import SCHEMA_FILE
from dicom_workflow.deploy.staging import PACKAGE, modules_named
from dicom_workflow.errors import DeployError

LAMBDA_KINDS = ("pre_annotation", "post_annotation")
LAMBDA_HANDLER = "lambda_function.lambda_handler"
"""The handler name of both Lambda packages, which is also AWS's own default."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_lambda_zip(kind: str) -> bytes:
    """Return the deployment package of one Lambda function: its modules of this package, the schema of answers and an entry.

    The same code gives the same bytes, so that a stack is only changed when the code was. Its handler is `LAMBDA_HANDLER`; the
    Python runtime of Lambda has all the rest (boto3 is needed to read S3, and is there).

    Parameters
    ----------
    kind : str
        One of `LAMBDA_KINDS`.
    """
    if kind not in LAMBDA_KINDS:
        raise DeployError(f"expected the kind of function as one of {', '.join(LAMBDA_KINDS)}, got {kind!r}.")
    handlers = f"{PACKAGE.name}.labeling.handlers"
    entry = f'from {handlers} import {kind} as lambda_handler\n\n__all__ = ["lambda_handler"]\n'
    files = {"lambda_function.py": entry.encode()}
    for path in (*modules_named([handlers]), Path(PACKAGE.name, SCHEMA_FILE)):
        files[path.as_posix()] = (PACKAGE.parent / path).read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16  # without it Lambda cannot read the file
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return stream.getvalue()
