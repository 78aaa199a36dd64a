"""Clients in scripts, threads, running loops and forked children; how they end, and how transfers are stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.systems import WINDOWS, needs_signals
from vi import _samples

FORKED = """
import os, sys, time, warnings, vi

# Python 3.12 warns of a fork beside any thread; what is tested here is that it does no harm.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
with vi.Client() as client:
    dataset = client.datasets.create(name="before the fork").dataset_id
    child = os.fork()
    if child == 0:
        assert client.datasets.get(dataset).name == "before the fork"
        client.close()
        {leave}
    assert os.waitpid(child, 0)[1] == 0
    began = time.monotonic()
    for _ in range(3):
        client.datasets.get(dataset)
    print(time.monotonic() - began < 5)
"""


@pytest.mark.skipif(WINDOWS, reason="Windows has no fork")
@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"], ids=["at once", "by the interpreter"])
def test_a_forked_child_opens_connections_of_its_own_and_leaves_the_parents_alone(script: Any, leave: str) -> None:
    process = script(FORKED.format(leave=leave))
    out, err = process.communicate(timeout=40)
    assert (process.returncode, out, err) == (0, "True\n", "")


SCRIPT = """
import sys, vi

with vi.Client() as client:
    dataset = client.datasets.create(name="script").dataset_id
    result = client.assets.upload(dataset, sys.argv[1])
    print(result.total_succeeded, client.assets.count(dataset))
"""


def test_a_script_needs_no_loop_and_ends_in_silence(script: Any, folder: Any) -> None:
    process = script(SCRIPT, str(folder(3)))
    assert process.communicate(timeout=30) == ("3 3\n", "")
    assert process.returncode == 0


FORGOTTEN = """
import sys, time, vi

client = vi.Client()
{use}
print(f"{{time.monotonic():.3f}}", flush=True)
"""


@pytest.mark.parametrize(
    ("use", "warned"),
    [
        ("client.datasets.create(name='used')", True),
        ("client.assets.upload(client.datasets.create(name='used').dataset_id, sys.argv[1])", True),
        ("datasets = vi.Client().datasets; datasets.create(name='only its resource is kept')", True),
        ("vi.Client().datasets.create(name='in one line')", True),
        ("client.close()", False),
        ("", False),
    ],
    ids=["used", "after a transfer", "resource", "in one line", "closed", "never used"],
)
def test_a_forgotten_client_is_closed_at_exit_without_delay(script: Any, folder: Any, use: str, warned: bool) -> None:
    process = script(FORGOTTEN.format(use=use), str(folder(3)))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert time.monotonic() - float(out) < 2
    assert ("ResourceWarning: a vi.Client was not closed" in err) is warned
    assert err.count("Warning") == warned
    assert "Unclosed" not in err
    assert "Traceback" not in err


FORGOTTEN_ASYNC = """
import asyncio, gc, vi

async def main():
    global client
    client = vi.AsyncClient()
    await client.datasets.create(name="forgotten")
    {forget}

asyncio.run(main())
"""


@pytest.mark.parametrize("forget", ["del client; gc.collect()", ""], ids=["in its loop", "after its loop"])
def test_a_forgotten_async_client_warns_and_leaves_no_trace_of_aiohttp(script: Any, forget: str) -> None:
    err = script(FORGOTTEN_ASYNC.format(forget=forget)).communicate(timeout=30)[1]
    assert "ResourceWarning: a vi.AsyncClient was not closed" in err
    assert "aiohttp" not in err
    assert "Unclosed" not in err


def test_closing_twice_is_allowed_and_a_closed_client_takes_no_call(service: Any, images: Path) -> None:
    client = service.client()
    dataset = client.datasets.create(name="twice").dataset_id
    client.close()
    client.close()
    for call in (lambda: client.datasets.get(dataset), lambda: client.assets.upload(dataset, images)):
        with pytest.raises(vi.ViOperationError, match="The client is closed"):
            call()


def test_a_client_that_was_never_used_closes_and_takes_no_call(service: Any) -> None:
    client = service.client()
    client.close()
    with pytest.raises(vi.ViOperationError, match="The client is closed"):
        client.datasets.create(name="never")


@pytest.mark.anyio
async def test_an_async_client_closes_twice(service: Any) -> None:
    client = service.async_client()
    await client.aclose()
    await client.aclose()
    with pytest.raises(vi.ViOperationError, match="The client is closed"):
        await client.datasets.create(name="again")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the loop that ended before the client was closed
def test_an_async_client_works_in_one_loop_after_another(service: Any) -> None:
    client = service.async_client()

    async def use() -> str:
        return str((await client.datasets.create(name="loops")).name)

    assert asyncio.run(use()) == "loops"
    assert asyncio.run(use()) == "loops"
    asyncio.run(client.aclose())
    gc.collect()


def test_one_client_serves_many_threads(client: vi.Client, folder: Any, contents: Any, stored: Any) -> None:
    def work(number: int) -> bool:
        dataset = client.datasets.create(name=f"thread {number}").dataset_id
        images = folder(4, name=f"images-{number}", seed=number)
        client.assets.upload(dataset, images)
        return bool(stored(dataset) == contents(images))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(12))) == [True] * 12


@pytest.mark.anyio
async def test_inside_a_running_loop_it_works_and_warns_once(service: Any, recwarn: pytest.WarningsRecorder) -> None:
    with service.client() as client:
        dataset = client.datasets.create(name="notebook").dataset_id
        assert client.datasets.get(dataset).name == "notebook"
        assert client.assets.list(dataset).items == []
    warned = [warning for warning in recwarn.list if warning.category is RuntimeWarning]
    assert ["vi.AsyncClient" in str(warning.message) for warning in warned] == [True]
    assert warned[0].filename == __file__


INTERRUPTED = """
import sys, threading, time, vi

