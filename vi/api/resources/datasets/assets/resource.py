"""`client.assets`: list, get, upload, wait for, download, rename, count and delete the assets of a dataset."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from ..... import _routes
from ....._events import Listener
from ....._http import Http
from ....._show.progress import progress_listeners
from ....._transfer.discovery import Naming
from ....._transfer.progress import ProgressTracker
from ....._transfer.remote_folders import RemotePath, is_remote, remote_folder
from ....._transfer.threads.stopping import in_thread
from .....errors import (
    ViDownloadError,
    ViInvalidParameterError,
)
from ....blocking import Blocking, blocking, blocking_pages, blocking_view
from ....pagination import Listing, Page
from ....types import PaginationParams
from ...base import Resource, check_id, check_ids, check_text
from ...deadline import deadline
from ...shared import choose
from . import arguments, deletion, metadata
from .arguments import Filter
from .calls import AssetCalls
from .download.run import DownloadOptions, expected_total
from .events import BlockingTransferEvents, TransferEvents, with_events  # noqa: F401 - named in signatures
from .metadata import CustomMetadata
from .plans import Direction, TransferPlan
from .polling import Polling
from .reading.many import AHEAD, MEMORY, AssetReader, BlockingAssetReader, OnFailure, pages_of
from .reading.one import OneAsset
from .reading.stream import AssetFile, AssetOpening
from .responses import Asset, AssetIngestionSession, DeletedAsset, FailureMode, ResourceRetentionMode
from .results import AssetDownloadResult, AssetUploadResult, BulkDeletionResult
from .sync.comparison import VerifyResult, verify
from .sync.planning import (
    DEFAULT_MAX_DELETE,
    check_deletions,
    check_max_delete,
    plan_down,
    plan_download,
    plan_up,
    scan_folder,
)
from .sync.run import PlanRun, SyncResult
from .transfers import Transfers
from .types import AssetSortCriterion, SortCriterion, SortOrder
from .upload.context import UploadOptions
from .upload.run import Upload

UPLOAD_GOES_ON = "The same call goes on with what is missing; vi.transfers lists what is unfinished."
DOWNLOAD_GOES_ON = "The same call goes on: what has arrived is kept."
SYNC_GOES_ON = "The same call goes on: it moves only what differs."


class AsyncAssets(Resource):
    """Assets of a dataset."""

    def __init__(self, http: Http, transfers: Transfers) -> None:
        super().__init__(http)
        self._transfers = transfers

    def list(
        self,
        dataset_id: str,
        pagination: PaginationParams | None = None,
        contents: bool = False,
        sort_by: AssetSortCriterion | None = None,
        filter_criteria: Filter | None = None,
        metadata_query: str | None = None,
        *,
        strict_query: bool = False,
        thumbnails: bool = False,
    ) -> Listing[Asset]:
        """List assets. *contents* adds signed URLs.

        With *thumbnails* the assets of each page have their small pictures, which a notebook shows: those that come
        within five seconds and a megabyte, in order.

        *filter_criteria* is a JSON object of dotted field names and values; *metadata_query* asks about custom metadata,
        exactly and by case when *strict_query* is set.
        """
        params = arguments.query(filter_criteria, metadata_query, strict_query)
        if contents or thumbnails:
            params["contents"] = "y"
        if sort_by is not None:
            if not isinstance(sort_by, AssetSortCriterion):
                raise ViInvalidParameterError(
                    f"sort_by must be an AssetSortCriterion, got {type(sort_by).__name__}.", parameter="sort_by"
                )
            if sort_by.criterion is not SortCriterion.DEFAULT or sort_by.order is SortOrder.DESC:
                params["sortBy"] = str(sort_by.criterion)
            if sort_by.order is SortOrder.DESC:
                params["o"] = "d"
        listing = self._list(self._path(_routes.ASSETS, dataset_id=dataset_id), Asset, pagination, params)
        if not thumbnails:
            return listing

        async def fetch(page: PaginationParams) -> Page[Asset]:
            found = await listing.fetch(page)
            await self._illustrate(found.items, contents)
            return found

        return attrs.evolve(listing, fetch=fetch)

    async def get(
        self,
        dataset_id: str,
        asset_id: str | Asset | None = None,
        contents: bool = False,
        *,
        filename: str | None = None,
        thumbnail: bool = False,
    ) -> Asset:
        """Return an asset, found by *asset_id* or by *filename*.

        *contents* adds signed URLs, *thumbnail* its small picture, if that comes within five seconds. Raises
        `ViNotFoundError`.
        """
        calls = self._calls(dataset_id)
        asset = await OneAsset.of("get", calls, asset_id, filename).ask(calls, contents=contents or thumbnail)
        if thumbnail:
            await self._illustrate([asset], contents)
        return asset

    async def _illustrate(self, assets: Sequence[Asset], contents: bool) -> None:
        await self._transfers.fetch_thumbnails(assets)
        if not contents:
            for asset in assets:
                asset.contents = None

    def open(
        self,
        dataset_id: str,
        asset_id: str | Asset | None = None,
        start: int = 0,
        end: int | None = None,
        *,
        filename: str | None = None,
    ) -> AssetOpening:
        """Open an asset to read its bytes, or those from *start* up to but excluding *end*, one piece at a time.

        It is found by *asset_id* or by *filename*; an `Asset` that was listed with its contents needs no request of its
        own. The async form is entered or awaited and gives an `AssetStream`; the sync form is an `AssetFile`, a binary file
        as ``open(path, "rb")`` returns it. Memory stays within one piece; an expired URL is renewed, a cut is gone on from.
        """
        calls = self._calls(dataset_id)
        return self._transfers.opening(calls, OneAsset.of("open", calls, asset_id, filename), start, end)

    async def read(self, dataset_id: str, asset_id: str | Asset | None = None, *, filename: str | None = None) -> bytes:
        """Return the bytes of an asset, found by *asset_id* or by *filename*, once their digest is right.

        An `Asset` that was listed with its contents costs one request. Raises `ViDownloadError` for damage, and
        `ViNotFoundError`.
        """
        calls = self._calls(dataset_id)
        return await self._transfers.reader(calls).read(OneAsset.of("read", calls, asset_id, filename))

    def stream(
        self,
        dataset_id: str,
        filter_criteria: Filter | None = None,
        metadata_query: str | None = None,
        *,
        strict_query: bool = False,
        sort_by: AssetSortCriterion | None = None,
        assets: Iterable[Asset] | None = None,
        ahead: int = AHEAD,
        memory: int = MEMORY,
        on_failure: OnFailure = "raise",
    ) -> AssetReader:
        """Iterate over assets and their bytes, ``(asset, bytes)``, in the order of the listing, each digest checked.

        Up to *ahead* assets and *memory* bytes are asked for before they are wanted; one larger than *memory* comes alone.
        An asset costs one request: the listing brings the URLs, and what is near expiry is renewed. *assets* gives those to
        read instead of a listing, best with their contents.

        Nothing is sent before the first is wanted. A failure ends it with the error of that asset, in its place; with
        ``on_failure="skip"`` it is named in ``report.failures``. A listing that fails always raises, after what came.
        """
        calls = self._calls(dataset_id)
        if assets is None:
            listing = self.list(
                dataset_id, None, True, sort_by, filter_criteria, metadata_query, strict_query=strict_query
            )
            pages: Callable[[], AsyncIterator[Page[Asset]]] = listing.pages
        elif filter_criteria or metadata_query or sort_by:
            raise ViInvalidParameterError("Give assets, or a selection and an order, and not both.", parameter="assets")
        else:
            pages = partial(pages_of, assets, calls)
        return AssetReader(self._transfers.reader(calls), pages, ahead, memory, on_failure)

    async def count(
        self,
        dataset_id: str,
        filter_criteria: Filter | None = None,
        metadata_query: str | None = None,
        *,
        strict_query: bool = False,
    ) -> int:
        """Return how many assets match, or how many there are."""
        params = arguments.query(filter_criteria, metadata_query, strict_query)
        return await self._calls(dataset_id).count(params)

    async def rename(
        self, dataset_id: str, new_name: str, asset_id: str | Asset | None = None, filename: str | None = None
    ) -> Asset:
        """Rename an asset, found by *asset_id* or by its current *filename*.

        Raises `ViConflictError` when another asset has the new name.
        """
        check_text(new_name, "new_name")
        calls = self._calls(dataset_id)
        one = OneAsset.of("rename", calls, asset_id, filename)
        return await calls.rename(new_name, one.asset_id, one.filename)

    async def delete(
        self, dataset_id: str, asset_id: str | Asset | None = None, *, filename: str | None = None
    ) -> DeletedAsset:
        """Delete an asset, found by *asset_id* or by *filename*, and its annotations, for good."""
        calls = self._calls(dataset_id)
        found = await OneAsset.of("delete", calls, asset_id, filename).find_id(calls)
        await calls.delete(found)
        return DeletedAsset(found)

    async def delete_many(
        self,
        dataset_id: str,
        asset_ids: Sequence[str] | None = None,
        filter_criteria: Filter | None = None,
        metadata_query: str | None = None,
        *,
        strict_query: bool = False,
        all: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> BulkDeletionResult:
        """Delete assets by id, by filter, or, only with *all*, every asset of the dataset.

        With *dry_run* nothing is deleted and the result says how many would be. Waits until the service is done, or
        raises `ViTimeoutError` after *timeout* seconds; the service goes on then.
        """
        calls = self._calls(dataset_id)
        with deadline(self._http, timeout, "The deletion did not end"):
            if asset_ids is not None:
                if filter_criteria or metadata_query or all:
                    raise ViInvalidParameterError("Give asset_ids, or a filter, or all=True, and only one of them.")
                ids = check_ids(asset_ids, "asset_ids")
                return await deletion.delete_ids(calls, ids, dry_run=dry_run)
            params = arguments.query(filter_criteria, metadata_query, strict_query)
            if arguments.is_selection(params) == all:
                raise ViInvalidParameterError(
                    "delete_many needs a selection: asset_ids, a filter or query that is not empty, or all=True."
                )
            count = await calls.count(params)
            if dry_run or not count:
                return BulkDeletionResult(count, 0, dry_run=dry_run)
            await deletion.delete_selected(calls, params)
            return BulkDeletionResult(count, count)

    async def upload(
        self,
        dataset_id: str,
        paths: Any,
        wait_until_done: bool = True,
        failure_mode: FailureMode | str = FailureMode.FAIL_AFTER_ONE,
        on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
        *,
        custom_metadata: CustomMetadata | None = None,
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        skip_existing: bool = False,
        detect: arguments.Detection = "extension",
        dry_run: bool = False,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> AssetUploadResult:
        """Upload files and folders.

        *paths* is a path, an address or path of fsspec or universal_pathlib (``s3://...``, ``https://...``),
        ``(filename, bytes)``, ``(filename, picture)`` of Pillow or NumPy, an open binary file that can seek, ``(filename, stream)`` or
        ``(filename, stream, size)`` with an async iterator of bytes, or a list of these. Folders are walked in full; what is not an image or video is skipped
        and counted. *names* makes the remote name: the bare file name, the path below the folder (``"relative"``), or a
        function of the path; *custom_metadata* maps remote names to metadata, or is a function of the path.

        With *skip_existing*, files that the dataset holds already, by name, size and digest, are not sent. With *dry_run*
        nothing is sent and the result's ``plan`` says what would be. A run that died is gone on with: the same call sends
        only what the service does not have.

        The type of a file is that of its extension, and a file that begins as another is refused before it is sent. With
        *detect* ``"content"``, an image has the type that its first bytes show, and keeps its name.

        Under ``FailAfterOne`` the first failure stops the rest and raises `ViUploadError`; under ``FailAfterAll``
        everything is tried and the result returned. Without *wait_until_done* it returns once the bytes are accepted.
        Broken transfers are retried from the first byte. Cancelling, or *timeout* seconds passing (`ViTimeoutError`),
        cancels the sessions at the service; what was stored stays, and the same call may be made again.

        Raises: `ViPathError` for a missing path, `ViFileTooLargeError` before anything is sent,
        `ViInvalidParameterError` for two files of one name.
        """
        calls = self._calls(dataset_id)
        options = UploadOptions(
            wait=wait_until_done,
            failure_mode=choose(FailureMode, failure_mode, "failure_mode"),
            retention=choose(ResourceRetentionMode, on_asset_overwritten, "on_asset_overwritten"),
            metadata_of=arguments.no_metadata,
            limits=self._limits(max_concurrency),
            skip_existing=skip_existing,
            by_content=arguments.is_by_content(detect, dry_run=dry_run),
        )
        filters = arguments.filters(include, exclude, follow_links)
        tracker = ProgressTracker("upload", progress_listeners("upload", show_progress, on_progress))
        run: Upload | None = None
        with deadline(
            self._http,
            timeout,
            "The upload did not end",
            lambda: run.result() if run else None,
            resume_hint=UPLOAD_GOES_ON,
        ):
            inventory = await in_thread(arguments.build_inventory, paths, names, filters, options.failure_mode)
            options = attrs.evolve(options, metadata_of=metadata.reader(custom_metadata, inventory))
            await calls.dataset()
            if dry_run:
                plan = await plan_up(calls, inventory, self._transfers.lanes(), skip_existing=skip_existing)
                return AssetUploadResult(plan=plan, notes=plan.notes)
            run = self._transfers.upload(calls, options, tracker)
            result = await run.run(inventory)
            result.notes = inventory.notes
            return result
        raise AssertionError("unreachable")

    upload_events: Final = with_events(
        upload,
        "upload_events",
        """Upload as `upload` does, watched: a block whose events are the progress, and which is left to cancel.""",
    )

    async def wait_until_done(
        self, dataset_id: str, asset_ingestion_session_id: str, *, timeout: float | None = None
    ) -> AssetIngestionSession:
        """Wait until an upload session has ended, and return it, whether it succeeded or failed.

        Raises `ViTimeoutError`, with the session as last seen, after *timeout* seconds.
        """
        calls, session_id = self._calls(dataset_id), check_id(asset_ingestion_session_id, "asset_ingestion_session_id")
        last: AssetIngestionSession | None = None
        polling = Polling()
        with deadline(self._http, timeout, "The session did not end", session=lambda: last):
            while True:
                last = await calls.session(session_id)
                if last.status.finished:
                    return last
                count = last.status.progressCount
                await anyio.sleep(polling.pause(count.succeeded + count.errored, count.total))
        raise AssertionError("unreachable")

    async def cancel(self, dataset_id: str, asset_ingestion_session_id: str) -> AssetIngestionSession:
        """Cancel an upload session; files that it has already stored stay. A finished session is left as it is."""
        calls, session_id = self._calls(dataset_id), check_id(asset_ingestion_session_id, "asset_ingestion_session_id")
        await calls.cancel_session(session_id)
        return await calls.session(session_id)

    async def download(
        self,
        dataset_id: str,
        save_dir: str | os.PathLike[str] | RemotePath,
        overwrite: bool = False,
        show_progress: bool = True,
        *,
        asset_ids: Sequence[str] | None = None,
        filter_criteria: Filter | None = None,
        metadata_query: str | None = None,
        strict_query: bool = False,
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        limit: int | None = None,
        dry_run: bool = False,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: Listener | None = None,
        raise_on_failure: bool = True,
    ) -> AssetDownloadResult:
        """Download assets into *save_dir*, each verified and then put under its name in one step.

        Select by *asset_ids*, or by *filter_criteria* and *metadata_query*, and of these by glob patterns of their names;
        *limit* bounds the number. With *dry_run* nothing is fetched and the result's ``plan`` says what would be. A local file with
        the same content is left and counted as existing; one with other content is kept and reported as a conflict, or
        replaced with *overwrite*. Everything is tried; if anything failed, `ViDownloadError` with ``.result`` is raised
        at the end, or the result is returned with ``raise_on_failure=False``. Cancelling leaves whole files under their
        names; a large file that was well under way is gone on with by the same call.

        *save_dir* may be remote: an address that can be written to (``s3://...``) or a path of universal_pathlib. Each
        file is fetched and verified in a temporary folder of this machine, and then put there; *dry_run* is for local
        folders.
        """
        calls = self._calls(dataset_id)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ViInvalidParameterError(f"limit must be an integer above 0, got {limit!r}.", parameter="limit")
        query = arguments.query(filter_criteria, metadata_query, strict_query)
        chosen = arguments.filters(include, exclude)
        if asset_ids is not None and query:
            raise ViInvalidParameterError("Give asset_ids or a filter, not both.", parameter="asset_ids")
        remote = await in_thread(remote_folder, save_dir) if is_remote(save_dir) and not dry_run else None
        options = DownloadOptions(
            folder=Path() if remote is not None else arguments.folder(save_dir, "download(dry_run=True)"),
            remote_folder=remote,
            overwrite=overwrite,
            query=query,
            asset_ids=None if asset_ids is None else check_ids(asset_ids, "asset_ids"),
            limit=limit,
            limits=self._limits(max_concurrency),
            filters=chosen if chosen.include or chosen.exclude else None,
        )
        if dry_run:
            with deadline(self._http, timeout, "The plan was not made"):
                return AssetDownloadResult(options.folder, plan=await plan_download(calls, options))
        tracker = ProgressTracker("download", progress_listeners("download", show_progress, on_progress))
        run = self._transfers.download(calls, options, tracker)
        with deadline(self._http, timeout, "The download did not end", run.result, resume_hint=DOWNLOAD_GOES_ON):
            tracker.files_total = expected_total(options, await calls.dataset())
            result = await run.run()
            result.notes = chosen.notes
            if result.failures and raise_on_failure:
                first = result.failures[0]
                raise ViDownloadError(
                    f"{len(result.failures)} of {result.total_files} files were not downloaded; the first: "
                    f"{first.message}",
                    error_code=first.code,
                    path=first.path,
                    result=result,
                    suggestion=DOWNLOAD_GOES_ON,
                )
            return result
        raise AssertionError("unreachable")

    download_events: Final = with_events(
        download,
        "download_events",
        """Download as `download` does, watched: a block whose events are the progress, and which is left to cancel.""",
    )

    async def sync(
        self,
        dataset_id: str,
        folder: str | os.PathLike[str],
        direction: Direction = "up",
        delete: bool = False,
        *,
        max_delete: int = DEFAULT_MAX_DELETE,
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> SyncResult:
        """Make the dataset like *folder* (``"up"``) or *folder* like the dataset (``"down"``), moving the difference.

        Files are compared by name, size and digest; those that *include* and *exclude* leave out are not touched on either
        side. With *delete*, what the other side does not have is removed, at most *max_delete*; more end the sync before
        anything is done, and so does a listing or a folder that cannot be read in full. With *dry_run* only the plan is
        made. Everything is tried; failures are in the result.
        """
        given = arguments.filters(include, exclude, follow_links)
        place = arguments.folder(folder, "sync")
        if direction not in ("up", "down"):
            raise ViInvalidParameterError(
                f"direction must be 'up' or 'down', got {direction!r}.", parameter="direction"
            )
        if direction == "down" and (names != "basename" or follow_links):
            raise ViInvalidParameterError(
                "names and follow_links are about files that go up.",
                parameter="follow_links" if follow_links else "names",
            )
        check_max_delete(max_delete)
        calls = self._calls(dataset_id)
        run: PlanRun | None = None
        with deadline(
            self._http, timeout, "The sync did not end", lambda: run.result if run else None, resume_hint=SYNC_GOES_ON
        ):
            given = await in_thread(given.beside, place)
            if direction == "up":
                inventory = await in_thread(scan_folder, place, names, given)
                plan = await plan_up(
                    calls, inventory, self._transfers.lanes(), folder=place, filters=given, delete=delete
                )
            else:
                plan = await plan_down(calls, place, filters=given, delete=delete)
            if dry_run:
                return SyncResult(plan)
            check_deletions(plan, max_delete)
            progress = (show_progress, on_progress)
            run = PlanRun(calls, self._transfers, plan, self._limits(None), fresh=True, progress=progress)
            return await run.run(ResourceRetentionMode.REMOVE_LINKED_RESOURCE, None)
        raise AssertionError("unreachable")

    async def apply(
        self,
        plan: TransferPlan,
        *,
        on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
        custom_metadata: CustomMetadata | None = None,
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> SyncResult:
        """Do what a plan, or a shard of one, says. Everything is tried; failures are in the result.

        What was to be deleted or replaced and has changed since the plan was made is kept and reported; after a failed
        upload or download nothing is deleted.
        """
        if not isinstance(plan, TransferPlan):
            raise ViInvalidParameterError(f"plan must be a TransferPlan, got {type(plan).__name__}.", parameter="plan")
        retention = choose(ResourceRetentionMode, on_asset_overwritten, "on_asset_overwritten")
        progress = (show_progress, on_progress)
        calls = AssetCalls(self._http, check_id(plan.dataset_id, "plan.dataset_id"))
        run = PlanRun(calls, self._transfers, plan, self._limits(None), fresh=False, progress=progress)
        with deadline(self._http, timeout, "The plan was not done", lambda: run.result, resume_hint=SYNC_GOES_ON):
            return await run.run(retention, custom_metadata)
        raise AssertionError("unreachable")

    async def verify(
        self,
        dataset_id: str,
        folder: str | os.PathLike[str],
        *,
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        timeout: float | None = None,
    ) -> VerifyResult:
        """Compare *folder* with the dataset by name, size and digest, without moving anything."""
        filters = arguments.filters(include, exclude, follow_links)
        place = arguments.folder(folder, "verify")
        calls = self._calls(dataset_id)
        with deadline(self._http, timeout, "The check did not end"):
            filters = await in_thread(filters.beside, place)
            inventory = await in_thread(scan_folder, place, names, filters)
            return await verify(calls, inventory, self._transfers.lanes(), filters)
        raise AssertionError("unreachable")

    def _limits(self, max_concurrency: int | None) -> Any:
        limits = self._http.settings.limits
        return limits if max_concurrency is None else attrs.evolve(limits, max_concurrency=max_concurrency)

    def _calls(self, dataset_id: str) -> AssetCalls:
        return AssetCalls(self._http, dataset_id)


class Assets(Blocking[AsyncAssets]):
    """Assets of a dataset."""

    list: Final = blocking_pages(AsyncAssets.list)
    get: Final = blocking(AsyncAssets.get)
    open: Final = blocking_view(AsyncAssets.open, AssetFile.of)
    read: Final = blocking(AsyncAssets.read)
    stream: Final = blocking_view(AsyncAssets.stream, BlockingAssetReader)
    count: Final = blocking(AsyncAssets.count)
    rename: Final = blocking(AsyncAssets.rename)
    delete: Final = blocking(AsyncAssets.delete)
    delete_many: Final = blocking(AsyncAssets.delete_many)
    upload: Final = blocking(AsyncAssets.upload)
    upload_events: Final = blocking_view(AsyncAssets.upload_events, BlockingTransferEvents)
    wait_until_done: Final = blocking(AsyncAssets.wait_until_done)
    cancel: Final = blocking(AsyncAssets.cancel)
    download: Final = blocking(AsyncAssets.download)
    download_events: Final = blocking_view(AsyncAssets.download_events, BlockingTransferEvents)
    sync: Final = blocking(AsyncAssets.sync)
    apply: Final = blocking(AsyncAssets.apply)
    verify: Final = blocking(AsyncAssets.verify)
