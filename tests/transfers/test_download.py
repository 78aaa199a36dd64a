"""A dataset into a folder: whole files only, under safe names, each accounted for."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.systems import needs_links, needs_names
from vi._transfer.file_system import rules_of
from vi.api.resources import base
from vi.api.resources.datasets.assets import calls
from vi.api.resources.datasets.assets.download.run import Download


def names_in(folder: Any) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def filled(client: vi.Client, service: Any, dataset: str, folder: Any) -> str:
    """A dataset of six images."""
    client.assets.upload(dataset, folder(6))
    service.forget()
    return dataset


@pytest.fixture
def ids(client: vi.Client, filled: str) -> dict[str, str]:
    """The ids of its assets by name."""
    return {asset.filename: asset.asset_id for asset in client.assets.list(filled).all_items()}


def test_what_went_up_comes_down_equal(client: vi.Client, filled: str, tmp_path: Path, contents: Any) -> None:
    out = tmp_path / "deep" / "er"
    result = client.assets.download(filled, out)
    assert contents(out) == contents(tmp_path / "images")
    assert (result.total_files, result.total_downloaded, result.failed_files) == (6, 6, [])
    assert result.bytes_received == sum(path.stat().st_size for path in out.iterdir())


@pytest.mark.anyio
async def test_the_async_client_does_the_same(service: Any, filled: str, tmp_path: Path, contents: Any) -> None:
    async with service.async_client() as client:
        result = await client.assets.download(filled, str(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "images")
    assert result.total_downloaded == 6


def test_the_result_prints_as_the_folder_and_serves_as_a_path(client: vi.Client, filled: str, tmp_path: Path) -> None:
    result = client.assets.download(filled, tmp_path / "out")
    assert f"Downloaded to: {result}" == f"Downloaded to: {tmp_path / 'out'}"
    assert len(names_in(result)) == 6
    assert result.summary().startswith(f"{tmp_path / 'out'}: 6 files downloaded in ")
    assert json.loads(json.dumps(result.to_dict()))["total_downloaded"] == 6


@needs_names
def test_a_folder_whose_name_is_not_text_can_be_printed(client: vi.Client, filled: str, tmp_path: Path) -> None:
    result = client.assets.download(filled, tmp_path / os.fsdecode(b"out-\xff"))
    assert names_in(result) == names_in(tmp_path / "images")
    assert str(result).encode().endswith(b"/out-\\udcff")
    assert b"6 files downloaded" in result.summary().encode()


def test_an_empty_dataset_gives_an_empty_folder(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    result = client.assets.download(dataset, tmp_path / "out")
    assert (result.total_files, list((tmp_path / "out").iterdir())) == (0, [])


def test_every_page_is_fetched(
    client: vi.Client, service: Any, filled: str, tmp_path: Path, contents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 2)
    assert client.assets.download(filled, tmp_path / "out").total_downloaded == 6
    assert contents(tmp_path / "out") == contents(tmp_path / "images")
    # Where the disk takes names that differ in case for one, all names are asked for first.
    assert len(service.requests("GET", "/assets")) == (6 if rules_of(tmp_path).folds else 3)


def test_files_that_are_there_already_are_not_fetched_again(
    client: vi.Client, service: Any, filled: str, tmp_path: Path
) -> None:
    client.assets.download(filled, tmp_path / "out")
    (tmp_path / "out" / "image-003.png").unlink()
    service.forget()
    result = client.assets.download(filled, tmp_path / "out")
    assert (result.total_existing, result.total_downloaded) == (5, 1)
    assert [seen.path.rpartition("/")[2] for seen in service.requests(storage=True)] == ["image-003.png"]


def test_a_local_file_with_other_content_is_kept_and_reported(
    client: vi.Client, filled: str, tmp_path: Path, contents: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "image-002.png").write_bytes(b"mine")
    result = client.assets.download(filled, out)
    assert (out / "image-002.png").read_bytes() == b"mine"
    assert (result.total_conflicts, result.total_downloaded, result.total_failed) == (1, 5, 0)
    assert result.conflicts[0].path == str(out / "image-002.png")
    assert "overwrite=True" in result.summary()
    assert client.assets.download(filled, out, overwrite=True).total_downloaded == 1
    assert contents(out) == contents(tmp_path / "images")


@needs_links
def test_a_link_is_replaced_and_never_written_through(client: vi.Client, filled: str, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside.txt"
    out.mkdir()
    outside.write_text("mine")
    (out / "image-000.png").symlink_to(outside)
    assert client.assets.download(filled, out).total_conflicts == 1
    assert client.assets.download(filled, out, overwrite=True).total_downloaded == 1
    assert outside.read_text() == "mine"
    assert not (out / "image-000.png").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_name_is_a_conflict(client: vi.Client, filled: str, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out" / "image-000.png").mkdir(parents=True)
    result = client.assets.download(filled, tmp_path / "out", overwrite=overwrite)
    assert (result.total_conflicts, result.total_downloaded) == (1, 5)


def test_assets_are_chosen_by_id(client: vi.Client, filled: str, ids: dict[str, str], tmp_path: Path) -> None:
    wanted = [ids["image-004.png"], ids["image-001.png"]]
    assert client.assets.download(filled, tmp_path / "out", asset_ids=wanted).total_files == 2
    assert names_in(tmp_path / "out") == ["image-001.png", "image-004.png"]


def test_an_unknown_id_fails_by_name_and_the_others_arrive(
    client: vi.Client, filled: str, ids: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(vi.ViDownloadError, match="nowhere") as raised:
        client.assets.download(filled, tmp_path / "out", asset_ids=["nowhere", ids["image-001.png"]])
    assert (raised.value.result.total_failed, raised.value.result.total_downloaded) == (1, 1)
    result = client.assets.download(filled, tmp_path / "out", asset_ids=["nowhere"], raise_on_failure=False)
    assert [(f.filename, f.code) for f in result.failures] == [("nowhere", "ENOENT")]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({"filter_criteria": {"filename": "image-002.png"}}, ["image-002.png"]),
        ({"filter_criteria": '{"filename": "image-002.png"}'}, ["image-002.png"]),
        ({"filter_criteria": {"metadata.fileSize": 0}}, []),
    ],
    ids=["dictionary", "text", "nothing"],
)
def test_assets_are_chosen_by_filter(
    client: vi.Client, filled: str, tmp_path: Path, selection: dict[str, Any], names: list[str]
) -> None:
    result = client.assets.download(filled, tmp_path / "out", **selection)
    assert names_in(tmp_path / "out") == names
    assert result.total_files == len(names)


@pytest.mark.parametrize("limit", [1, 4, 6, 100])
def test_a_limit_bounds_the_number(
    client: vi.Client, filled: str, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE", 3)
    result = client.assets.download(filled, tmp_path / "out", limit=limit)
    assert result.total_files == len(names_in(tmp_path / "out")) == min(limit, 6)


def test_pages_that_come_after_the_limit_are_let_go(
    client: vi.Client, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing is ahead of the fetching, and waits to hand over its next page when the last file is there."""
    fetch_one, read_envelope = Download._fetch_one, base.read_envelope
    third, pages = asyncio.Event(), itertools.count(1)

    def reading(*envelope: Any) -> Any:
        if next(pages) == 3:  # one is used, one lies ready, and for this one there is no room
            third.set()
        return read_envelope(*envelope)

    async def after_it(self: Download, *remote: Any) -> None:
        await third.wait()
        await fetch_one(self, *remote)

    monkeypatch.setattr(base, "read_envelope", reading)
    monkeypatch.setattr(Download, "_fetch_one", after_it)
    assert client.assets.download(filled, tmp_path / "out", limit=1).total_files == 1


