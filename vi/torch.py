"""Datasets as data of torch (extra ``torch``): `Images`, of map style, and `ImageStream`, iterable and resumable.

Nothing is downloaded first: pictures are fetched while the training runs, many at once, each digest checked. The index
of a dataset is held as Arrow, a few hundred bytes an asset, and goes to workers of any start method.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import logging
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self
from warnings import warn

from ._checks import check_word, must_be
from ._optional import require
from ._redact import brief
from ._stream_state import StreamState
from .api.resources.datasets.assets.reading.many import AHEAD, MEMORY, OnFailure
from .api.resources.datasets.assets.responses import Asset, AssetContents, AssetHash, AssetMetadata, Contents
from .client import Client
from .errors import ViInvalidParameterError, ViOperationError

for _library in ("torch", "pyarrow.ipc"):
    require(_library, "vi.torch")
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import Dataset, IterableDataset, get_worker_info  # noqa: E402

logger: logging.Logger = logging.getLogger("vi.torch")

Decode = Literal["pil", "torchvision", "bytes"] | Callable[[bytes], Any]
Pinned = Literal["error", "warn"]

OWN = ("image", "asset_id", "filename")
SLOTS = 257
"""Counters of the main process and of 256 workers; those beyond share them."""


class Index:
    """The assets of a dataset, in the order of its listing, in columns of Arrow."""

    def __init__(self, dataset_id: str, table: pa.Table, url_dictionary: bytes, columns: tuple[str, ...]) -> None:
        self.dataset_id = dataset_id
        self.table = table
        self.columns = columns
        self._url_dictionary = url_dictionary

    @classmethod
    def of(cls, dataset_id: str, assets: Iterable[Asset], columns: Sequence[str]) -> Index:
        """Read assets that were listed with their contents."""
        names = tuple(columns)
        for name in names:
            if not isinstance(name, str) or name in OWN:
                raise ViInvalidParameterError(
                    f"columns must name custom metadata, other than {', '.join(OWN)}; got {brief(name)}.",
                    parameter="columns",
                )
        rows: dict[str, list[Any]] = {
            name: [] for name in ("id", "name", "size", "algorithm", "digest", "url", "expiry")
        }
        values: dict[str, list[Any]] = {name: [] for name in names}
        parts: list[pa.RecordBatch] = []
        dictionary = b""
        for asset in assets:
            contents = asset.contents.asset if asset.contents is not None else None
            url = contents.url.encode() if contents is not None and not contents.headers else b""
            dictionary = dictionary or url[-32768:]
            digest = asset.metadata.hash
            rows["id"].append(asset.asset_id)
            rows["name"].append(asset.filename)
            rows["size"].append(asset.metadata.file_size)
            rows["algorithm"].append(digest.algorithm)
            rows["digest"].append(_packed(digest.contents))
            rows["url"].append(_squeezed(url, dictionary))
            rows["expiry"].append(contents.expiry if contents is not None else 0)
            for name in names:
                values[name].append(asset.metadata.custom_metadata.get(name))
            if len(rows["id"]) == 1000:
                parts.append(_batch(rows))
        parts.append(_batch(rows))
        table = pa.Table.from_batches(parts).combine_chunks()
        for name in names:
            try:
                table = table.append_column(f"custom {name}", pa.array(values[name]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise ViInvalidParameterError(
                    f"The values of {name!r} are of more than one type: {error}.", parameter="columns"
                ) from None
        return cls(dataset_id, table, dictionary, names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        return int(self.table.nbytes)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the ids and digests of all assets, in order."""
        whole = hashlib.sha256()
        for batch in self.table.select(["id", "digest"]).to_batches(10_000):
            for one, digest in zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True):
                whole.update(f"{one}\0".encode() + digest + b"\0")
        return whole.hexdigest()

    def asset(self, position: int) -> Asset:
        """Return an asset that can be read with one request while its URL lives."""
        row = {
            name: self.table[name][position].as_py() for name in ("id", "name", "size", "algorithm", "digest", "expiry")
        }
        url = _unsqueezed(self.table["url"][position].as_py(), self._url_dictionary).decode()
        digest = row["digest"]
        text = digest[1:].hex() if digest[:1] == b"\0" else digest[1:].decode()
        return Asset(
            row["id"],
            self.dataset_id,
            filename=row["name"],
            metadata=AssetMetadata(file_size=row["size"], hash=AssetHash(row["algorithm"], text)),
            contents=AssetContents(Contents(url, row["expiry"])) if url else None,
        )

    def values(self, position: int) -> dict[str, Any]:
        """Return the custom metadata that was asked for; None where an asset has none."""
        return {name: self.table[f"custom {name}"][position].as_py() for name in self.columns}


