"""`client.assets`: list, get, upload, wait for, download, rename, count and delete the assets of a dataset."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from ..... import _routes
from ....._checks import must_be_of_type
from ....._transfer.inventory import Naming
from ....._transfer.threads.stopping import in_thread
from .....errors import ViInvalidParameterError
from ....blocking import Blocking, blocking, blocking_pages, blocking_view
from ....pagination import Listing, Page
from ....types import PaginationParams
from ...base import check_id, check_ids, check_switches, check_text
from ...deadline import deadline
from . import arguments, deletion, metadata_changes
from .arguments import Filter
from .events import BlockingTransferEvents, TransferEvents, with_events  # noqa: F401 - named in signatures
from .folders import AsyncFolderTransfers
from .looking import SessionLooks
from .metadata.given import OnUnmatched
from .metadata.tables import Table
from .reading.many import AHEAD, MEMORY, AssetReader, BlockingAssetReader, OnFailure, pages_of
from .reading.one import OneAsset
from .reading.stream import AssetFile, AssetOpening
from .responses import Asset, AssetIngestionSession, DeletedAsset, ResourceRetentionMode
from .results import BulkDeletionResult, SetMetadataResult
from .types import AssetSortCriterion
from .watching import AssetWatch, BlockingAssetWatch, watch_options, watched


class AsyncAssets(AsyncFolderTransfers):
    """Assets of a dataset."""

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
        """List the assets of a dataset: await it for one page, iterate for every page.

        Nothing is requested before that. The sync form requests the first page at once. Each page is retried on its
        own.

        Args:
            dataset_id: Id of the dataset.
            pagination: Page size (at most 1000) and token. Default: pages of 10, or of 1000 when iterating.
            contents: Add signed URLs of the bytes, which expire.
            sort_by: Criterion and order. Ties are sorted by asset id.
            filter_criteria: Fields and values that must all match, as a mapping or JSON text, such as
                ``{"metadata.mimeType": "image/png"}``.
            metadata_query: Query over custom metadata, such as ``camera == "north" and lot >= 42``.
            strict_query: Compare text in both case-sensitively.
            thumbnails: Fetch the small pictures that a notebook shows, within five seconds and 1 MiB per page. Pictures
                that do not arrive are left out.

        Returns:
            A `Listing`; the sync form a `PaginatedResponse`.

        Raises:
            ViInvalidParameterError: An argument is invalid.
            ViValidationError: The service rejects the filter or the query; the message has the column.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(contents=contents, thumbnails=thumbnails)
        params = arguments.query(filter_criteria, metadata_query, strict_query)
        if contents or thumbnails:
            params["contents"] = "y"
        params |= arguments.order(sort_by)
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

        Args:
            dataset_id: Id of the dataset.
            asset_id: Id of the asset, or the `Asset` itself.
            contents: Add signed URLs of the bytes, which expire.
            filename: Name of the asset, instead of its id.
            thumbnail: Fetch its small picture, if that arrives within five seconds.

        Returns:
            The asset.

        Raises:
            ViInvalidParameterError: Neither or both of *asset_id* and *filename* are given.
            ViNotFoundError: The dataset or the asset does not exist.
        """
        check_switches(contents=contents, thumbnail=thumbnail)
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
        """Open an asset, found by *asset_id* or by *filename*, to read its bytes.

        Only one chunk is held in memory. Expired URLs are renewed and broken connections resumed at the byte where they
        broke; the digest is checked at the last byte. An `Asset` that was listed with ``contents=True`` needs no
        further request.

        Args:
            dataset_id: Id of the dataset.
            asset_id: Id of the asset, or the `Asset` itself.
            start: First byte to read.
            end: Byte before which to stop. Default: the end of the file.
            filename: Name of the asset, instead of its id.

        Returns:
            An `AssetOpening`: ``async with`` or ``await`` gives an `AssetStream`. The sync form is an `AssetFile`, a
            binary file like that of ``open(path, "rb")``.

        Raises:
            ViNotFoundError: The dataset or the asset does not exist.
            ViDownloadError: While reading: the content is damaged, has changed, or does not arrive.
        """
        calls = self._calls(dataset_id)
        return self._transfers.opening(calls, OneAsset.of("open", calls, asset_id, filename), start, end)

    async def read(self, dataset_id: str, asset_id: str | Asset | None = None, *, filename: str | None = None) -> bytes:
        """Return the bytes of an asset, found by *asset_id* or by *filename*, after checking their digest.

        Transient failures are retried. An `Asset` that was listed with ``contents=True`` costs one request.

        Args:
            dataset_id: Id of the dataset.
            asset_id: Id of the asset, or the `Asset` itself.
            filename: Name of the asset, instead of its id.

        Returns:
            The whole content; use `open` for large files.

        Raises:
            ViDownloadError: The content is damaged, has changed, or does not arrive.
            ViNotFoundError: The dataset or the asset does not exist.
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
        """Iterate over assets and their bytes, ``(asset, bytes)``, in the order of the listing. Each digest is checked.

        Nothing is requested until the first asset is wanted. Each asset costs one request, because the listing brings
        the URLs; expiring URLs are renewed, and transient failures retried. Leaving the loop cancels what was requested
        ahead. If a listing fails, the error is raised after the assets that arrived.

        Args:
            dataset_id: Id of the dataset.
            filter_criteria: Fields and values that must all match, as a mapping or JSON text, such as
                ``{"metadata.mimeType": "image/png"}``.
            metadata_query: Query over custom metadata, such as ``camera == "north" and lot >= 42``.
            strict_query: Compare text in both case-sensitively.
            sort_by: Criterion and order. Ties are sorted by asset id.
            assets: The assets to read, instead of a listing, best listed with ``contents=True``.
            ahead: How many assets are requested before they are wanted.
            memory: Upper limit in bytes of what is requested ahead; a larger asset is read alone.
            on_failure: ``"raise"`` ends the iteration with the error of the first asset that fails; ``"skip"`` lists it
                in ``report.failures`` and continues.

        Returns:
            An `AssetReader`; the sync form a `BlockingAssetReader`.

        Raises:
            ViInvalidParameterError: *assets* is given together with a selection or an order.
            ViDownloadError: While iterating: an asset is damaged, has changed, or does not arrive.
            ViNotFoundError: While iterating: the dataset or an asset does not exist.
        """
        calls = self._calls(dataset_id)
        if assets is None:
            listing = self.list(
                dataset_id, None, True, sort_by, filter_criteria, metadata_query, strict_query=strict_query
            )
            pages: Callable[[], AsyncIterator[Page[Asset]]] = listing.pages
        elif filter_criteria is not None or metadata_query is not None or sort_by is not None:
            raise ViInvalidParameterError("Give either assets, or a selection and an order.", parameter="assets")
        elif not hasattr(assets, "__iter__"):
            raise must_be_of_type("assets", "assets", assets)
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
        """Count the assets that match, or all assets of a dataset.

        Args:
            dataset_id: Id of the dataset.
            filter_criteria: Fields and values that must all match, as a mapping or JSON text, such as
                ``{"metadata.mimeType": "image/png"}``.
            metadata_query: Query over custom metadata, such as ``camera == "north" and lot >= 42``.
            strict_query: Compare text in both case-sensitively.

        Returns:
            The number of assets.

        Raises:
            ViValidationError: The service rejects the filter or the query.
            ViNotFoundError: The dataset does not exist.
        """
        params = arguments.query(filter_criteria, metadata_query, strict_query)
        return await self._calls(dataset_id).count(params)

    async def rename(
        self, dataset_id: str, new_name: str, asset_id: str | Asset | None = None, filename: str | None = None
    ) -> Asset:
        """Rename an asset, found by *asset_id* or by its current *filename*.

        Args:
            dataset_id: Id of the dataset.
            new_name: The new file name.
            asset_id: Id of the asset, or the `Asset` itself.
            filename: Current name of the asset, instead of its id.

        Returns:
            The renamed asset.

        Raises:
            ViConflictError: Another asset of the dataset has the new name.
            ViNotFoundError: The dataset or the asset does not exist.
        """
        check_text(new_name, "new_name")
        calls = self._calls(dataset_id)
        one = OneAsset.of("rename", calls, asset_id, filename)
        return await calls.rename(new_name, one.asset_id, one.filename)

    async def set_metadata(
        self,
        dataset_id: str,
        table: Table | Mapping[str, Any],
        *,
        remove: Sequence[str] = (),
        dry_run: bool = False,
        on_unmatched: OnUnmatched = "error",
        timeout: float | None = None,
    ) -> SetMetadataResult:
        """Change the custom metadata of assets without sending their bytes, thousands in one request.

        Keys of the table are set; other keys, and those whose value is missing, keep the value that they have. Each
        request changes all of its assets or none. Failed requests are retried. Cancelling leaves what is done; the same
        call does the rest. The local service offers this; the protocol does not require it.

        Args:
            dataset_id: Id of the dataset.
            table: A table with a column ``filename`` or the path of one, as in `upload`, or a mapping of names to
                metadata.
            remove: Keys to remove from each asset of the table that gives them no value.
            dry_run: Count what would change, and change nothing.
            on_unmatched: ``"error"`` changes nothing if a name of the table is not in the dataset; ``"ignore"`` lists
                such names in the result.
            timeout: Seconds for the whole call. Default: no limit.

        Returns:
            How many assets changed.

        Raises:
            ViInvalidParameterError: An argument or a value of the table is invalid, or a name is not in the dataset.
            ViOperationError: The service cannot change metadata without the bytes.
            ViTimeoutError: *timeout* has passed; ``.result`` counts what is done.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(dry_run=dry_run)
        calls = self._calls(dataset_id)
        keys = metadata_changes.check_keys(remove)
        result = SetMetadataResult(dry_run=dry_run)
        with deadline(self._http, timeout, "change of metadata", lambda: result):
            updates = await in_thread(metadata_changes.read_updates, table)
            await metadata_changes.set_metadata(calls, updates, keys, result, on_unmatched)
            return result
        raise AssertionError("unreachable")

    async def delete(
        self, dataset_id: str, asset_id: str | Asset | None = None, *, filename: str | None = None
    ) -> DeletedAsset:
        """Delete an asset, found by *asset_id* or by *filename*, and its annotations, permanently.

        Args:
            dataset_id: Id of the dataset.
            asset_id: Id of the asset, or the `Asset` itself.
            filename: Name of the asset, instead of its id.

        Returns:
            The id of the deleted asset.

        Raises:
            ViNotFoundError: The dataset or the asset does not exist.
        """
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
        """Delete assets permanently: by id, by filter and query, or every asset with *all*.

        Waits until the service has deleted them. Cancelling stops the waiting; the service continues.

        Args:
            dataset_id: Id of the dataset.
            asset_ids: Ids to delete. Ids that do not exist are listed in the result.
            filter_criteria: Fields and values that must all match, as a mapping or JSON text, such as
                ``{"metadata.mimeType": "image/png"}``.
            metadata_query: Query over custom metadata, such as ``camera == "north" and lot >= 42``.
            strict_query: Compare text in both case-sensitively.
            all: Delete every asset of the dataset. An empty selection without it is an error.
            dry_run: Count the assets, and delete nothing.
            timeout: Seconds to wait. Default: no limit.

        Returns:
            How many assets were selected and deleted, and the ids that do not exist.

        Raises:
            ViInvalidParameterError: None or several of ids, selection and *all* are given.
            ViTimeoutError: *timeout* has passed; the service continues.
            ViNotFoundError: The dataset does not exist.
        """
        check_switches(all=all, dry_run=dry_run)
        calls = self._calls(dataset_id)
        with deadline(self._http, timeout, "deletion"):
            if asset_ids is not None:
                if filter_criteria is not None or metadata_query is not None or all:
                    raise ViInvalidParameterError("Give exactly one of asset_ids, a filter or query, and all=True.")
                ids = check_ids(asset_ids, "asset_ids")
                return await deletion.delete_ids(calls, ids, dry_run=dry_run)
            params = arguments.query(filter_criteria, metadata_query, strict_query)
            if arguments.is_selection(params) == all:
                raise ViInvalidParameterError(
                    "delete_many needs a selection: asset_ids, a filter or query, or all=True."
                )
            count = await calls.count(params)
            if dry_run or not count:
                return BulkDeletionResult(count, 0, dry_run=dry_run)
            await deletion.delete_selected(calls, params)
            return BulkDeletionResult(count, count)

    def watch(
        self,
        dataset_id: str,
        folder: str | os.PathLike[str],
        settle: float = 2.0,
        *,
        names: Naming = "basename",
        include: arguments.Patterns = (),
        exclude: arguments.Patterns = (),
        follow_links: bool = False,
        on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
        move_to: str | os.PathLike[str] | None = None,
    ) -> AssetWatch:
        """Upload each file of a folder once it is written, starting with those that are there. Needs ``watch``.

        Failed files are retried after growing pauses, then named; those of a lost connection without end.

        Args:
            dataset_id: Id of the dataset.
            folder: Local folder.
            settle: Seconds for which size and time of a file must not change before it is taken.
            names: How files are named, as in `upload`.
            include: Patterns in the syntax of ``.gitignore``; only matching files are included. Default: every file.
            exclude: Patterns of files to leave out; an excluded folder is not read.
            follow_links: Walk into symlinked folders too.
            on_asset_overwritten: What happens to the annotations of assets that are overwritten, as in `upload`.
            move_to: Existing folder to move files to once the service confirms their digest.

        Returns:
            An `AssetWatch`; the sync form a `BlockingAssetWatch`. Iterating does the work.

        Raises:
            ViInvalidParameterError: An argument is invalid.
            ViConfigurationError: While iterating: watchfiles cannot be used.
            ViPathError: While iterating: the folder does not exist.
        """
        filters, limits = arguments.filters(include, exclude, follow_links), self._limits(None)
        place = watched(folder, settle)
        options = watch_options(place, names, filters, on_asset_overwritten, limits, move_to)
        return AssetWatch(self._calls(dataset_id), self._transfers, options, settle)

    async def wait_until_done(
        self, dataset_id: str, asset_ingestion_session_id: str, *, timeout: float | None = None
    ) -> AssetIngestionSession:
        """Wait until an upload session has finished. Cancelling stops the waiting only.

        Args:
            dataset_id: Id of the dataset.
            asset_ingestion_session_id: Id of the session, from ``result.session_ids``.
            timeout: Seconds to wait. Default: no limit.

        Returns:
            The session, whether it succeeded or failed.

        Raises:
            ViTimeoutError: *timeout* has passed; ``.session`` is the session as last seen.
            ViNotFoundError: The dataset or the session does not exist.
        """
        calls, session_id = self._calls(dataset_id), check_id(asset_ingestion_session_id, "asset_ingestion_session_id")
        last: AssetIngestionSession | None = None
        looks = SessionLooks(calls, session_id)
        done = total = 0
        with deadline(self._http, timeout, "session", session=lambda: last):
            while True:
                last = await looks.next(done, total, until_end=last is not None)
                if last.status.finished:
                    return last
                count = last.status.progressCount
                done, total = count.succeeded + count.errored, count.total
        raise AssertionError("unreachable")

    async def cancel(self, dataset_id: str, asset_ingestion_session_id: str) -> AssetIngestionSession:
        """Cancel an upload session. Stored files stay, and a finished session is left unchanged.

        Args:
            dataset_id: Id of the dataset.
            asset_ingestion_session_id: Id of the session, from ``result.session_ids``.

        Returns:
            The session afterwards.

        Raises:
            ViNotFoundError: The dataset or the session does not exist.
        """
        calls, session_id = self._calls(dataset_id), check_id(asset_ingestion_session_id, "asset_ingestion_session_id")
        await calls.cancel_session(session_id)
        return await calls.session(session_id)


class Assets(Blocking[AsyncAssets]):
    """Assets of a dataset."""

    list: Final = blocking_pages(AsyncAssets.list)
    get: Final = blocking(AsyncAssets.get)
    open: Final = blocking_view(AsyncAssets.open, AssetFile.of)
    read: Final = blocking(AsyncAssets.read)
    stream: Final = blocking_view(AsyncAssets.stream, BlockingAssetReader)
    count: Final = blocking(AsyncAssets.count)
    rename: Final = blocking(AsyncAssets.rename)
    set_metadata: Final = blocking(AsyncAssets.set_metadata)
    delete: Final = blocking(AsyncAssets.delete)
    delete_many: Final = blocking(AsyncAssets.delete_many)
    upload: Final = blocking(AsyncAssets.upload)
    upload_events: Final = blocking_view(AsyncAssets.upload_events, BlockingTransferEvents)
    wait_until_done: Final = blocking(AsyncAssets.wait_until_done)
    cancel: Final = blocking(AsyncAssets.cancel)
    download: Final = blocking(AsyncAssets.download)
    download_events: Final = blocking_view(AsyncAssets.download_events, BlockingTransferEvents)
    sync: Final = blocking(AsyncAssets.sync)
    watch: Final = blocking_view(AsyncAssets.watch, BlockingAssetWatch)
    apply: Final = blocking(AsyncAssets.apply)
    verify: Final = blocking(AsyncAssets.verify)
