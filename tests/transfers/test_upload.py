"""Files and folders into a dataset."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.systems import WINDOWS, needs_links, needs_names
from vi import TransferLimits
from vi.api.resources.datasets.assets.responses import FailureMode, ResourceRetentionMode


def test_every_file_of_a_folder_is_stored_as_it_is(
    client: vi.Client, dataset: str, folder: Any, contents: Any, stored: Any
) -> None:
    images = folder(7)
    result = client.assets.upload(dataset, images)
    assert stored(dataset) == contents(images)
    assert (result.total_files, result.total_succeeded, result.total_failed, result.failed_files) == (7, 7, 0, [])
    assert result.bytes_sent == sum(path.stat().st_size for path in images.iterdir())


@pytest.mark.anyio
async def test_the_async_client_does_the_same(service: Any, dataset: str, folder: Any, contents: Any) -> None:
    images = folder(7)
    async with service.async_client() as client:
        result = await client.assets.upload(dataset, images)
        held = {a.filename: a.metadata.hash.contents async for a in client.assets.list(dataset).all_items()}
    assert result.total_succeeded == 7
    assert held == contents(images)


def test_every_documented_extension_is_accepted_and_measured(client: vi.Client, dataset: str, pictures: Path) -> None:
    result = client.assets.upload(dataset, pictures)
    names = {path.name for path in pictures.iterdir()}
    assert (result.total_succeeded, result.total_files) == (len(names), len(names))
    assets = list(client.assets.list(dataset).all_items())
    assert {asset.filename for asset in assets} == names
    assert all(asset.metadata.width > 0 and asset.metadata.height > 0 for asset in assets)


def test_what_a_folder_holds_beside_images_is_skipped_and_counted(
    client: vi.Client, dataset: str, folder: Any, tmp_path: Path, stored: Any
) -> None:
    images = folder(names=["a.png", "deep/er/b.png", ".hidden.png", ".git/c.png", "Thumbs.db", "notes.txt"])
    (images / "empty.png").write_bytes(b"")
    (images / "linked.png").write_bytes((images / "a.png").read_bytes())
    other = {}
    if not WINDOWS:  # where links need a privilege, and pipes are no files
        (images / "linked.png").unlink()
        (images / "dangling.png").symlink_to(tmp_path / "nowhere")
        (images / "linked.png").symlink_to(images / "a.png")
        (images / "linked folder").symlink_to(images / "deep", target_is_directory=True)
        os.mkfifo(images / "pipe.png")
        other = {"dangling link": 1, "not a regular file": 1, "symlinked folder": 1}
    result = client.assets.upload(dataset, images)
    assert sorted(stored(dataset)) == ["a.png", "b.png", "linked.png"]
    assert result.skip_reasons == {
        "hidden": 3,
        "unsupported (.txt)": 1,
        "empty": 1,
        **other,
    }
    assert result.total_skipped == 5 + len(other) == len(result.skipped)
    assert (result.total_files, result.success_rate) == (3, 100.0)


def test_globs_choose_among_the_files_of_a_folder(client: vi.Client, dataset: str, folder: Any, stored: Any) -> None:
    images = folder(names=["a.png", "b.png", "train/c.png", "train/d.png", "val/e.png"])
    result = client.assets.upload(dataset, images, include=["train/*", "a.*"], exclude="*d.png")
    assert sorted(stored(dataset)) == ["a.png", "c.png"]
    assert result.skip_reasons == {"excluded": 3}


@needs_links
def test_linked_folders_are_followed_on_request_and_never_in_a_circle(
    client: vi.Client, dataset: str, folder: Any, stored: Any
) -> None:
    images = folder(names=["a.png"])
    elsewhere = folder(names=["b.png"], name="elsewhere")
    (images / "link").symlink_to(elsewhere, target_is_directory=True)
    (images / "circle").symlink_to(images, target_is_directory=True)
    client.assets.upload(dataset, images, follow_links=True)
    assert sorted(stored(dataset)) == ["a.png", "b.png"]


def test_names_arrive_unchanged(client: vi.Client, dataset: str, folder: Any, contents: Any, stored: Any) -> None:
    names = [
        "with space.png",
        "100%.png",
        "a#b&c;d.png" if WINDOWS else "a#b?c&d.png",
        "-dash.png",
        "caf\u00e9.png",
        "cafe\u0301.png",
        "🚦.png",
        "a+b.PNG",
    ]
    images = folder(names=names)
    client.assets.upload(dataset, images)
    assert stored(dataset) == contents(images)


@needs_names
def test_a_name_that_is_not_text_fails_alone(client: vi.Client, dataset: str, folder: Any, png: Any) -> None:
    images = folder(1)
    (images / os.fsdecode(b"bad-\xff.png")).write_bytes(png(9))
    result = client.assets.upload(dataset, images, failure_mode="FailAfterAll")
    (failure,) = result.failures
    assert (result.total_succeeded, failure.code) == (1, "EBADNAME")
    assert "\\udcff" in failure.path
    assert print(result.summary()) is None


def test_a_home_path_is_expanded(
    client: vi.Client, dataset: str, folder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder(2)
    monkeypatch.setenv("USERPROFILE" if WINDOWS else "HOME", str(tmp_path))
    assert client.assets.upload(dataset, "~/images").total_succeeded == 2


def test_a_second_upload_replaces_the_bytes_and_keeps_the_ids(
    client: vi.Client, dataset: str, folder: Any, contents: Any, stored: Any
) -> None:
    client.assets.upload(dataset, folder(3))
    before = {asset.filename: asset.asset_id for asset in client.assets.list(dataset).all_items()}
    changed = folder(3, seed=1)
    client.assets.upload(dataset, changed)
    assert {asset.filename: asset.asset_id for asset in client.assets.list(dataset).all_items()} == before
    assert stored(dataset) == contents(changed)


@pytest.mark.parametrize("given", [FailureMode.FAIL_AFTER_ALL, "FailAfterAll", "FAIL_AFTER_ALL", "fail_after_all"])
def test_choices_may_be_members_values_or_names(client: vi.Client, dataset: str, folder: Any, given: Any) -> None:
    result = client.assets.upload(dataset, folder(1), failure_mode=given)
    assert result.sessions[0].spec.failure_mode is FailureMode.FAIL_AFTER_ALL


@pytest.mark.parametrize(
    "given", [ResourceRetentionMode.KEEP_LINKED_RESOURCES, "KeepLinkedResources", "KeepLinkedResource"]
)
def test_both_spellings_of_keeping_annotations_are_sent(
    client: vi.Client, dataset: str, folder: Any, given: Any
) -> None:
    result = client.assets.upload(dataset, folder(1), on_asset_overwritten=given)
    assert result.sessions[0].spec.on_asset_overwritten is ResourceRetentionMode.KEEP_LINKED_RESOURCES


def test_the_id_of_a_dataset_may_carry_its_organization(
    client: vi.Client, service: Any, dataset: str, folder: Any
) -> None:
    client.assets.upload(f"{service.organization_id}_{dataset}", folder(1))
    assert client.assets.count(dataset) == 1


def test_many_files_go_in_several_sessions_each_byte_once(
    service: Any, dataset: str, folder: Any, contents: Any, stored: Any
) -> None:
    images = folder(35)
    with service.client(limits=TransferLimits(session_files=10)) as client:
        result = client.assets.upload(dataset, images)
    assert [s.status.progressCount.total for s in result.sessions] == [10, 10, 10, 5]
    assert len(set(result.session_ids)) == 4
    assert len(service.requests("POST", "/assetIngestionSessions")) == 4
    assert len(service.requests("PUT")) == 35
    assert stored(dataset) == contents(images)


def test_the_key_never_goes_to_storage(
    client: vi.Client, service: Any, dataset: str, folder: Any, tmp_path: Path
) -> None:
    client.assets.upload(dataset, folder(3))
    client.assets.download(dataset, tmp_path / "out")
    transfers = service.requests(storage=True)
    assert len(transfers) == 6
    assert all(not {"Authorization", "Organization-Id", "Cookie"} & set(seen.headers) for seen in transfers)


def test_no_more_transfers_run_at_once_than_allowed(client: vi.Client, service: Any, dataset: str, folder: Any) -> None:
    images = folder(12)
    with service.hold("PUT", "/up/", after=2) as hold:
        upload = threading.Thread(target=client.assets.upload, args=(dataset, images), kwargs={"max_concurrency": 3})
        upload.start()
        assert hold.reached.wait(10)
        hold.release()
        upload.join(20)
    assert 1 < service.storage_at_once <= 3


def test_a_file_that_changes_before_it_is_sent_is_not_stored(
    client: vi.Client, service: Any, dataset: str, folder: Any, png: Any, stored: Any, contents: Any
) -> None:
    images = folder(3)
    before = contents(images)
    with service.hold("POST", "/assetIngestionSessions") as hold:

        def change() -> None:
            assert hold.reached.wait(10)
            (images / "image-001.png").write_bytes(png(77, side=9))
            (images / "image-002.png").unlink()
            hold.release()

        thread = threading.Thread(target=change)
        thread.start()
        result = client.assets.upload(dataset, images, failure_mode="FailAfterAll")
        thread.join()
    codes = {Path(f.path).name: f.code for f in result.failures}
    assert codes == {"image-001.png": "ECHANGED", "image-002.png": "ENOENT"}
    assert stored(dataset) == {"image-000.png": before["image-000.png"]}
    assert (result.total_files, result.total_succeeded) == (3, 1)
