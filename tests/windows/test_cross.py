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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vi
from tests.support.counting_service import CountingService, digests, journals, left_behind, stored
from tests.support.pictures import tiny
from vi._transfer.journals.downloads import read_parts

WINE = os.environ.get("VI_WINE_PYTHON", "")
PATIENCE = 240
MANY = 400
AT_ONCE = 16
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
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number}.png").write_bytes(tiny(number))
    return folder


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


class WindowsService:
    """A service on Windows, which keeps its port when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._data, self._file = folder / "data", folder / "there.env"
        self._settings: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        port = self._settings.get("DATATURE_VI_API_ENDPOINT", ":0").rpartition(":")[2]
        self._file.unlink(missing_ok=True)
        self._process = start("-m", "vi", "serve", "--data", over_there(self._data), "--port", port, "--env-file",
                              over_there(self._file))  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while not self._file.exists():
            assert self._process.poll() is None, self._process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lines = [line.split("=", 1) for line in self._file.read_text().splitlines()]
        self._settings = {name: value.strip("'\"") for name, value in lines}

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def client(self) -> vi.Client:
        return vi.Client(
            self._settings["DATATURE_VI_SECRET_KEY"],
            self._settings["DATATURE_VI_ORGANIZATION_ID"],
            self._settings["DATATURE_VI_API_ENDPOINT"],
            limits=vi.TransferLimits(max_concurrency=AT_ONCE),
            retries=vi.RetryPolicy(connect_patience=PATIENCE),
        )


@pytest.fixture
def windows_service(tmp_path: Path) -> Iterator[WindowsService]:
    service = WindowsService(tmp_path)
    yield service
    service.kill()


def test_a_client_here_uses_a_service_on_windows(windows_service: WindowsService, tree: Path, tmp_path: Path) -> None:
    with windows_service.client() as client:
        dataset = client.datasets.create(name="there").dataset_id
        sent = client.assets.upload(dataset, tree, names="relative", show_progress=False)
        assert (sent.total_succeeded, sent.failures) == (9, [])
        down = client.assets.sync(dataset, tmp_path / "copy", "down", show_progress=False)
        assert down.ok
        assert contents(tmp_path / "copy") == contents(tree)
        assert len(client.assets.sync(dataset, tree, names="relative", delete=True, dry_run=True).plan) == 0


def test_a_service_killed_on_windows_and_started_again_loses_nothing(
    windows_service: WindowsService, many: Path, tmp_path: Path
) -> None:
    with windows_service.client() as client, windows_service.client() as other, ThreadPoolExecutor(1) as thread:
        dataset = client.datasets.create(name="killed").dataset_id
        upload = thread.submit(client.assets.upload, dataset, many, show_progress=False)
        while not other.datasets.get(dataset).statistic.asset_total:
            assert not upload.done(), upload.result()
            time.sleep(0.1)
        windows_service.kill()
        windows_service.start()
        result = upload.result(PATIENCE)
        assert (result.total_succeeded, result.failures) == (MANY, [])
        assert stored(client, dataset) == digests(many)


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

with vi.Client(limits=vi.TransferLimits(max_concurrency={at_once})) as client:
    result = client.assets.upload({dataset!r}, {folder!r}, show_progress=False)
    print(result.total_succeeded, result.total_existing, result.total_failed)
"""


def run_until(counting: CountingService, enough: Callable[[], bool], script: str, **environment: str) -> None:
    """Run a script there, and kill it once *enough* is true; the service counts from nothing."""
    reached = threading.Event()
    counting.reset()
    counting.after = lambda number, request: reached.set() if enough() else None
    process = start("-c", script, **environment)
    try:
        assert reached.wait(PATIENCE)
    finally:
        process.kill()
        process.communicate()


def test_an_upload_killed_on_windows_sends_again_only_what_was_in_flight(
    counting: CountingService, many: Path, tmp_path: Path
) -> None:
    names = {path.name for path in many.iterdir()}
    with counting.client() as client:
        dataset = client.datasets.create(name="killed").dataset_id
        environment = {**counting.environment, "VI_CACHE_DIR": over_there(tmp_path / "cache")}
        script = SENDING.format(at_once=AT_ONCE, dataset=dataset, folder=over_there(many))
        run_until(counting, lambda: len(counting.puts) >= 150, script, **environment)
        recorded = left_behind(tmp_path / "cache").sent.keys()
        before = list(counting.puts)
        counting.reset()
        told = run(script, **environment)
        succeeded, existing, failed = map(int, told.split())
        assert (succeeded + existing, failed) == (MANY, 0)
        again = [put.name for put in counting.puts]
        assert sorted(again) == sorted(names - recorded), "each that the journal has not is sent once, and no other"
        assert 150 - 2 * AT_ONCE <= len(recorded) < MANY
        assert len({put.name for put in before} & set(again)) <= 2 * AT_ONCE
        assert stored(client, dataset) == digests(many)
    assert not journals(tmp_path / "cache")