def test_assets_are_chosen_by_custom_metadata(client: vi.Client, dataset: str, folder: Any, tmp_path: Path) -> None:
    def split(path: Path) -> dict[str, str]:
        return {"split": "val" if "2" in path.name else "train"}

    client.assets.upload(dataset, folder(4), custom_metadata=split)
    client.assets.download(dataset, tmp_path / "out", metadata_query='split == "val"')
    assert names_in(tmp_path / "out") == ["image-002.png"]


@pytest.mark.parametrize(
    "hostile",
    ["../../outside.png", "/etc/outside.png", "C:\\outside.png", "NUL.png", "trailing. .", "a\x1b[31mb.png", "x" * 900],
    ids=["parents", "absolute", "drive", "device", "trailing dot", "terminal", "long"],
)
def test_no_name_leads_out_of_the_folder(
    client: vi.Client, filled: str, ids: dict[str, str], tmp_path: Path, hostile: str
) -> None:
    client.assets.rename(filled, hostile, asset_id=ids["image-000.png"])
    before = set(tmp_path.iterdir()) | {tmp_path / "out"}
    result = client.assets.download(filled, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before
    path = result.renamed.get(ids["image-000.png"], hostile)
    assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "images" / "image-000.png").read_bytes()
    assert (tmp_path / "out").resolve() in (tmp_path / "out" / path).resolve().parents
    assert path.isprintable()
    assert result.total_downloaded == 6


@needs_names
def test_names_that_this_file_system_holds_come_back_as_they_are(
    client: vi.Client, dataset: str, folder: Any, tmp_path: Path, contents: Any
) -> None:
    """What another file system takes for one name is told apart there: see tests/sync/test_rounds.py."""
    images = folder(names=["a.png", "A.png", "stra\u00dfe.png", "STRASSE.png", "caf\u00e9.png", "cafe\u0301.png"])
    client.assets.upload(dataset, images)
    result = client.assets.download(dataset, tmp_path / "out")
    assert not result.renamed
    assert contents(tmp_path / "out") == contents(images)
    again = client.assets.download(dataset, tmp_path / "out")
    assert again.total_existing == 6


def test_an_asset_that_is_deleted_during_the_download_is_reported_and_the_others_arrive(
    client: vi.Client, service: Any, filled: str, ids: dict[str, str], tmp_path: Path
) -> None:
    with service.hold("GET", "/dl/") as hold:

        def delete() -> None:
            assert hold.reached.wait(10)
            with service.client() as other:
                other.assets.delete(filled, ids["image-003.png"])
            hold.release()

        thread = threading.Thread(target=delete)
        thread.start()
        result = client.assets.download(filled, tmp_path / "out", raise_on_failure=False)
        thread.join()
    assert [(f.filename, f.code) for f in result.failures] == [("image-003.png", "ENOENT")]
    assert (result.total_downloaded, len(names_in(tmp_path / "out"))) == (5, 5)


def test_no_name_is_visible_before_its_file_is_whole(
    client: vi.Client, service: Any, filled: str, tmp_path: Path
) -> None:
    with service.hold("GET", "/dl/", after=2) as hold:
        thread = threading.Thread(target=client.assets.download, args=(filled, tmp_path / "out"))
        thread.start()
        assert hold.reached.wait(10)
        whole = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
        seen = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
        hold.release()
        thread.join(20)
    assert seen.items() <= whole.items()
    assert names_in(tmp_path / "out") == sorted(whole)
