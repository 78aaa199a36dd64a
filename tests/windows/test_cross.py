"""Linux and Windows at once: a client on the one, the service on the other; ends of programs in a console."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vi
from tests.support.counting_service import CountingService, stored
from tests.support.pictures import tiny

WINE = os.environ.get("VI_WINE_PYTHON", "")
PATIENCE = 240
pytestmark = [
    pytest.mark.skipif(not WINE, reason="run by nox -s windows -- cross"),
    pytest.mark.timeout(600),
]


def over_there(path: Path) -> str:
    """The path as Windows programs write it."""
    return f"Z:{path}".replace("/", "\\")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["wine", WINE, "-X", "utf8", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )


def run(script: str, **environment: str) -> str:
    """Run a script there, and return what it prints."""
    process = start("-c", script, **environment)
    try:
        return process.communicate(timeout=PATIENCE)[0].decode()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Names that one of the two systems does not hold, and a file of two megabytes."""
    folder = tmp_path / "tree"
    names = ("a.png", "12:30.png", "aux.png", "deep/what?.png", "caf\u00e9.png", "\u65e5\u672c.png", "Up.png", "up.png")
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tiny(number))
    (folder / "large.png").write_bytes(tiny(99) + os.urandom(2_000_000))
    return folder


@pytest.fixture
def windows_service(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a service on Windows."""
    settings = tmp_path / "there.env"
    process = start("-m", "vi", "serve", "--data", over_there(tmp_path / "data"), "--port", "0", "--env-file",
                    over_there(settings))  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not settings.exists():
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lines = [line.split("=", 1) for line in settings.read_text().splitlines()]
        yield {name: value.strip("'\"") for name, value in lines}
    finally:
        process.kill()
        process.communicate()


def test_a_client_here_uses_a_service_on_windows(windows_service: dict[str, str], tree: Path, tmp_path: Path) -> None:
    with vi.Client(
        windows_service["DATATURE_VI_SECRET_KEY"],
        windows_service["DATATURE_VI_ORGANIZATION_ID"],
        windows_service["DATATURE_VI_API_ENDPOINT"],
    ) as client:
        dataset = client.datasets.create(name="there").dataset_id
        sent = client.assets.upload(dataset, tree, names="relative", show_progress=False)
        assert (sent.total_succeeded, sent.failures) == (9, [])
        down = client.assets.sync(dataset, tmp_path / "copy", "down", show_progress=False)
        assert down.ok
        assert contents(tmp_path / "copy") == contents(tree)
        assert len(client.assets.sync(dataset, tree, names="relative", delete=True, dry_run=True).plan) == 0


THERE = """
import json, vi

with vi.Client() as client:
    down = client.assets.download({dataset!r}, {folder!r}, show_progress=False)
    again = client.assets.download({dataset!r}, {folder!r}, show_progress=False)
    checked = client.assets.verify({dataset!r}, {folder!r})
    other = client.datasets.create(name="back").dataset_id
    back = client.assets.sync(other, {folder!r}, names="relative", show_progress=False)
    print(json.dumps([down.total_downloaded, again.total_existing, checked.ok, back.ok, other]))
"""


def test_a_client_on_windows_uses_a_service_here(counting: CountingService, tree: Path, tmp_path: Path) -> None:
    with counting.client() as client:
        dataset = client.datasets.create(name="here").dataset_id
        client.assets.upload(dataset, tree, names="relative", show_progress=False)
        script = THERE.format(dataset=dataset, folder=over_there(tmp_path / "copy"))
        told = run(script, **counting.environment)
        assert told.startswith("["), told
        downloaded, existing, same, back, other = json.loads(told)
        assert (downloaded, existing, same, back) == (9, 9, True, True)
        assert stored(client, other) == stored(client, dataset)


SENDING = """
import vi

with vi.Client() as client:
    result = client.assets.upload({dataset!r}, {folder!r}, show_progress=False)
    print(result.total_succeeded, result.total_existing, result.total_failed)
"""


def test_an_upload_that_was_killed_on_windows_resumes(counting: CountingService, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number}.png").write_bytes(tiny(number))
    with counting.client() as client:
        dataset = client.datasets.create(name="killed").dataset_id
        environment = {**counting.environment, "VI_CACHE_DIR": over_there(tmp_path / "cache")}
        script = SENDING.format(dataset=dataset, folder=over_there(folder))
        enough = threading.Event()
        counting.after = lambda number, request: enough.set() if len(counting.puts) >= 150 else None
        process = start("-c", script, **environment)
        try:
            assert enough.wait(PATIENCE)
        finally:
            process.kill()
            process.communicate()
        before = len(counting.puts)
        assert before < 400
        counting.reset()
        told = run(script, **environment)
        succeeded, existing, failed = map(int, told.split())
        assert (succeeded + existing, failed) == (400, 0)
        assert len(counting.puts) < 400, "what was stored is not sent again"
        assert len(stored(client, dataset)) == 400


LOCAL = """
import vi

with vi.Client.local({folder!r}) as client:
    dataset = client.datasets.create(name="console").dataset_id
    try:
        print("begun", flush=True)
        for number in range(10000):
            client.assets.upload(dataset, {images!r}, on_asset_overwritten="RemoveLinkedResource", show_progress=False)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""


def test_ctrl_c_in_a_console_ends_a_script_with_a_local_client(tree: Path, tmp_path: Path) -> None:
    """A terminal gives Windows programs a console, and a typed Ctrl+C is an event of it."""
    script = LOCAL.format(folder=over_there(tmp_path / "data"), images=over_there(tree / "deep"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("wine", ["wine", WINE, "-X", "utf8", "-c", script])
    shown, typed, ended = b"", False, False
    try:
        deadline = time.monotonic() + PATIENCE
        while b"closed" not in shown and b"Error" not in shown:
            assert time.monotonic() < deadline, shown
            if os.waitpid(pid, os.WNOHANG)[0]:
                ended = True
                break
            if select.select([terminal], [], [], 0.5)[0]:
                try:
                    shown += os.read(terminal, 4096)
                except OSError:  # it ended
                    break
            if b"begun" in shown and not typed:
                os.write(terminal, b"\x03")
                typed = True
        assert b"interrupted" in shown, shown
        assert b"closed" in shown, shown
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
