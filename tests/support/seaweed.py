"""A SeaweedFS of the tests' own: a real S3 store in one process, on ports of loopback."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pytest

from .ports import free_ports

_BUCKET = "vi-tests"
KEY, SECRET = "tests", "tests-secret"
_IDENTITY = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
    ]
}
_OFF = ("webdav", "admin.ui", "master.telemetry", "s3.iam", "s3.autoCreateBucket")
_PORTS = (
    "master.port", "master.port.grpc", "filer.port", "filer.port.grpc", "volume.port", "volume.port.grpc", "s3.port",
    "s3.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip
_START_SECONDS = 60


class Seaweed:
    """A running store with one bucket; `stop` kills it, `start` starts it again with what it holds."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        config = folder / "s3.json"
        config.write_text(json.dumps(_IDENTITY))
        (folder / "data").mkdir()
        settings = {
            **ports, "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.config": config,
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        words = [f"-{name}={value}" for name, value in settings.items()]
        self._command = [program, "mini", *words, *(f"-{name}=false" for name in _OFF)]

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Self]:
        """Start a store and end it; skips the test where its program is missing."""
        pytest.importorskip("aiobotocore", reason="aiobotocore is not installed")
        program = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
        if program is None:
            pytest.skip("SeaweedFS is not installed (weed)")
        with tempfile.TemporaryDirectory(prefix="vi-s3-") as made:
            running = cls(program, Path(made))
            running.start()
            running.client.create_bucket(Bucket=_BUCKET)
            with mock.patch.dict(os.environ, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET):
                try:
                    yield running
                finally:
                    running.stop()

    def create(self) -> dict[str, str]:
        """Return the settings of a service that keeps its bytes in an empty place of the bucket."""
        return {"store": f"s3://{_BUCKET}/test{next(self._numbers)}", "store_endpoint": self.endpoint}

    def keys(self, settings: Mapping[str, str]) -> list[str]:
        """Return the keys below the prefix of a service."""
        _, _, bucket, prefix = settings["store"].split("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [one["Key"].removeprefix(f"{prefix}/") for page in pages for one in page.get("Contents", ())]

    def remove(self, settings: Mapping[str, str], key: str) -> None:
        """Remove what `keys` has returned."""
        _, _, bucket, prefix = settings["store"].split("/")
        self.client.delete_object(Bucket=bucket, Key=f"{prefix}/{key}")

    @functools.cached_property
    def client(self) -> Any:
        """A client of the store that is not ours."""
        import botocore.session

        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
