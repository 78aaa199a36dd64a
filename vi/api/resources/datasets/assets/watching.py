"""Watching a folder: each file is uploaded once it has been written."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import attrs

from ....._checks import must_be
from ....._optional import require
from ....._redact import brief
from ....._transfer.filters import Filters
from ....._transfer.inventory import Inventory, Naming, check_naming
from ....._transfer.open_folder import OpenFolder
from ....._transfer.progress import ProgressTracker
from ....._transfer.settled import Settling
from ....._transfer.sources.local import PathSource, Stamp, examine_path
from ....._transfer.threads.stopping import in_thread, to_end_in_thread
from .....codes import CUT_SHORT, READ_ONLY, TEMPORARY, FileCode
from .....config import TransferLimits
from .....errors import ViError, ViInvalidParameterError, ViOperationError
from ....iterators import BlockingItems, ClosingItems
from ...deadline import deadline
from ...shared import choose
from . import arguments
from .calls import AssetCalls
from .remote_index import RemoteIndex
from .responses import FailureMode, ResourceRetentionMode
from .sync.planning import scan_folder
from .transfers import Transfers
from .upload.context import UploadOptions

AT_ONCE = 500
TRIES = 5
TICK_MS = 200
LOOK_BY_SECONDS = 60.0
"""The system does not tell of every change: not in a folder that could not be read at first, nor when many come."""
LOOKING_SHARE = 10
"""After a look that took a second, the next one comes ten seconds later."""


@attrs.frozen
class WatchEvent:
    """What became of a file: stored, moved away, to be tried again, or failed until it changes."""

    kind: Literal["stored", "moved", "retry", "failed"]
    path: str
    filename: str
    code: str | None = None
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON-ready data."""
        return attrs.asdict(self)


@attrs.frozen
class WatchOptions:
    """What a watch was asked for."""

    folder: Path
    names: Naming
    filters: Filters
    retention: ResourceRetentionMode
    limits: TransferLimits
    move_to: Path | None


