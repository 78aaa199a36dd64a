"""Output is decoration: transfers and commands under each state of the standard streams."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.environments.conftest import PATIENCE, ROOT, Program
from tests.support.pictures import tiny
from tests.support.systems import needs_names
from vi import _samples
from vi._redact import expressible
from vi._show import writer
from vi.cli import compare, main
from vi.server import __main__ as service_main
from vi.testing import TestedService

HOSTILE = "red\x1b[31m\u202e\x07.png"

REPLACED = {
    "closed": "sys.stderr.close()",
    "none": "sys.stderr = None",
    "write alone": "class S:\n    def write(self, text): pass\nsys.stderr = S()",
    "write and flush": "class S:\n    def write(self, text): pass\n    def flush(self): pass\nsys.stderr = S()",
    "a terminal without a descriptor": (
        "class S:\n    def write(self, text): pass\n    def flush(self): pass\n    def isatty(self): return True\n"
        "sys.stderr = S()"
    ),
    "isatty raises": (
        "class S:\n    def write(self, text): pass\n    def isatty(self): raise RuntimeError('no')\nsys.stderr = S()"
    ),
    "a terminal that cannot be written": (
        "class S:\n    encoding = None\n    def write(self, text): raise OSError(28, 'full')\n"
        "    def isatty(self): return True\nsys.stderr = S()"
    ),
    "a terminal that raises anything": (
        "class S:\n    encoding = 5\n    def write(self, text): raise KeyError('x')\n    def flush(self): raise ValueError\n"
        "    def fileno(self): raise AttributeError('fileno')\n    def isatty(self): return True\nsys.stderr = S()"
    ),
    "nothing at all": "sys.stderr = object()",
    "a full disk": "sys.stderr = open('/dev/full', 'w')",
    "a terminal on a full disk": "sys.stderr = open('/dev/full', 'w'); sys.stderr.isatty = lambda: True",
    "ascii": "import io\nsys.stderr = io.TextIOWrapper(io.BytesIO(), encoding='ascii'); sys.stderr.isatty = lambda: True",
    "a pipe without a reader": (
        "r, w = os.pipe(); os.close(r); sys.stderr = os.fdopen(w, 'w'); sys.stderr.isatty = lambda: True"
    ),
    "a pipe that nobody reads": (
        "r, w = os.pipe(); os.set_blocking(w, False)\ntry:\n    while True: os.write(w, b'x' * 4096)\n"
        "except BlockingIOError: pass\nos.set_blocking(w, True); sys.stderr = os.fdopen(w, 'w')\n"
        "sys.stderr.isatty = lambda: True"
    ),
    "closed, with a log": "os.environ['VI_LOG'] = 'debug'; sys.stderr.close()",
}
TRANSFER = """
import os, sys, vi
from vi._show import progress

progress.LINE_SECONDS = 0.0
{before}
with vi.Client() as client:
    dataset = client.datasets.create(name="streams").dataset_id
    uploaded = client.assets.upload(dataset, sys.argv[1])
    downloaded = client.assets.download(dataset, sys.argv[2])
    os.write(1, f"{{uploaded.total_succeeded}} {{downloaded.total_downloaded}}\\n".encode())

# Any other bar of the process must not wait for ours.
import io
from tqdm import tqdm
for _ in tqdm(range(3), file=io.StringIO()):
    pass
