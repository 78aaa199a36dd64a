"""Making a dataset like a folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, other_content, stored
from tests.support.pictures import tiny
from tests.support.systems import WINDOWS, needs_links
from vi.api.resources.datasets.assets import calls


def test_the_difference_is_sent_and_nothing_else(
    do: Any, client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    (both / "new.png").write_bytes(tiny(50))
    other_content(both / "3.png")
    result = do("sync", dataset, both, show_progress=False)
    assert result.ok
    assert sorted(put.name for put in service.puts) == ["3.png", "new.png"]
    assert (result.plan.existing, result.upload.total_succeeded, result.deleted) == (5, 2, 0)
    assert {entry.filename: entry.reason for entry in result.plan} == {"3.png": "contents differ", "new.png": "new"}
    assert stored(client, dataset) == digests(both)


def test_twice_in_a_row_the_second_asks_for_no_url(
    do: Any, dataset: str, folder: Path, service: CountingService
) -> None:
    assert do("sync", dataset, folder, show_progress=False).upload.total_succeeded == 6
    service.reset()
    result = do("sync", dataset, folder, delete=True, show_progress=False)
    assert result.ok
    assert (result.plan.existing, len(result.plan), result.upload) == (6, 0, None)
    assert all(asked.startswith("GET ") for asked in service.asked), service.asked


def test_what_the_folder_does_not_have_is_deleted_when_told_to(
    do: Any, client: vi.Client, dataset: str, both: Path
) -> None:
    (both / "0.png").unlink()
    (both / "1.png").unlink()
    assert do("sync", dataset, both, show_progress=False).deleted == 0
    result = do("sync", dataset, both, delete=True, show_progress=False)
    assert (result.ok, result.deleted) == (True, 2)
    assert stored(client, dataset) == digests(both)


def test_more_deletions_than_allowed_end_it_before_anything(
    do: Any, client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    before = stored(client, dataset)
    for number in range(3):
        (both / f"{number}.png").unlink()
    (both / "new.png").write_bytes(tiny(50))
    service.reset()
    with pytest.raises(vi.errors.ViOperationError, match="would delete 3, more than max_delete=2; nothing was changed"):
        do("sync", dataset, both, delete=True, max_delete=2, show_progress=False)
    assert all(asked.startswith("GET ") for asked in service.asked), service.asked
    assert stored(client, dataset) == before
    plan = do("sync", dataset, both, delete=True, max_delete=2, dry_run=True, show_progress=False).plan
    assert plan.counts == {"delete_asset": 3, "upload": 1}, "the plan can be looked at all the same"
    assert do("sync", dataset, both, delete=True, max_delete=3, show_progress=False).deleted == 3


@pytest.mark.parametrize("bound", [-1, True, 1.5, "3", None])
def test_a_bound_of_another_kind_is_refused_before_a_request(
    client: vi.Client, dataset: str, both: Path, bound: Any, service: CountingService
) -> None:
    with pytest.raises(vi.errors.ViInvalidParameterError, match="max_delete"):
        client.assets.sync(dataset, both, delete=True, max_delete=bound)
    assert not service.asked


def test_an_empty_folder_deletes_nothing(client: vi.Client, dataset: str, both: Path) -> None:
    for path in both.iterdir():
        path.unlink()
    (both / "readme.txt").write_text("no image")
    with pytest.raises(
        vi.errors.ViOperationError, match=r"Nothing is deleted: the folder .* contains no images or videos, so all 6"
    ):
        client.assets.sync(dataset, both, delete=True, max_delete=1000)
    assert len(stored(client, dataset)) == 6
    assert client.assets.sync(dataset, both, show_progress=False).ok, "without delete there is nothing to refuse"


def test_a_file_that_icloud_has_taken_away_deletes_nothing(client: vi.Client, dataset: str, both: Path) -> None:
    (both / "0.png").rename(both / ".0.png.icloud")
    (both / "1.png").unlink()
    with pytest.raises(
        vi.errors.ViOperationError, match=r"1 local files could not be read; the first: 0\.png is in iCloud"
    ):
        client.assets.sync(dataset, both, delete=True)
    assert len(stored(client, dataset)) == 6
    assert [(one.filename, one.code) for one in client.assets.verify(dataset, both).failures] == [("0.png", "ENOENT")]
    plan = client.assets.sync(dataset, both, delete=True, exclude="0.png", dry_run=True).plan
    assert [(one.action, one.filename) for one in plan or ()] == [("delete_asset", "1.png")]


def test_a_missing_folder_is_an_error(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such folder"):
        client.assets.sync(dataset, tmp_path / "not mounted", delete=True)


def test_two_empty_sides_are_in_sync(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    assert client.assets.sync(dataset, tmp_path, delete=True, show_progress=False).ok


def test_a_listing_that_fails_on_its_third_page_leads_to_nothing(
    do: Any, client: vi.Client, dataset: str, both: Path, service: CountingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent and nothing deleted, and the error says so."""
    monkeypatch.setattr(calls, "PAGE", 2)
    (both / "0.png").unlink()
    (both / "new.png").write_bytes(tiny(50))
    pages: list[str] = []

    def fail(number: int, request: web.Request) -> None:
        if request.path.endswith("/assets"):
            pages.append(request.query.get("p", ""))
            if len(set(pages)) == 3:
                raise web.HTTPInternalServerError

    service.at = fail
    with pytest.raises(vi.errors.ViServerError):
        do("sync", dataset, both, delete=True, show_progress=False)
    assert len(set(pages)) == 3
    service.at = lambda number, request: None
    assert all(asked.startswith("GET ") for asked in service.asked)
    assert len(stored(client, dataset)) == 6


