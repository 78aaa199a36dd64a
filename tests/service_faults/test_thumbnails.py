"""Thumbnails are not flushed: one that a loss of power took or damaged is made again (row P4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vi.server.disk.blobs import Blobs

pytestmark = pytest.mark.anyio

DAMAGE = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_lost_thumbnail_is_made_again(fresh_api: Any, picture: Any, damage: str) -> None:
    dataset = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset, {"a.png": picture(1, width=600, height=400)})
    (asset,) = await fresh_api.assets(dataset, contents="y")
    url = asset["contents"]["thumbnail"]["url"]
    before = await fresh_api.raw("GET", url)
    assert before.status == 200
    (path,) = thumbnails(fresh_api.service.data)
    kept = path.read_bytes()
    DAMAGE[damage](path)
    again = await fresh_api.raw("GET", url)
    assert (again.status, again.body) == (200, before.body)
    assert path.read_bytes() == kept


async def test_a_thumbnail_of_nothing_is_not_found(fresh_api: Any, picture: Any) -> None:
    dataset = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset, {"a.png": picture(1)})
    (asset,) = await fresh_api.assets(dataset, contents="y")
    assert (await fresh_api("DELETE", asset["selfLink"])).status == 204
    assert (await fresh_api.raw("GET", asset["contents"]["thumbnail"]["url"])).status == 404
    assert thumbnails(fresh_api.service.data) == []


async def test_an_object_that_is_removed_while_it_is_looked_at_leaves_no_thumbnail(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "bytes")
    kept, removed = await blobs.put(b"kept", "s"), await blobs.put(b"removed", "s")
    await blobs.remove([removed])
    await blobs.put_thumbnails([(kept, b"one"), (removed, b"other")])
    assert [path.name for path in thumbnails(tmp_path)] == [f"{kept}.thumbnail"]
    await blobs.aclose()


async def test_a_folder_that_goes_while_a_start_looks_for_leftovers_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge goes on in the background while the service starts."""
    blobs = Blobs(tmp_path / "bytes")
    await blobs.put(b"kept", "s")
    gone = tmp_path / "bytes" / "objects" / "000009"
    gone.mkdir()
    folders = list(os.scandir(tmp_path / "bytes" / "objects"))
    gone.rmdir()
    monkeypatch.setattr(blobs, "_folders", lambda: folders)
    assert len(await blobs.newest()) == 1
    await blobs.sweep([])
    await blobs.aclose()


def thumbnails(data: Path) -> list[Path]:
    return list((data / "bytes").rglob("*.thumbnail"))