os.write(1, b"bars\\n")
sys.stderr = sys.__stderr__  # Python itself exits with 120 where what stands in for it cannot be flushed
"""


@pytest.mark.skipif(os.name == "nt", reason="full disks and pipes are made as Unix does")
@pytest.mark.parametrize("state", REPLACED)
def test_a_transfer_gives_its_result_whatever_standard_error_is(
    program: Program, images: Path, tmp_path: Path, state: str
) -> None:
    ended = program(TRANSFER.format(before=REPLACED[state]), images, tmp_path / "copy")
    assert (ended.returncode, ended.stdout) == (0, "4 4\nbars\n"), ended.stderr


ODD = [
    "NCOLS=abc",
    "MININTERVAL=x",
    "BAR_FORMAT={nothing}",
    "POSITION=x",
    "DISABLE=1",
    "ASCII=x",
    "TOTAL=abc",
    "DELAY=?",
]


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is of Unix")
@pytest.mark.parametrize("odd", ODD)
def test_variables_of_tqdm_cannot_end_a_transfer(program: Program, images: Path, tmp_path: Path, odd: str) -> None:
    name, _, value = odd.partition("=")
    terminal = "import pty; ours, theirs = pty.openpty(); sys.stderr = os.fdopen(theirs, 'w')"
    code = TRANSFER.format(before=terminal).partition("\n# Any other bar")[0]
    ended = program(code, images, tmp_path / "copy", env={f"TQDM_{name}": value})
    assert (ended.returncode, ended.stdout) == (0, "4 4\n"), ended.stderr


@pytest.fixture
def mixed(tmp_path: Path, images: Path) -> Path:
    """A folder of which one file fails."""
    (images / "bad.png").write_bytes(b"no picture")
    return images


Run = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def shell(service: TestedService, tmp_path: Path) -> Run:
    """Runs a command of ours in a shell; ``$VI`` is the command line."""

    def run(line: str, **variables: str) -> tuple[int, bytes, bytes]:
        environ = {**os.environ, **service.environment, "PYTHONPATH": str(ROOT), "VI_CACHE_DIR": str(tmp_path / "c")}
        environ |= {"VI": f"{sys.executable} -m vi", **variables}
        ended = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, timeout=PATIENCE, check=False)
        return ended.returncode, ended.stdout, ended.stderr

    return run


# The exit code of the command itself, not of the pipe that it is in.
REDIRECTED = {
    "as usual": "$VI {command}",
    "closed stdout": "$VI {command} >&-",
    "closed stderr": "$VI {command} 2>&-",
    "all closed": "$VI {command} >&- 2>&- <&-",
    "full stdout": "$VI {command} >/dev/full",
    "full stderr": "$VI {command} 2>/dev/full",
    "broken stdout": "$VI {command} | true; exit ${{PIPESTATUS[0]}}",
    "broken stderr": "$VI {command} 2> >(exec true); exit $?",
}


@pytest.mark.skipif(os.name == "nt", reason="redirections of a Unix shell")
@pytest.mark.parametrize("json_", ["", "--json"], ids=["text", "json"])
@pytest.mark.parametrize("state", REDIRECTED)
def test_the_exit_code_comes_from_the_work(
    shell: Run, dataset: str, images: Path, mixed: Path, state: str, json_: str
) -> None:
    command = f"assets upload {dataset} {images} {json_}"
    code, out, err = shell(REDIRECTED[state].format(command=command))
    assert code == 1, (out, err)
    (images / "bad.png").unlink()
    code, out, err = shell(REDIRECTED[state].format(command=command))
    assert code == 0, (out, err)
    assert b"defect" not in err
    assert b"Traceback" not in err
    if json_ and "stdout" not in state and state != "all closed":
        (line,) = out.splitlines()
        assert json.loads(line)["total_failed"] == 0


@pytest.mark.skipif(os.name == "nt", reason="redirections of a Unix shell")
def test_with_json_and_a_closed_standard_error_one_document_is_printed(shell: Run, dataset: str, mixed: Path) -> None:
    code, out, _ = shell(f"$VI assets upload {dataset} {mixed} --json 2>&-")
    assert code == 1
    (line,) = out.splitlines()
    assert json.loads(line)["total_failed"] == 1


@pytest.mark.skipif(os.name == "nt", reason="redirections of a Unix shell")
def test_output_that_a_full_disk_loses_is_told(shell: Run) -> None:
    code, _, err = shell("$VI config path >/dev/full")
    assert code == 0
    assert b"The output could not be written: No space left on device." in err


def controls(text: str) -> list[str]:
    return [c for c in text if not c.isprintable() and c != "\n"]


@needs_names
def test_text_of_others_is_cleaned_wherever_text_is_made(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path
) -> None:
    picture = _samples.encode(1, ".png", (16, 12))
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / HOSTILE).write_bytes(picture)
    (folder / f"bad{HOSTILE}").write_bytes(b"no picture")
    texts: list[Any] = []
    with pytest.raises(vi.ViUploadError) as failed:
        client.assets.upload(dataset, folder)
    texts += [failed.value, failed.value.result.summary(), failed.value.result]
    (folder / f"bad{HOSTILE}").unlink()
    texts += [(result := client.assets.upload(dataset, folder)).summary(), result]
    plan = client.assets.sync(dataset, tmp_path / "empty-not", direction="down", dry_run=True).plan
    assert plan is not None
    texts += [plan.summary(), plan, client.assets.list(dataset), client.assets.verify(dataset, images).summary()]
    with pytest.raises(vi.ViError) as missing:
        client.assets.upload(dataset, tmp_path / HOSTILE)
    texts += [missing.value, repr(missing.value)]
    for text in texts:
        assert controls(str(text)) == []
        assert controls(repr(text)) == []
    assert controls(str(vi.ViError("a\x1b[31m\r\u202eb", suggestion="\x07", request_id="\x1b"))) == []


def test_names_that_a_stream_of_windows_cannot_show_are_escaped(
    client: vi.Client, service: TestedService, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.assets.upload(dataset, [("\u65e5\u672c.png", tiny(1)), ("caf\u00e9.png", tiny(2))], show_progress=False)
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    [asset] = [one for one in client.assets.list(dataset).all_items() if one.filename.startswith("\u65e5")]
    for show in (asset.info, lambda: main(["assets", "ls", dataset])):
        shown = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252", write_through=True))
        show()
        assert b"\\u65e5\\u672c.png" in shown.getvalue()
    assert "caf\u00e9.png".encode("cp1252") in shown.getvalue()


@pytest.mark.parametrize("encoding", ["cp1251", "cp437", "cp932", "iso8859-2", "ascii", "utf-8"])
def test_text_comes_out_in_any_code_page(encoding: str) -> None:
    """An error of most code pages names an encoding that takes other characters."""
    text = "\u00e3\u65e5\u0436 end"
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding=encoding, write_through=True, newline="")
    assert writer.put(stream, text) is None
    service_main._write(stream, text)
    lines = shown.getvalue().decode(encoding).split("\n")
    assert lines == [expressible(text, stream)] * 2 + [""]
    assert lines[0].encode("ascii", "backslashreplace").decode().encode().decode("unicode_escape") == text


@pytest.mark.parametrize("given", [None, 5, "no such", ""])
def test_a_stream_without_an_encoding_gets_ascii(given: object) -> None:
    stream = type("Stream", (), {"encoding": given})
    assert expressible("\u00e3 end", stream) == "\\xe3 end"
    assert expressible("\u00e3 end", object()) == "\\xe3 end"


def test_a_watch_needs_no_standard_output(
    service: TestedService, dataset: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchfiles")
    told: list[str] = []

    def say(text: str) -> bool:
        told.append(text)
        if len(told) == 1:
            signal.raise_signal(signal.SIGINT)
        return False

    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compare, "say", say)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["assets", "watch", dataset, str(images), "--settle", "0.05"]) == 0
    assert told[0].startswith("stored  ")