@pytest.mark.parametrize(
    "damage",
    [
        {"filename": None},
        {"filename": 7},
        {"assetId": None},
        {"metadata": None},
        {"metadata": {"fileSize": "1820"}},
        {"metadata": {"fileSize": -1}},
        {"metadata": {"fileSize": 1.5}},
    ],
    ids=str,
)
def test_a_listing_with_an_item_that_cannot_be_read_leads_to_nothing(
    client: vi.Client, dataset: str, both: Path, service: CountingService, damage: dict[str, Any]
) -> None:
    (both / "0.png").unlink()
    (both / "new.png").write_bytes(tiny(50))

    def rewrite(request: web.Request, document: Any) -> Any:
        if request.path.endswith("/assets"):
            document["items"][4] |= damage
        return document

    service.rewrite = rewrite
    for call in (client.assets.sync, client.assets.verify):
        with pytest.raises(vi.errors.ViOperationError, match="an asset of the listing cannot be read"):
            call(dataset, both, **({"delete": True} if call == client.assets.sync else {}))
    service.rewrite = None
    assert all(asked.startswith("GET ") for asked in service.asked)
    assert len(stored(client, dataset)) == 6


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_deletes_nothing(client: vi.Client, dataset: str, both: Path) -> None:
    below = both / "below"
    below.mkdir()
    (below / "deep.png").write_bytes(tiny(60))
    client.assets.sync(dataset, both, show_progress=False)
    below.chmod(0)
    try:
        refuse_to_delete(client, dataset, both)
    finally:
        below.chmod(0o700)


