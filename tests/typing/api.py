"""What type checkers make of the public API: never run, only checked.

A line that ends in ``type: ignore`` is a mistake that has to be found: strict mypy reports an unneeded ignore.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import vi
from vi.api.pagination import BadItem, Listing, Page, PaginatedResponse
from vi.api.resources.datasets.assets.plans import TransferPlan
from vi.api.resources.datasets.assets.reading.stream import AssetFile, AssetStream
from vi.api.resources.datasets.assets.resource import Assets, AsyncAssets
from vi.api.resources.datasets.assets.responses import (
    Asset,
    AssetContents,
    AssetIngestionError,
    AssetIngestionProgressCount,
    AssetIngestionSession,
    AssetMetadata,
    Contents,
    DeletedAsset,
    FailureMode,
    ResourceRetentionMode,
)
from vi.api.resources.datasets.assets.results import (
    AssetDownloadResult,
    AssetUploadResult,
    BulkDeletionResult,
    FileFailure,
    SetMetadataResult,
)
from vi.api.resources.datasets.assets.sync.comparison import VerifyResult
from vi.api.resources.datasets.assets.sync.run import SyncResult
from vi.api.resources.datasets.assets.types import AssetCustomMetadata, AssetSortCriterion, SortCriterion, SortOrder
from vi.api.resources.datasets.resource import AsyncDatasets, Datasets
from vi.api.resources.datasets.responses import Dataset, DeletedDataset
from vi.api.resources.datasets.types import DatasetType
from vi.api.resources.organizations.resource import AsyncOrganizations, Organizations
from vi.api.resources.organizations.responses import Organization
from vi.api.types import PaginationParams
from vi.client import LocalClient


def clients(folder: Path) -> None:
    assert_type(vi.Client(), vi.Client)
    assert_type(vi.Client("key", "organization", "endpoint", profile="work", allow_http=True), vi.Client)
    assert_type(vi.AsyncClient(timeouts=vi.Timeouts(connect=1), retries=vi.RetryPolicy()), vi.AsyncClient)
    assert_type(vi.Client.local(folder, limits=vi.TransferLimits(max_concurrency=4)), vi.Client)
    assert_type(vi.AsyncClient.local(folder), LocalClient)
    vi.Client(key="key")  # type: ignore[call-arg]
    vi.Client("key", "organization", "endpoint", "file")  # type: ignore[call-arg]
    vi.Client(timeouts=30)  # type: ignore[arg-type]
    vi.AsyncClient(verify=False)  # type: ignore[call-arg]


def hooks(client: vi.Client, other: vi.AsyncClient) -> None:
    def told(event: vi.RequestEvent | vi.SilenceEvent | vi.RetryEvent | vi.TransferProgress) -> None:
        if isinstance(event, vi.RetryEvent):
            assert_type(event.reason, str)

    def told_less(event: vi.RetryEvent) -> None: ...

    assert_type(client.hooks.add(told), Callable[[], None])
    assert_type(other.hooks.add(told), Callable[[], None])
    client.hooks.add(told_less)  # type: ignore[arg-type]


def sync_client(client: vi.Client) -> None:
    with client as entered:
        assert_type(entered, vi.Client)
    assert_type(client.assets, Assets)
    assert_type(client.datasets, Datasets)
    assert_type(client.organizations, Organizations)
    assert_type(client.settings, vi.Settings)
    print(client.asset)  # type: ignore[attr-defined]


async def async_client(client: vi.AsyncClient, folder: Path) -> None:
    async with client as entered:
        assert_type(entered, vi.AsyncClient)
    async with vi.AsyncClient.local(folder) as local:
        assert_type(local, vi.AsyncClient)
    assert_type(await vi.AsyncClient.local(folder), vi.AsyncClient)
    assert_type(client.assets, AsyncAssets)
    assert_type(client.datasets, AsyncDatasets)
    assert_type(client.organizations, AsyncOrganizations)
    assert_type(client.settings, vi.Settings)
    with client:  # type: ignore[attr-defined]
        pass


def sync_assets(client: vi.Client, plan: TransferPlan, folder: Path) -> None:
    assets = client.assets
    assert_type(assets.list("d"), PaginatedResponse[Asset])
    assert_type(assets.list("d", PaginationParams(page_size=5), True), PaginatedResponse[Asset])
    assert_type(assets.list("d", filter_criteria={"status": "ready"}, strict_query=True), PaginatedResponse[Asset])
    assert_type(assets.list("d", sort_by=AssetSortCriterion(SortCriterion.FILENAME)), PaginatedResponse[Asset])
    assert_type(assets.list("d", thumbnails=True), PaginatedResponse[Asset])
    assert_type(assets.get("d", "a"), Asset)
    assert_type(assets.get("d", "a", thumbnail=True).thumbnail, bytes | None)
    assert_type(assets.get(dataset_id="d", asset_id="a", contents=True), Asset)
    assert_type(assets.count("d", metadata_query="a:b"), int)
    assert_type(assets.rename("d", "new.png", asset_id="a"), Asset)
    assert_type(assets.delete("d", "a"), DeletedAsset)
    assert_type(assets.delete("d", assets.get("d", filename="a.png")), DeletedAsset)
    assert_type(assets.delete_many("d", ["a"], dry_run=True), BulkDeletionResult)
    assert_type(assets.set_metadata("d", "labels.csv", remove=["lot"]), SetMetadataResult)
    assert_type(assets.upload("d", "image.jpg"), AssetUploadResult)
    assert_type(assets.upload("d", ["a", folder], True, "FailAfterAll"), AssetUploadResult)
    assert_type(assets.upload("d", ("a.png", b""), failure_mode=FailureMode.FAIL_AFTER_ALL), AssetUploadResult)
    assert_type(assets.upload("d", io.BytesIO(), names=lambda path: path.name), AssetUploadResult)
    assert_type(assets.upload("d", "a", custom_metadata={"camera": "north"}, timeout=3), AssetUploadResult)
    assert_type(
        assets.upload("d", "a", on_asset_overwritten=ResourceRetentionMode.KEEP_LINKED_RESOURCES), AssetUploadResult
    )
    assert_type(assets.wait_until_done("d", "s", timeout=2.5), AssetIngestionSession)
    assert_type(assets.cancel("d", "s"), AssetIngestionSession)
    assert_type(assets.download("d", folder), AssetDownloadResult)
    assert_type(assets.open("d", "a", 0, end=None), AssetFile)
    assert_type(assets.read("d", filename="a.png"), bytes)
    assert_type(assets.watch("d", "folder", settle=1.0), vi.BlockingAssetWatch)
    for asset, data in assets.stream("d", metadata_query="a:b", ahead=5, on_failure="skip"):
        assert_type(asset, Asset)
        assert_type(data, bytes)
    assert_type(assets.stream("d").report.total_read, int)
    with assets.upload_events("d", folder, timeout=5) as upload, assets.download_events("d", folder) as download:
        assert_type(list(upload), list[vi.TransferProgress])
        assert_type(upload.result(), AssetUploadResult)
        assert_type(download.result(), AssetDownloadResult)
    assets.upload_events("d")  # type: ignore[call-arg]
    assets.download_events("d", folder, limit="5")  # type: ignore[arg-type]
    assert_type(assets.open("d", filename="a.png").read(5), bytes)
    assert_type(assets.open("d", "a").peek(), bytes)
    assert_type(assets.download("d", "copy", overwrite=True, show_progress=False, limit=5), AssetDownloadResult)
    assert_type(assets.sync("d", folder, "down", delete=True, dry_run=True), SyncResult)
    assert_type(assets.apply(plan), SyncResult)
    assert_type(assets.verify("d", folder), VerifyResult)


def sync_mistakes(client: vi.Client, folder: Path) -> None:
    assets = client.assets
    assets.list()  # type: ignore[call-arg]
    assets.list(7)  # type: ignore[arg-type]
    assets.list("d", page_size=5)  # type: ignore[call-arg]
    assets.list("d", sort_by="filename")  # type: ignore[arg-type]
    assets.list("d", None, False, None, None, None, True)  # type: ignore[call-arg]
    assets.get("d", b"a")  # type: ignore[arg-type]
    assets.get("d", asset="a")  # type: ignore[call-arg]
    assets.get("d", "a", contents="y")  # type: ignore[arg-type]
    assets.count("d", 7)  # type: ignore[arg-type]
    assets.rename("d")  # type: ignore[call-arg]
    assets.delete("d", 7)  # type: ignore[arg-type]
    assets.delete_many("d", ["a"], None, None, True)  # type: ignore[call-arg]
    assets.set_metadata("d", 7)  # type: ignore[arg-type]
    assets.upload("d")  # type: ignore[call-arg]
    assets.upload("d", "a", wait="yes")  # type: ignore[call-arg]
    assets.upload("d", "a", timeout="3")  # type: ignore[arg-type]
    assets.upload("d", "a", True, "FailAfterAll", "RemoveLinkedResource", {})  # type: ignore[call-arg]
    assets.upload("d", "a", names=7)  # type: ignore[arg-type]
    assets.upload("d", "a", on_progress=lambda: None)  # type: ignore[arg-type, misc]
    assets.wait_until_done("d")  # type: ignore[call-arg]
    assets.cancel("d")  # type: ignore[call-arg]
    assets.download("d")  # type: ignore[call-arg]
    assets.open("d", 7)  # type: ignore[arg-type]
    assets.read("d", 7)  # type: ignore[arg-type]
    assets.stream("d", on_failure="pass")  # type: ignore[arg-type]
    assets.open("d", "a", start="0")  # type: ignore[arg-type]
    assets.download("d", folder, limit="5")  # type: ignore[arg-type]
    assets.download("d", folder, asset_ids=7)  # type: ignore[arg-type]
    assets.sync("d", folder, "sideways")  # type: ignore[arg-type]
    assets.apply("plan")  # type: ignore[arg-type]
    assets.verify("d")  # type: ignore[call-arg]
    assets.listing("d")  # type: ignore[attr-defined]


async def async_assets(client: vi.AsyncClient, plan: TransferPlan, folder: Path) -> None:
    assets = client.assets
    assert_type(assets.list("d"), Listing[Asset])
    assert_type(await assets.list("d", contents=True), Page[Asset])
    assert_type(await assets.get("d", "a"), Asset)
    assert_type(await assets.count("d"), int)
    assert_type(await assets.rename("d", "new.png", filename="old.png"), Asset)
    assert_type(await assets.delete("d", "a"), DeletedAsset)
    assert_type(await assets.delete_many("d", all=True), BulkDeletionResult)
    assert_type(await assets.set_metadata("d", {"a.png": {"lot": 1}}, dry_run=True), SetMetadataResult)
    assert_type(await assets.upload("d", "image.jpg", wait_until_done=False), AssetUploadResult)
    assert_type(await assets.wait_until_done("d", "s"), AssetIngestionSession)
    assert_type(await assets.cancel("d", "s"), AssetIngestionSession)
    assert_type(await assets.download("d", folder, raise_on_failure=False), AssetDownloadResult)
    assert_type(await assets.open("d", "a"), AssetStream)
    assert_type(await assets.read("d", "a"), bytes)
    assert_type(assets.watch("d", "folder", settle=1.0), vi.AssetWatch)
    async for asset, data in assets.stream("d", memory=5):
        assert_type(asset, Asset)
        assert_type(data, bytes)
    for _ in assets.stream("d"):  # type: ignore[attr-defined]
        pass
    async with assets.upload_events("d", folder, timeout=5) as upload:
        async for event in upload:
            assert_type(event, vi.TransferProgress)
        assert_type(await upload.result(), AssetUploadResult)
    assert_type(await assets.download_events("d", folder), AssetDownloadResult)
    assets.upload_events("d")  # type: ignore[call-arg]
    assets.download_events("d", folder, limit="5")  # type: ignore[arg-type]
    async with assets.open("d", "a", 10) as stream:
        assert_type(stream, AssetStream)
        assert_type(await stream.read(5), bytes)
        assert_type(await stream.readinto(bytearray(9)), int)
        async for piece in stream:
            assert_type(piece, bytes)
    assert_type(await assets.sync("d", folder), SyncResult)
    assert_type(await assets.apply(plan), SyncResult)
    assert_type(await assets.verify("d", folder), VerifyResult)


async def async_mistakes(client: vi.AsyncClient, folder: Path) -> None:
    assets = client.assets
    await assets.list()  # type: ignore[call-arg]
    await assets.list("d", sort_by="filename")  # type: ignore[arg-type]
    for _ in assets.list("d"):  # type: ignore[attr-defined]
        pass
    await assets.get("d", b"a")  # type: ignore[arg-type]
    await assets.get("d", "a", contents="y")  # type: ignore[arg-type]
    await assets.count(7)  # type: ignore[arg-type]
    await assets.rename("d")  # type: ignore[call-arg]
    await assets.delete("d", b"a")  # type: ignore[arg-type]
    await assets.delete_many()  # type: ignore[call-arg]
    await assets.set_metadata("d")  # type: ignore[call-arg]
    await assets.upload("d", "a", waits=True)  # type: ignore[call-arg]
    await assets.wait_until_done("d", "s", 5)  # type: ignore[call-arg]
    await assets.cancel("d")  # type: ignore[call-arg]
    await assets.download("d", 7)  # type: ignore[arg-type]
    await assets.sync("d")  # type: ignore[call-arg]
    await assets.apply()  # type: ignore[call-arg]
    await assets.verify("d", folder, True)  # type: ignore[call-arg, arg-type]
    result: AssetUploadResult = assets.upload("d", "a")  # type: ignore[assignment]
    del result


def sync_datasets(client: vi.Client) -> None:
    datasets = client.datasets
    assert_type(datasets.list(PaginationParams(page_size=5)), PaginatedResponse[Dataset])
    assert_type(datasets.get("d"), Dataset)
    assert_type(datasets.create("name", DatasetType.VQA, tags={"a": 1}, metadata={"b": "c"}), Dataset)
    assert_type(datasets.update("d", name="other"), Dataset)
    assert_type(datasets.delete("d"), DeletedDataset)
    datasets.list(5)  # type: ignore[arg-type]
    datasets.get()  # type: ignore[call-arg]
    datasets.create()  # type: ignore[call-arg]
    datasets.create("name", tags={"a": "b"})  # type: ignore[dict-item]
    datasets.update("d", "other")  # type: ignore[call-arg]
    datasets.delete(7)  # type: ignore[arg-type]


async def async_datasets(client: vi.AsyncClient) -> None:
    datasets = client.datasets
    assert_type(datasets.list(), Listing[Dataset])
    assert_type(await datasets.list(), Page[Dataset])
    assert_type(await datasets.get("d"), Dataset)
    assert_type(await datasets.create(name="name", dataset_type="vqa", description="d"), Dataset)
    assert_type(await datasets.update("d", tags={}), Dataset)
    assert_type(await datasets.delete("d"), DeletedDataset)
    await datasets.list(5)  # type: ignore[arg-type]
    await datasets.get()  # type: ignore[call-arg]
    await datasets.create()  # type: ignore[call-arg]
    await datasets.update("d", "other")  # type: ignore[call-arg]
    await datasets.delete()  # type: ignore[call-arg]


def sync_organizations(client: vi.Client) -> None:
    assert_type(client.organizations.list(), PaginatedResponse[Organization])
    assert_type(client.organizations.get(), Organization)
    assert_type(client.organizations.get("o"), Organization)
    client.organizations.list("o")  # type: ignore[arg-type]
    client.organizations.get(7)  # type: ignore[arg-type]


async def async_organizations(client: vi.AsyncClient) -> None:
    assert_type(client.organizations.list(), Listing[Organization])
    assert_type(await client.organizations.list(), Page[Organization])
    assert_type(await client.organizations.get(), Organization)
    await client.organizations.list("o")  # type: ignore[arg-type]
    await client.organizations.get(7)  # type: ignore[arg-type]


def sync_pages(response: PaginatedResponse[Asset]) -> None:
    assert_type(response.items, list[Asset])
    assert_type(response[0], Asset)
    assert_type(len(response), int)
    assert_type(response.next_page, str | None)
    assert_type(response.bad_items, list[BadItem])
    assert_type(response.pages(), Iterator[Page[Asset]])
    assert_type(response.all_items(), Iterator[Asset])
    for page in response:
        assert_type(page, Page[Asset])
        assert_type(page.items, list[Asset])
    print(response.filename)  # type: ignore[attr-defined]


async def async_pages(listing: Listing[Asset]) -> None:
    assert_type(listing.pages(), AsyncGenerator[Page[Asset], None])
    assert_type(listing.all_items(), AsyncIterator[Asset])
    async for page in listing:
        assert_type(page, Page[Asset])
    async for asset in listing.all_items():
        assert_type(asset, Asset)
    print(listing.items)  # type: ignore[attr-defined]


def models(asset: Asset, session: AssetIngestionSession, upload: AssetUploadResult, down: AssetDownloadResult) -> None:
    assert_type(asset.filename, str)
    assert_type(asset.metadata, AssetMetadata)
    assert_type(asset.metadata.width, int)
    assert_type(asset.metadata.custom_metadata, AssetCustomMetadata)
    assert_type(asset.metadata.user_defined, dict[str, Any])
    assert_type(asset.metadata.created_at, dt.datetime | None)
    assert_type(asset.contents, AssetContents | None)
    if asset.contents and asset.contents.asset:
        assert_type(asset.contents.asset, Contents)
        assert_type(asset.contents.asset.headers, dict[str, str] | None)
    print(asset.contents.asset)  # type: ignore[union-attr]
    assert_type(session.status.progressCount, AssetIngestionProgressCount)
    assert_type(session.status.progress_count.errored, int)
    assert_type(session.status.errors, dict[str, AssetIngestionError | str])
    assert_type(upload.failures, list[FileFailure])
    assert_type(upload.failed_files, list[str])
    assert_type(upload.success_rate, float)
    assert_type(upload.sessions, list[AssetIngestionSession])
    assert_type(upload.summary(), str)
    assert_type(down.save_dir, Path)
    assert_type(Path(down), Path)
    upload.total_files = 7  # type: ignore[misc]


def errors() -> None:
    try:
        raise vi.ViUploadError("x")
    except vi.ViFileTooLargeError as error:
        assert_type(error.message, str)
        assert_type(error.max_size, int | None)
    except vi.ViUploadError as failed:
        assert_type(failed.message, str)
        assert_type(failed.retry_after, float | None)
        assert_type(failed.to_dict(), dict[str, Any])


def choices() -> None:
    assert_type(AssetSortCriterion(criterion="filename", order="desc").order, SortOrder)
    AssetSortCriterion(criterion=7)  # type: ignore[arg-type]
    PaginationParams(page_size="5")  # type: ignore[arg-type]
    PaginationParams(size=5)  # type: ignore[call-arg]


def progress(event: vi.TransferProgress, client: vi.Client) -> None:
    assert_type(event.files_total, int | None)
    assert_type(event.finished, bool)

    def listen(event: vi.TransferProgress) -> None: ...

    client.assets.upload("d", "a", on_progress=listen)
