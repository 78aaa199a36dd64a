"""Five hundred files dropped into a watched folder while watchers are killed and the service goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.large.conftest import ROOT
from tests.support.counting_service import digests, stored
from tests.support.pictures import tiny
from vi.testing import TestedService

pytest.importorskip("watchfiles")
pytestmark = [pytest.mark.large, pytest.mark.timeout(600)]

COUNT = 500
PER_SECOND = 20
KILLS = (60, 140, 220, 300, 380)
"""The watcher is killed once so many files have been dropped."""
CUTS = (180, 340)
"""The service goes away once so many files have been dropped, for two seconds' worth of files."""


def drop(folder: Path, number: int) -> None:
    """Write a file in three writes, in the time that one has at this pace."""
    data = tiny(number, side=64)
    third = len(data) // 3 + 1
    for start in range(0, len(data), third):
        with (folder / f"{number:03}.png").open("ab") as file:
            file.write(data[start : start + third])
        time.sleep(1 / PER_SECOND / 3)


def test_each_of_500_files_is_stored_once(tmp_path: Path) -> None:
    service = TestedService.start(tmp_path / "data")
    port = int(service.url.rpartition(":")[2])
    folder = tmp_path / "folder"
    folder.mkdir()
    lines: list[str] = []
    errors: list[str] = []
    with service.client() as client:
        dataset = client.datasets.create(name="watched").dataset_id
    command = [sys.executable, "-m", "vi", "assets", "watch", dataset, str(folder), "--settle", "0.5", "--json"]
    environment = {
        **os.environ,
        **service.environment,
        "PYTHONPATH": str(ROOT),
        "VI_CACHE_DIR": str(tmp_path / "cache"),
    }
    everything = threading.Event()
    known: set[str] = set()

    def start() -> tuple[subprocess.Popen[str], threading.Thread]:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        known.clear()
        reader = threading.Thread(target=read, args=(process,))
        reader.start()
        return process, reader

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # it was killed in mid-line
            lines.append(line)
            event = json.loads(line)
            if event["kind"] == "stored":
                known.add(event["filename"])
            if len(known) == COUNT:
                everything.set()

    def end(process: subprocess.Popen[str], reader: threading.Thread) -> int:
        assert process.stderr is not None
        errors.append(process.stderr.read())
        reader.join(60)
        code = process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        process.stderr.close()
        return code

    process, reader = start()
    for number in range(COUNT):
        if number in CUTS:
            service.stop()
        if number - 2 * PER_SECOND in CUTS:
            service = TestedService.start(service.data, port=port)
        if number in KILLS:
            process.kill()
            assert end(process, reader) == -9
            process, reader = start()
        drop(folder, number)
    assert everything.wait(120), f"{len(known)} of {COUNT}, {''.join(errors)}"
    process.terminate()
    assert end(process, reader) == 0
    assert {json.loads(line)["kind"] for line in lines} <= {"stored", "retry"}
    with service.client() as client:
        assert stored(client, dataset) == digests(folder)
    service.stop()