client = vi.Client()
dataset, images, move = sys.argv[1:]
print("ready", flush=True)
try:
    if move == "upload":
        client.assets.upload(dataset, images)
    else:
        client.assets.download(dataset, images)
finally:
    client.close()
    deadline = time.monotonic() + 2
    while threading.active_count() > 1 and time.monotonic() < deadline:
        pass
    print(sorted(t.name for t in threading.enumerate()), flush=True)
"""


@needs_signals
@pytest.mark.parametrize("move", ["upload", "download"])
def test_ctrl_c_comes_back_within_seconds_and_leaves_nothing_half_done(
    script: Any, service: Any, client: vi.Client, dataset: str, folder: Any, tmp_path: Path, move: str, contents: Any
) -> None:
    images, out = folder(20), tmp_path / "out"
    if move == "download":
        client.assets.upload(dataset, images)
    service.forget()
    target = images if move == "upload" else out
    with service.hold("PUT" if move == "upload" else "GET", "/up/" if move == "upload" else "/dl/", after=5) as hold:
        process = script(INTERRUPTED, dataset, str(target), move)
        assert hold.reached.wait(20)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, err = process.communicate(timeout=20)
        seconds = time.monotonic() - began
    assert seconds < 5
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert "CancelledError" not in err.replace("concurrent.futures._base.CancelledError", "")
    assert output == "ready\n['MainThread']\n"
    if move == "upload":
        assert [seen.status for seen in service.requests("POST", ":cancel")] == [200]
        again = client.assets.upload(dataset, images)
        assert again.total_succeeded + again.total_existing == 20
    else:
        assert contents(out).items() <= contents(images).items()


@needs_signals
def test_ctrl_c_comes_back_even_if_the_service_does_not_answer(
    script: Any, service: Any, dataset: str, folder: Any
) -> None:
    with service.hold("PUT", "/up/") as hold, service.hold("POST", ":cancel") as cancelling:
        process = script(INTERRUPTED, dataset, str(folder(3)), "upload")
        assert hold.reached.wait(20)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert time.monotonic() - began < 5
        assert cancelling.reached.is_set()


ASLEEP = """
import signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def take_it():
    signal.sigwait({signal.SIGUSR1})
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=take_it, daemon=True).start()
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of one thread are POSIX's")
def test_ctrl_c_that_wakes_another_thread_comes_back_too(script: Any, service: Any, dataset: str, folder: Any) -> None:
    """As on a busy machine, where the signal may come just before the waiting thread is asleep."""
    with service.hold("PUT", "/up/") as hold:
        process = script(ASLEEP + INTERRUPTED, dataset, str(folder(3)), "upload")
        assert hold.reached.wait(20)
        began = time.monotonic()
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert output == "ready\n['MainThread']\n"


@needs_signals
@pytest.mark.parametrize("move", ["upload", "download"])
def test_ctrl_c_says_how_to_resume(
    script: Any, service: Any, client: vi.Client, dataset: str, folder: Any, tmp_path: Path, move: str
) -> None:
    images = folder(3)
    if move == "download":
        client.assets.upload(dataset, images)
    with service.hold("PUT" if move == "upload" else "GET", "/up/" if move == "upload" else "/dl/") as hold:
        process = script(INTERRUPTED, dataset, str(images if move == "upload" else tmp_path / "out"), move)
        assert hold.reached.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    reached = "0 of 3 files stored" if move == "upload" else "0 files saved"
    assert f"KeyboardInterrupt\nInterrupted: {reached}. Make the same call again" in err


