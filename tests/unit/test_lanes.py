"""I/O lanes: results, errors, order, cancellation, and how their threads end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from vi._transfer.threads.lanes import JOBS_PER_WAKE, SLOW_SECONDS, Lanes

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lanes() -> Any:
    lanes = Lanes()
    yield lanes
    lanes.close()


def lane_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vi-lane")]


async def until_ended(threads: list[threading.Thread]) -> None:
    with anyio.fail_after(5):
        for thread in threads:
            while thread.is_alive():
                await anyio.sleep(0.001)


async def test_no_thread_before_the_first_job(lanes: Lanes) -> None:
    before = lane_threads()
    assert await lanes.run(lambda: 7) == 7
    assert len(lane_threads()) == len(before) + 1


async def test_another_lane_is_started_only_when_all_hang(lanes: Lanes) -> None:
    before, hang = len(lane_threads()), threading.Event()
    for _ in range(50):
        await lanes.run(int)
    assert len(lane_threads()) == before + 1
    hanging = asyncio.ensure_future(lanes.run(hang.wait))
    await anyio.sleep(SLOW_SECONDS * 2)
    assert await lanes.run(lambda: "not held up") == "not held up"
    assert len(lane_threads()) == before + 2
    hang.set()
    assert await hanging


async def test_it_runs_off_the_loop(lanes: Lanes) -> None:
    assert await lanes.run(threading.get_ident) != threading.get_ident()


async def test_arguments_and_results(lanes: Lanes, tmp_path: Path) -> None:
    assert await lanes.run(dict, [("a", 1)], b=2) == {"a": 1, "b": 2}
    assert await lanes.run((tmp_path / "x").write_bytes, b"abc") == 3


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("v"), KeyboardInterrupt()])
async def test_an_exception_reaches_the_one_who_waits(lanes: Lanes, error: BaseException) -> None:
    def fail() -> None:
        raise error

    others = [asyncio.ensure_future(lanes.run(int, str(number))) for number in range(5)]
    with pytest.raises(type(error)):
        await lanes.run(fail)
    assert await asyncio.gather(*others) == list(range(5))
    assert await lanes.run(lambda: "still works") == "still works"


@pytest.mark.parametrize("count", [1, JOBS_PER_WAKE - 1, JOBS_PER_WAKE, JOBS_PER_WAKE + 1, 500])
async def test_every_job_of_a_crowd_is_answered_once(lanes: Lanes, count: int) -> None:
    ran: list[int] = []

    def job(number: int) -> int:
        ran.append(number)
        return number * 2

    assert await asyncio.gather(*(lanes.run(job, number) for number in range(count))) == [n * 2 for n in range(count)]
    assert sorted(ran) == list(range(count))


async def test_a_crowd_wakes_the_loop_less_often_than_there_are_jobs(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lanes.run(int)
    wakes = 0
    loop = asyncio.get_running_loop()
    real = loop.call_soon_threadsafe

    def count(callback: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal wakes
        wakes += 1
        return real(callback, *args, **kwargs)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    released = threading.Event()
    held = [asyncio.ensure_future(lanes.run(released.wait)) for _ in range(2)]
    crowd = [asyncio.ensure_future(lanes.run(int)) for _ in range(320)]
    await anyio.sleep(0)
    released.set()
    await asyncio.gather(*held, *crowd)
    assert 320 / JOBS_PER_WAKE <= wakes < 320 / 4


async def test_a_job_cancelled_before_its_turn_is_not_run() -> None:
    lanes = Lanes(threads=1)
    released, ran = threading.Event(), []
    try:
        holder = asyncio.ensure_future(lanes.run(released.wait))
        given_up = asyncio.ensure_future(lanes.run(ran.append, "given up"))
        kept = asyncio.ensure_future(lanes.run(ran.append, "kept"))
        await anyio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        released.set()
        await asyncio.gather(holder, kept)
        assert ran == ["kept"]
    finally:
        released.set()
        lanes.close()


async def test_a_job_that_has_begun_finishes_and_its_result_is_dropped() -> None:
    lanes = Lanes(threads=1)
    began, released, finished = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        released.wait(5)
        finished.set()

    try:
        task = asyncio.ensure_future(lanes.run(job))
        with anyio.fail_after(5):
            while not began.is_set():
                await anyio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not finished.is_set()
        released.set()
        assert await lanes.run(lambda: "next") == "next"
        assert finished.is_set()
    finally:
        released.set()
        lanes.close()


async def test_closing_finishes_what_was_asked_and_ends_the_threads(lanes: Lanes) -> None:
    before = lane_threads()
    ran: list[int] = []
    jobs = [asyncio.ensure_future(lanes.run(ran.append, number)) for number in range(40)]
    await anyio.sleep(0)
    threads = [thread for thread in lane_threads() if thread not in before]
    lanes.close()
    await asyncio.gather(*jobs)
    assert sorted(ran) == list(range(40))
    await until_ended(threads)


async def test_after_closing_a_new_job_starts_anew(lanes: Lanes) -> None:
    await lanes.run(int)
    lanes.close()
    lanes.close()
    assert await lanes.run(lambda: 1) == 1


def test_a_closed_loop_ends_the_threads() -> None:
    """A job that goes on when its loop is gone has nobody to tell, and that is no error."""
    lanes = Lanes()
    before = lane_threads()
    began, released = threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        released.wait(5)

    async def use() -> asyncio.Task[None]:
        task = asyncio.ensure_future(lanes.run(job))
        while not began.is_set():
            await anyio.sleep(0.001)
        return task

    task = asyncio.run(use())
    threads = [thread for thread in lane_threads() if thread not in before]
    released.set()
    lanes.close()
    for thread in threads:
        thread.join(5)
    assert task.cancelled()
    assert threads
    assert not any(thread.is_alive() for thread in threads)


async def test_what_winds_down_after_the_end_leaves_no_lane() -> None:
    before = lane_threads()
    lanes = Lanes()
    await lanes.run(int)
    lanes.close()
    began: list[threading.Thread] = []
    await asyncio.gather(*[lanes.run(lambda: began.append(threading.current_thread())) for _ in range(3)])
    assert not set(began) & set(before)
    await until_ended(began)
