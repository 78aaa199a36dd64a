"""Terminals, pipes, logs and Ctrl+C: commands in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome, check_no_secret
from tests.support.recorded_service import RecordedService
from vi import _http
from vi._checksums import Expected
from vi._events import TransferProgress
from vi._show import progress, text
from vi._transfer.journals import locked_lines
from vi._transfer.journals.downloads import PartJournal
from vi._transfer.journals.uploads import JournalKey
from vi.cli import options

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX's", exc_type=ImportError)

Start = Callable[..., "subprocess.Popen[str]"]
Spawn = Callable[..., Outcome]


class Terminal:
    """A terminal: what is typed goes to a process, what the process shows is kept."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.shown = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                data = b""
            with self._more:
                self.shown += data
                self._more.notify_all()
            if not data:
                return

    def wait_for(self, text: str) -> None:
        """Wait until *text* has been shown."""
        with self._more:
            assert self._more.wait_for(lambda: text.encode() in self.shown, 30), self.shown

    def resize(self, columns: int) -> None:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> str:
        """Return what was shown, once every process has let go of the terminal."""
        os.close(self.slave)
        self._reader.join(30)
        os.close(self.master)
        return self.shown.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture
def attached(start: Start, terminal: Terminal) -> Start:
    """Starts a command whose stdin and stderr are the terminal."""
    return lambda *arguments, **options: start(
        *arguments, **{"stdin": terminal.slave, "stderr": terminal.slave, "start_new_session": True, **options}
    )


class TestProgress:
    def test_a_terminal_gets_a_bar(self, attached: Start, terminal: Terminal, dataset: str) -> None:
        process = attached("assets", "upload", dataset, "images")
        assert process.communicate(timeout=60)[0] == ""
        shown = terminal.end()
        assert process.returncode == 0
        assert re.search(r"\rupload: 100%.* checked 4/4, sent 4/4 files, ", shown)
        assert "4 files uploaded" in shown

    @pytest.mark.parametrize(
        ("arguments", "env"),
        [(["--no-progress"], {}), (["--quiet"], {}), ([], {"VI_PROGRESS": "0"}), ([], {"CI": "true"})],
        ids=["option", "quiet", "variable", "CI"],
    )
    def test_a_terminal_without_a_bar(
        self,
        arguments: list[str],
        env: dict[str, str],
        terminal: Terminal,
        home: Path,
        dataset: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """In this process, with the terminal as stderr."""
        from vi.cli import main

        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with open(terminal.slave, "w", closefd=False) as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            assert main(["assets", "upload", dataset, "images", *arguments]) == 0
        shown = terminal.end()
        assert "upload:" not in shown
        assert shown.replace("\r\n", "\n").count("\r") == 0

    def test_a_pipe_gets_no_control_codes(self, spawn: Spawn, dataset: str) -> None:
        sent = spawn("assets", "upload", dataset, "images")
        assert (sent.code, sent.out) == (0, "")
        assert all(c == "\n" or c.isprintable() for c in sent.err)
        assert len(sent.err.splitlines()) == 1

    def test_a_log_hears_of_a_stall(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """A line comes at its time although no event does."""
        monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
        printed = threading.Event()
        monkeypatch.setattr(
            "builtins.print", lambda *words, **options: (sys.stderr.write(f"{words[0]}\n"), printed.set())
        )
        lines = progress.Lines()
        lines(TransferProgress("upload", "sending", 9, 3, 1, 900_000_000, 300_000_000, 1.0, False))
        assert printed.wait(10)
        lines(TransferProgress("upload", "settling", 9, 9, 1, 900_000_000, 900_000_000, 2.0, True, 9))
        told = capsys.readouterr().err.splitlines()
        assert told[0].startswith("upload: 1 failed, sent 3/9 files, 286.1 MiB of 858.3 MiB, 1 s")
        assert told[-1] == "upload: 1 failed, checked 9/9, sent 9/9 files, 858.3 MiB, 2 s"

    def test_a_short_transfer_leaves_no_line_in_a_log(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = progress.Lines()
        for finished in (False, True):
            lines(TransferProgress("upload", "sending", 1, 1, 0, 1, 1, 1.0, finished))
        assert capsys.readouterr() == ("", "")


class TestQuestions:
    @pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 1, 4), ("", 1, 4)])
    def test_a_deletion_is_asked_about_on_the_terminal(
        self, answer: str, code: int, left: int, attached: Start, terminal: Terminal, filled: str, client: vi.Client
    ) -> None:
        process = attached("assets", "rm", filled, "--all")
        terminal.wait_for("permanently? [y/N] ")
        terminal.type(f"{answer}\n")
        assert process.communicate(timeout=30)[0] == ""
        assert process.returncode == code
        assert client.assets.count(filled) == left
        assert ("Nothing was deleted." in terminal.end()) is bool(left)

    def test_the_key_is_not_shown_while_it_is_typed(
        self, attached: Start, terminal: Terminal, service: Any, home: Path
    ) -> None:
        process = attached("login", "--endpoint", service.url, env=dict.fromkeys(service.environment, ""))
        terminal.wait_for("Organization id: ")
        terminal.type(f"{service.organization_id}\n")
        terminal.wait_for("Secret key: ")
        terminal.type(f"{service.secret_key}\n")
        assert process.communicate(timeout=30)[0] == ""
        assert process.returncode == 0
        shown = terminal.end()
        assert "Logged in to" in shown
        check_no_secret(shown, service.secret_key)


