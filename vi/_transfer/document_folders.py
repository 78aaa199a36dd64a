"""A folder of small documents, on this machine or at an address: each appears whole or not at all.

Every call blocks, so it belongs in a thread; what goes wrong is a `ViPathError` that names the folder.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from .._disk import flush, flush_folder, read_regular, when_free
from .._paths import as_path
from ..errors import ViPathError
from .remote_folders import RemoteFolder, is_remote, remote_folder
from .sources.remote import is_file_address, local_path

AT_ONCE = 8
MOST = 1 << 30
"""Bytes of a document: several times those of a shard of a million files."""


@attrs.frozen
class DocumentFolder:
    """A folder of documents, which need not exist before the first is written."""

    place: Path | RemoteFolder

    @classmethod
    def of(cls, given: Any, name: str) -> DocumentFolder:
        """Return the folder of a path or an address that was given as *name*."""
        if is_remote(given):
            return cls(remote_folder(given))
        if isinstance(given, str) and is_file_address(given):
            given = local_path(given)
        return cls(Path(os.path.abspath(as_path(given, name))))  # noqa: PTH100 - other processes have other working folders

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        return self.place.label if isinstance(self.place, RemoteFolder) else str(self.place)

    def names(self) -> list[str]:
        """Return the names of its documents; none where the folder is missing."""
        with self._told("read"):
            try:
                found = self.place.names() if isinstance(self.place, RemoteFolder) else os.listdir(self.place)  # noqa: PTH208
            except FileNotFoundError:
                return []
            return sorted(found)

    def read(self, name: str, most: int = MOST) -> bytes | None:
        """Return a document; None if it is missing. One of more than *most* bytes is refused, and not read in full."""
        with self._told("read"):
            try:
                if isinstance(self.place, RemoteFolder):
                    data = self.place.read(name, most + 1)
                else:
                    data = read_regular(self.place / name, most + 1)
            except FileNotFoundError:
                return None
        if len(data) <= most:
            return data
        raise ViPathError(
            f"{name} in {self.address} is longer than {most >> 20} MiB, so it is not read.",
            path=self.address,
            suggestion="Find out who has written it, and remove it.",
        )

    def read_all(self, names: Iterable[str], most: int = MOST) -> Iterator[tuple[str, bytes | None]]:
        """Yield several documents in order, a few of them read at once."""
        from concurrent.futures import Future, ThreadPoolExecutor  # here: a client starts faster without it

        pending: deque[tuple[str, Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vi-documents") as threads:
            for name in names:
                pending.append((name, threads.submit(self.read, name, most)))
                if len(pending) == AT_ONCE:  # what is read is not more than a few documents ahead
                    first, data = pending.popleft()
                    yield first, data.result()
            for last, data in pending:
                yield last, data.result()

    def write(self, name: str, data: bytes) -> None:
        """Write a document, in place of one of the same name."""
        with self._told("written to"):
            if isinstance(self.place, RemoteFolder):
                self.place.write(name, data)
            else:
                self._write_local(self.place, name, data)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ViPathError(
                f"{self.address} cannot be {what}: {reason}.",
                path=self.address,
                suggestion="Check the address and who may use it.",
            ) from None

    @staticmethod
    def _write_local(place: Path, name: str, data: bytes) -> None:
        place.mkdir(parents=True, exist_ok=True)
        staging = place / f".{os.urandom(8).hex()}.part"
        try:
            with staging.open("xb") as file:
                file.write(data)
                file.flush()
                flush(file.fileno())
            when_free(os.replace, staging, place / name)
            flush_folder(place)
        except BaseException:
            with contextlib.suppress(OSError):
                when_free(os.unlink, staging)
            raise
