"""The processes that look at arrived files: they die, hang and are killed; only the file at fault is lost."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")

from PIL import Image

import vi
from tests.unit.arrived import Box, children, encode, forget_children, vulnerable
from vi.server.inspection import memory
from vi.server.inspection.frames import Verdict, read_answer
from vi.server.inspection.inspector import InspectionJob, InspectionLimits, InspectionUnavailableError, Inspector
from vi.server.inspection.processor_time import ProcessorTime

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    vulnerable(tmp_path / "vulnerable", monkeypatch)
    return Box(tmp_path)


@pytest.fixture(autouse=True)
def only_own_children() -> None:
    forget_children()


@on_posix
async def test_a_worker_that_hangs_is_replaced(box: Box) -> None:
    """The file at which it hung is EUNKNOWN after its time; the others of the batch are done."""
    good = encode("PNG")
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(seconds_per_file=2))) as inspector:
        await inspector.inspect([box.job(good)])
        jobs = [*(box.job(good) for _ in range(11)), box.hanging(), *(box.job(good) for _ in range(28))]
        verdicts = await inspector.inspect(jobs)
    assert [v.error for v in verdicts] == [*[None] * 11, "EUNKNOWN", *[None] * 28]
    assert "second" in (verdicts[11].message or "")


@on_linux
async def test_time_without_a_processor_is_not_the_files(box: Box) -> None:
    """A file that takes long because other processes have the processor is looked at to the end."""
    job = box.job(encode("PNG", Image.effect_noise((3000, 3000), 60), compress_level=1))
    limits = InspectionLimits(seconds_per_file=1.5, bytes_per_second=1 << 40)
    inspector = Inspector(workers=1, limits=limits)
    await inspector.inspect([box.job(encode("PNG"))])
    [worker] = children()
    processor = {min(os.sched_getaffinity(0))}
    rivals = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(3)]
    try:
        for pid in (worker, *(rival.pid for rival in rivals)):
            os.sched_setaffinity(pid, processor)
        started = time.monotonic()
        for _ in range(20):
            [verdict] = await inspector.inspect([job])
            assert verdict.error is None, verdict.message
            if time.monotonic() - started > 10:
                break
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
        await inspector.aclose()


SPINNING = """
import sys, threading, time

def spin():
    while time.process_time() < 0.6:
        pass