class AssetWatch(ClosingItems[WatchEvent]):
    """The events of a watched folder, as an async iterator: `WatchEvent` after `WatchEvent` until `stop`.

    The work is done while the next event is waited for. Leaving the loop early cancels nothing that is stored; the next
    watch takes what is missing.
    """

    def __init__(self, calls: AssetCalls, transfers: Transfers, options: WatchOptions, settle: float) -> None:
        self._calls = calls
        self._transfers = transfers
        self._options = options
        self._settling = Settling(settle)
        self._stop = threading.Event()
        self._events: deque[WatchEvent] = deque()
        self._ticks: AsyncGenerator[set[Any], None] | None = None
        self._ended = False
        self._is_dirty = True
        self._next_look = 0.0
        self._look_by = 0.0
        self._filenames: dict[str, str] = {}
        self._first: set[str] | None = None
        self._named: set[tuple[str, str]] = set()
        self._unmoved: dict[str, Stamp] = {}

    def stop(self) -> None:
        """Finish the uploads that have started, then end the iteration. Any thread or signal handler may call it."""
        self._stop.set()

    async def next(self) -> WatchEvent | None:
        """Wait for the next event; None once the watch was stopped."""
        while not self._events:
            if self._ended or (self._ticks is not None and self._stop.is_set()):
                await self.aclose()
                return None
            try:
                with deadline(self._calls.http, None, "watch"):
                    await self._step()
            except BaseException:
                await self._end()
                raise
        return self._events.popleft()

    async def aclose(self) -> None:
        """End the watch; events that were not read are dropped. Closing twice is allowed."""
        self._events.clear()
        await self._end()

    async def _end(self) -> None:
        """End the threads that hear of changes; events that have happened can still be read."""
        self._ended = True
        self._stop.set()
        if self._ticks is not None:
            await self._ticks.aclose()

    async def _step(self) -> None:
        if self._ticks is None:
            if not self._options.folder.is_dir():
                await in_thread(scan_folder, self._options.folder, self._options.names, self._options.filters)
            await self._calls.dataset()
            self._ticks = _changes(self._options.folder, self._stop)
        try:
            changes = await anext(self._ticks, None)
        except OSError as error:  # the kernel's limit of watches, for one
            raise ViOperationError(
                f"{self._options.folder} cannot be watched: {brief(str(error))}.",
                suggestion="Set WATCHFILES_FORCE_POLLING=1 to look for changes without the system's help.",
            ) from None
        if changes is None:
            self._ended = True
            return
        self._is_dirty = self._is_dirty or bool(changes)
        now = time.monotonic()
        if (self._is_dirty or self._settling.waits or now >= self._look_by) and now >= self._next_look:
            await self._look()
        if ready := self._settling.due(time.monotonic(), AT_ONCE):
            await self._send(ready)

    async def _look(self) -> None:
        began = time.monotonic()
        self._is_dirty = False
        found, self._filenames, broken = await in_thread(_look, self._options)
        now = time.monotonic()
        for path, filename, code, message in broken:
            self._fail_once(path, filename, code, message)
        self._settling.look(found, now)
        if self._first is None:
            self._first = set(found)
        self._next_look = now + LOOKING_SHARE * (now - began)
        self._look_by = now + LOOK_BY_SECONDS

    def _fail_once(self, path: str, filename: str, code: str, message: str) -> None:
        if (path, message) not in self._named:
            self._named.add((path, message))
            self._events.append(WatchEvent("failed", path, filename, code, message))

    async def _send(self, ready: dict[str, Stamp]) -> None:
        inventory = Inventory("basename")
        for path, stamp in ready.items():
            inventory.add_source(PathSource(path), self._filenames[path], stamp.size)
        first = self._first or set()
        # What an earlier watch may have stored is compared first, and so is what was tried before.
        compares = not first.isdisjoint(ready) or any(map(self._settling.is_again, ready))
        options = UploadOptions(
            wait=True,
            failure_mode=FailureMode.FAIL_AFTER_ALL,
            retention=self._options.retention,
            metadata_of=None,
            limits=self._options.limits,
            skip_existing=compares,
            remembers=True,
        )
        try:
            result = await self._transfers.upload(self._calls, options, ProgressTracker("upload", [])).run(inventory)
        except ViError as error:
            if not error.is_retryable():
                raise
            for path in ready:
                self._again(path, str(error.error_code), error.message, for_ever=True)
            return
        lost = {failure.filename: failure for failure in [*result.failures, *result.cancelled]}
        for path, stamp in ready.items():
            failure = lost.get(self._filenames[path])
            if not await PathSource(path).still(stamp):
                self._is_dirty = True
                self._settling.again(path, time.monotonic())  # still being written, or gone: the next look tells
            elif failure is None:
                await self._stored(path, stamp)
            elif failure.code == FileCode.ECHANGED:
                self._settling.again(path, time.monotonic())
            elif failure.code in TEMPORARY or failure.code == FileCode.EREFUSED:
                self._again(path, failure.code, failure.message, for_ever=failure.code in CUT_SHORT)
            elif failure.code in READ_ONLY:
                self._wait_for(path, failure.message)
            else:
                self._fail(path, stamp, failure.code, failure.message)

    async def _stored(self, path: str, stamp: Stamp) -> None:
        filename = self._filenames[path]
        stored = WatchEvent("stored", path, filename)
        if self._options.move_to is None:
            self._done(path, stamp)
            self._events.append(stored)
            return
        try:
            index = await RemoteIndex.load(self._calls, {filename})
        except ViError as error:
            if not error.is_retryable():
                raise
            self._again(path, str(error.error_code), error.message, for_ever=True)
            return
        if self._unmoved.pop(path, None) != stamp:
            self._events.append(stored)
        asset = index.get(filename)
        try:
            facts = await in_thread(examine_path, path, "digests")
            if asset is None or facts.size != asset.size or not asset.has(facts.crc32c, facts.sha256):
                self._again(path, FileCode.ECORRUPT, f"{path}: the service does not confirm its digest.")
                return
            below = Path(path).relative_to(self._options.folder)
            await to_end_in_thread(_move, path, self._options.move_to, below)
        except PermissionError as error:
            self._unmoved[path] = stamp
            self._wait_for(path, f"{path} was stored and not moved yet: {error.strerror}.")
            return
        except (OSError, ViError) as error:
            self._fail(path, stamp, FileCode.EIO, f"{path} was stored and not moved: {error}.")
            return
        self._done(path, stamp)
        self._events.append(WatchEvent("moved", path, filename))

    def _wait_for(self, path: str, message: str) -> None:
        """Try a file that may not be read or moved once more, for ever: another program may have it open."""
        self._fail_once(path, self._filenames[path], FileCode.EACCES, message)
        self._settling.again(path, time.monotonic(), failed=False)

    def _again(self, path: str, code: str, message: str, *, for_ever: bool = False) -> None:
        failures = self._settling.again(path, time.monotonic(), failed=not for_ever)
        stamp = self._settling.stamp(path)
        if stamp is not None and failures >= TRIES and not for_ever:
            self._fail(path, stamp, code, message)
        else:
            self._events.append(WatchEvent("retry", path, self._filenames[path], code, message))

    def _fail(self, path: str, stamp: Stamp, code: str, message: str) -> None:
        self._done(path, stamp)
        self._events.append(WatchEvent("failed", path, self._filenames[path], code, message))

    def _done(self, path: str, stamp: Stamp) -> None:
        self._settling.finish(path, stamp)
        if self._first:
            self._first.discard(path)


