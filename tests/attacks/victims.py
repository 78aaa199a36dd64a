"""Files of the user that no command names, for plans and runs of somebody else to go after."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def victim(home: Path) -> Path:
    """A folder of the user's that no command names."""
    folder = home.parent / "victim"
    folder.mkdir()
    (folder / "bridge.png").write_bytes(b"mine")
    (folder / "holiday.jpg").write_bytes(b"mine too")
    return folder


def untouched(victim: Path) -> bool:
    return {path.name: path.read_bytes() for path in victim.iterdir()} == {
        "bridge.png": b"mine",
        "holiday.jpg": b"mine too",
    }
