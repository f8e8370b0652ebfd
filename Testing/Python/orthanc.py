"""A real Orthanc as a process of the test; where it is not installed its tests skip, unless CI could have it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest

PROGRAM = shutil.which("Orthanc") or shutil.which("orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
REQUIRED = "MEDSEGATTENTION_TESTS_NEED_ORTHANC"
"""Environment variable that makes a missing Orthanc a failure: set where it was installed for the tests."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Orthanc:
    """A running archive.

    Attributes:
        folder: of its data and settings; a second start goes on with them.
        port: of its DICOM service.
        web_port: of its DICOMweb.
        move_port: where it sends what is moved to MEDSEGATTENTION.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    move_port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.web_port}/dicom-web"

    def start(self) -> Orthanc:
        settings = {
            "Name": "test",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.web_port,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "Plugins": [str(PLUGIN)] if PLUGIN.is_file() else [],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"us": ["MEDSEGATTENTION", "127.0.0.1", self.move_port]},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([PROGRAM, self.folder / "orthanc.json"], stdout=log, stderr=log)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/system", timeout=1).close()
                return self
            except (URLError, OSError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"Orthanc did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def instances(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/statistics", timeout=5) as answer:
            return int(json.load(answer)["CountInstances"])


def skip_without_orthanc() -> None:
    """Skip the test, or fail it where Orthanc had to be there."""
    if PROGRAM is None:
        if os.environ.get(REQUIRED):
            pytest.fail("Orthanc was installed for the tests and cannot be found")
        pytest.skip("Orthanc is not installed (Debian: apt-get install orthanc orthanc-dicomweb)")
