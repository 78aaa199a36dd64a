"""Small files that the page cache holds are measured as any other, without a thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.arrived import Box
from vi import _checksums, _samples
from vi.server.inspection import measuring
from vi.server.inspection.frames import InspectionJob

LARGE = measuring._AT_ONCE + 1


def whole(data: bytes) -> bytes:
    return data


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def text(data: bytes) -> bytes:
    return b"text" * 100


@pytest.mark.skipif(measuring._NOWAIT is None, reason="only Linux reads without waiting")
@pytest.mark.parametrize("what", [whole, changed, text])
def test_it_says_the_same(what: Callable[[bytes], bytes], tmp_path: Path) -> None:
    sound = _samples.encode(1, ".png", (40, 30))
    job = Box(tmp_path).job(what(sound), crc32c=_checksums.to_signed(_checksums.crc32c(sound)))
    told = []
    for found in (measuring.measure(job), measuring._measure_now(job)):
        assert found is not None
        found.close()
        told.append((found.verdict, found.declared))
    assert told[0] == told[1]


def test_a_large_file_and_one_that_is_not_cached_are_left_to_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)
    large: InspectionJob = box.job(bytes(LARGE))
    assert measuring._measure_now(large) is None
    if sys.platform == "win32":
        return
    small = box.job(_samples.encode(1, ".png", (40, 30)))

    def waits(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", waits)
    assert measuring._measure_now(small) is None