helper = threading.Thread(target=spin)
helper.start()
helper.join()
print(time.process_time(), flush=True)
sys.stdin.read()
"""


@on_linux
def test_the_processor_time_of_every_thread_counts_and_no_other() -> None:
    """A process whose main thread waits for a helper is charged what the helper uses, however long that has to wait."""
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    one = subprocess.Popen([sys.executable, "-c", SPINNING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for pid in (rival.pid, one.pid):
            os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        cost = ProcessorTime(one.pid, 0.02)
        assert one.stdout is not None
        while not select.select([one.stdout], [], [], 0.02)[0]:
            cost.seconds()
        used = float(one.stdout.readline())
        assert 0.4 < cost.seconds() < used + 0.3
    finally:
        one.communicate()
        rival.kill()
        rival.wait()


@on_linux
def test_time_in_which_nothing_is_wanted_counts() -> None:
    """A process that sleeps for ever is found, and so is one that was stopped."""
    with subprocess.Popen(["sleep", "60"]) as one:
        cost = ProcessorTime(one.pid, 0.02)
        while cost.seconds() < 0.2:
            time.sleep(0.02)
        os.kill(one.pid, signal.SIGSTOP)
        before = cost.seconds()
        while cost.seconds() < before + 0.2:
            time.sleep(0.02)
        one.kill()


@on_linux
async def test_a_file_that_only_computes_ends_at_its_time(box: Box) -> None:
    """Also where nobody measures from outside: the system ends the process."""
    limits = InspectionLimits(seconds_per_file=0.05, bytes_per_second=1 << 40)
    slow = box.job(encode("JPEG2000", Image.effect_noise((2000, 2000), 60)), "image/jp2")
    async with aclosing(Inspector(workers=1, limits=limits)) as inspector:
        [verdict] = await inspector.inspect([slow])
    assert verdict.error == "EUNKNOWN"
    assert "seconds of a processor" in (verdict.message or "")


@on_linux
async def test_a_worker_that_dies_costs_the_file_it_was_at(box: Box) -> None:
    """The culprit is tried once more and then ECORRUPT; nothing else of its batch is lost."""
    good = encode("PNG")
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(good)])
        jobs = [*(box.job(good) for _ in range(11)), box.hanging(), *(box.job(good) for _ in range(28))]
        task = asyncio.create_task(inspector.inspect(jobs))
        [first] = await hanging()
        os.kill(first, signal.SIGKILL)
        while (second := (await hanging()).pop()) == first:
            await asyncio.sleep(0.01)
        os.kill(second, signal.SIGKILL)
        verdicts = await task
    assert [v.error for v in verdicts] == [*[None] * 11, "ECORRUPT", *[None] * 28]
    assert "signal 9" in (verdicts[11].message or "")


@on_linux
async def test_a_worker_killed_by_somebody_else_costs_nothing(box: Box) -> None:
    """The file that a killed worker was at is looked at again, and an idle worker that is gone is replaced."""
    data = encode("PNG")
    async with aclosing(Inspector(workers=1)) as inspector:
        held = box.code("import time; time.sleep(2)")
        task = asyncio.create_task(inspector.inspect([held, box.job(data)]))
        [worker] = await hanging()
        os.kill(worker, signal.SIGKILL)
        assert [v.error for v in await task] == [None, None]
        idle = children()
        assert worker not in idle
        for process in idle:
            os.kill(process, signal.SIGKILL)
        [again] = await inspector.inspect([box.job(data)])
        assert again.error is None
        assert len(children() - idle) == 1


@on_linux
async def test_no_file_is_blamed_for_the_end_of_idle_workers(box: Box) -> None:
    """Whoever ends them all at once, such as a system without memory, takes no sound picture with them."""
    seen = "import builtins; builtins.seen = True; raise MemoryError"
    dies = "import builtins, os; os._exit(9) if hasattr(builtins, 'seen') else None"
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.code(seen)])
        idle = children()
        assert len(idle) == 2, "one decodes alone what needs more memory"
        [verdict] = await inspector.inspect([box.code(dies)])
        assert verdict.error is None, verdict.message
        [verdict] = await inspector.inspect([box.code("import os; os._exit(9)")])
        assert verdict.error == "ECORRUPT", "new workers end at it too"


@on_linux
async def test_cancelling_leaves_no_process(box: Box) -> None:
    """A cancelled inspection ends at once with the worker it was using; the next one works."""
    async with aclosing(Inspector(workers=1)) as inspector:
        task = asyncio.create_task(inspector.inspect([box.hanging()]))
        [worker] = await hanging()
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2
        assert worker not in children()
        [verdict] = await inspector.inspect([box.job(encode("PNG"))])
        assert verdict.error is None
    assert not children()


@on_linux
async def test_closing_gives_up_what_is_under_way(box: Box) -> None:
    """Closing ends the calls that wait, and every later one, with a temporary error."""
    inspector = Inspector(workers=1)
    task = asyncio.create_task(inspector.inspect([box.hanging()]))
    await hanging()
    await inspector.aclose()
    with pytest.raises(InspectionUnavailableError):
        await task
    with pytest.raises(InspectionUnavailableError):
        await inspector.inspect([box.job(encode("PNG"))])
    assert not children()
    await inspector.aclose()


async def test_many_calls_share_the_workers(box: Box) -> None:
    """Calls at the same time each get their own verdicts, from no more processes than allowed."""
    sizes = [(width, 10) for width in range(1, 61)]
    jobs = [box.job(encode("PNG", Image.new("L", size))) for size in sizes]
    async with aclosing(Inspector(workers=2)) as inspector:
        answers = await asyncio.gather(*(inspector.inspect(jobs[at : at + 10]) for at in range(0, 60, 10)))
        if sys.platform.startswith("linux"):
            assert len(children()) <= 2
        assert [(v.width, v.height) for answer in answers for v in answer] == sizes
        assert await inspector.inspect([]) == []


async def test_a_call_with_many_files_lets_another_go_between(box: Box) -> None:
    good = encode("PNG")
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(good)])
        many = [box.job(good) for _ in range(200)]
        task = asyncio.create_task(inspector.inspect(many))
        await asyncio.sleep(0)
        [one] = await inspector.inspect([box.job(good)])
        assert not task.done()
        assert {verdict.error for verdict in [one, *await task]} == {None}


@on_posix
async def test_the_terminals_interrupt_does_not_reach_the_workers(box: Box) -> None:
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert os.getpgid(worker) != os.getpgid(0)
        os.kill(worker, signal.SIGINT)
        [verdict] = await inspector.inspect([box.job(encode("PNG"))])
        assert verdict.error is None
        assert children() == {worker}


@on_linux
async def test_workers_do_not_hold_the_key(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that is taken over finds no credentials in its environment."""
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", "dtvi_" + "k" * 98)
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert b"PATH=" in (held := Path(f"/proc/{worker}/environ").read_bytes())
        assert b"dtvi_" not in held


