"""Tests that need Jupyter are marked, and left out where it is not installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.recorded_service import service, shared_service  # noqa: F401 - fixtures
from vi import _samples

os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # or jupyter_core warns, before any test begins

collect_ignore_glob: list[str] = []
try:
    import ipykernel  # noqa: F401
    import nbclient  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a notebook, with images in it."""
    _samples.make_samples(tmp_path / "images", count=6, size=(64, 48))
    return tmp_path