def _batch(rows: dict[str, list[Any]]) -> pa.RecordBatch:
    made = pa.record_batch(
        {
            "id": pa.array(rows["id"], pa.string()),
            "name": pa.array(rows["name"], pa.string()),
            "size": pa.array(rows["size"], pa.int64()),
            "algorithm": pa.array(rows["algorithm"], pa.string()),
            "digest": pa.array(rows["digest"], pa.binary()),
            "url": pa.array(rows["url"], pa.binary()),
            "expiry": pa.array(rows["expiry"], pa.int64()),
        }
    )
    for values in rows.values():
        values.clear()
    return made


def _packed(digest: str) -> bytes:
    """Write a digest in half the bytes where it is plain hexadecimal."""
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        raw = b""
    return b"\0" + raw if raw.hex() == digest else b"\1" + digest.encode()


def _squeezed(url: bytes, dictionary: bytes) -> bytes:
    """Pack a URL: what it has in common with the first one costs nothing."""
    if not url:
        return b""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
    return packer.compress(url) + packer.flush()


def _unsqueezed(packed: bytes, dictionary: bytes) -> bytes:
    return zlib.decompressobj(-15, zdict=dictionary).decompress(packed) if packed else b""


class _Reading:
    """What both kinds share: the index, the client, decoding, and the counting of what was skipped."""

    def __init__(
        self,
        dataset_id: str,
        client: Client | None = None,
        *,
        filter_criteria: str | Mapping[str, Any] | None = None,
        metadata_query: str | None = None,
        strict_query: bool = False,
        decode: Decode = "pil",
        transform: Callable[[Any], Any] | None = None,
        columns: Sequence[str] = (),
        on_failure: OnFailure = "raise",
        memory: int = MEMORY,
    ) -> None:
        check_word("on_failure", on_failure, "raise", "skip")
        if not callable(decode) and decode not in ("pil", "torchvision", "bytes"):
            raise must_be("decode", "'pil', 'torchvision', 'bytes' or a function of bytes", decode)
        if decode in ("pil", "torchvision"):
            require("PIL.Image" if decode == "pil" else "torchvision", f'decode="{decode}"')
        if isinstance(columns, str):
            raise ViInvalidParameterError("columns must be a list of names.", parameter="columns")
        self._client = client if client is not None else Client()
        if client is None:
            weakref.finalize(self, self._client.close)
        listed = self._client.assets.list(
            dataset_id,
            contents=True,
            filter_criteria=filter_criteria,
            metadata_query=metadata_query,
            strict_query=strict_query,
        )
        self.index: Index = Index.of(dataset_id, listed.all_items(), columns)
        self._decode = decode
        self._transform = transform
        self._skips = on_failure == "skip"
        self._memory = memory
        self._skipped = torch.zeros(SLOTS, dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for counters in (value for value in state.values() if isinstance(value, torch.Tensor)):
            counters.share_memory_()  # a plain pickle does not keep it so
        weakref.finalize(self, self._client.close)  # a copy has a client of its own

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    @property
    def skipped(self) -> int:
        """How many samples were left out so far, in all workers."""
        return int(self._skipped.sum())

    def _read(self, positions: Iterable[int], ahead: int) -> Iterator[tuple[int, Asset, bytes]]:
        """Yield the bytes of assets in order; failures are raised, or logged and counted."""
        asked: dict[str, int] = {}

        def assets() -> Iterator[Asset]:
            for position in positions:
                asset = self.index.asset(position)
                asked[asset.asset_id] = position
                yield asset

        failure: OnFailure = "skip" if self._skips else "raise"
        told = 0
        with self._client.assets.stream(
            self.index.dataset_id, assets=assets(), ahead=ahead, memory=self._memory, on_failure=failure
        ) as reader:
            for asset, data in reader:
                yield asked.pop(asset.asset_id), asset, data
                told = self._note(reader.report.failures, told)
            self._note(reader.report.failures, told)

    def _note(self, failures: Sequence[Any], told: int) -> int:
        for failure in failures[told:]:
            self._skip(failure.message)
        return len(failures)

    def _skip(self, reason: str) -> None:
        logger.warning("a sample is skipped: %s", reason)
        info = get_worker_info()
        self._skipped[0 if info is None else 1 + info.id % (SLOTS - 1)] += 1

    def _samples(self, positions: Iterable[int], ahead: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for position, asset, data in self._read(positions, ahead):
            try:
                image = self._decoded(data)
            except Exception as error:
                reason = f"{asset.filename}: it cannot be decoded: {error}"
                if not self._skips:
                    raise ViOperationError(reason) from error
                self._skip(reason)
                continue
            if self._transform is not None:
                image = self._transform(image)
            sample = {"image": image, "asset_id": asset.asset_id, "filename": asset.filename}
            yield position, {**sample, **self.index.values(position)}

    def _decoded(self, data: bytes) -> Any:
        if callable(self._decode):
            return self._decode(data)
        if self._decode == "bytes":
            return data
        if self._decode == "torchvision":
            from torchvision.io import ImageReadMode, decode_image

            return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")


class Images(_Reading, Dataset[dict[str, Any]]):  # type: ignore[misc] # torch is not read for types
    """The pictures of a dataset by position, for any sampler; a batch is fetched at once.

    A sample is ``{"image", "asset_id", "filename", **columns}``: *columns* names custom metadata, None where an asset
    has none. *decode* makes the image: ``"pil"`` (RGB), ``"torchvision"`` (a uint8 tensor), ``"bytes"``, or your
    function of the bytes; *transform* is applied to it. A damaged asset raises `ViError` with its name; with
    ``on_failure="skip"`` its batch is shorter, and `skipped` counts it.

    *client* is a `vi.Client`, one from the environment if None. The dataset is listed once, when this is made.
    """

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Return the samples at *positions*, fetched at once; fewer only where failures are skipped, but not none."""
        wanted = [self._position(position) for position in positions]
        found = dict(self._samples(dict.fromkeys(wanted), max(1, len(wanted))))
        samples = [found[position] for position in wanted if position in found]
        if wanted and not samples:
            name = self.index.asset(wanted[0]).filename
            raise ViOperationError(f"No sample of the batch could be read, {name} among them; the log has the reasons.")
        return samples

    def _position(self, position: int) -> int:
        size = len(self.index)
        if not -size <= position < size:
            raise IndexError(f"position {position} of {size} assets")
        return int(position) % size


class ImageStream(_Reading, IterableDataset[dict[str, Any]]):  # type: ignore[misc] # torch is not read for types
    """The pictures of a dataset in an order of your seed, shared out to ranks and workers, to be resumed at any batch.

    Samples, *decode*, *transform*, *columns* and *on_failure* are those of `Images`. *shuffle* is the seed, None the
    order of the listing. *batch_size* is that of the ``DataLoader``: the workers take whole batches in turn, so what
    was done is a beginning of the order whatever their number. *rank* and *world_size* come from ``torch.distributed``
    or from the variables ``RANK`` and ``WORLD_SIZE`` if they are not given.

    Iterate ``stream.batches(loader)``: it counts what you have taken. `state_dict` then says how far you are, and holds
    for another number of workers or ranks. It pins the index by ids and digests; `load_state_dict` of another index is
    an error, or with ``pinned="warn"`` a warning.
    """

    def __init__(
        self,
        dataset_id: str,
        client: Client | None = None,
        *,
        shuffle: int | None = None,
        batch_size: int = 1,
        filter_criteria: str | Mapping[str, Any] | None = None,
        metadata_query: str | None = None,
        strict_query: bool = False,
        decode: Decode = "pil",
        transform: Callable[[Any], Any] | None = None,
        columns: Sequence[str] = (),
        on_failure: OnFailure = "raise",
        ahead: int = AHEAD,
        memory: int = MEMORY,
        pinned: Pinned = "error",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("shuffle", shuffle, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise must_be(name, f"an integer of {least} or more", value)
        check_word("pinned", pinned, "error", "warn")
        if (rank is None) != (world_size is None) or (rank is not None and not 0 <= rank < (world_size or 0)):
            raise ViInvalidParameterError(
                f"rank and world_size go together, rank from 0: got {brief(rank)} of {world_size!r}.", parameter="rank"
            )
        super().__init__(
            dataset_id,
            client,
            filter_criteria=filter_criteria,
            metadata_query=metadata_query,
            strict_query=strict_query,
            decode=decode,
            transform=transform,
            columns=columns,
            on_failure=on_failure,
            memory=memory,
        )
        self._seed = shuffle
        self._batch_size = batch_size
        self._ahead = ahead
        self._pinned = pinned
        self._rank = None if rank is None or world_size is None else (rank, world_size)
        self._epoch = 0
        self._begin = 0
        """Samples of the epoch, of all ranks, that were done before this iteration."""
        self._taken = 0
        """Samples of this rank, or of this worker, taken in this iteration."""
        self._share_loaded = False
        self._counted = False
        self._in_workers = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._told = torch.zeros(3, dtype=torch.int64).share_memory_()
        """The epoch and its first sample, for workers that live longer than an epoch, and how often they were told."""
        self._heard = 0
        self._unfinished = False

    def set_epoch(self, epoch: int) -> None:
        """Begin *epoch*, counted from 0, at its first sample."""
        self._start(epoch, 0)

    def _start(self, epoch: int, begin: int) -> None:
        self._epoch, self._begin, self._taken = epoch, begin, 0
        if get_worker_info() is None:
            self._heard += 1
            self._told.copy_(torch.tensor([epoch, begin, self._heard]))

    def order(self, epoch: int) -> torch.Tensor:
        """Return the positions of the index in the order of *epoch*, for all ranks together."""
        if self._seed is None:
            return torch.arange(len(self.index))
        mixed = hashlib.sha256(f"{self._seed} {epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(mixed[:7], "big"))
        return torch.randperm(len(self.index), generator=generator)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if get_worker_info() is not None:
            self._in_workers[0] = 1
            epoch, begin, told = self._told.tolist()
            if told != self._heard and not self._share_loaded:
                self._epoch, self._begin = epoch, begin
            elif self._unfinished and not self._share_loaded:
                self.set_epoch(self._epoch + 1)  # as the workers that had finished, reading ahead of the loop
            self._heard, self._unfinished = told, True
        # Only the state of a worker says how much of its own share is done.
        self._taken = self._taken if self._share_loaded else 0
        self._share_loaded = False
        share = self._share().tolist()[self._taken :]
        places = iter(enumerate(share, self._taken + 1))
        for position, sample in self._samples(share, self._ahead):
            # What was skipped before it is done as well.
            self._taken = next(number for number, place in places if place == position)
            yield sample
        self._unfinished = False
        self.set_epoch(self._epoch + 1)

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Iterate over the batches of a ``DataLoader`` of this stream, counting them; at the end the next epoch begins.

        It begins at the first sample of the epoch, or where a state was loaded.
        """
        self._counted = True
        begin, epoch = self._begin, self._epoch
        self._start(epoch, begin)
        for number, batch in enumerate(loader, 1):
            done = number * self._batch_size
            if self._place()[1] == 1:  # else the state of one rank is that of all, and counts what each has taken
                done = max(done, self._taken if self._epoch == epoch else len(self.index))
            self._begin, self._epoch, self._taken = begin, epoch, done
            yield batch
        self.set_epoch(epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return how far this rank is: the epoch, the samples done by all ranks, and what pins the index.

        In a worker, as ``StatefulDataLoader`` asks for it, it is the state of that worker, for the same number of
        workers.
        """
        rank, world = self._place()
        state: dict[str, Any] = {"epoch": self._epoch, "seed": self._seed, "index": self.index.fingerprint}
        info = get_worker_info()
        if info is not None:
            share = [rank, world, info.id, info.num_workers]
            return {**state, "samples": self._begin, "share": share, "taken": self._taken}
        if self._in_workers[0] and not self._counted:
            raise ViOperationError(
                "Workers read ahead of the loop, so the samples done are not known.",
                suggestion="Iterate stream.batches(loader) instead of the loader.",
            )
        # Ranks take whole batches in turn: within one, only a rank that is alone knows what is done.
        taken = self._taken if world == 1 else self._taken // self._batch_size * self._batch_size
        return {**state, "samples": min(self._begin + taken * world, len(self.index))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where *state* was taken, with any number of workers and ranks."""
        found = StreamState.read(state)
        if found.seed != self._seed:
            raise ViInvalidParameterError(
                f"The state was taken with shuffle={brief(found.seed)}, and this stream has {self._seed!r}.",
                parameter="shuffle",
            )
        if found.index != self.index.fingerprint:
            problem = "The dataset has changed since the state was taken, so its samples are others."
            if self._pinned == "error":
                raise ViOperationError(
                    problem, suggestion='Start without the state, or pass pinned="warn" to continue.'
                )
            warn(problem, stacklevel=2)
        self._start(found.epoch, found.samples)
        if found.share is not None:
            info = get_worker_info()
            if info is None or found.share != [*self._place(), info.id, info.num_workers]:
                raise ViOperationError(
                    "The state is that of one worker, and holds for the same number of workers and ranks.",
                    suggestion="Take the state of the stream itself, while iterating stream.batches(loader).",
                )
            self._taken, self._share_loaded = found.taken, True

    def _place(self) -> tuple[int, int]:
        if self._rank is not None:
            return self._rank
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

    def _share(self) -> torch.Tensor:
        """Return what is left of the epoch for this rank and this worker: whole batches in turn."""
        rank, world = self._place()
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        left = self.order(self._epoch)[self._begin :]
        batches = torch.arange(len(left)) // self._batch_size
        return left[(batches % world == rank) & (batches // world % workers == worker)]
