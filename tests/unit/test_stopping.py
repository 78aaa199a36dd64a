"""Blocking work that nobody waits for any more comes to its end by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import anyio
import pytest

from vi._checksums import Expected
from vi._transfer import files
from vi._transfer.threads.stopping import StoppedError, in_thread, still_wanted

pytestmark = pytest.mark.anyio


async def test_a_cancelled_wait_returns_at_once_and_the_work_ends() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            begun.set()
            while True:
                still_wanted()
                time.sleep(0.001)
        except StoppedError:
            ended.set()
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(in_thread, work)
        assert await anyio.to_thread.run_sync(begun.wait, 10)
        began = time.monotonic()
        group.cancel_scope.cancel()
    assert time.monotonic() - began < 2
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_work_with_a_waiting_caller_finishes() -> None:
    def work(number: int) -> int:
        still_wanted()
        return number + 1

    assert await in_thread(work, 1) == 2
    still_wanted()


async def test_a_huge_file_is_not_read_to_its_end_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, size = tmp_path / "huge", 1 << 40
    with path.open("wb") as file:
        file.truncate(size)
    closed = threading.Event()
    close = files.os.close

    def closing(descriptor: int) -> None:
        close(descriptor)
        if threading.current_thread() is not threading.main_thread():
            closed.set()

    monkeypatch.setattr(files.os, "close", closing)
    with anyio.move_on_after(0.1) as scope:
        await in_thread(files.content_matches, files.os.open, str(path), size, Expected("sha256", "ab" * 32))
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(closed.wait, 20)