FETCHING = """
import vi

limits = vi.TransferLimits(max_concurrency=8, multipart_threshold=1 << 20, range_size=64 << 10, parts_per_file=2)
with vi.Client(limits=limits) as client:
    result = client.assets.download({dataset!r}, {folder!r}, show_progress=False)
    print(result.total_downloaded, result.total_existing, result.total_failed)
"""


def test_a_download_killed_on_windows_fetches_what_is_missing(
    counting: CountingService, tree: Path, tmp_path: Path
) -> None:
    """The ranges of a large file that have arrived are not fetched again."""
    with counting.client(limits=vi.TransferLimits()) as client:
        dataset = client.datasets.create(name="fetched").dataset_id
        client.assets.upload(dataset, tree / "large.png", show_progress=False)
    size = (tree / "large.png").stat().st_size
    environment = {**counting.environment, "VI_CACHE_DIR": over_there(tmp_path / "cache")}
    script = FETCHING.format(dataset=dataset, folder=over_there(tmp_path / "copy"))
    run_until(counting, lambda: len(counting.gets) >= 12, script, **environment)
    (journal,) = (tmp_path / "cache" / "transfers" / "downloads").glob("*.jsonl")
    said = read_parts(journal)
    assert said is not None
    (kept,) = said.kept.values()
    assert kept.count
    counting.reset()
    assert run(script, **environment).split() == ["1", "0", "0"]
    assert sum(get.size for get in counting.gets) == size - kept.count
    assert contents(tmp_path / "copy") == {"large.png": (tree / "large.png").read_bytes()}
    assert not journal.exists()


JOINED = """
import sys, vi

with vi.Client.local({folder!r}) as client:
    dataset = {dataset!r} or client.datasets.create(name="joined").dataset_id
    done = client.assets.upload(dataset, {images!r}, on_asset_overwritten="RemoveLinkedResource", show_progress=False)
    print(dataset, done.total_succeeded, flush=True)
    if not {dataset!r}:
        sys.stdin.readline()
"""


def test_a_second_process_joins_a_local_client_on_windows_and_a_killed_one_leaves_its_folder_free(
    tree: Path, tmp_path: Path
) -> None:
    places = {"folder": over_there(tmp_path / "data"), "images": over_there(tree / "a.png")}
    first = start("-c", JOINED.format(dataset="", **places))
    try:
        assert first.stdout is not None
        dataset, sent = first.stdout.readline().decode().split()
        assert sent == "1"
        other = JOINED.format(dataset=dataset, **places)
        assert run(other).split() == [dataset, "1"]
    finally:
        first.kill()
        first.communicate()
    assert run(other).split() == [dataset, "1"]


class Console:
    """A Windows program in a console: it has one where it was started in a terminal."""

    def __init__(self, script: str) -> None:
        self.shown = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvp("wine", ["wine", WINE, "-X", "utf8", "-c", script])

    def until(self, text: bytes) -> None:
        """Read until the program has shown *text*, one word: the console moves the cursor over blanks."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._terminal], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self._terminal, 4096)
                except OSError:  # it ended
                    break
        assert text in self.shown, self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@pytest.fixture
def console() -> Iterator[Callable[[str], Console]]:
    """Runs scripts in consoles."""
    begun: list[Console] = []

    def make(script: str) -> Console:
        begun.append(Console(script))
        return begun[-1]

    yield make
    for one in begun:
        one.close()


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


def test_ctrl_c_in_a_console_ends_a_script_with_a_local_client(
    console: Callable[[str], Console], tree: Path, tmp_path: Path
) -> None:
    """A typed Ctrl+C is an event of the console, CTRL_C_EVENT."""
    shown = console(LOCAL.format(folder=over_there(tmp_path / "data"), images=over_there(tree / "a.png")))
    shown.until(b"begun")
    shown.type(b"\x03")
    shown.until(b"interrupted")
    shown.until(b"closed")


STOPPED = """
import vi

