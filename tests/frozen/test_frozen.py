"""Programs made by PyInstaller: the service in them decodes, and none starts itself without end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.frozen

PROGRAM = Path(__file__).parent / "program.py"
WORKERS = 16


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["--onedir", "--onefile"])
def test_a_frozen_program_uploads_every_format_to_its_own_service(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed; nox -s frozen does")
    make = [sys.executable, "-m", "PyInstaller", kind, "--log-level", "WARN", str(PROGRAM)]
    subprocess.run(make, cwd=tmp_path, check=True, timeout=500)
    program = tmp_path / "dist" / ("program/program" if kind == "--onedir" else "program")
    if sys.platform == "win32":
        program = program.with_suffix(".exe")
    work = tmp_path / "work"
    work.mkdir()
    with subprocess.Popen([program, work], stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        most = 0
        while True:
            try:
                out, _ = running.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                most = max(most, len(psutil.Process(running.pid).children(recursive=True)))
                if most > WORKERS * (os.cpu_count() or 1):
                    os.killpg(running.pid, 9)
    assert out.splitlines() == ["began", "14 []", "14", "True"]
    assert running.returncode == 0
