"""Where a scenario plays: the service, the proxy before it, clients, and the checks that every scenario ends with."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

import vi
from tests.faults.invariants import ON_ITS_WAY, Wire, check_error, check_text
from tests.faults.proxy import Break, Proxy, Rule
from vi import _samples
from vi._transfer.record import FileFailure

ROOT = Path(__file__).parents[2]

TIMEOUTS = vi.Timeouts(connect=2, request=5, stall=0.6)
RETRIES = vi.RetryPolicy(backoff=0.01, backoff_max=0.05, connect_patience=1.0)
# Small, so that files of some hundred kilobytes go in parts and come in ranges.
LIMITS = vi.TransferLimits(max_concurrency=8, multipart_threshold=150_000, range_size=64 << 10, parts_per_file=2)


@attrs.define(eq=False)
class Scene:
    """One scenario. Its end checks the wire, the log, and that every planned fault came."""

    proxy: Proxy
    service: Any
    admin: vi.Client
    folder: Path
    attempts: int = RETRIES.max_attempts
    on_its_way: float = ON_ITS_WAY
    """How long a request may take from the client to the proxy, more where many scenes play beside one another."""
    _filled: dict[tuple[int, bool], tuple[str, dict[str, bytes]]] = attrs.field(factory=dict)

    def client(self, *, endpoint: str | None = None, key: str | None = None, **settings: Any) -> vi.AsyncClient:
        chosen: dict[str, Any] = {"timeouts": TIMEOUTS, "retries": RETRIES, "limits": LIMITS, **settings}
        return vi.AsyncClient(
            key or self.service.secret_key, self.service.organization_id, endpoint or self.proxy.url, **chosen
        )

    def sync_client(self, **settings: Any) -> vi.Client:
        chosen: dict[str, Any] = {"timeouts": TIMEOUTS, "retries": RETRIES, "limits": LIMITS, **settings}
        return vi.Client(self.service.secret_key, self.service.organization_id, self.proxy.url, **chosen)

    def plan(self, action: Break, method: str | None = None, path: str = "", **choice: Any) -> Rule:
        return self.proxy.plan(action, method, path, **choice)

    @property
    def wire(self) -> Wire:
        return Wire(self.proxy.log)

    def dataset(self) -> str:
        return self.admin.datasets.create(name="faults").dataset_id

    def files(self, count: int = 3, *, size: tuple[int, int] = (16, 12), folder: str = "up", start: int = 0) -> Path:
        """Make a folder of *count* images."""
        made = self.folder / folder
        made.mkdir(exist_ok=True)
        for number in range(start, start + count):
            (made / f"file-{number:03d}.png").write_bytes(_samples.encode(number, ".png", size))
        return made

    def large(self, name: str = "large.bmp", *, size: tuple[int, int] = (320, 240), folder: str = "up") -> Path:
        """Make an uncompressed image, so *size* says how many bytes it has."""
        made = self.folder / folder
        made.mkdir(exist_ok=True)
        (made / name).write_bytes(_samples.encode(99, ".bmp", size))
        return made / name

    def stored(self, dataset: str) -> dict[str, str]:
        """Return name and SHA-256 of everything in the dataset; two assets of one name are an error."""
        found: dict[str, str] = {}
        for asset in self.admin.assets.list(dataset).all_items():
            assert asset.filename not in found, f"{asset.filename} is stored twice"
            found[asset.filename] = asset.metadata.hash.contents
        return found

    def fill(
        self, count: int = 3, *, large: bool = False, start: int = 0, folder: str = "seed"
    ) -> tuple[str, dict[str, bytes]]:
        """Make a dataset with files in it, sent around the proxy; returns it and its contents."""
        source = self.files(count, folder=folder, start=start)
        if large:
            self.large(folder=folder)
        dataset = self.dataset()
        # Straight to the service: what a scenario counts on the wire is its own.
        upstream, rules = self.proxy.upstream, list(self.proxy.rules)
        self.proxy.rules.clear()
        self.admin.assets.upload(dataset, source, show_progress=False)
        assert self.proxy.upstream == upstream
        self.proxy.rules.extend(rules)
        self.proxy.log.clear()
        contents = {path.name: path.read_bytes() for path in source.iterdir()}
        return dataset, contents

    def filled(self, count: int, *, large: bool = False) -> tuple[str, dict[str, bytes]]:
        """Return a dataset as `fill` makes it that nobody changes, made once."""
        if (count, large) not in self._filled:
            folder = f"seed-{count}" + "-large" * large
            self._filled[count, large] = self.fill(count, large=large, folder=folder)
        return self._filled[count, large]

    def check_end(self) -> None:
        """Check what every scenario ends with, and make the proxy ready for the next."""
        rested = [rule.name for rule in self.proxy.rules if not rule.fired and not rule.may_rest]
        log, trouble = list(self.proxy.log), list(self.proxy.trouble)
        self.proxy.reset()
        assert not trouble, trouble
        assert not rested, f"planned and never fired: {rested}"
        Wire(log).check(self.attempts, self.on_its_way)
        parts = [path.name for path in self.folder.rglob("*.part")]
        assert not parts, f"left behind: {parts}"

    def check_upload(
        self,
        result: Any,
        dataset: str,
        folder: Path,
        *,
        failed: Mapping[str, str] | None = None,
        cancelled: int = 0,
        may_be_stored: set[str] | None = None,
    ) -> None:
        """Check an upload of a flat folder: the sums, and that the dataset holds what is reported and nothing else."""
        local = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        check_sums(result)
        assert {Path(f.path).name: f.code for f in result.failures} == dict(failed or {}), result.failures
        assert result.total_cancelled == cancelled, result.cancelled
        lost = {Path(f.path).name for f in [*result.failures, *result.cancelled]}
        stored = self.stored(dataset)
        for name in may_be_stored or ():
            if name in stored:
                assert stored.pop(name) == local[name], f"{name} is stored with other bytes"
                lost.add(name)
        assert stored == {name: digest for name, digest in local.items() if name not in lost}

    def check_download(
        self, result: Any, folder: Path, contents: Mapping[str, bytes], *, failed: Mapping[str, str] | None = None
    ) -> None:
        """Check a download: the sums, and that the folder holds what is reported, whole, and nothing else."""
        check_sums(result)
        assert {f.filename: f.code for f in result.failures} == dict(failed or {}), result.failures
        check_folder(folder, {n: d for n, d in contents.items() if n not in (failed or {})})


def check_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(found) == sorted(contents)
    assert found == dict(contents)


def check_sums(result: Any) -> None:
    """Check that the outcomes add up and that every loss is named."""
    check_text(str(result.to_dict()))
    check_text(result.summary())
    check_text(repr(result))
    assert result.total_failed == len(result.failures)
    assert all(isinstance(failure, FileFailure) and failure.code for failure in result.failures)
    if hasattr(result, "total_succeeded"):
        total = result.total_succeeded + result.total_existing + result.total_failed + result.total_cancelled
        assert len(result.cancelled) <= result.total_cancelled
    else:
        total = result.total_downloaded + result.total_existing + result.total_failed + result.total_cancelled
        total += result.total_conflicts
    assert result.total_files == total


def caught(error: BaseException) -> Any:
    """Check an error for secrets, and return it."""
    check_error(error)
    return error


def descriptors(*others: str) -> dict[str, str]:
    """Return this process's open descriptors without what listens, and without the sockets that lead to *others*."""
    ports = {int(url.rpartition(":")[2]) for url in others}
    found = {}
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            path = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
            if path.startswith("socket:") and _is_left_out(int(number), ports):
                continue
        except OSError:
            continue  # the listing's own, or closed meanwhile
        found[number] = path
    return found


def _is_left_out(number: int, ports: set[int]) -> bool:
    with socket.socket(fileno=os.dup(number)) as twin:
        if twin.family != socket.AF_INET:
            return False
        if twin.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return True
        return twin.getpeername()[1] in ports
