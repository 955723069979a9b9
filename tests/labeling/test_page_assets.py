"""The script and style of the worker page reach the browser as they were built, and nothing else under their names."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
from support.stack_foundation import BUCKET, s3_storage

from dicom_workflow.errors import StorageError, TemplateError
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.templates import publish_template


def test_on_s3_the_files_say_what_they_are_and_are_written_once(tmp_path: Path) -> None:
    with s3_storage(tmp_path) as storage:
        uri = publish_template(f"s3://{BUCKET}/job/radiograph.liquid.html", storage)
        folder = f"s3://{BUCKET}/job/worker-ui"
        script = f"{folder}/{page_assets.build().script}"
        assert storage.list(folder) == sorted(f"{folder}/{name}" for name in page_assets.build().names)
        for name, kind in zip(page_assets.build().names, ("text/javascript", "text/css", "text/plain"), strict=True):
            headers = storage.headers(f"{folder}/{name}")
            assert (headers["ContentType"], headers["ContentEncoding"]) == (f"{kind}; charset=utf-8", "gzip")
            assert ("immutable" in headers["CacheControl"]) == (kind != "text/plain")
            assert gzip.decompress(storage.read_bytes(f"{folder}/{name}")) == page_assets.content(name)
        assert f'"{script}" | grant_read_access' in storage.read_text(uri)
        written: list[str] = []
        upload = storage._s3.upload_fileobj
        storage._s3.upload_fileobj = lambda *args, **options: written.append(args[2]) or upload(*args, **options)
        publish_template(uri, storage, assets_url="https://d111.cloudfront.net/job/worker-ui")
        assert written == ["job/radiograph.liquid.html"]
        assert f'src="https://d111.cloudfront.net/job/worker-ui/{page_assets.build().script}"' in storage.read_text(uri)
        storage.write_bytes(script, b"another content")
        publish_template(uri, storage)
        assert gzip.decompress(storage.read_bytes(script)) == page_assets.content(page_assets.build().script)


def test_a_file_is_taken_only_for_what_its_name_says() -> None:
    script = page_assets.build().script
    assert page_assets.checked(script, page_assets.zipped(script)) == page_assets.checked(script, page_assets.content(script))
    content = page_assets.content(script)
    for name, data in ((script, b"x"), ("radiograph.js", b"x"), (script, b"\x1f\x8bbroken"), (f"../{script}", content)):
        with pytest.raises(StorageError):
            page_assets.checked(name, data)


def test_a_name_holds_the_digest_of_its_content() -> None:
    built = page_assets.build()
    for name in (built.script, built.style):
        assert page_assets.is_name(name)
        assert hashlib.sha256(page_assets.content(name)).hexdigest()[:12] == name.split(".")[-2]
        assert gzip.decompress(page_assets.zipped(name)) == page_assets.content(name)
    assert not page_assets.is_name(page_assets.LICENCES)
    with pytest.raises(TemplateError, match="expected a file of the radiograph page"):
        page_assets.content("../errors.py")