class TestColour:
    @pytest.mark.parametrize(
        ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
    )
    def test_on_a_terminal(
        self, env: dict[str, str], coloured: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with open(terminal.slave, "w", closefd=False) as stream:
            assert ("\x1b[" in text.styled("error:", "red", stream)) is coloured
        terminal.end()

    @pytest.mark.parametrize(("name", "coloured"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
    def test_in_a_pipe(self, name: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        monkeypatch.setenv(name, "1")
        with Path(os.devnull).open("w") as stream:
            assert ("\x1b[31m" in text.styled("error:", "red", stream)) is coloured


def test_a_reader_that_has_enough_is_no_error(start: Start, filled: str) -> None:
    process = start("assets", "ls", filled)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_output_survives_a_locale_without_unicode(spawn: Spawn, client: vi.Client) -> None:
    dataset = client.datasets.create(name="straße 図").dataset_id
    shown = spawn("datasets", "show", dataset, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"})
    assert (shown.code, shown.err) == (0, "")
    assert r"stra\xdfe \u56f3" in shown.out


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[RecordedService]:
    """A service of its own that can hold requests."""
    running = RecordedService(tmp_path / "recorded")
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    running.stop()


class TestCtrlC:
    def test_an_upload_says_how_to_go_on(self, recorded: RecordedService, start: Start, run: Any, home: Path) -> None:
        dataset = run("datasets", "create", "x", "--quiet").out.strip()
        with recorded.hold("PUT", "/up/", after=2) as hold:
            process = start("assets", "upload", dataset, "images", "--concurrency", "1")
            assert hold.reached.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        stored = re.fullmatch(r"Interrupted: (\d) of 4 files stored\. Run the same command again to resume\.\n", err)
        assert stored is not None, err
        assert int(stored[1]) <= 2
        check_no_secret(err, recorded.secret_key)
        left = run("transfers", "ls", "--json").json_lines()
        assert [(one["dataset_id"], one["running"]) for one in left] == [(dataset, False)]
        assert run("assets", "upload", dataset, "images").code == 0
        assert run("assets", "count", dataset).out == "4\n"
        assert run("transfers", "ls").err == "There are no unfinished transfers.\n"
        assert run("transfers", "forget", "--all", "--yes").err == "There are no unfinished transfers.\n"

    def test_a_watch_finishes_what_is_in_hand(
        self, recorded: RecordedService, start: Start, run: Any, home: Path
    ) -> None:
        dataset = run("datasets", "create", "x", "--quiet").out.strip()
        with recorded.hold("PUT", "/up/", after=2) as hold:
            process = start("assets", "watch", dataset, "images", "--settle", "0.1", "--json")
            assert hold.reached.wait(30)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        events = [json.loads(line) for line in out.splitlines()]
        assert {event["kind"] for event in events} == {"stored"}
        assert {event["filename"] for event in events} == {path.name for path in (home / "images").iterdir()}
        assert run("assets", "count", dataset).out == "4\n"

    def test_unfinished_uploads_are_listed_and_forgotten(
        self, recorded: RecordedService, start: Start, run: Any
    ) -> None:
        dataset = run("datasets", "create", "x", "--quiet").out.strip()
        with recorded.hold("PUT", "/up/", after=1) as hold:
            process = start("assets", "upload", dataset, "images", "--concurrency", "1")
            assert hold.reached.wait(30)
            (running,) = run("transfers", "ls", "--json").json_lines()
            assert running["running"] is True
            assert run("transfers", "forget", running["id"], "--yes").code == 4
            process.kill()
            process.communicate(timeout=30)
        table = run("transfers", "ls")
        assert table.lines[0].split()[:4] == ["TRANSFER", "DATASET", "WAY", "STATE"]
        assert table.lines[1].split()[1:4] == [dataset, "up", "unfinished"]
        (left,) = run("transfers", "ls", "--quiet").lines
        assert run("transfers", "forget", left, "--dry-run", "--quiet").lines == [left]
        assert run("transfers", "forget", left).code == 2
        assert run("transfers", "forget").code == 2
        assert run("transfers", "forget", "no-such-one", "--yes").code == 4
        gone = run("transfers", "forget", left, "--yes", "--quiet")
        assert (gone.code, gone.lines) == (0, [left])
        assert run("transfers", "ls", "--quiet").out == ""
        assert run("transfers", "forget", "--all", "--yes").code == 0

    def test_unfinished_downloads_are_listed_and_forgotten(self, home: Path, run: Any) -> None:
        target = home / "copy"
        target.mkdir()
        dead = PartJournal.open(target, JournalKey("https://vi.example", "acme", "ds1"))
        part = Path(dead.path_for(str(target / "large.bmp")))
        part.write_bytes(b"x" * 50)
        dead.begun(str(part), str(target / "large.bmp"), "a1", 100, Expected("sha256", "ab" * 32), '"e"')
        dead.arrived(str(part), 0, 50)
        locked_lines.close_all(dead._held)  # as the system does when a process dies
        (line,) = run("transfers", "ls").lines[1:]
        assert line.split()[1:4] == ["ds1", "down", "unfinished"]
        assert line.split()[-1] == str(target)
        (left,) = run("transfers", "ls", "--json").json_lines()
        assert (left["files_begun"], left["bytes_kept"]) == (1, 50)
        assert run("transfers", "forget", left["id"], "--yes").code == 0
        assert list(target.iterdir()) == []


class TestSilence:
    """A service that does not answer is told of at once, with host and port."""

    @pytest.fixture
    def address(self) -> str:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"127.0.0.1:{server.getsockname()[1]}"

    def test_it_is_told_before_the_last_attempt(self, start: Start, dataset: str, address: str) -> None:
        process = start("assets", "count", dataset, "--endpoint", f"http://{address}")
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith(f"Waiting for {address} (connection refused)")
        assert re.search(r"\), until \d\d:\d\d:\d\d\. Ctrl\+C stops; --no-retry fails at once\.\n$", told)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130

    def test_a_service_that_takes_the_request_and_is_silent_is_named_too(
        self, run: Any, recorded: RecordedService, client: vi.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The request is answered once the wait has been told."""
        assert _http.SILENCE_SECONDS < 2
        monkeypatch.setattr(_http, "SILENCE_SECONDS", 0.05)
        told: list[str] = []
        with recorded.hold("GET", "/datasets") as hold:
            monkeypatch.setattr(options, "complain", lambda text: (told.append(text), hold.release()))
            assert run("datasets", "ls", "--json").code == 0
        (line,) = told
        address = recorded.url.removeprefix("http://")
        assert re.fullmatch(
            rf"Waiting for {address} \(no answer yet\), until [\d:]{{8}}\. Ctrl\+C stops; --no-retry fails at once\.",
            line,
        )

    @pytest.mark.parametrize("how", ["option", "setting"])
    def test_no_retry_ends_it_at_once(
        self, run: Any, dataset: str, address: str, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if how == "setting":
            monkeypatch.setenv("VI_RETRIES", "0")
        ended = run(
            "assets", "count", dataset, "--endpoint", f"http://{address}", *(["--no-retry"] if how == "option" else [])
        )
        assert ended.code == 5
        (line,) = ended.err.splitlines()
        assert f"no connection to {address}" in line


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(
    columns: int, start: Start, run: Any, terminal: Terminal, client: vi.Client
) -> None:
    dataset = client.datasets.create(name="wide").dataset_id
    name = f"{'north camera of the harbour at night ' * 3}0001.png"
    client.assets.upload(dataset, [(name, next(Path("images").glob("*.png")).read_bytes())], show_progress=False)
    terminal.resize(columns)
    process = start("assets", "ls", dataset, stdout=terminal.slave)
    assert process.wait(30) == 0
    lines = [line for line in terminal.end().replace("\r", "").split("\n") if line]
    process.communicate()
    assert len(lines) == 2
    assert all(len(line) <= columns for line in lines)
    assert "…" in lines[1]
    assert name in run("assets", "ls", dataset).out


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_failures_and_errors_are_broken_between_words(
    columns: int,
    home: Path,
    terminal: Terminal,
    dataset: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, with the terminal as stderr; a pipe gets each on one line, in the same words."""
    from vi.cli import main

    folder = home / "other"
    folder.mkdir()
    (folder / "holds something else.png").write_bytes(next(Path("images").glob("*.jpg")).read_bytes())
    commands = [["assets", "upload", dataset, "other"], ["assets", "ls", "there is no dataset of this name here"]]
    terminal.resize(columns)
    with open(terminal.slave, "w", closefd=False) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        codes = [main(words if number else [*words, "--no-progress"]) for number, words in enumerate(commands)]
        codes.append(main([*commands[1], "--json"]))
    *lines, document = re.sub("\x1b\\[[0-9]*m", "", terminal.end()).replace("\r", "").splitlines()
    assert codes == [1, 4, 4]
    assert json.loads(document)["error"]["exit_code"] == 4  # a program reads it, also from a terminal
    assert all(len(line) <= columns for line in lines)
    told = " ".join(" ".join(lines).split())
    assert "give --detect content. [EBADMIME]" in told
    capsys.readouterr()
    main(commands[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert told.endswith(line)


class TestLog:
    """``VI_LOG`` is for a person in a hurry: lines on stderr, one for each retry, and no secret in any."""

    def test_a_retry_is_one_line(self, spawn: Spawn, dataset: str) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
        tried = spawn(
            "assets", "verify", dataset, "images", "--endpoint", address, "--timeout", "2", env={"VI_LOG": "info"}
        )
        assert (tried.code, tried.out) == (5, "")
        *lines, last = tried.err.splitlines()
        assert last.startswith("error: ")
        (told,) = [line for line in lines if " vi.http: " not in line]
        assert told.startswith("Waiting for 127.0.0.1:")
        lines.remove(told)
        assert len(lines) >= 2
        pattern = r"[\d-]+ [\d:,]+ INFO vi\.http: GET /\S+: attempt (\d+) failed \(.+refused.*\); next in [\d.]+ s"
        assert [int(re.fullmatch(pattern, line)[1]) for line in lines] == list(range(1, len(lines) + 1))  # type: ignore[index]

    @pytest.mark.parametrize(
        ("move", "method", "part"), [("upload", "PUT to", "/up/"), ("download", "GET from", "/dl/")]
    )
    def test_a_retried_transfer_is_one_line(
        self, move: str, method: str, part: str, recorded: RecordedService, spawn: Spawn, home: Path
    ) -> None:
        with recorded.client() as client:
            dataset = client.datasets.create(name="x").dataset_id
            if move == "download":
                client.assets.upload(dataset, home / "images", show_progress=False)
        with recorded.cut(method.split()[0], part, until=lambda: True):
            place = "images" if move == "upload" else "copy"
            moved = spawn("assets", move, dataset, place, env={"VI_LOG": "info"})
        check_no_secret(moved.err, recorded.secret_key)
        assert moved.code == 0
        (line,) = [line for line in moved.err.splitlines() if " vi." in line]
        assert re.search(rf"INFO vi\.transfer: {method} 127\.0\.0\.1: attempt 1 failed \(.+\); next in [\d.]+ s$", line)

    def test_debug_shows_each_request(self, spawn: Spawn, dataset: str) -> None:
        counted = spawn("assets", "count", dataset, env={"VI_LOG": "debug"})
        assert (counted.code, counted.out) == (0, "0\n")
        (line,) = [line for line in counted.err.splitlines() if " vi.http: " in line]
        assert re.search(r"DEBUG vi\.http: GET /\S+: 200 in [\d.]+ s, request \w+$", line)

    def test_without_the_variable_there_is_silence(self, spawn: Spawn, dataset: str) -> None:
        assert spawn("assets", "count", dataset).err == ""

    def test_a_level_that_is_none(self, spawn: Spawn, dataset: str) -> None:
        refused = spawn("assets", "count", dataset, env={"VI_LOG": "loud"})
        assert refused.code == 2
        assert "VI_LOG must be one of debug, info, warning, error, got 'loud'" in refused.err

    def test_a_client_in_a_program_sets_it_up_once_and_importing_does_not(self, home: Path) -> None:
        code = (
            "import logging, vi\n"
            "print(logging.getLogger('vi').handlers)\n"
            "for _ in range(2): vi.Client().close()\n"
            "logging.getLogger('vi.test').info('key %s\\nforged', 'dtvi_' + 'a' * 98)\n"
            "logging.getLogger('vi.test').debug('not shown')\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "VI_LOG": "info", "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stdout == "[]\n"
        (line,) = ended.stderr.splitlines()
        assert line.endswith(r"INFO vi.test: key dtvi_***\nforged")

    def test_a_program_with_handlers_keeps_them(self, home: Path) -> None:
        code = (
            "import logging, vi\n"
            "logging.basicConfig(format='mine %(message)s')\n"
            "vi.Client().close()\n"
            "logging.getLogger('vi.test').info('once')\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "VI_LOG": "info", "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stderr == "mine once\n"
