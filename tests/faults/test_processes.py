"""Rows P5 to P11: loops, threads, processes and clocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

import anyio
import pytest

import vi
from tests.faults import breaks
from tests.faults.stage import ROOT, Scene, check_folder, check_sums

UP, DOWN, CANCEL, SESSIONS = "^/up/", "^/dl/", ":cancel$", "/assetIngestionSessions$"
LOOK: dict[str, Any] = {"show_progress": False, "raise_on_failure": False}
ALL: dict[str, Any] = {"failure_mode": "FailAfterAll", "show_progress": False}

# The promise is two seconds; a busy machine gets the bar of the field.
PROMPT = 5.0


def environment(scene: Scene) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATATURE_VI_API_ENDPOINT": scene.proxy.url,
        "DATATURE_VI_SECRET_KEY": scene.service.secret_key,
        "DATATURE_VI_ORGANIZATION_ID": scene.service.organization_id,
    }


def run_script(scene: Scene, script: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "always", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(scene), timeout=timeout, check=False)


def until(reached: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


MOVE = """
import sys, vi
way, dataset, folder = sys.argv[1:]
with vi.Client() as client:
    if way == "up":
        client.assets.upload(dataset, folder, show_progress=False)
    elif way == "down":
        client.assets.download(dataset, folder, show_progress=False)
    else:
        client.datasets.list()
"""


@pytest.mark.parametrize("way", ["up", "down", "list"])
@pytest.mark.parametrize("fault", [breaks.stall(), breaks.stall_after_body()], ids=["stalled", "unanswered"])
def test_P5_an_interrupt_ends_the_program_whatever_the_network_does(scene: Scene, way: str, fault: Any) -> None:
    dataset, _ = scene.fill(4)
    folder = scene.files(12) if way == "up" else scene.folder / "down"
    stalled = scene.plan(fault, path={"up": UP, "down": DOWN, "list": "/datasets$"}[way], at=range(1, 100))
    process = subprocess.Popen(
        [sys.executable, "-c", MOVE, way, dataset, str(folder)],
        env=environment(scene),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: stalled.fired)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        took = time.monotonic() - began
    finally:
        process.kill()
    assert took < PROMPT
    assert process.returncode not in (0, None)
    assert "KeyboardInterrupt" in told
    assert "aiohttp" not in told
    if way == "up":
        assert scene.wire.count("POST", CANCEL) == scene.wire.count("POST", SESSIONS) == 1
    if way == "down":
        check_folder(folder, {})


with contextlib.suppress(ImportError):
    import uvloop

    uvloop.new_event_loop().close()  # the first one opens a pipe that stays for the life of the process


@pytest.fixture(params=["asyncio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return "asyncio", {"use_uvloop": True}
    return "asyncio", {}


@pytest.mark.parametrize("how", ["task.cancel", "move_on_after", "timeout="])
@pytest.mark.parametrize("way", ["up", "down"])
def test_P6_cancellation_is_prompt_and_leaves_nothing(
    scene: Scene, backend: tuple[str, dict[str, Any]], how: str, way: str
) -> None:
    dataset, contents = scene.fill(6, large=True)
    folder = scene.files(6)
    scene.plan(breaks.stall(), path=f"({UP}|{DOWN}|^/part/)", at=range(3, 100))
    scene.plan(breaks.stall(), "POST", CANCEL, may_rest=True)

    async def move(client: vi.AsyncClient, **choice: Any) -> None:
        if way == "up":
            await client.assets.upload(dataset, folder, **ALL, **choice)
        else:
            await client.assets.download(dataset, scene.folder / "down", **LOOK, **choice)

    async def main() -> None:
        before = asyncio.all_tasks()
        # Limits of a patient caller: what ends the work is the cancellation.
        async with scene.client(timeouts=vi.Timeouts()) as client:
            began = time.monotonic()
            if how == "task.cancel":
                task = asyncio.create_task(move(client))
                await asyncio.to_thread(until, lambda: any(rule.fired for rule in scene.proxy.rules))
                began = time.monotonic()
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                assert task.cancelled()
            elif how == "move_on_after":
                with anyio.move_on_after(1.0) as scope:
                    await move(client)
                assert scope.cancelled_caught
            else:
                with pytest.raises(vi.ViTimeoutError) as error:
                    await move(client, timeout=1.0)
                check_sums(error.value.result)
            assert time.monotonic() - began < PROMPT
        assert asyncio.all_tasks() == before

    anyio.run(main, backend=backend[0], backend_options=backend[1])
    if way == "down":
        left = {path.name for path in (scene.folder / "down").iterdir()}
        check_folder(scene.folder / "down", {name: contents[name] for name in left})
    else:
        # What the service has is left to the next run; a session that holds nothing is cancelled.
        acknowledged = any(seen.method == "PUT" and seen.status == 200 for seen in scene.wire.log)
        assert acknowledged or scene.wire.count("POST", CANCEL) >= 1


@pytest.mark.anyio
async def test_P7_the_sync_client_works_inside_a_running_loop(scene: Scene) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with scene.sync_client() as client:
            result = client.assets.upload(dataset, folder, **ALL)
            client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_upload(result, dataset, folder)
    assert [str(w.message) for w in told if "AsyncClient" in str(w.message)]
    assert len(told) == 1


def test_P8_one_client_in_many_threads_does_not_mix_up(scene: Scene) -> None:
    with scene.sync_client() as client:

        def work(number: int) -> int:
            dataset = client.datasets.create(name=f"thread-{number}").dataset_id
            name = f"only-{number}.png"
            source = (scene.files(1, folder=f"t{number}", start=number) / f"file-{number:03d}.png").read_bytes()
            client.assets.upload(dataset, (name, source), **ALL)
            target = scene.folder / f"down-{number}"
            client.assets.download(dataset, target, show_progress=False)
            check_folder(target, {name: source})
            return client.assets.count(dataset)

        scene.plan(breaks.reset_after_body(), "PUT", UP, at=(2, 5))
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            assert list(pool.map(work, range(12))) == [1] * 12


FORK = """
import os, sys, vi, warnings
warnings.simplefilter("ignore", DeprecationWarning)
client = vi.Client()
before = client.datasets.get(sys.argv[1]).name
pid = os.fork()
if pid == 0:
    try:
        ok = client.datasets.get(sys.argv[1]).name == before
        client.close()
        os._exit(0 if ok else 3)
    except vi.ViError:
        os._exit(4)
    except BaseException:
        os._exit(5)
