"""A tree of two thousand files goes up and comes back as it was, from Python and from the shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.large.conftest import ROOT
from vi import _samples

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]

COUNT = 2_000
ODD = ("a b.png", "q?.png", "c:d.png", "über.png", "star*.png", "CON.png", "trailing. .png", "'quoted\".png", "%41.png")


def make_tree(folder: Path) -> dict[str, bytes]:
    """Make files of a few names in many folders, links to some, and names that are hard to keep."""
    wanted: dict[str, bytes] = {}
    for number in range(COUNT):
        name = ODD[number // 7 % len(ODD)] if number % 7 == 0 else f"frame-{number % 5}.png"
        path = folder / f"camera {number % 8}" / f"{number // 8:03}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 50 == 49:
            path.symlink_to(folder / "camera 1" / "000" / "frame-1.png")
        else:
            path.write_bytes(_samples.encode(number, ".png", (12, 9)))
        wanted[path.relative_to(folder).as_posix()] = path.read_bytes()
    return wanted


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CLIENT = """
import sys, vi

tree, copy = sys.argv[1:]
with vi.Client() as client:
    dataset = client.datasets.create(name="tree").dataset_id
    options = {"show_progress": False}
    first = client.assets.sync(dataset, tree, names="relative", **options)
    down = client.assets.sync(dataset, copy, "down", **options)
    moved = [
        len(client.assets.sync(dataset, folder, direction, dry_run=True, **names).plan)
        for folder, names in ((tree, {"names": "relative"}), (copy, {}))
        for direction in ("up", "down")
        if not (names and direction == "down")
    ]
    report = {
        "dataset": dataset, "up": first.upload.total_succeeded, "down": down.download.total_downloaded, "moved": moved,
        "verified": [client.assets.verify(dataset, tree, names="relative").ok, client.assets.verify(dataset, copy).ok],
    }
"""


def test_a_tree_comes_back_as_it_was(measure: Any, environment: dict[str, str], tmp_path: Path) -> None:
    wanted = make_tree(tmp_path / "tree")
    assert len(wanted) == COUNT
    found = measure(CLIENT, tmp_path / "tree", tmp_path / "copy")
    assert (found["up"], found["down"]) == (COUNT, COUNT)
    assert (found["moved"], found["verified"]) == ([0, 0, 0], [True, True])
    assert content(tmp_path / "copy") == wanted

    def shell(*words: str) -> Any:
        command = [sys.executable, "-m", "vi", *words]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dataset = shell("datasets", "create", "shell", "--quiet").strip()
    tree, copy = str(tmp_path / "tree"), str(tmp_path / "copy2")
    shell("assets", "sync", dataset, tree, "--names", "relative")
    shell("assets", "download", dataset, copy)
    assert content(tmp_path / "copy2") == wanted
    for folder, more in ((tree, ("--names", "relative")), (copy, ()), (copy, ("--direction", "down"))):
        told = json.loads(shell("assets", "sync", dataset, folder, *more, "--json"))
        assert (told["ok"], told["existing"], told["upload"], told["download"]) == (True, COUNT, None, None)
    shell("assets", "verify", dataset, copy)
