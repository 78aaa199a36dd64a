"""What a dataset holds, by name: the ground on which uploads, syncs and checks compare."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, KeysView, Mapping
from contextlib import aclosing
from typing import Any

import attrs

from ..... import _routes
from ....._checksums import Expected
from ....._transfer.outcomes import SourceChangedError
from ....._transfer.record import FileRecord
from ....._transfer.sources.local import CHUNK, PathSource, Reach
from ....._transfer.threads.stopping import in_thread, still_wanted
from .....errors import ViOperationError
from .calls import AssetCalls


@attrs.frozen
class RemoteAsset:
    """An asset as far as comparing needs it. Without a digest that we know, contents cannot be compared."""

    asset_id: str
    size: int
    algorithm: str | None
    digest: str | None
    etag: str
    annotations: int = 0
    custom_metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """Empty unless it was asked for."""

    @property
    def expected(self) -> Expected:
        """What the bytes must hash to."""
        return Expected(self.algorithm, self.digest)

    def has(self, crc32c: int | None, sha256: str | None) -> bool | None:
        """Tell whether its bytes have these digests; None when they do not tell."""
        expected = self.expected
        if expected.algorithm == "crc32c" and crc32c is not None:
            return isinstance(expected.value, frozenset) and crc32c in expected.value
        if expected.algorithm == "sha256" and sha256 is not None:
            return sha256 == expected.value
        return None


class RemoteIndex:
    """The assets of a dataset by name, read whole: a listing that fails raises and leaves nothing to act on."""

    def __init__(self, assets: dict[str, RemoteAsset]) -> None:
        self._assets = assets

    @classmethod
    async def load(
        cls,
        calls: AssetCalls,
        names: Collection[str] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        metadata: bool = False,
        keep: list[Any] | None = None,
    ) -> RemoteIndex:
        """List the dataset, or only the assets of *names* if given, with custom metadata if *metadata*.

        The documents are added to *keep*, with signed URLs. Raises `ViOperationError` when an item cannot be read.
        """
        found: dict[str, RemoteAsset] = {}
        async with aclosing(_documents(calls, names, query or {}, contents=keep is not None)) as lists:
            async for items in lists:
                if keep is not None:
                    keep += items
                for item in items:
                    name, asset = _read(item, calls.path(_routes.ASSETS), metadata)
                    found[name] = asset
        return cls(found)

    def get(self, name: str) -> RemoteAsset | None:
        """Return the asset of a name."""
        return self._assets.get(name)

    @property
    def names(self) -> KeysView[str]:
        """The names of all assets."""
        return self._assets.keys()

    def __iter__(self) -> Iterator[tuple[str, RemoteAsset]]:
        return iter(self._assets.items())

    def __len__(self) -> int:
        return len(self._assets)


async def _documents(
    calls: AssetCalls, names: Collection[str] | None, query: Mapping[str, str], *, contents: bool
) -> AsyncGenerator[list[Any], None]:
    if names is not None:
        async for items in calls.of_names(names, contents=contents):
            yield items
        return
    async for page in calls.pages(query):
        yield page.items


def _read(item: Any, path: str, with_metadata: bool) -> tuple[str, RemoteAsset]:
    try:
        name, size, metadata = item["filename"], item["metadata"]["fileSize"], item["metadata"]
        digest = metadata.get("hash") or {}
        algorithm, contents = digest.get("algorithm"), digest.get("contents")
        if type(algorithm) is not str or type(contents) is not str:
            algorithm = contents = None
        total = (metadata.get("annotations") or {}).get("total")
        custom = metadata.get("customMetadata") if with_metadata else None
        asset = RemoteAsset(
            item["assetId"],
            size,
            algorithm,
            contents,
            str(item.get("etag", "")),
            total if type(total) is int else 0,
            custom if isinstance(custom, dict) else {},
        )
        if type(name) is not str or type(asset.asset_id) is not str or type(size) is not int or size < 0:
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise ViOperationError(
            f"GET {path}: an asset of the listing cannot be read, so the dataset cannot be compared."
        ) from None
    return name, asset


async def stored_since(calls: AssetCalls, began: int) -> dict[str, int]:
    """Return name and size of every asset whose contents changed at or after *began* (ms by the service's clock).

    It tells what a session stored before it ended early, since the counts of a session name no files.
    """
    found: dict[str, int] = {}
    async with aclosing(calls.pages({"sortBy": "lastModified.contents", "o": "d"})) as pages:
        async for page in pages:
            for item in page.items:
                metadata = item.get("metadata", {}) if isinstance(item, dict) else {}
                if metadata.get("contentsLastUpdated", began) < began:
                    return found
                if isinstance(item.get("filename"), str) and isinstance(metadata.get("fileSize"), int):
                    found[item["filename"]] = metadata["fileSize"]
    return found


def reach_to_compare(record: FileRecord, asset: RemoteAsset | None) -> Reach:
    """Return how much of a file must be read to be compared with an asset; where their sizes differ, nothing."""
    compares = asset is not None and bool(asset.expected) and record.size in (-1, asset.size)
    return "digests" if compares else "head"


async def same_content(record: FileRecord, asset: RemoteAsset) -> bool | None:
    """Compare a file with an asset by size and digest; None when only the size could be compared and is equal."""
    if asset.size != record.size:
        return False
    expected = asset.expected
    if not expected:
        return None
    if (same := asset.has(record.crc32c, record.sha256)) is not None:
        return same
    if isinstance(record.source, PathSource):
        return await in_thread(_digest_matches, record.source.path, expected)
    if not record.source.repeatable:
        return None
    try:
        async for piece in record.source.chunks(0, record.size):
            expected.update(piece)
    except SourceChangedError:
        return False
    return expected.matches()


def _digest_matches(path: str, expected: Expected) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            while data := file.read(CHUNK):
                expected.update(data)
                still_wanted()
    except OSError:
        return False
    return expected.matches()
