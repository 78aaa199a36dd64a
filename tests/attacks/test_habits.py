"""Row A18: what lies open on the user's own machine."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

import vi
from vi.cli import checks


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
def test_A18_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    for mode, warned in ((0o600, False), (0o644, True), (0o640, True), (0o602, True)):
        file.chmod(mode)
        found = list(checks.private("settings file", file))
        assert [check.state for check in found] == ["warn"] * warned, oct(mode)
        assert all(str(file) in check.found and "chmod" in check.advice for check in found)
    for mode, warned in ((0o700, False), (0o755, False), (0o777, True), (0o770, True)):
        tmp_path.chmod(mode)
        assert [check.state for check in checks.private("cache", tmp_path, written=True)] == ["warn"] * warned
    tmp_path.chmod(0o700)
    assert list(checks.private("cache", tmp_path / "missing")) == []


@pytest.mark.parametrize("kind", [vi.Client, vi.AsyncClient])
def test_A18_a_traceback_shows_a_client_that_was_not_made(kind: type) -> None:
    try:
        kind("not a key", "acme")
    except vi.ViConfigurationError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert f"self = {kind.__name__}()" in shown