@on_linux
async def test_workers_have_no_more_rights_than_they_need(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be written, no program started with more rights, and no variable of ours is known."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of somebody else")
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert "NoNewPrivs:\t1" in Path(f"/proc/{worker}/status").read_text()
        limits = {
            line[:26].strip(): line[26:].split() for line in Path(f"/proc/{worker}/limits").read_text().splitlines()
        }
        assert limits["Max file size"][:2] == ["0", "0"]
        assert limits["Max core file size"][:2] == ["0", "0"]
        assert limits["Max open files"][:2] == ["64", "64"]
        assert b"AWS_" not in Path(f"/proc/{worker}/environ").read_bytes()


LIES: list[dict[str, object]] = [
    {"width": "17"},
    {"width": True},
    {"width": 0},
    {"width": -1},
    {"height": 1 << 31},
    {"frames": 1.5},
    {"frames": 10**30},
    {"message": 7},
    {"error": "ENOQUOTA"},
    {"error": "<script>"},
    {"error": "ECORRUPT", "message": "x" * 1001},
    {"error": "ECORRUPT", "message": 7},
    {"error": "ECORRUPT", "picture": True},
    {"picture": True},
]


MEASURED = Verdict(None, None, 17, 1, "0" * 64, "image/png")


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_the_lies_of_a_worker_are_no_verdict(lie: dict[str, object]) -> None:
    honest = {"error": None, "message": None, "width": 3, "height": 2, "frames": 1, "picture": False}
    assert read_answer(honest, b"", MEASURED).width == 3
    with pytest.raises(ValueError, match="a"):
        read_answer({**honest, **lie}, b"<svg>" if lie.get("picture") else b"", MEASURED)


def test_what_the_service_measures_no_worker_changes() -> None:
    """Size, digests and type in an answer are not read at all."""
    said = {"error": None, "message": None, "width": 3, "height": 2, "frames": 1, "picture": False}
    said |= {"size": -5, "crc32c": 1 << 80, "sha256": "zz", "mime": "text/html"}
    assert read_answer(said, b"", MEASURED) == Verdict(None, None, 17, 1, "0" * 64, "image/png", 3, 2, 1)


@on_linux
async def test_a_large_video_takes_no_memory(tmp_path: Path) -> None:
    """Nothing of it is decoded, so no process starts for it."""
    path = tmp_path / "long.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41")
        file.truncate(600 << 20)
    async with aclosing(Inspector(workers=1)) as inspector:
        Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmRSS")
        [verdict] = await inspector.inspect([InspectionJob(str(path), "Video", "video/mp4", 600 << 20)])
        assert _memory("VmHWM") < before + 50_000
        assert not children()
    assert verdict.error is None