def test_a_folder_that_the_system_fails_to_list_deletes_nothing(
    client: vi.Client, dataset: str, both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = both / "below"
    below.mkdir()
    (below / "deep.png").write_bytes(tiny(60))
    client.assets.sync(dataset, both, show_progress=False)
    real = os.scandir

    def broken(path: Any) -> Any:
        if str(path) == str(below):
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", broken)
    refuse_to_delete(client, dataset, both)


def refuse_to_delete(client: vi.Client, dataset: str, folder: Path) -> None:
    before = stored(client, dataset)
    with pytest.raises(vi.errors.ViOperationError, match="Nothing is deleted: 1 local files could not be read"):
        client.assets.sync(dataset, folder, delete=True)
    assert stored(client, dataset) == before
    result = client.assets.sync(dataset, folder, show_progress=False)
    assert not result.ok, "what could not be read is no success"
    assert "below" in result.summary()
    assert stored(client, dataset) == before


@pytest.mark.parametrize("leave_empty", [True, pytest.param(False, marks=needs_links)])
def test_a_file_that_is_there_and_cannot_be_sent_keeps_its_asset(
    client: vi.Client, dataset: str, both: Path, leave_empty: bool
) -> None:
    """A file cut to nothing by a full disk, or a dangling link, is no reason to delete the good copy."""
    lost = both / "2.png"
    lost.unlink()
    if leave_empty:
        lost.touch()
    else:
        lost.symlink_to(both / "nowhere.png")
    result = client.assets.sync(dataset, both, delete=True, show_progress=False)
    assert result.deleted == 0
    assert "2.png" in stored(client, dataset)


def test_what_the_patterns_leave_out_is_touched_on_neither_side(
    do: Any, client: vi.Client, dataset: str, both: Path
) -> None:
    client.assets.upload(
        dataset,
        [("remote.jpg", (both / "0.png").read_bytes()), ("remote.gif", tiny(3))],
        failure_mode="FailAfterAll",
        show_progress=False,
    )
    there = stored(client, dataset).keys()
    (both / "0.png").unlink()
    (both / "1.png").unlink()
    result = do("sync", dataset, both, delete=True, exclude=["1.*", "*.jpg", "*.gif"], show_progress=False)
    assert result.deleted == 1
    assert stored(client, dataset).keys() == there - {"0.png"}
    (both / "2.png").unlink()
    result = do("sync", dataset, both, delete=True, include=["5.png"], show_progress=False)
    assert result.deleted == 0


def test_an_excluded_local_file_keeps_its_asset(client: vi.Client, dataset: str, both: Path) -> None:
    drafts = both / "drafts"
    drafts.mkdir()
    (both / "0.png").rename(drafts / "0.png")
    result = client.assets.sync(dataset, both, delete=True, exclude=["drafts/*"], show_progress=False)
    assert result.deleted == 0


def test_names_below_the_folder(do: Any, client: vi.Client, dataset: str, tmp_path: Path) -> None:
    for number, below in enumerate(("a", "b", "a/deep")):
        (tmp_path / below).mkdir(exist_ok=True)
        (tmp_path / below / "same.png").write_bytes(tiny(number))
    result = do("sync", dataset, tmp_path, names="relative", show_progress=False)
    assert result.ok
    assert stored(client, dataset).keys() == {"a/same.png", "b/same.png", "a/deep/same.png"}
    (tmp_path / "b" / "same.png").unlink()
    result = do("sync", dataset, tmp_path, names="relative", delete=True, show_progress=False)
    assert (result.deleted, result.plan.existing, result.upload) == (1, 2, None)
    assert stored(client, dataset).keys() == {"a/same.png", "a/deep/same.png"}
    assert len(do("sync", dataset, tmp_path, show_progress=False).plan) == 0, "they are known by their paths"
    (tmp_path / "c").mkdir()
    (tmp_path / "b" / "other.png").write_bytes(tiny(7))
    (tmp_path / "c" / "other.png").write_bytes(tiny(8))
    with pytest.raises(vi.errors.ViInvalidParameterError, match="used more than once"):
        do("sync", dataset, tmp_path, show_progress=False)


def test_after_a_failed_upload_nothing_is_deleted(client: vi.Client, dataset: str, both: Path) -> None:
    (both / "0.png").unlink()
    (both / "broken.png").write_bytes(tiny(70)[:-20])
    result = client.assets.sync(dataset, both, delete=True, show_progress=False)
    assert not result.ok
    assert result.upload is not None
    assert [failure.code for failure in result.upload.failures] == ["ECORRUPT"]
    assert result.deleted == 0
    assert "0.png" in stored(client, dataset)
    assert "1 deletion, because other files failed" in result.summary()


def test_a_deadline_carries_what_was_done(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    (both / "new.png").write_bytes(tiny(50))
    hold = threading.Event()
    timeout = 15.0 if WINDOWS else 0.5  # under wine it takes seconds to come to the first file

    def stall(number: int, request: web.Request) -> None:
        if request.method == "PUT":
            hold.wait(timeout + 1)

    service.at = stall
    with pytest.raises(vi.errors.ViTimeoutError, match="The sync did not finish") as caught:
        client.assets.sync(dataset, both, timeout=timeout, show_progress=False)
    hold.set()
    assert caught.value.result is not None
    assert caught.value.result.plan.counts == {"upload": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "sideways"},
        {"direction": "down", "names": "folders"},
        {"direction": "down", "names": lambda path: path.name},
        {"direction": "down", "follow_links": True},
    ],
)
def test_what_makes_no_sense_is_refused_before_a_request(
    client: vi.Client, dataset: str, folder: Path, service: CountingService, wrong: dict[str, Any]
) -> None:
    service.reset()
    with pytest.raises(vi.errors.ViInvalidParameterError):
        client.assets.sync(dataset, folder, **wrong)
    assert not service.asked


def test_without_a_digest_what_is_there_is_sent_again(
    do: Any, dataset: str, both: Path, service: CountingService
) -> None:
    """Equal sizes prove nothing, so only what is proved to be the same is left out."""
    service.rewrite = without_digests
    result = do("sync", dataset, both, dry_run=True)
    assert {entry.reason for entry in result.plan} == {"cannot be compared"}
    assert result.plan.counts == {"upload": 6}


def without_digests(request: web.Request, document: Any) -> Any:
    """A service that states no digest that we know, in one way or another."""
    if request.path.endswith("/assets"):
        for number, item in enumerate(document["items"]):
            item["metadata"]["hash"] = [None, {}, {"algorithm": "blake9", "contents": "00"}, {"algorithm": 5}][
                number % 4
            ]
    return document