_, status = os.waitpid(pid, 0)
assert client.datasets.get(sys.argv[1]).name == before
client.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_P9_a_forked_child_starts_anew_and_the_parent_continues(scene: Scene) -> None:
    done = run_script(scene, FORK, scene.dataset(), timeout=30)
    assert done.returncode == 0, done.stderr


FORGOTTEN = """
import asyncio, gc, sys, vi
kind, dataset = sys.argv[1:]
if kind == "sync":
    client = vi.Client()
    client.datasets.get(dataset)
elif kind == "sync_collected":
    client = vi.Client()
    client.datasets.get(dataset)
    del client
    gc.collect()
elif kind == "async":
    async def main():
        global client
        client = vi.AsyncClient()
        await client.datasets.get(dataset)
    asyncio.run(main())
else:
    async def main():
        client = vi.AsyncClient()
        await client.datasets.get(dataset)
        del client
        gc.collect()
    asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["sync", "sync_collected", "async", "async_collected"])
def test_P10_a_client_never_closed_delays_nothing_and_is_told_of(scene: Scene, kind: str) -> None:
    began = time.monotonic()
    done = run_script(scene, FORGOTTEN, kind, scene.dataset())
    assert time.monotonic() - began < 20
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "ResourceWarning" in done.stderr
    assert "dtvi_" not in done.stderr


JUMP = """
import asyncio, json, sys, time, vi
dataset, up, down, days = sys.argv[1:]
real, real_ns, ahead = time.time, time.time_ns, [0.0]
time.time = lambda: real() + ahead[0]
time.time_ns = lambda: real_ns() + int(ahead[0] * 1e9)
def jump(progress):
    if progress.bytes_done:
        ahead[0] = float(days) * 86400
async def main():
    retries = vi.RetryPolicy(backoff=0.01, backoff_max=0.05)
    async with vi.AsyncClient(retries=retries, limits=vi.TransferLimits(max_concurrency=2)) as client:
        sent = await client.assets.upload(
            dataset, up, on_progress=jump, show_progress=False, failure_mode="FailAfterAll", timeout=30
        )
        ahead[0] = 0.0
        came = await client.assets.download(dataset, down, on_progress=jump, show_progress=False, timeout=30)
    print(json.dumps([sent.total_succeeded, came.total_downloaded, sent.seconds + came.seconds, ahead[0]]))
asyncio.run(main())
"""


@pytest.mark.parametrize("days", [1, -1])
def test_P11_a_clock_that_jumps_by_a_day_moves_no_timer(scene: Scene, days: int) -> None:
    folder, dataset = scene.files(30), scene.dataset()
    scene.plan(breaks.answer(503, [("Retry-After", "1")]), "PUT", UP, at=9)
    done = run_script(scene, JUMP, dataset, folder, scene.folder / "down", days)
    assert done.returncode == 0, done.stderr
    sent, came, seconds, ahead = json.loads(done.stdout)
    assert (sent, came) == (30, 30)
    assert ahead == days * 86400
    assert 0 < seconds < 30
    assert scene.wire.count("POST", SESSIONS) == 1
    assert scene.wire.count("GET", "/assets/[^/]+$") == 0
    assert scene.wire.count("PUT", UP) == 31
