"""A file that is slow to look at holds back no other (row D9)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.service_faults.scenario import picture
from tests.unit.arrived import Box, vulnerable
from vi.server import parts
from vi.server.inspection.inspector import InspectionLimits, Inspector
from vi.server.inspection.worker_slots import Slots

pytestmark = pytest.mark.anyio


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    vulnerable(tmp_path / "vulnerable", monkeypatch)
    return Box(tmp_path)


async def test_files_that_hang_leave_workers_for_the_others(box: Box) -> None:
    inspector = Inspector(workers=1, limits=InspectionLimits(seconds_per_file=60))
    good = box.job(picture(1))
    hanging = [asyncio.create_task(inspector.inspect([box.hanging()])) for _ in range(2)]
    try:
        async with asyncio.timeout(30):
            verdicts = await inspector.inspect([good] * 30)
        assert {verdict.error for verdict in verdicts} == {None}
        assert not any(task.done() for task in hanging)
    finally:
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await inspector.aclose()


async def test_what_is_known_of_a_batch_is_told_before_its_end(box: Box) -> None:
    inspector = Inspector(workers=1, limits=InspectionLimits(seconds_per_file=60))
    good = box.job(picture(1))
    found: dict[int, Any] = {}
    jobs = [good, box.hanging(), good]
    task = asyncio.create_task(inspector.inspect(jobs, found))
    try:
        async with asyncio.timeout(30):
            while 0 not in found:
                await asyncio.sleep(0.01)
        assert set(found) == {0}
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await inspector.aclose()


async def test_a_file_that_hangs_holds_back_no_ingestion(
    start_service: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those of its own batch nor those of others."""
    released = asyncio.Event()

    class Patient(Inspector):
        """Looks at everything, but at black pictures only when it is told to."""

        async def inspect(self, jobs: Any, found: Any = None, *, urgent: bool = False) -> Any:
            slow = [index for index, job in enumerate(jobs) if job.size == len(BLACK)]
            quick = [index for index in range(len(jobs)) if index not in slow]
            verdicts = dict(zip(quick, await super().inspect([jobs[index] for index in quick]), strict=True))
            found.update(verdicts)
            if slow:
                while not released.is_set():
                    await asyncio.sleep(0.01)
                late = dict(zip(slow, await super().inspect([jobs[index] for index in slow]), strict=True))
                found.update(late)
                verdicts.update(late)
            return [verdicts[index] for index in range(len(jobs))]

    monkeypatch.setattr(parts, "Inspector", Patient)
    api = await connect(start_service())
    dataset = await api.create_dataset()
    files = {f"{number}.png": picture(number) for number in range(150)}
    slow = {f"slow-{number}.png": BLACK for number in range(4)}
    session = await api.open_session(dataset, {**dict(list(files.items())[:50]), **slow, **files})
    await api.put_all(session, {**files, **slow})
    counts = await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] >= 150)
    assert counts["status"]["progressCount"]["succeeded"] == 150
    released.set()
    assert (await api.ended(session))["status"]["progressCount"]["succeeded"] == 154


BLACK = picture(0, size=(1, 1)) + b"\0" * 31


async def test_slow_holders_make_room_within_bounds() -> None:
    slots = Slots(1, 2)
    entered: list[int] = []
    leave = asyncio.Event()

    async def hold(number: int) -> None:
        async with slots.hold() as make_room:
            entered.append(number)
            make_room()
            make_room()
            await leave.wait()

    tasks = [asyncio.create_task(hold(number)) for number in range(6)]
    empty = asyncio.create_task(slots.empty())
    for _ in range(20):
        await asyncio.sleep(0)
    assert entered == [0, 1, 2]
    assert not empty.done()
    leave.set()
    await asyncio.gather(*tasks, empty)
    assert sorted(entered) == [0, 1, 2, 3, 4, 5]
    async with slots.hold():
        pass


async def test_what_is_urgent_takes_a_spare_slot_when_all_are_held() -> None:
    slots = Slots(1, 1)
    async with slots.hold(urgent=True), slots.hold(urgent=True):
        third = asyncio.create_task(slots.hold(urgent=True).__aenter__())
        await asyncio.sleep(0)
        assert slots.wanted, "there is no other spare one"
    await third


async def test_a_small_upload_waits_for_no_file_of_another(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only decoder is busy and will not make room, as one with many small files of a large upload does not."""
    monkeypatch.setattr("vi.server.inspection.inspector._SLOW", 3600.0)
    inspector = Inspector(workers=1, limits=InspectionLimits(seconds_per_file=60))
    busy = asyncio.create_task(inspector.inspect([box.hanging()]))
    try:
        async with asyncio.timeout(30):
            while not inspector._busy:
                await asyncio.sleep(0.01)
            (verdict,) = await inspector.inspect([box.job(picture(1))], urgent=True)
        assert verdict.error is None
        assert not busy.done()
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        await inspector.aclose()