@needs_signals
@pytest.mark.parametrize(("times", "within"), [(1, 6), (2, 3)], ids=["once", "twice leaves at once"])
def test_a_callback_that_hangs_does_not_keep_ctrl_c_waiting(
    script: Any, service: Any, dataset: str, folder: Any, times: int, within: float
) -> None:
    hanging = INTERRUPTED.replace("images)\n    else", "images, on_progress=lambda _: hang())\n    else").replace(
        "client = vi", "def hang():\n    print('hangs', flush=True)\n    time.sleep(60)\n\nclient = vi"
    )
    process = script(hanging.replace("threading.active_count() > 1", "False"), dataset, str(folder(3)), "upload")
    assert process.stdout.readline() == "ready\n"
    assert process.stdout.readline() == "hangs\n"
    process.send_signal(signal.SIGINT)
    if times == 2:
        time.sleep(0.5)  # two signals at once are one
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < within
    assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("move", ["upload", "download"])
def test_closing_the_client_ends_the_transfers_of_other_threads(
    service: Any, client: vi.Client, dataset: str, folder: Any, tmp_path: Path, move: str
) -> None:
    images = folder(8)
    if move == "download":
        client.assets.upload(dataset, images, show_progress=False)
    other = service.client()
    hold_of = ("PUT", "/up/") if move == "upload" else ("GET", "/dl/")
    with service.hold(*hold_of, after=3) as hold, ThreadPoolExecutor(1) as pool:
        call = getattr(other.assets, move)
        ended = pool.submit(call, dataset, images if move == "upload" else tmp_path / "out", show_progress=False)
        assert hold.reached.wait(20)
        began = time.monotonic()
        other.close()
        assert time.monotonic() - began < 5
        error = ended.exception(timeout=5)
    assert isinstance(error, vi.ViOperationError)
    assert "its client was closed" in error.message
    assert "Make the same call again" in str(error)
    assert error.partial_result.total_files == 8


@pytest.mark.anyio
async def test_closing_an_async_client_ends_its_transfers(service: Any, dataset: str, folder: Any) -> None:
    client = service.async_client()
    with service.hold("PUT", "/up/") as hold:
        upload = asyncio.create_task(client.assets.upload(dataset, folder(3), show_progress=False))
        assert await asyncio.to_thread(hold.reached.wait, 20)
        await client.aclose()
        assert upload.done()
        with pytest.raises(vi.ViOperationError, match="its client was closed"):
            await upload


@needs_signals
def test_ctrl_c_of_a_shell_gives_130(script: Any, service: Any, dataset: str, folder: Any) -> None:
    with service.hold("PUT", "/up/") as hold:
        process = script(INTERRUPTED, dataset, str(folder(3)), "upload", under="sh")
        assert hold.reached.wait(20)
        pid = int((Path("/proc") / str(process.pid) / "task" / str(process.pid) / "children").read_text().split()[0])
        os.kill(pid, signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130


LOCAL = """
import sys, vi

with vi.Client.local(sys.argv[1]) as client:
    dataset = client.datasets.create(name="local").dataset_id
    client.assets.upload(dataset, sys.argv[2])
    with vi.Client.local(sys.argv[1]) as other:
        assert other.settings.endpoint == client.settings.endpoint
        assert other.assets.count(dataset) == 3
    assert client.assets.count(dataset) == 3
with vi.Client.local(sys.argv[1]) as client:
    print(client.assets.count(dataset))
"""


def test_a_local_client_brings_its_service_joins_it_and_finds_its_data_again(
    script: Any, folder: Any, tmp_path: Path
) -> None:
    process = script(LOCAL, str(tmp_path / "data"), str(folder(3)))
    assert process.communicate(timeout=40) == ("3\n", "")


class Given(list[tuple[str, bytes]]):
    """A list that can be looked at without keeping it."""


def test_what_was_uploaded_is_not_kept_after_the_call(client: vi.Client, dataset: str) -> None:
    files = Given((f"{number}.png", _samples.encode(number, ".png", (16, 16))) for number in range(3))
    kept = weakref.ref(files)
    assert client.assets.upload(dataset, files, show_progress=False).total_succeeded == 3
    del files
    gc.collect()
    assert kept() is None, "the connections, which live on, keep the arguments of the call"
