"""Where no worker can look at images: the answer is the reason, soon, by name, and nothing is started over and over."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")
pillow_heif = pytest.importorskip("pillow_heif")

import vi  # noqa: E402
from tests.unit.arrived import Box, encode  # noqa: E402
from vi._optional import obstacle  # noqa: E402
from vi.errors import ViConfigurationError  # noqa: E402
from vi.server import freeze_support, serve  # noqa: E402
from vi.server.config import IN_WORKER  # noqa: E402
from vi.server.inspection import frozen, worker_process  # noqa: E402
from vi.server.inspection import inspector as module  # noqa: E402
from vi.server.inspection.inspector import Inspector  # noqa: E402

pytestmark = pytest.mark.anyio
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="writes shell scripts, or sends signals")

MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    async with aclosing(Inspector(workers=2)) as inspector:
        yield inspector


class Program:
    """A program named like Python that is none, and tells how often it was started."""

    def __init__(self, folder: Path, lines: str) -> None:
        self.path = folder / "python3"
        self._starts = folder / "starts"
        self.path.write_text(f"#!/bin/sh\necho once >> {self._starts}\n{lines}\n")
        self.path.chmod(0o755)

    @property
    def starts(self) -> int:
        return len(self._starts.read_text().splitlines()) if self._starts.exists() else 0

    def run_instead(self, patch: pytest.MonkeyPatch) -> None:
        """Let this be the Python of this process."""
        patch.setattr(sys, "executable", str(self.path))
        patch.setattr(sys, "exec_prefix", str(self.path.parent))


@on_posix
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("exit 3", "code 3"),
        ("kill -9 $$", "signal 9"),
        ("echo 'no module named vi' >&2; exit 1", "no module named vi"),
        ("echo hello, this is no Python at all; exec cat >/dev/null", "nonsense"),
        ("exec cat >/dev/null", "did not become ready"),
        ("exec cat /dev/zero", "nonsense"),
    ],
)
async def test_after_a_few_attempts_images_are_refused_with_the_reason(
    lines: str,
    words: str,
    inspector: Inspector,
    box: Box,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = Program(tmp_path, lines)
    jobs = [box.job(encode("PNG")) for _ in range(40)] + [box.job(MP4, "video/mp4")]
    with monkeypatch.context() as patch:
        program.run_instead(patch)
        if "ready" in words:
            patch.setattr(worker_process, "_START_SECONDS", 1.0)
        verdicts = await inspector.inspect(jobs)
        assert [v.error for v in verdicts] == [*["EUNKNOWN"] * 40, None]
        assert {words in (v.message or "") for v in verdicts[:-1]} == {True}, verdicts[0].message
        assert inspector.state.reason
        assert words in inspector.state.reason
        assert program.starts <= 6
        before = program.starts
        await inspector.inspect(jobs)
        assert program.starts == before, "not tried again at once"
        assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    monkeypatch.setattr(module, "_REST_SECONDS", 0.0)
    inspector._starts._again = 0.0
    assert [v.error for v in await inspector.inspect(jobs)] == [None] * 41
    assert inspector.state.reason is None


@pytest.mark.parametrize("executable", ["", None, "/bin/false", "/opt/Blender/blender", "/gone/bin/python3"])
async def test_a_program_that_embeds_python_is_not_started_again(
    executable: str | None, inspector: Inspector, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python that belongs to it is."""
    monkeypatch.setattr(sys, "executable", executable)
    assert [v.error for v in await inspector.inspect([box.job(encode("PNG"))] * 2)] == [None, None]
    monkeypatch.setattr(sys, "exec_prefix", str(box.folder / "none"))
    async with aclosing(Inspector(workers=2)) as other:
        verdicts = await other.inspect([box.job(encode("PNG")), box.job(MP4, "video/mp4")])
    assert [v.error for v in verdicts] == ["EUNKNOWN", None]
    assert "no Python" in (verdicts[0].message or "")