class BlockingAssetWatch(BlockingItems[WatchEvent]):
    """The events of a watched folder, as an iterator: `WatchEvent` after `WatchEvent` until `stop`.

    The work is done while the next event is waited for.
    """

    _items: AssetWatch

    def stop(self) -> None:
        """Finish the uploads that have started, then end the iteration. Any thread or signal handler may call it."""
        self._items.stop()


def watch_options(
    folder: Path,
    names: Naming,
    filters: Filters,
    retention: ResourceRetentionMode | str,
    limits: TransferLimits,
    move_to: object,
) -> WatchOptions:
    """Check what a watch was asked for. Blocking."""
    check_naming(names)
    target = None if move_to is None else arguments.folder(move_to, "watch", "move_to")
    check_move_to(folder, target)
    kept = choose(ResourceRetentionMode, retention, "on_asset_overwritten")
    return WatchOptions(folder, names, filters, kept, limits, target)


def check_move_to(folder: Path, move_to: Path | None) -> None:
    """Refuse a folder that would be watched itself, or that files cannot be moved to in one step. Blocking."""
    if move_to is None:
        return
    problem = None
    if not os.path.isdir(move_to):  # noqa: PTH112 - which answers for names that are too long, too
        problem = f"No such folder: {move_to}; create it first."
    elif _is_within(move_to, folder):
        problem = f"move_to must be outside the watched folder, got {move_to}."
    elif folder.is_dir() and os.stat(move_to).st_dev != os.stat(folder).st_dev:  # noqa: PTH116
        problem = f"move_to must be on the file system of the watched folder, got {move_to}."
    if problem:
        raise ViInvalidParameterError(problem, parameter="move_to")


def _is_within(place: Path, folder: Path) -> bool:
    """Tell whether *place* is *folder* or below it, also where paths spell one folder in several ways. Blocking."""
    place = place.resolve()
    return folder.is_dir() and any(above.samefile(folder) for above in (place, *place.parents))


def watched(folder: object, settle: float) -> Path:
    """Return the folder as a path, and refuse a *settle* that is not a time."""
    if isinstance(settle, bool) or not isinstance(settle, (int, float)) or not 0 < settle < float("inf"):
        raise must_be("settle", "seconds above 0", settle)
    return arguments.folder(folder, "watch", "folder")


def _changes(folder: Path, stop: threading.Event) -> AsyncGenerator[set[Any], None]:
    watchfiles = require("watchfiles", "Watching a folder")
    event: Any = stop  # it asks for those of the event loops, and needs `is_set` alone
    found: Any = watchfiles.awatch(
        folder,
        watch_filter=None,
        debounce=TICK_MS,
        rust_timeout=TICK_MS,
        yield_on_timeout=True,
        stop_event=event,
        ignore_permission_denied=True,  # a look names what cannot be read
    )
    return found  # type: ignore[no-any-return]


Broken = tuple[str, str, str, str]


def _look(options: WatchOptions) -> tuple[dict[str, Stamp], dict[str, str], list[Broken]]:
    """Return the files of the folder with their stamps and names, and what cannot be uploaded. Blocking."""
    inventory = scan_folder(options.folder, options.names, options.filters.beside(options.folder))
    broken: list[Broken] = [(one.path, one.filename, one.code, one.message) for one in inventory.broken]
    paths: dict[str, list[str]] = {}
    for record in inventory:
        paths.setdefault(record.filename, []).append(record.path_on_disk)
    found: dict[str, Stamp] = {}
    filenames: dict[str, str] = {}
    for filename, places in paths.items():
        if len(places) > 1:
            message = f"{places[0]} and {places[1]} have the same name: give names='relative' (--names relative)."
            broken += [(path, filename, FileCode.EBADNAME, message) for path in places]
            continue
        may_be_read = os.access(places[0], os.R_OK)
        try:
            stamp = Stamp.of(os.stat(places[0]))  # noqa: PTH116
        except OSError:
            continue  # gone, or named by a later look
        if may_be_read:
            found[places[0]], filenames[places[0]] = stamp, filename
        else:  # neither its size nor its time will tell when it may
            broken.append((places[0], filename, FileCode.EACCES, f"{places[0]}: {os.strerror(errno.EACCES)}."))
    return found, filenames, broken


def _move(path: str, folder: Path, below: Path) -> None:
    opened, target = OpenFolder(folder), str(folder / below)
    try:
        opened.make_folders(target)
        opened.bring(path, target)
    except FileExistsError:
        raise FileExistsError(f"{target} exists: move it away") from None
    finally:
        opened.close()