def _memory(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


async def test_of_large_pictures_one_is_decoded_at_a_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker says so before it decodes; small ones go on beside it, and each gets its verdict."""
    limits = InspectionLimits(share_bytes=32 << 20)
    sizes = [(10, 10), (3000, 2000), (20, 20), (2100, 2000), (2000, 2000), (4000, 4000), (30, 30)]
    alone, most = 0, 0
    async with aclosing(Inspector(workers=3, limits=limits)) as inspector:
        look_at = inspector._look_at

        async def watched(*given: Any, **how: bool) -> None:
            nonlocal alone, most
            asked = len(given[1]) if how.get("alone") else 0
            alone, most = alone + asked, max(most, asked)
            assert inspector._large.locked() or not asked
            await look_at(*given, **how)

        monkeypatch.setattr(inspector, "_look_at", watched)
        jobs = [box.job(encode("PNG", Image.new("L", size))) for size in sizes * 3]
        verdicts = await inspector.inspect(jobs)
    assert [(v.error, v.width, v.height) for v in verdicts] == [(None, *size) for size in sizes * 3]
    assert (alone, most) == (9, 1)


def test_limits_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All decoders at once, and the largest picture, take at most three quarters of it."""
    for total in (1 << 28, 1 << 29, 1 << 30, 2 << 30, 16 << 30, 1 << 40):
        monkeypatch.setattr(memory, "total_memory", lambda total=total: total)
        limits, workers = memory.within_memory(InspectionLimits(), 6)
        assert limits.memory_bytes <= InspectionLimits().memory_bytes
        assert limits.share_bytes >= 64 << 20
        assert limits.memory_bytes + workers * limits.share_bytes <= total * 3 // 4
        assert workers == 6 or total < 2 << 30
    monkeypatch.setattr(memory, "total_memory", lambda: None)
    assert memory.within_memory(InspectionLimits(), 6) == (InspectionLimits(), 6)


@on_linux
async def test_workers_let_others_go_first(box: Box) -> None:
    """Also where every session of processes gets an equal share, and niceness counts within one only (sched(7)).

    The system takes few such wishes, so a worker repeats its own with each file.
    """
    async with aclosing(Inspector(workers=1)) as inspector:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert os.getpriority(os.PRIO_PROCESS, worker) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        group = Path(f"/proc/{worker}/autogroup")
        if group.exists() and group.read_text():
            async with asyncio.timeout(30):
                while group.read_text().split()[-1] != "10":
                    await asyncio.sleep(0.05)
                    await inspector.inspect([box.job(encode("PNG"))])


SCRIPT = """
import asyncio, sys
from pathlib import Path
from vi.server.inspection.inspector import InspectionJob, Inspector

async def main():
    inspector = Inspector(workers=1)
    path = Path(sys.argv[1])
    [verdict] = await inspector.inspect([InspectionJob(str(path), "Image", "image/png", path.stat().st_size)])
    print(verdict.error, verdict.width, [p for t in Path("/proc/self/task").iterdir()
                                         for p in (t / "children").read_text().split()][0], flush=True)
    if sys.argv[2] == "hang":
        path = Path(sys.argv[3])
        await inspector.inspect([InspectionJob(str(path), "Image", "image/heic", path.stat().st_size)])
    await inspector.aclose()

asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """A user's script with no guard, in a folder whose files bear the names of modules."""
    (tmp_path / "vi").mkdir()
    for shadow in ("vi/__init__.py", "json.py", "attrs.py", "PIL.py"):
        (tmp_path / shadow).write_text("raise SystemExit('the wrong module')")
    script = tmp_path / "scripts" / "upload.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    (tmp_path / "picture.png").write_bytes(encode("PNG"))
    return [sys.executable, str(script), str(tmp_path / "picture.png")]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(vi.__file__).parents[1])}


@on_linux
def test_a_script_without_a_guard_works_from_any_folder(script: list[str], tmp_path: Path) -> None:
    """The workers import this package, not what lies in the working folder, and do not run the script again."""
    done = subprocess.run(
        [*script, "end"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split()[:2] == ["None", "96"]
    assert len(done.stdout.splitlines()) == 1


@on_linux
def test_workers_die_with_their_parent(script: list[str], tmp_path: Path, box: Box) -> None:
    """A parent killed without warning leaves no worker behind, not even one that hangs in a file."""
    job = box.hanging()
    variables = environment()
    variables["PYTHONPATH"] += os.pathsep + str(tmp_path / "vulnerable")
    with subprocess.Popen([*script, "hang", job.path], env=variables, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline().split()[2])
        while not sleeps(worker):
            time.sleep(0.01)
        parent.kill()
    deadline = time.monotonic() + 30
    while sleeps(worker) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sleeps(worker) is None


async def hanging() -> set[int]:
    """Wait until a worker is asleep in a file, and return those that are."""
    async with asyncio.timeout(30):
        while not (found := {pid for pid in children() if sleeps(pid)}):
            await asyncio.sleep(0.01)
    return found


def sleeps(pid: int) -> bool | None:
    """Tell whether a process is in the clock_nanosleep system call; None when there is no such process."""
    try:
        tasks = [task / "syscall" for task in Path(f"/proc/{pid}/task").iterdir()]
        return any(task.read_text().split()[0] in ("230", "115") for task in tasks)  # x86-64, arm64
    except (FileNotFoundError, ProcessLookupError):  # it may be one of its threads that has just ended
        return False if Path(f"/proc/{pid}").exists() else None
