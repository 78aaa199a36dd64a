"""Transfers of this machine that can be resumed, from their journals: listed and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from ...errors import ViPathError
from ..files import discard
from ..open_folder import OpenFolder
from . import locked_lines
from .downloads import parts_left, read_parts
from .uploads import read_journal


@attrs.frozen
class UnfinishedTransfer:
    """An unfinished upload or download, as `vi.transfers` shows it."""

    id: str
    endpoint: str
    organization_id: str
    dataset_id: str
    began: float
    files_sent: int
    multipart_uploads: int
    running: bool
    direction: Literal["up", "down"] = "up"
    folder: str | None = None
    """Where a download goes."""
    files_begun: int = 0
    """Large files of a download that can be resumed."""
    bytes_kept: int = 0
    """What has arrived of them."""
    sessions: int = attrs.field(default=0, repr=False)
    """Open sessions of an upload, which the next run looks at."""

    @property
    def can_be_resumed(self) -> bool:
        """Whether the next run has something of it."""
        return bool(self.files_sent or self.multipart_uploads or self.files_begun or self.sessions)


def unfinished(folder: Path | None = None) -> list[UnfinishedTransfer]:
    """List the uploads, then the downloads, that can be resumed or are running; remove those older than a month."""
    folder = folder if folder is not None else locked_lines.cache_folder()
    found: list[UnfinishedTransfer] = []
    for path in _journals(folder):
        try:
            one = _upload(path) if path.parent == folder else _download(path)
        except OSError:
            continue
        if one is None:
            continue
        if not one.running and locked_lines.is_old(one.began):
            forget(one.id, folder)
        elif one.running or one.can_be_resumed:
            found.append(one)
    return found


def _journals(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "downloads"):
        yield from (path for path in sorted(place.glob("*.jsonl")) if path.is_file()) if place.is_dir() else ()


def _upload(path: Path) -> UnfinishedTransfer | None:
    state, running = read_journal(path), locked_lines.is_locked(path)
    if state is None or state.key is None:
        return None
    key = state.key
    sent, in_parts = len(state.sent), len(state.multiparts)
    return UnfinishedTransfer(
        path.stem,
        key.endpoint,
        key.organization_id,
        key.dataset_id,
        state.began,
        sent,
        in_parts,
        running,
        sessions=len(state.sessions),
    )


def _download(path: Path) -> UnfinishedTransfer | None:
    said, running = read_parts(path), locked_lines.is_locked(path)
    if said is None:
        return None
    key, kept = said.key, [said.kept[name] for name in parts_left(said) if name in said.kept]
    return UnfinishedTransfer(
        path.stem,
        key.endpoint,
        key.organization_id,
        key.dataset_id,
        said.began,
        0,
        0,
        running,
        "down",
        said.folder,
        len(kept),
        sum(part.count for part in kept),
    )


def forget(transfer_id: str, folder: Path | None = None) -> bool:
    """Remove the journal of a transfer, and the part files of a download.

    False when there is none of that id or a living run holds it.
    """
    folder = folder if folder is not None else locked_lines.cache_folder()
    for place in (folder, folder / "downloads"):
        path = place / f"{transfer_id}.jsonl"
        if path.parent != place or not path.is_file():
            continue
        try:
            descriptor = locked_lines.lock(path)
        except OSError as error:
            raise ViPathError(f"{path} cannot be removed: {error.strerror}.", path=str(path)) from None
        if descriptor is None:
            return False
        if place != folder and (said := read_parts(path)) is not None:
            target = OpenFolder(said.folder)
            for name in parts_left(said):
                discard(target, str(Path(said.folder) / name))
            target.close()
        locked_lines.remove(path, descriptor)
        return True
    return False
