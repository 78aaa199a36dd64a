"""Where the bytes of a service are: a bucket and its address, noted beside the rows, so that no other one is served."""

from __future__ import annotations

from .._disk import write_private
from ..errors import ViConfigurationError
from .config import Folder
from .disk.own import read_own

IN_FOLDER = "the folder"
"""What a database says whose bytes are in no bucket."""
_MOVED = "If the bytes were moved: vi-sdk server set-store"


def check_endpoint(whose: str, place: str, there: str, endpoint: str) -> None:
    """Raise `ViConfigurationError` when *endpoint* is not the address of the store that is *there*; empty is AWS."""
    if there != endpoint:
        raise ViConfigurationError(
            f"The bytes of {whose} are in {place} at {there or 'AWS'}, not at {endpoint or 'AWS'}.",
            suggestion=f"Name that store by --store-endpoint. {_MOVED}",
        )


class FolderNote:
    """The note in the folder of a service that has its rows there and its bytes in a bucket. Calls block."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def store(self) -> str | None:
        """Return the bucket and prefix; None if the bytes are in the folder."""
        return self._lines()[0] or None

    def check_store(self, place: str, endpoint: str, *, keep: bool = False) -> None:
        """Raise `ViConfigurationError` if the bytes are in another store; *keep* notes this one if none is noted."""
        before, at, *_ = [*self._lines(), None]  # an older release has written no address
        if before not in ("", place):
            raise ViConfigurationError(
                f"The bytes of the folder {self._folder.root} are in {before}, not in {place}.",
                suggestion=f"Name that by --store or VI_STORE. {_MOVED}",
                path=str(self._folder.root),
            )
        if before and at is not None:
            check_endpoint(f"the folder {self._folder.root}", place, at, endpoint)
        elif keep:
            self.set_store(place, endpoint)

    def set_store(self, place: str, endpoint: str) -> None:
        """Note where the bytes are from now on."""
        write_private(self._folder.store_named, f"{place}\n{endpoint}".encode())

    def _lines(self) -> list[str]:
        try:
            return read_own(self._folder.store_named).decode().split("\n")
        except FileNotFoundError:
            return [""]
