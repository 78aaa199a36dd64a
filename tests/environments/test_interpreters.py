"""Python started in other ways: optimized, isolated, in development mode, from an archive, on a system that is bare."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

import vi

pytest.importorskip("PIL")

PACKAGE = Path(vi.__file__).parent
PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
import vi
from vi._samples import make_samples

folder = Path(sys.argv[1])
make_samples(folder / "images", count=14)
with vi.Client.local(folder / "data") as client:
    dataset = client.datasets.create(name="round").dataset_id
    sent = client.assets.upload(dataset, folder / "images", failure_mode="FailAfterAll", show_progress=False)
    refused = [failure.filename for failure in sent.failures if not failure.filename.endswith((".heic", ".heif"))]
    there = client.assets.download(dataset, folder / "copy", show_progress=False).total_downloaded
    print(refused, there == sent.total_succeeded >= 12, client.assets.verify(dataset, folder / "copy").ok)
    print(Path(vi.__file__).parent)
"""


def run(*command: object, **environ: str) -> list[str]:
    """Run a program for which any warning is an error, and return its lines; it must say nothing else."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VI_CACHE_DIR")}
    ended = subprocess.run(
        [str(part) for part in command],
        env=environment | environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    # In development mode asyncio tells of steps above 0.1 s, which a busy machine has.
    told = [line for line in ended.stderr.splitlines() if not line.startswith("Executing <")]
    assert (ended.returncode, told) == (0, [])
    return ended.stdout.splitlines()


@pytest.mark.parametrize("flags", [["-OO"], ["-I"], ["-X", "dev", "-W", "error"]], ids=" ".join)
def test_a_round_trip_under_other_flags(flags: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    said = run(sys.executable, *flags, program, tmp_path, PACKAGE.parent, VI_CACHE_DIR=str(tmp_path / "cache"))
    assert said == ["[] True True", str(PACKAGE)]


def test_a_round_trip_from_an_archive(tmp_path: Path) -> None:
    """The decoders too are run from it."""
    shutil.copytree(PACKAGE, tmp_path / "app" / "vi", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app" / "__main__.py").write_text(PROGRAM)
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(tmp_path / "app", archive)
    said = run(sys.executable, archive, tmp_path, VI_CACHE_DIR=str(tmp_path / "cache"))
    assert said == ["[] True True", str(archive / "vi")]


BARE = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/empty"
mount --bind "$1/empty" /proc
mount -o remount,bind,ro /
test ! -w /usr && test ! -e /proc/self
exec "$2" "$3" "$1" "$4"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="makes a mount namespace of Linux")
def test_a_round_trip_on_a_read_only_root_without_proc(tmp_path: Path) -> None:
    enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces cannot be made here")
    room = tmp_path / "room"
    room.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = ["sh", "-c", BARE, "sh", room, sys.executable, tmp_path / "program.py", PACKAGE.parent]
    said = run(*enter, *command, HOME="/nonexistent", TMPDIR=str(room))
    assert said == ["[] True True", str(PACKAGE)]
