"""Case 08: a manifest that begins with a byte order mark."""

from __future__ import annotations

from pathlib import Path

from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.storage import to_uri

LINE = '{"source": "%s", "labels": ["Edema", "Fracture"]}\n'


def test_every_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bom.manifest"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(LINE % name for name in "abc").encode())
    assert [line.data["source"] for line in manifests.read(to_uri(path))] == ["a", "b", "c"]
    found = manifest_validation.validate(to_uri(path))
    assert (found.accepted, found.refused) == (3, 0)
    manifest_validation.accept(to_uri(path), to_uri(tmp_path / "accepted"))
    assert (tmp_path / "accepted").read_bytes().startswith(b'{"source": "a"')
