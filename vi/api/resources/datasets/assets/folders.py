"""The methods of `client.assets` between folders and a dataset: upload, download, sync, apply, verify."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from ....._checks import must_be_of_type
from ....._events import Listener
from ....._http import Http
from ....._show.progress import check_listener, progress_listeners
from ....._transfer.inventory import Naming, check_naming
from ....._transfer.journals.digests import known_digests
from ....._transfer.progress import ProgressTracker
from ....._transfer.remote_folders import RemoteFolder, RemotePath, is_remote, remote_folder
from ....._transfer.threads.stopping import in_thread
from .....errors import ViDownloadError, ViInvalidParameterError
from ...base import Resource, check_id, check_ids, check_switches
from ...deadline import deadline
from ...shared import choose
from . import arguments
from .arguments import Filter
from .calls import AssetCalls
from .download.run import DownloadOptions, expected_total
from .events import BlockingTransferEvents, TransferEvents, with_events  # noqa: F401 - named in signatures
from .metadata import given as metadata
from .metadata.given import CustomMetadata, OnUnmatched
from .plans import Direction, TransferPlan
from .remote_index import RemoteIndex
from .responses import FailureMode, ResourceRetentionMode
from .results import AssetDownloadResult, AssetUploadResult
from .run_plans import RunFolder, open_run, save_run, save_uploads, upload_plan
from .run_seals import Author
from .sync.comparison import VerifyResult, pair, verify
from .sync.planning import (
    DEFAULT_MAX_DELETE,
    check_deletions,
    check_max_delete,
    plan_up,
)
from .sync.run import PlanRun, SyncResult
from .sync.sides import check_direction, compare_down, compare_up, plan_download, scan
from .transfers import Transfers
from .upload.context import UploadOptions
from .upload.run import Upload

UPLOAD_HINT = "Make the same call again to resume; vi.transfers lists unfinished transfers."
DOWNLOAD_HINT = "Make the same call again to resume: files that have arrived are kept."
SYNC_HINT = "Make the same call again: it transfers only the difference."


class AsyncFolderTransfers(Resource):
    """What `AsyncAssets` does with whole folders."""

    def __init__(self, http: Http, transfers: Transfers) -> None:
        super().__init__(http)
        self._transfers = transfers

    async def upload(
        self,
        dataset_id: str,
        paths: Any,
        wait_until_done: bool = True,
        failure_mode: FailureMode | str = FailureMode.FAIL_AFTER_ONE,
        on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
        *,
        custom_metadata: CustomMetadata | None = None,
        on_unmatched: OnUnmatched = "error",
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        skip_existing: bool = False,
        detect: arguments.Detection = "extension",
        dry_run: bool = False,
        plan: RunFolder | None = None,
        shards: int | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> AssetUploadResult:
        """Upload files and folders.

        Only missing files are sent if an interrupted upload is repeated. Transient failures are retried, from the first
        byte of the file or part. Cancelling, *timeout* and closing the client stop the upload; the service keeps what
        it has received, and the same call resumes.

        Args:
            dataset_id: Id of the dataset.
            paths: A source or a list of sources: a path, ``(filename, bytes)``, ``(filename, picture)`` of Pillow or
                NumPy, an open binary file that can seek, ``(filename, stream)`` or ``(filename, stream, size)`` with an
                async iterator of bytes, or a path or URL of fsspec or universal_pathlib (``s3://``, ``https://``).
                Folders are walked recursively; hidden and empty files, and files that are not images or videos, are
                skipped and counted.
            wait_until_done: Wait until the service has checked every file. Otherwise return once the bytes are
                accepted.
            failure_mode: ``"FailAfterOne"`` stops at the first failure and raises; ``"FailAfterAll"`` tries every file
                and returns the result.
            on_asset_overwritten: What happens to the annotations of an asset of the same name, which is overwritten:
                ``"RemoveLinkedResource"`` or ``"KeepLinkedResource"``.
            custom_metadata: The same metadata for every file, a mapping of stored names to metadata, a function of
                the path, or a table with a column ``filename``: a data frame, what gives a stream of Arrow, or the path
                of a ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.parquet`` file. Values are text, numbers or
                booleans; missing ones (None, NaN, an empty cell) are left out.
            on_unmatched: ``"error"`` refuses metadata of files that are not being uploaded, ``"ignore"`` leaves it out.
            names: How files are named: ``"basename"``, ``"relative"`` (the path below the given folder), or a function
                of the path.
            include: Patterns in the syntax of ``.gitignore``; only matching files are included. Default: every file.
            exclude: Patterns of files to leave out; an excluded folder is not read.
            follow_links: Walk into symlinked folders too.
            skip_existing: Do not send files that the dataset has, compared by name (or path), size and digest. Their
                metadata is updated where it differs; a service that cannot do that leaves it, counted in
                ``metadata_differs``.
            detect: ``"extension"`` takes the type from the extension, and refuses a file whose first bytes show another
                type; ``"content"`` takes the type of an image from its first bytes, and keeps its name.
            dry_run: Send nothing; the result's ``plan`` lists what would be sent.
            plan: Send nothing, and write a run for many machines into this folder, a path or an address
                (``s3://...``); the result's ``run`` describes it, `vi.run_shard` carries it out.
            shards: In how many shards. Default: of about 64 MB or 2,000 files at most, and at least 240 if possible.
            max_concurrency: Upper limit of concurrent transfers. Default: ``TransferLimits.max_concurrency``.
            timeout: Seconds for the whole call. Default: no limit.
            show_progress: Draw progress on a terminal or in a notebook, and log it otherwise.
            on_progress: Function that is called with a `TransferProgress` for every change.

        Returns:
            The outcome of every file.

        Raises:
            ViPathError: A path does not exist or cannot be read.
            ViFileTooLargeError: A file is over the limit, under ``"FailAfterOne"``; nothing was sent.
            ViInvalidParameterError: An argument is invalid, or several files have the same name.
            ViUploadError: A file failed, under ``"FailAfterOne"``; ``.result`` is the report.
            ViTimeoutError: *timeout* has passed; ``.result`` is the report.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(
            wait_until_done=wait_until_done, skip_existing=skip_existing, dry_run=dry_run, show_progress=show_progress
        )
        calls = self._calls(dataset_id)
        options = UploadOptions(
            wait=wait_until_done,
            failure_mode=choose(FailureMode, failure_mode, "failure_mode"),
            retention=arguments.retention(on_asset_overwritten),
            metadata_of=None,
            limits=self._limits(max_concurrency),
            skip_existing=skip_existing,
            by_content=arguments.is_by_content(detect, planned=dry_run or plan is not None),
            folder=os.fspath(paths) if isinstance(paths, (str, Path)) and not is_remote(paths) else "",
        )
        filters = arguments.filters(include, exclude, follow_links)
        if plan is not None and not wait_until_done:
            raise ViInvalidParameterError(
                "wait_until_done=False is not for plan: a shard is done when its files are stored.",
                parameter="wait_until_done",
            )
        to_run = await open_run(plan, shards, dry_run=dry_run)
        tracker = ProgressTracker("upload", progress_listeners(show_progress, on_progress))
        run: Upload | None = None
        with deadline(self._http, timeout, "upload", lambda: run.result() if run else None, resume_hint=UPLOAD_HINT):
            given = await in_thread(metadata.read, custom_metadata, on_unmatched)
            inventory = await in_thread(arguments.build_inventory, paths, names, filters, options.failure_mode)
            wanted = metadata.reader(given, inventory, on_unmatched, bare=inventory.named_bare)
            options = attrs.evolve(options, metadata_of=wanted)
            await calls.dataset()
            if to_run is not None:
                whole = upload_plan(calls.dataset_id, inventory, options.retention)
                written = await save_uploads(to_run, whole, self._author, shards, inventory, wanted)
                return AssetUploadResult(run=written, notes=inventory.notes)
            index = await RemoteIndex.load(calls, metadata=given is not None) if skip_existing else None
            if index is not None:  # a file may now have the name by which the dataset knows it
                await in_thread(pair, inventory, index)
                wanted = metadata.reader(given, inventory, on_unmatched, bare=inventory.named_bare)
                options = attrs.evolve(options, metadata_of=wanted)
            if dry_run:
                planned = await plan_up(
                    calls,
                    inventory,
                    self._transfers.lanes(),
                    index=index,
                    skip_existing=skip_existing,
                    metadata=given,
                    on_unmatched=on_unmatched,
                    retention=options.retention,
                )
                return AssetUploadResult(plan=planned, notes=planned.notes)
            run = self._transfers.upload(calls, options, tracker)
            result = await run.run(inventory, index)
            result.notes = inventory.notes
            return result
        raise AssertionError("unreachable")

    upload_events: Final = with_events(
        upload,
        "upload_events",
        "Like `upload`, but a context manager that yields progress events; leaving it early stops the upload.",
    )

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
        plan: RunFolder | None = None,
        shards: int | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        on_progress: Listener | None = None,
        raise_on_failure: bool = True,
    ) -> AssetDownloadResult:
        """Download assets into a folder. A file appears under its final name once it is complete and verified.

        A local file with the same content is skipped and counted as existing. Transient failures are retried, and
        broken connections resumed at the byte where they broke. Cancelling leaves complete files; the same call resumes
        large files.

        Args:
            dataset_id: Id of the dataset.
            save_dir: Folder, which is created if missing; or a writable URL (``s3://...``) or path of
                universal_pathlib. For a remote folder, each file is downloaded and verified in a local temporary folder
                first.
            overwrite: Replace local files that have other content. Otherwise they are kept and listed in ``conflicts``.
            show_progress: Draw progress on a terminal or in a notebook, and log it otherwise.
            asset_ids: Ids of the assets to download. Default: every asset that the filters select.
            filter_criteria: Fields and values that must all match, as a mapping or JSON text, such as
                ``{"metadata.mimeType": "image/png"}``.
            metadata_query: Query over custom metadata, such as ``camera == "north" and lot >= 42``.
            strict_query: Compare text in both case-sensitively.
            include: Patterns in the syntax of ``.gitignore``; only matching files are included. Default: every file.
            exclude: Patterns of files to leave out; they are compared with the names of assets.
            limit: Upper limit of the number of assets.
            dry_run: Download nothing; the result's ``plan`` lists what would be downloaded.
            plan: Download nothing, and write a run for many machines, as in `upload`.
            shards: In how many shards, as in `upload`.
            max_concurrency: Upper limit of concurrent transfers. Default: ``TransferLimits.max_concurrency``.
            timeout: Seconds for the whole call. Default: no limit.
            on_progress: Function that is called with a `TransferProgress` for every change.
            raise_on_failure: Raise at the end if a file failed. Otherwise return the result.

        Returns:
            The outcome; it can be used as the path of the folder.

        Raises:
            ViDownloadError: A file failed, after every file was tried, or the folder cannot be written to; ``.result``
                is the report.
            ViTimeoutError: *timeout* has passed; ``.result`` is the report.
            ViInvalidParameterError: An argument is invalid.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(
            overwrite=overwrite, show_progress=show_progress, dry_run=dry_run, raise_on_failure=raise_on_failure
        )
        calls = self._calls(dataset_id)
        arguments.check_limit(limit)
        query = arguments.query(filter_criteria, metadata_query, strict_query)
        chosen = arguments.filters(include, exclude)
        if asset_ids is not None and query:
            raise ViInvalidParameterError("Give asset_ids or a filter, not both.", parameter="asset_ids")
        remote = await in_thread(remote_folder, save_dir) if is_remote(save_dir) else None
        to_run = await open_run(plan, shards, dry_run=dry_run)
        options = DownloadOptions(
            folder=Path() if remote is not None else arguments.folder(save_dir, "download"),
            remote_folder=remote,
            overwrite=overwrite,
            query=query,
            asset_ids=None if asset_ids is None else check_ids(asset_ids, "asset_ids"),
            limit=limit,
            limits=self._limits(max_concurrency),
            filters=chosen if chosen.include or chosen.exclude else None,
        )
        if dry_run or to_run is not None:
            with deadline(self._http, timeout, "plan"):
                planned = await plan_download(calls, options)
                result = AssetDownloadResult(options.folder, plan=planned, notes=planned.notes)
                if remote is not None:
                    result.save_dir, result.address = remote.path, remote.label
                if to_run is not None:
                    result.run = await save_run(to_run, planned, self._author, shards)
                return result
        tracker = ProgressTracker("download", progress_listeners(show_progress, on_progress))
        run = self._transfers.download(calls, options, tracker)
        with deadline(self._http, timeout, "download", run.result, resume_hint=DOWNLOAD_HINT):
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
                    suggestion=DOWNLOAD_HINT,
                )
            return result
        raise AssertionError("unreachable")

    download_events: Final = with_events(
        download,
        "download_events",
        "Like `download`, but a context manager that yields progress events; leaving it early cancels the download.",
    )

    async def sync(
        self,
        dataset_id: str,
        folder: str | os.PathLike[str] | RemotePath,
        direction: Direction = "up",
        delete: bool = False,
        *,
        max_delete: int = DEFAULT_MAX_DELETE,
        on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
        custom_metadata: CustomMetadata | None = None,
        on_unmatched: OnUnmatched = "error",
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        checksum: bool = False,
        dry_run: bool = False,
        plan: RunFolder | None = None,
        shards: int | None = None,
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> SyncResult:
        """Make the dataset equal to a folder (``"up"``), or the folder equal to the dataset (``"down"``).

        Files are compared by name, size and digest first, and only the difference is transferred. Nothing is
        transferred or deleted if the listing fails, the folder cannot be read in full, or there are more deletions than
        allowed. Retries and cancelling are as in `upload` and `download`.

        A file that has not changed since an earlier sync read it, by size, times and inode, is not read again.

        Args:
            dataset_id: Id of the dataset.
            folder: The folder: a path, an address (``s3://...``) or a path of universal_pathlib.
            direction: ``"up"`` or ``"down"``.
            delete: Delete files that the other side does not have, after everything else has succeeded.
            max_delete: Upper limit of deletions.
            on_asset_overwritten: What happens to the annotations of assets that are overwritten, as in `upload`.
            custom_metadata: Metadata of the files, as in `upload`. That of files that are the same is updated.
            on_unmatched: What happens to metadata of files that are not in the folder, as in `upload`.
            names: How files are named, as in `upload`.
            include: Patterns in the syntax of ``.gitignore``; only matching files are included. Default: every file.
            exclude: Patterns of files to leave out; an excluded folder is not read.
            follow_links: Walk into symlinked folders too, when uploading.
            checksum: Read every file whose size is that of its asset, also those that have not changed since.
            dry_run: Only make the plan.
            plan: Change nothing, and write a run for many machines, as in `upload`; `vi.finish` deletes.
            shards: In how many shards, as in `upload`.
            timeout: Seconds for the whole call. Default: no limit.
            show_progress: Draw progress on a terminal or in a notebook, and log it otherwise.
            on_progress: Function that is called with a `TransferProgress` for every change.

        Returns:
            The plan and the outcome of every file; failures are in the result.

        Raises:
            ViInvalidParameterError: An argument is invalid, or there are more deletions than *max_delete*.
            ViPathError: The folder does not exist or cannot be read.
            ViTimeoutError: *timeout* has passed; ``.result`` is the partial result.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(delete=delete, checksum=checksum, dry_run=dry_run, show_progress=show_progress)
        check_listener(on_progress)
        given = arguments.filters(include, exclude, follow_links)
        place = await in_thread(arguments.place, folder, "sync")
        check_direction(direction, names, follow_links, custom_metadata)
        retention = arguments.retention(on_asset_overwritten)
        check_naming(names)
        check_max_delete(max_delete)
        to_run = await open_run(plan, shards, dry_run=dry_run)
        calls = self._calls(dataset_id)
        run: PlanRun | None = None
        with deadline(self._http, timeout, "sync", lambda: run.result if run else None, resume_hint=SYNC_HINT):
            async with known_digests(trust=not checksum) as known:
                if direction == "up":
                    told = await in_thread(metadata.read, custom_metadata, on_unmatched)
                    difference = await compare_up(
                        calls,
                        self._transfers.lanes(),
                        place,
                        names,
                        given,
                        known,
                        delete=delete,
                        metadata=told,
                        on_unmatched=on_unmatched,
                        retention=retention,
                    )
                else:
                    difference = await compare_down(calls, place, names, given, known, delete=delete)
            if dry_run:
                return SyncResult(difference)
            check_deletions(difference, max_delete)
            if to_run is not None:
                return SyncResult(difference, run=await save_run(to_run, difference, self._author, shards))
            progress = (show_progress, on_progress)
            remote = place if isinstance(place, RemoteFolder) else None
            limits = self._limits(None)
            run = PlanRun(calls, self._transfers, difference, limits, fresh=True, progress=progress, place=remote)
            return await run.run(None, None, on_unmatched)
        raise AssertionError("unreachable")

    async def apply(
        self,
        plan: TransferPlan,
        *,
        on_asset_overwritten: ResourceRetentionMode | str | None = None,
        custom_metadata: CustomMetadata | None = None,
        on_unmatched: OnUnmatched = "error",
        timeout: float | None = None,
        show_progress: bool = True,
        on_progress: Listener | None = None,
    ) -> SyncResult:
        """Carry out a plan, or a shard of one. Everything is tried; failures are in the result.

        A file or asset that has changed since the plan was made is kept and reported. Nothing is deleted after a failed
        transfer. Cancelling leaves what is done; applying the plan again does the rest.

        Args:
            plan: The plan, from ``dry_run=True`` or `TransferPlan.load`.
            on_asset_overwritten: What happens to the annotations of assets that are overwritten, as in `upload`.
                Default: as planned.
            custom_metadata: Metadata of the files, as in `upload`. Default: as planned.
            on_unmatched: What happens to metadata of files that are not in the plan, as in `upload`.
            timeout: Seconds for the whole call. Default: no limit.
            show_progress: Draw progress on a terminal or in a notebook, and log it otherwise.
            on_progress: Function that is called with a `TransferProgress` for every change.

        Returns:
            The plan and the outcome of every file.

        Raises:
            ViInvalidParameterError: An argument is invalid.
            ViTimeoutError: *timeout* has passed; ``.result`` is the partial result.
            ViNotFoundError: The dataset does not exist.
        """
        if not isinstance(plan, TransferPlan):
            raise must_be_of_type("plan", "a TransferPlan", plan)
        retention = None if on_asset_overwritten is None else arguments.retention(on_asset_overwritten)
        progress = (show_progress, on_progress)
        calls = AssetCalls(self._http, check_id(plan.dataset_id, "plan.dataset_id"))
        run = PlanRun(calls, self._transfers, plan, self._limits(None), fresh=False, progress=progress)
        with deadline(self._http, timeout, "plan", lambda: run.result, resume_hint=SYNC_HINT):
            given = await in_thread(metadata.read, custom_metadata, on_unmatched)
            return await run.run(retention, given, on_unmatched)
        raise AssertionError("unreachable")

    async def verify(
        self,
        dataset_id: str,
        folder: str | os.PathLike[str] | RemotePath,
        *,
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        timeout: float | None = None,
    ) -> VerifyResult:
        """Compare a folder with a dataset by name, size and digest. Nothing is transferred.

        Every file whose size is that of its asset is read, once, so that a changed file is found whatever its time.

        Args:
            dataset_id: Id of the dataset.
            folder: The folder: a path, an address (``s3://...``) or a path of universal_pathlib.
            names: How files were named at upload, as in `upload`.
            include: Patterns in the syntax of ``.gitignore``; only matching files are included. Default: every file.
            exclude: Patterns of files to leave out; an excluded folder is not read.
            follow_links: Walk into symlinked folders too.
            timeout: Seconds for the whole call. Default: no limit.

        Returns:
            The differences; ``.ok`` tells whether there are none.

        Raises:
            ViPathError: The folder does not exist or cannot be read.
            ViTimeoutError: *timeout* has passed.
            ViNotFoundError: The dataset does not exist.
        """
        filters = arguments.filters(include, exclude, follow_links)
        place = await in_thread(arguments.place, folder, "verify")
        calls = self._calls(dataset_id)
        with deadline(self._http, timeout, "comparison"):
            inventory, index, filters = await scan(calls, place, names, filters)
            return await verify(index, inventory, place, self._transfers.lanes(), filters)
        raise AssertionError("unreachable")

    @property
    def _author(self) -> Author:
        return Author(self._http.settings.organization_id or "", self._http.settings.secret_key)

    def _limits(self, max_concurrency: int | None) -> Any:
        limits = self._http.settings.limits
        return limits if max_concurrency is None else attrs.evolve(limits, max_concurrency=max_concurrency)

    def _calls(self, dataset_id: str) -> AssetCalls:
        return AssetCalls(self._http, dataset_id)
