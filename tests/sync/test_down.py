"""Making a folder like a dataset."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, other_content, stored
from tests.support.pictures import tiny
from tests.support.systems import WINDOWS
from tests.sync.test_up import without_digests
from vi.api.resources.datasets.assets import calls


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "target"


def downloads(service: CountingService) -> list[str]:
    return sorted(asked.rpartition("/")[2] for asked in service.asked if asked.startswith("GET /dl/"))


def test_the_difference_comes_and_nothing_else(do: Any, dataset: str, both: Path, service: CountingService) -> None:
    wanted = digests(both)
    (both / "0.png").unlink()
    other_content(both / "1.png")
    (both / "mine.png").write_bytes(tiny(90))
    result = do("sync", dataset, both, "down", show_progress=False)
    assert result.ok
    assert downloads(service) == ["0.png", "1.png"]
    assert {entry.filename: entry.reason for entry in result.plan} == {"0.png": "new", "1.png": "contents differ"}
    assert (result.plan.existing, result.download.total_downloaded, result.deleted) == (4, 2, 0)
    left = digests(both)
    del left["mine.png"]
    assert left == wanted


def test_twice_in_a_row_the_second_fetches_nothing(
    do: Any, dataset: str, both: Path, target: Path, service: CountingService
) -> None:
    assert do("sync", dataset, target, "down", show_progress=False).download.total_downloaded == 6
    assert digests(target) == digests(both)
    service.reset()
    result = do("sync", dataset, target, "down", delete=True, show_progress=False)
    assert (result.ok, result.plan.existing, result.download) == (True, 6, None)
    assert not downloads(service)


def test_what_the_dataset_does_not_have_is_deleted_when_told_to(do: Any, dataset: str, both: Path) -> None:
    wanted = digests(both)
    keep = {".hidden.png": tiny(1), "notes.txt": b"mine", "labels.json": b"{}"}
    for name, data in keep.items():
        (both / name).write_bytes(data)
    (both / "below").mkdir()
    (both / "below" / "deep.png").write_bytes(tiny(3))
    with contextlib.suppress(OSError):  # which needs a privilege on Windows
        (both / "link.png").symlink_to(both / "0.png")
    linked = {path.name for path in both.iterdir() if path.name == "link.png"}
    for name in ("surplus.png", "surplus.jpg"):
        (both / name).write_bytes(tiny(91))
    result = do("sync", dataset, both, "down", delete=True, show_progress=False)
    assert (result.ok, result.deleted) == (True, 2)
    left = {path.name for path in both.iterdir()}
    assert left == {*wanted, *keep, "below", *linked}, "only what an upload would have taken is ours to delete"


def test_more_deletions_than_allowed_end_it_before_anything(
    do: Any, dataset: str, both: Path, service: CountingService
) -> None:
    (both / "0.png").unlink()
    for number in range(3):
        (both / f"surplus-{number}.png").write_bytes(tiny(91))
    before = digests(both)
    with pytest.raises(vi.errors.ViOperationError, match="would delete 3, more than max_delete=2; nothing was changed"):
        do("sync", dataset, both, "down", delete=True, max_delete=2, show_progress=False)
    assert digests(both) == before
    assert not downloads(service)


def test_an_empty_dataset_deletes_nothing(client: vi.Client, dataset: str, folder: Path) -> None:
    with pytest.raises(
        vi.errors.ViOperationError, match="the dataset is empty, so all 6 of the other side would be deleted"
    ):
        client.assets.sync(dataset, folder, "down", delete=True)
    assert len(digests(folder)) == 6


def test_a_listing_that_fails_on_its_third_page_leads_to_nothing(
    do: Any, dataset: str, both: Path, service: CountingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 2)
    (both / "0.png").unlink()
    (both / "surplus.png").write_bytes(tiny(91))
    before = digests(both)
    pages: set[str] = set()

    def fail(number: int, request: web.Request) -> None:
        if request.path.endswith("/assets"):
            pages.add(request.query.get("p", ""))
            if len(pages) == 3:
                raise web.HTTPInternalServerError

    service.at = fail
    with pytest.raises(vi.errors.ViServerError):
        do("sync", dataset, both, "down", delete=True, show_progress=False)
    assert digests(both) == before
    assert not downloads(service)


def test_what_the_patterns_leave_out_is_touched_on_neither_side(do: Any, dataset: str, both: Path) -> None:
    for name in ("0.png", "1.png"):
        (both / name).unlink()
    for name in ("surplus.png", "surplus.jpg"):
        (both / name).write_bytes(tiny(91))
    result = do("sync", dataset, both, "down", delete=True, exclude=["1.png", "*.jpg"], show_progress=False)
    assert (result.ok, result.deleted, result.download.total_downloaded) == (True, 1, 1)
    assert {path.name for path in both.iterdir()} == {"0.png", "2.png", "3.png", "4.png", "5.png", "surplus.jpg"}


def test_after_a_failed_download_nothing_is_deleted(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    for name in ("0.png", "1.png"):
        (both / name).unlink()
    (both / "surplus.png").write_bytes(tiny(91))

    def gone(number: int, request: web.Request) -> None:
        if request.path.endswith("/0.png"):
            raise web.HTTPBadRequest

    service.at = gone
    result = client.assets.sync(dataset, both, "down", delete=True, show_progress=False)
    assert not result.ok
    assert result.deleted == 0
    assert (both / "1.png").exists()
    assert (both / "surplus.png").exists()
    assert not (both / "0.png").exists()


def test_a_folder_in_the_way_is_no_success(client: vi.Client, dataset: str, both: Path) -> None:
    (both / "0.png").unlink()
    (both / "0.png").mkdir()
    (both / "surplus.png").write_bytes(tiny(91))
    result = client.assets.sync(dataset, both, "down", delete=True, show_progress=False)
    assert not result.ok
    assert result.deleted == 0
    assert (both / "0.png").is_dir()


def test_the_same_file_under_another_spelling_is_not_deleted(client: vi.Client, dataset: str, both: Path) -> None:
    """On a file system without case the asset's own file may bear a name that differs from the asset's."""
    if WINDOWS:
        (both / "0.png").rename(both / "0.PNG")
    else:
        os.link(both / "0.png", both / "0.PNG")
    result = client.assets.sync(dataset, both, "down", delete=True, show_progress=False)
    assert result.deleted == 0
    if not WINDOWS:  # where the two cannot be side by side
        (both / "0.PNG").unlink()
        (both / "0.PNG").write_bytes(tiny(91))
        assert client.assets.sync(dataset, both, "down", delete=True, show_progress=False).deleted == 1


def test_without_a_digest_the_storages_own_is_asked_for(
    do: Any, dataset: str, both: Path, service: CountingService
) -> None:
    """The listing cannot say, so each file is looked at; the storage's checksum then settles it without a transfer."""
    other_content(both / "1.png")
    service.rewrite = without_digests
    result = do("sync", dataset, both, "down", show_progress=False)
    assert {entry.reason for entry in result.plan} == {"cannot be compared"}
    assert (result.download.total_existing, result.download.total_downloaded) == (5, 1)
    assert result.ok


def test_up_and_down_again_gives_the_same_bytes(client: vi.Client, dataset: str, both: Path, target: Path) -> None:
    assert client.assets.sync(dataset, target, "down", show_progress=False).ok
    assert digests(target) == digests(both) == stored(client, dataset)
    assert client.assets.sync(dataset, target, "up", delete=True, show_progress=False).upload is None