with vi.Client(limits=vi.TransferLimits(max_concurrency=4)) as client:
    try:
        done = client.assets.{call}
        print("done", done.ok if hasattr(done, "ok") else not done.failures, "all", sep="_", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""


@pytest.mark.parametrize("verb", ["upload", "download", "sync up", "sync down"])
def test_ctrl_c_in_a_transfer_leaves_no_part_and_the_same_call_continues(
    console: Callable[[str], Console],
    counting: CountingService,
    many: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    environment = {**counting.environment, "VI_CACHE_DIR": over_there(tmp_path / "cache")}
    up = "down" not in verb
    folder = many if up else tmp_path / "copy"
    with counting.client() as client:
        dataset = client.datasets.create(name=verb).dataset_id
        if not up:
            client.assets.upload(dataset, many, show_progress=False)
            folder.mkdir()
        method, _, direction = verb.partition(" ")
        arguments = [repr(dataset), repr(over_there(folder)), *([repr(direction)] if direction else [])]
        script = STOPPED.format(call=f"{method}({', '.join(arguments)}, show_progress=False)")
        enough = threading.Event()
        counting.reset()
        counting.after = lambda number, request: enough.set() if len(counting.puts + counting.gets) >= 40 else None
        with monkeypatch.context() as there:  # its cache is of no use here
            for name, value in environment.items():
                there.setenv(name, value)
            shown = console(script)
        assert enough.wait(PATIENCE), shown.shown
        shown.type(b"\x03")
        shown.until(b"interrupted")
        shown.until(b"closed")
        moved = len(counting.puts) if up else len(contents(folder))
        assert 0 < moved < MANY
        assert not [name for name in contents(folder) if name.endswith(".part")]
        counting.reset()
        assert run(script, **environment).split() == ["done_True_all", "closed"]
        again = len(counting.puts) if up else len(counting.gets)
        assert MANY - moved <= again <= MANY - moved + 2 * AT_ONCE
        assert stored(client, dataset) == digests(folder) == digests(many)


BREAKING = '''
import os, pathlib, signal, subprocess, sys, time

HANDLING = """
import pathlib, signal, sys, time
signal.signal(signal.SIGBREAK, lambda *_: sys.exit(7))
pathlib.Path(sys.argv[1]).touch()
while True:
    time.sleep(0.1)
"""

def stopped(arguments, begun):
    command = [sys.executable, "-X", "utf8", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP)
    while not begun():
        assert process.poll() is None, process.returncode
        time.sleep(0.1)
    try:
        os.kill(process.pid, signal.CTRL_BREAK_EVENT)
    except OSError as error:
        process.kill()
        print(f"not_sent_{{error.winerror}}_all", flush=True)
        raise
    return process.wait(60)

asked, served, done = pathlib.Path({asked!r}), pathlib.Path({settings!r}), pathlib.Path({done!r})
if (code := stopped(["-c", HANDLING, str(asked)], asked.exists)) != 7:
    print(f"not_handled_{{code}}_all", flush=True)
    sys.exit()
ended = [stopped(["-m", "vi", "serve", "--data", {data!r}, "--port", "0", "--env-file", str(served)], served.exists)]
watch = ["-m", "vi", "assets", "watch", {dataset!r}, {folder!r}, "--settle", "0.1", "--move-to", str(done)]
ended.append(stopped(watch, lambda: any(done.iterdir())))
print("_".join(map(str, ["ended", *ended, "all"])), flush=True)
'''


def test_ctrl_break_ends_a_service_and_a_watch_in_good_order(
    console: Callable[[str], Console], counting: CountingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one signal that a Windows program can send to one that it has started."""
    for name, value in counting.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("watched", "done"):
        (tmp_path / name).mkdir()
    (tmp_path / "watched" / "a.png").write_bytes(tiny(1))
    with counting.client() as client:
        dataset = client.datasets.create(name="watched").dataset_id
    places = {"asked": "asked", "settings": "there.env", "data": "data", "folder": "watched", "done": "done"}
    given = {name: over_there(tmp_path / place) for name, place in places.items()}
    shown = console(BREAKING.format(dataset=dataset, **given))
    shown.until(b"_all")
    if b"not_sent_6_all" in shown.shown:
        pytest.skip("this wine sends no event from a program to another in the console of a Unix terminal (WinError 6)")
    if b"not_handled_1_all" in shown.shown:
        pytest.skip("this wine ends a program at Ctrl+Break, and asks no handler of it")
    shown.until(b"ended_0_0_all")


STYLES = """
import ctypes, sys
from ctypes import wintypes
from vi._show.text import styled

system = ctypes.WinDLL("kernel32", use_last_error=True)
system.CreateFileW.restype = system.GetStdHandle.restype = wintypes.HANDLE
system.SetStdHandle.argtypes = (wintypes.DWORD, wintypes.HANDLE)
if {refuses!r}:  # a console that may be looked at alone takes no mode, as those of old systems take none of styles
    system.SetStdHandle(-11 & 0xFFFFFFFF, system.CreateFileW("CONOUT$", 0x80000000, 3, None, 3, 0, None))
mode = wintypes.DWORD()
text = styled("word", "red", sys.stderr)
system.GetConsoleMode(wintypes.HANDLE(system.GetStdHandle(-11)), ctypes.byref(mode))
print(f"told_{{text == 'word'}}_{{bool(mode.value & 4)}}_all", flush=True)
"""


@pytest.mark.parametrize(("refuses", "told"), [(False, b"told_False_True_all"), (True, b"told_True_False_all")])
def test_styles_are_shown_by_a_console_that_takes_them_alone(
    console: Callable[[str], Console], monkeypatch: pytest.MonkeyPatch, refuses: bool, told: bytes
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    console(STYLES.format(refuses=refuses)).until(told)
