"""A dataset as directories: what `filesystem` keeps of each asset, and the folders that ``/`` in names make."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import attrs

from ._disk import when_free
from .api.resources.datasets.assets.responses import Asset, AssetContents, AssetHash, AssetMetadata, Contents


@attrs.frozen
class Entry:
    """What is kept of an asset: enough to read it with one request."""

    asset_id: str
    size: int
    algorithm: str
    digest: str
    mime_type: str
    created: int
    modified: int
    url: str
    expiry: int
    headers: dict[str, str] | None

    @classmethod
    def of(cls, asset: Asset) -> Entry:
        """Take what is kept out of an asset that came with its contents."""
        metadata, contents = asset.metadata, asset.contents.asset if asset.contents is not None else None
        return cls(
            asset.asset_id,
            metadata.file_size,
            metadata.hash.algorithm,
            metadata.hash.contents,
            metadata.mime_type,
            metadata.time_created,
            metadata.contents_last_updated or metadata.last_updated,
            contents.url if contents is not None else "",
            contents.expiry if contents is not None else 0,
            contents.headers if contents is not None else None,
        )

    def asset(self, dataset: str, name: str) -> Asset:
        """Return it as an asset that can be read."""
        return Asset(
            self.asset_id,
            dataset,
            filename=name,
            metadata=AssetMetadata(
                file_size=self.size, mime_type=self.mime_type, hash=AssetHash(self.algorithm, self.digest)
            ),
            contents=AssetContents(Contents(self.url, self.expiry, self.headers)) if self.url else None,
        )

    def info(self, path: str) -> dict[str, Any]:
        """Describe it as fsspec does."""
        return {
            "name": path,
            "size": self.size,
            "type": "file",
            "created": self.created / 1000,
            "mtime": self.modified / 1000,
            "ETag": f"{self.algorithm}-{self.digest}",
            "mimetype": self.mime_type,
            "asset_id": self.asset_id,
        }


class Names:
    """The files of a dataset by name, and the pseudo-folders that their names make."""

    def __init__(self, files: dict[str, Entry]) -> None:
        self.files = files
        self.came = time.time()
        self.folders: dict[str, dict[str, bool]] = {"": {}}
        """The children of each folder by full name, and whether a child is a folder."""
        for name in files:
            self._hang(name)

    def add(self, name: str, entry: Entry) -> None:
        """Take in a file."""
        self.files[name] = entry
        self._hang(name)

    def remove(self, name: str) -> None:
        """Forget a file, and the folders that nothing is left in."""
        if self.files.pop(name, None) is None:
            return
        while name:
            parent = name.rpartition("/")[0]
            self.folders[parent].pop(name, None)
            if self.folders[parent] or not parent:
                return
            del self.folders[parent]
            name = parent

    def _hang(self, name: str) -> None:
        is_folder = False
        while True:
            parent = name.rpartition("/")[0]
            there = self.folders.get(parent)
            children = self.folders.setdefault(parent, {})
            children[name] = children.get(name, False) or is_folder
            if there is not None or not parent:
                return
            name, is_folder = parent, True


class Saved:
    """The files that one call saves: none takes the place of another where a disk takes two names for one."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, int], Path] = {}

    def put(self, part: Path, target: Path) -> None:
        """Move a whole file to its *target*; FileExistsError if that is one that was saved under another name."""
        if (first := self._paths.get(_file_at(target), target)) != target:
            advice = f"{target.name} is the same file as {first.name} on this disk: get it alone, under another name"
            raise FileExistsError(errno.EEXIST, advice, str(target))
        when_free(os.replace, part, target)
        self._paths[_file_at(target)] = target


def _file_at(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def climbs(path: str) -> bool:
    """Tell whether a path has a part `..`; fsspec appends names to the destination, in some releases unchecked."""
    return ".." in path.replace("\\", "/").split("/")


def reopened(cls: type[Any], args: Any, options: dict[str, Any], listings: dict[str, Names]) -> Any:
    """Return a pickled file system, which knows what the other had listed."""
    fs = cls(*args, **options)
    for dataset, names in listings.items():
        fs._listings.setdefault(dataset, names)
    return fs