@on_posix
async def test_the_python_that_belongs_to_a_program_goes_before_another_that_it_names(
    inspector: Inspector, box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program that embeds Python names the first one on the PATH, whatever its version."""
    other = Program(tmp_path, "echo unknown option -P >&2; exit 2")
    monkeypatch.setattr(sys, "executable", str(other.path))
    assert [v.error for v in await inspector.inspect([box.job(encode("PNG"))])] == [None]
    assert other.starts == 0


async def test_a_worker_finds_libraries_where_the_program_found_them(
    inspector: Inspector, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under mod_wsgi and in Blender, which put folders on `sys.path` that no Python knows by itself."""
    monkeypatch.setattr(sys, "exec_prefix", sys.base_exec_prefix)
    monkeypatch.setattr(sys, "executable", None)
    monkeypatch.setattr(sys, "path", [*sys.path, "", "no\0path", "x" * (1 << 20)])
    assert [v.error for v in await inspector.inspect([box.job(encode("PNG"))])] == [None]


async def test_a_frozen_program_starts_nothing(
    inspector: Inspector, box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = Program(tmp_path, "exit 0")
    monkeypatch.setattr(sys, "executable", str(program.path))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    [verdict] = await inspector.inspect([box.job(encode("PNG"))])
    assert (verdict.error, "frozen" in (verdict.message or "")) == ("EUNKNOWN", True)
    assert program.starts == 0


class WithoutProcesses(asyncio.SelectorEventLoop):
    """As on Windows, where a loop of this kind cannot start any."""

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


def test_a_loop_without_processes_is_an_answer(box: Box) -> None:
    async def look() -> None:
        async with aclosing(Inspector()) as inspector:
            [verdict] = await inspector.inspect([box.job(encode("PNG"))])
        assert (verdict.error, "event loop" in (verdict.message or "")) == ("EUNKNOWN", True)

    with asyncio.Runner(loop_factory=WithoutProcesses) as runner:
        runner.run(look())


async def test_a_worker_starts_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_WORKER, "1")
    with pytest.raises(ViConfigurationError, match="look at images"):
        await serve(tmp_path / "data")


# Libraries that are not there, or do not load.


@pytest.fixture
def heif() -> bytes:
    pillow_heif.register_heif_opener()
    return encode("HEIF")


@pytest.fixture
def broken_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder / "pi_heif.py"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libheif.so: undefined symbol')", "undefined symbol"),
        ("raise ModuleNotFoundError(\"No module named 'pi_heif'\")", "No module named"),
        ("raise SystemError('bad build')", "bad build"),
        ("import os; os._exit(7)", "code 7"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9", marks=on_posix),
        ("register_heif_opener = None", "TypeError"),
    ],
)
async def test_a_library_that_does_not_load_costs_the_files_that_need_it(
    source: str, words: str, broken_library: Path, heif: bytes, box: Box, inspector: Inspector
) -> None:
    broken_library.write_text(source)
    jobs = [box.job(encode("PNG")), box.job(heif, "image/heic"), box.job(encode("JPEG"), "image/jpeg")]
    for _ in range(2):
        verdicts = await inspector.inspect(jobs)
        assert [v.error for v in verdicts] == [None, "EBADMIME", None]
        message = verdicts[1].message or ""
        assert message.startswith(f"HEIF is not supported here: {obstacle('pi_heif') or 'install '}")
        assert words in message
    assert words in inspector.state.missing["pi_heif"]
    assert inspector.state.reason is None


# Through the whole service.

SCRIPT = """
import sys, vi
from PIL import Image

if __name__ == "__main__":
    folder = sys.argv[1]
    Image.new("RGB", (40, 30)).save(folder + "/a.png")
    with vi.Client.local(folder + "/data") as client:
        dataset = client.datasets.create(name="d").dataset_id
        result = client.assets.upload(dataset, [folder + "/a.png"], failure_mode="FailAfterAll", timeout=100)
        print(result.total_succeeded, [failure.message for failure in result.failures])
"""


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(vi.__file__).parents[1]), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)


@on_posix
def test_a_program_that_would_be_started_again_is_started_a_few_times_only(tmp_path: Path) -> None:
    """Its name is Python's, and it runs the user's program: each copy ends at the service that it may not start."""
    (tmp_path / "app.py").write_text(SCRIPT)
    program = Program(tmp_path, f"exec {sys.executable} {tmp_path}/again.py")
    (tmp_path / "again.py").write_text(
        f"import runpy, sys; sys.executable = {str(program.path)!r}; sys.exec_prefix = {str(tmp_path)!r}\n"
        f"sys.argv = ['app', {str(tmp_path)!r}]\n"
        f"runpy.run_path({str(tmp_path / 'app.py')!r}, run_name='__main__')\n"
    )
    done = run(sys.executable, str(tmp_path / "again.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 [")
    assert "no decoder starts" in done.stdout
    assert "look at images" in done.stdout, "what the copy said of itself"
    assert 1 <= program.starts <= 6


def test_warnings_that_are_errors_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    done = run(
        *(sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning", str(tmp_path / "app.py")),
        str(tmp_path),
        PYTHONWARNINGS="error",
    )
    assert done.stdout == "1 []\n", done.stderr


@on_posix
def test_fewer_descriptors_than_a_decoder_may_have_are_enough(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    done = run("sh", "-c", 'ulimit -n 60 && exec "$@"', "sh", sys.executable, str(tmp_path / "app.py"), str(tmp_path))
    assert done.stdout == "1 []\n", done.stderr


# A frozen program is its own Python.


def test_a_frozen_program_is_started_only_if_it_becomes_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_process.command()[1:5] == ["-P", "-W", "ignore", "-c"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(frozen, "_asked", False)
    with pytest.raises(worker_process.CannotStartError, match="freeze_support") as refused:
        worker_process.command()
    assert refused.value.certain
    freeze_support()
    assert worker_process.command() == [sys.executable, frozen.WORD]


@pytest.mark.parametrize(("words", "worker"), [([], True), ([frozen.WORD], False), ([frozen.WORD, "x"], True)])
def test_a_program_with_other_words_is_no_worker(
    words: list[str], worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    if worker:
        monkeypatch.setenv(IN_WORKER, "1")
    else:
        monkeypatch.delenv(IN_WORKER, raising=False)
    freeze_support()  # it returns
