"""What is excluded is touched on neither side, whatever the patterns came in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.counting_service import stored
from tests.support.pictures import tiny

KINDS: list[Callable[[list[str]], Any]] = [list, tuple, set, iter, dict.fromkeys, lambda p: map(str, p), lambda p: p[0]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files, one of them in a folder that is to be left alone."""
    root = tmp_path / "tree"
    for number, name in enumerate(("a.png", "archive/old.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(tiny(number))
    return root


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["archive", "archive/", "/archive/", "archive/*", "**/archive/**", "./archive/*"])
def test_an_upload_leaves_out_what_is_excluded(
    client: vi.Client, dataset: str, tree: Path, kind: Callable[[list[str]], Any], pattern: str
) -> None:
    client.assets.upload(dataset, tree, exclude=kind([pattern]), show_progress=False)
    assert list(stored(client, dataset)) == ["a.png"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", ["basename", "relative"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "gone"])
def test_a_sync_that_deletes_leaves_what_is_excluded(
    client: vi.Client, dataset: str, tree: Path, kind: Callable[[list[str]], Any], names: Any, there: bool
) -> None:
    client.assets.sync(dataset, tree, names=names, show_progress=False)
    before = stored(client, dataset)
    pattern = "archive/"
    if not there:
        (tree / "archive" / "old.png").unlink()
        pattern = pattern if names == "relative" else "old.png"
    result = client.assets.sync(dataset, tree, delete=True, names=names, exclude=kind([pattern]), show_progress=False)
    assert (result.deleted, result.ok) == (0, True)
    assert stored(client, dataset) == before


@pytest.mark.parametrize("given", [None, (), [], iter(())], ids=["none", "tuple", "list", "iterator"])
def test_no_patterns_is_everything(client: vi.Client, dataset: str, tree: Path, tmp_path: Path, given: Any) -> None:
    client.assets.upload(dataset, tree, include=given, exclude=given, names="relative", show_progress=False)
    client.assets.download(dataset, tmp_path / "copy", include=given, exclude=given, show_progress=False)
    assert len(stored(client, dataset)) == 2
    assert client.assets.verify(dataset, tree, names="relative", include=given, exclude=given).ok


@pytest.mark.parametrize("call", ["upload", "sync", "verify", "download"])
@pytest.mark.parametrize("parameter", ["include", "exclude"])
def test_what_cannot_be_patterns_is_refused_before_a_request(
    client: vi.Client, service: Any, dataset: str, tree: Path, call: str, parameter: str
) -> None:
    service.reset()
    for bad in (5, [None], (b"x" for _ in "x"), [""]):
        with pytest.raises(vi.ViInvalidParameterError) as raised:
            getattr(client.assets, call)(dataset, tree, **{parameter: bad})
        assert raised.value.parameter == parameter
    assert not service.asked


def test_a_viignore_holds_for_both_sides(client: vi.Client, dataset: str, tree: Path) -> None:
    client.assets.sync(dataset, tree, names="relative", show_progress=False)
    before = stored(client, dataset)
    (tree / ".viignore").write_bytes(b"\xef\xbb\xbfarchive/\r\n")
    (tree / "archive" / "old.png").unlink()
    result = client.assets.sync(dataset, tree, delete=True, names="relative", show_progress=False)
    assert (result.deleted, stored(client, dataset)) == (0, before)
    assert client.assets.verify(dataset, tree, names="relative").ok
    assert len(client.assets.sync(dataset, tree, "down", delete=True, show_progress=False).plan) == 0


def test_what_matched_nothing_is_told_in_every_result(client: vi.Client, dataset: str, tree: Path) -> None:
    note = "exclude 'archiv/' matched nothing"
    how: dict[str, Any] = {"exclude": ["archiv/"], "names": "relative"}
    planned = client.assets.upload(dataset, tree, dry_run=True, **how)
    sent = client.assets.upload(dataset, tree, show_progress=False, **how)
    synced = client.assets.sync(dataset, tree, show_progress=False, **how)
    checked = client.assets.verify(dataset, tree, **how)
    fetched = client.assets.download(dataset, tree, exclude=["archiv/"], show_progress=False)
    planned_down = client.assets.download(dataset, tree, exclude=["archiv/"], dry_run=True).plan
    assert planned_down is not None
    for result in (planned, sent, synced.plan, checked, fetched, planned_down):
        assert result.notes == [note]
    for told in (planned, sent, synced, checked, fetched, planned_down):
        assert f"note: {note}" in told.summary()
    assert sent.to_dict()["notes"] == checked.to_dict()["notes"] == [note]
