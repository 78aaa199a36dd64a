"""Parts that are handed to the kernel: when they are, that they arrive, and what becomes of a file that changes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.recorded_service import RecordedService
from vi._transfer import bodies
from vi.server import ServiceConfig

MIB = 1 << 20
SIZE, PARTS = 20 * MIB + 12_345, 3
LIMITS = vi.TransferLimits(multipart_threshold=MIB)

pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="the system has no sendfile")


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedService]:
    running = RecordedService(tmp_path_factory.mktemp("bodies") / "data", ServiceConfig(part_bytes=8 * MIB))
    yield running
    running.stop()


@pytest.fixture
def client(service: RecordedService) -> Iterator[vi.Client]:
    with service.client(limits=LIMITS) as client:
        yield client


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
        for number in range(SIZE // MIB + 1):
            file.write(hashlib.shake_128(bytes([number])).digest(MIB))
        file.truncate(SIZE)
    return path


Sendfile = Callable[[int, int, int, int], int]


class Kernel:
    """Stands before `os.sendfile`: counts what goes through, and may do something first."""

    def __init__(self, real: Sendfile) -> None:
        self._real = real
        self.first: Callable[[], None] | None = None
        self.sent = 0

    def __call__(self, out: int, file: int, offset: int, count: int) -> int:
        first, self.first = self.first, None
        if first is not None:
            first()
        sent = self._real(out, file, offset, count)
        self.sent += sent
        return sent


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    counting = Kernel(os.sendfile)
    monkeypatch.setattr(bodies.os, "sendfile", counting)
    return counting


def parts_put(service: RecordedService) -> int:
    return len([seen for seen in service.requests("PUT") if seen.path.startswith("/part/")])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_parts_on_a_quick_line_go_through_the_kernel_and_arrive(
    client: vi.Client, service: RecordedService, dataset: str, film: Path, kernel: Kernel, stored: Any
) -> None:
    client.assets.upload(dataset, film)
    assert stored(dataset) == {"film.mp4": digest(film)}
    assert kernel.sent > SIZE // 4
    assert parts_put(service) == PARTS


def test_on_a_slow_line_they_are_read_and_written(
    client: vi.Client, dataset: str, film: Path, kernel: Kernel, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "QUICK_BYTES_PER_SECOND", 1 << 60)
    client.assets.upload(dataset, film)
    assert stored(dataset) == {"film.mp4": digest(film)}
    assert kernel.sent == 0


@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH])
def test_a_connection_that_breaks_costs_one_part_again(
    client: vi.Client, service: RecordedService, dataset: str, film: Path, kernel: Kernel, stored: Any, code: int
) -> None:
    def break_() -> None:
        raise OSError(code, os.strerror(code))

    kernel.first = break_
    client.assets.upload(dataset, film)
    assert stored(dataset) == {"film.mp4": digest(film)}
    assert kernel.first is None
    assert parts_put(service) <= PARTS + 1


def test_what_the_kernel_cannot_send_is_read_and_written(
    client: vi.Client, service: RecordedService, dataset: str, film: Path, kernel: Kernel, stored: Any
) -> None:
    def refuse() -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    kernel.first = refuse
    client.assets.upload(dataset, film)
    assert stored(dataset) == {"film.mp4": digest(film)}
    assert parts_put(service) == PARTS


def test_a_disk_that_fails_fails_the_file(
    client: vi.Client, dataset: str, film: Path, kernel: Kernel, stored: Any
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    kernel.first = fail
    with pytest.raises(vi.ViUploadError) as raised:
        client.assets.upload(dataset, film)
    assert [failure.code for failure in raised.value.result.failures] == ["EIO"]
    assert stored(dataset) == {}


@pytest.mark.parametrize("change", ["shorter", "other bytes"])
def test_a_file_that_changes_in_the_kernels_hands_is_not_stored(
    client: vi.Client, service: RecordedService, dataset: str, film: Path, kernel: Kernel, stored: Any, change: str
) -> None:
    def spoil() -> None:
        if change == "shorter":
            os.truncate(film, 3 * MIB)
            return
        with film.open("r+b") as file:
            for at in range(2 * MIB, SIZE, 64 << 10):
                file.seek(at)
                file.write(b"other")

    kernel.first = spoil
    with pytest.raises(vi.ViUploadError) as raised:
        client.assets.upload(dataset, film)
    assert [failure.code for failure in raised.value.result.failures] == ["ECHANGED"]
    assert kernel.first is None
    assert stored(dataset) == {}
    assert [seen.status for seen in service.requests("DELETE")] == [204]
