"""`client.assets.stream`: the verified bytes of many assets, in order, many in flight, in bounded memory.

The listing's own URLs are used, so an asset costs one request. What is requested ahead waits in memory, bounded by
number and by bytes; nothing more is started until the caller takes some.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

import anyio
import attrs

from ......_checks import check_whole, check_word, must_be_of_type
from ......_pacing import Slots
from ......_transfer.memory import fetch_bytes
from ......_transfer.outcomes import TargetGone, TransferFailed
from ......_transfer.record import FileFailure
from ......_transfer.storage import Storage
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.pool import slots_for
from ......codes import FileCode
from ......errors import (
    ViAuthenticationError,
    ViDownloadError,
    ViError,
    ViNetworkError,
    ViOperationError,
    ViPermissionError,
    ViTimeoutError,
)
from .....iterators import BlockingItems, ClosingItems
from .....pagination import Page
from ..calls import AssetCalls
from ..download.remote_files import renew
from ..responses import Asset
from .one import OneAsset
from .stream import error_of, gone

T = TypeVar("T")

OnFailure = Literal["raise", "skip"]

AHEAD = 64
MEMORY = 256 << 20
PAGE = 256


@attrs.define
class ReadReport:
    """What became of the assets of a stream so far: those given, and by name those that were skipped."""

    total_read: int = 0
    bytes_read: int = 0
    failures: list[FileFailure] = attrs.Factory(list)


@attrs.frozen
class Failed:
    """Why an asset could not be read: as it is raised, and as it is reported."""

    error: ViError
    code: str
    attempts: int = 0


@attrs.frozen
class ByteReader:
    """Reads assets of one dataset into memory for one client."""

    calls: AssetCalls
    storage: Storage
    lanes: Callable[[], Lanes]
    slots: Callable[[], Slots]

    async def read(self, one: OneAsset) -> bytes:
        """Return the verified bytes of an asset; raises what failed as a `ViError`."""
        outcome = await self.attempt(one)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    async def attempt(self, one: OneAsset) -> bytes | Failed:
        """Return the bytes, or why there are none."""
        name = one.filename or (one.asset.filename if one.asset is not None else "") or str(one.asset_id)
        attempts = 0
        try:
            asset, remote = await one.ready(self.calls, self.storage)
            name = asset.filename or name
            try:
                return await fetch_bytes(remote, self.storage, self.lanes(), functools.partial(renew, self.calls))
            finally:
                attempts = remote.attempts
        except TransferFailed as problem:
            return Failed(error_of(problem, name), problem.code, attempts)
        except TargetGone:
            return Failed(gone(name), FileCode.ENOENT, attempts)
        except ViError as error:
            lost = isinstance(error, ViNetworkError | ViTimeoutError)
            return Failed(error, FileCode.ENETWORK if lost else FileCode.EUNKNOWN, attempts)


@attrs.define(eq=False)
class _Entry:
    """An asset that was asked for."""

    asset: Asset
    size: int
    task: asyncio.Task[bytes | Failed]


class AssetReader(ClosingItems[tuple[Asset, bytes]]):
    """Assets and their verified bytes, ``(asset, bytes)``, in the order of the listing.

    Iterate it once, in one task. Left early, it asks for nothing more; `aclose` or ``async with`` also drops what is on
    its way. *report* counts what was given and names what was skipped.
    """

    def __init__(
        self,
        reader: ByteReader,
        pages: Callable[[], AsyncIterator[Page[Asset]]],
        ahead: int,
        memory: int,
        on_failure: OnFailure,
    ) -> None:
        check_whole("ahead", ahead)
        check_whole("memory", memory)
        check_word("on_failure", on_failure, *get_args(OnFailure))
        self._reader = reader
        self._make_pages = pages
        self._pages: AsyncIterator[Page[Asset]] | None = None
        self._ahead, self._memory = ahead, memory
        self._skips = on_failure == "skip"
        self._next_page: asyncio.Task[Page[Asset] | None] | None = None
        self._listed = False
        """Whether the last page has come."""
        self._broken: BaseException | None = None
        """The error that ended the listing; raised after all that was listed before it."""
        self._waiting: deque[Asset | Failed] = deque()
        self._queue: deque[_Entry | Failed] = deque()
        self._given = 0
        """Bytes of the asset that the caller has now."""
        self._held = 0
        self.report: ReadReport = ReadReport()

    async def next(self) -> tuple[Asset, bytes] | None:
        """Return the next asset and its bytes, None after the last."""
        self._held -= self._given
        self._given = 0
        while True:
            self._fill()
            if not self._queue:
                if self._next_page is None:
                    if self._broken is not None:
                        raise self._broken
                    return None
                await asyncio.wait({self._next_page})
                continue
            head = self._queue[0]
            if isinstance(head, _Entry) and not head.task.done():
                both: set[asyncio.Task[Any]] = {head.task}
                both |= {self._next_page} if self._next_page is not None else set()
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                continue
            self._queue.popleft()
            outcome = head if isinstance(head, Failed) else head.task.result()
            if isinstance(head, _Entry) and not isinstance(outcome, Failed):
                self._given = head.size
                self.report.total_read += 1
                self.report.bytes_read += len(outcome)
                return head.asset, outcome
            self._held -= head.size if isinstance(head, _Entry) else 0
            assert isinstance(outcome, Failed)
            # A key that is refused does not concern this asset alone, and the others would be skipped as well.
            if not self._skips or isinstance(outcome.error, ViAuthenticationError | ViPermissionError):
                await self.aclose()
                raise outcome.error
            asset = head.asset if isinstance(head, _Entry) else None
            name = asset.filename if asset is not None else ""
            path = asset.asset_id if asset is not None else ""
            failure = FileFailure(path, name, outcome.code, outcome.error.message, outcome.attempts)
            self.report.failures.append(failure)

    async def aclose(self) -> None:
        """Drop what is on its way; nothing more is given. Closing twice is allowed."""
        self._listed, self._broken = True, None
        tasks: list[asyncio.Task[Any]] = [entry.task for entry in self._queue if isinstance(entry, _Entry)]
        tasks += [self._next_page] if self._next_page is not None else []
        self._queue.clear()
        self._waiting.clear()
        self._next_page = None
        self._held = self._given = 0
        for task in tasks:
            task.cancel()
        if tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)

    def _fill(self) -> None:
        """Start what there is room for, and ask for the next page in time."""
        self._take_page()
        while self._waiting and len(self._queue) < self._ahead:
            item = self._waiting[0]
            if isinstance(item, Asset):
                size = item.metadata.file_size
                if self._queue and self._held + size > self._memory:
                    break
                self._held += size
                one = OneAsset(item.asset_id, None, item)
                self._queue.append(_Entry(item, size, self._start(functools.partial(self._read, one, size))))
            else:
                self._queue.append(item)
            self._waiting.popleft()
        if self._next_page is None and not self._listed and len(self._waiting) < self._ahead:
            self._next_page = self._start(self._ask_page)

    def _take_page(self) -> None:
        task = self._next_page
        if task is None or not task.done():
            return
        self._next_page = None
        try:
            page = task.result()
        except (ViError, asyncio.CancelledError) as error:
            self._listed, self._broken = True, error
            return
        if page is None:
            self._listed = True
            return
        self._waiting.extend(page.items)
        for bad in page.bad_items:
            problem = f"An asset of the listing cannot be read: {bad.problem}."
            self._waiting.append(Failed(ViDownloadError(problem, error_code=FileCode.EBADITEM), FileCode.EBADITEM))

    async def _ask_page(self) -> Page[Asset] | None:
        if self._pages is None:
            self._pages = self._make_pages()
        return await anext(self._pages, None)

    async def _read(self, one: OneAsset, size: int) -> bytes | Failed:
        slots, count = self._reader.slots(), slots_for(size)
        await slots.acquire(count)
        try:
            outcome = await self._reader.attempt(one)
            slots.moved(size)
            return outcome
        finally:
            slots.release(count)

    def _start(self, call: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        task = asyncio.create_task(self._until_closed(call))
        task.add_done_callback(_looked_at)
        return task

    async def _until_closed(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """End *call* when the client is closed."""
        running = self._reader.calls.http.running
        with anyio.CancelScope() as scope:
            entered = running.enter(scope)
            try:
                return await call()
            finally:
                running.leave(entered)
        raise ViOperationError("The client was closed while assets were read.")


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception: asyncio logs those that nobody retrieves."""
    if not task.cancelled():
        task.exception()


class BlockingAssetReader(BlockingItems[tuple[Asset, bytes]]):
    """Assets and their verified bytes, ``(asset, bytes)``, in the order of the listing.

    Iterate it once. Left early, it asks for nothing more; `close` or ``with`` also drops what is on its way. *report*
    counts what was given and names what was skipped.
    """

    _items: AssetReader

    @property
    def report(self) -> ReadReport:
        """What became of the assets so far."""
        return self._items.report


async def pages_of(assets: Iterable[Asset], calls: AssetCalls) -> AsyncIterator[Page[Asset]]:
    """Yield assets that are at hand as pages; one of another dataset is refused."""
    left = iter(assets)
    while part := list(islice(left, PAGE)):
        for asset in part:
            if not isinstance(asset, Asset):
                raise must_be_of_type("assets", "of type Asset", asset)
            OneAsset.of("stream", calls, asset, None)
        yield Page(part)
