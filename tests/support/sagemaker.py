"""A training container of SageMaker on this machine: folders filled with what a job was sent, and SDK 3's own start script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.storage import Storage

INSTANCE = "ml.m5.large"


def channels_of(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the S3 folder of each channel of a CreateTrainingJob request."""
    return {channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]}


class Container:
    """``/opt/ml`` under another name, which is all that is changed in the start script and its drivers."""

    def __init__(self, folder: Path, request: Mapping[str, Any], storage: Storage) -> None:
        self.folder, self.data = folder, folder / "input" / "data"
        self.code = self.data / "code"
        for channel, uri in channels_of(request).items():
            for found in storage.list(uri):
                path = self.data / channel / found.removeprefix(uri).lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(storage.read_bytes(found))
        for path in (self.data / "sm_drivers").rglob("*"):
            if path.suffix in (".py", ".sh", ".json"):
                path.write_text(path.read_text().replace("/opt/ml", str(folder)))
        for name in ("model", "output/data", "checkpoints", "input/config"):
            (folder / name).mkdir(parents=True)
        (self.code / "requirements.txt").write_text("")  # they are installed here
        host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
        for name, content in {
            "hyperparameters": request.get("HyperParameters", {}),
            "inputdataconfig": {name: {} for name in channels_of(request)},
            "resourceconfig": {**host, "current_instance_type": INSTANCE},
        }.items():
            (folder / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    def start(self) -> subprocess.CompletedProcess[str]:
        """Run the start script to its end, in an environment of its own."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "TRAINING_JOB_NAME": "job", "HOME": str(self.folder)}
        command = ["/bin/bash", str(self.data / "sm_drivers" / "sm_train.sh")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)

    def pack(self, name: str) -> bytes:
        """Return a folder as SageMaker stores it after the job."""
        path = self.folder / "packed.tar.gz"
        with tarfile.open(path, "w:gz") as stream:
            stream.add(self.folder / name, ".")
        return path.read_bytes()
