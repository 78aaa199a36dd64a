"""The same task in every place: stdout holds what was asked for, a pipe no control code, and nothing anywhere a secret.

Everything that a process writes is read, with the log at its most talkative; tests/notebook does the same in a kernel.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cli.outcomes import Outcome, check_no_secret
from vi import _samples
from vi.testing import TestedService

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[2]
BAD = {"cut.jpg": "ECORRUPT", "text.png": "EBADMIME"}

SCRIPT = """
import sys

import vi

with vi.Client() as client:
    dataset = client.datasets.create(name="script")
    result = client.assets.upload(dataset.dataset_id, "images", failure_mode="FailAfterAll")
    print(result.total_succeeded, sorted(failure.code for failure in result.failures))
    copy = client.assets.download(dataset.dataset_id, "copy")
    print(client.assets.verify(dataset.dataset_id, copy).ok)
    page = client.assets.list(dataset.dataset_id, contents=True)
    for thing in (client, client.settings, page, page.items, result, copy, dataset):
        print(repr(thing), str(thing), file=sys.stderr)
    client.assets.upload(dataset.dataset_id, "images")
"""

SUITE = """
from pathlib import Path

import pytest

@pytest.fixture(autouse=True)
def told(vi_service):
    Path("key").write_text(vi_service.secret_key)

def test_task(vi_client, vi_dataset, tmp_path):
    result = vi_client.assets.upload(vi_dataset.dataset_id, "images", failure_mode="FailAfterAll")
    assert sorted(failure.code for failure in result.failures) == ["EBADMIME", "ECORRUPT"]
    copy = vi_client.assets.download(vi_dataset.dataset_id, tmp_path / "copy")
    assert vi_client.assets.verify(vi_dataset.dataset_id, copy).ok

def test_that_fails_with_every_local_in_sight(vi_client, vi_dataset, vi_service, tmp_path):
    page = vi_client.assets.list(vi_dataset.dataset_id, contents=True)
    result = vi_client.assets.upload(vi_dataset.dataset_id, "images", failure_mode="FailAfterAll")
    page = vi_client.assets.list(vi_dataset.dataset_id, contents=True)
    first, settings = page.items[0], vi_client.settings
    vi_service.faults.status(416, to="storage", method="GET", times=None)
    vi_client.assets.download(vi_dataset.dataset_id, tmp_path / "other")

def test_that_has_no_answer(vi_client, vi_service):
    vi_service.faults.status(401, times=None)
    vi_client.datasets.list()
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("backend") / "data")
    yield service
    service.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of images, two of them bad."""
    images = tmp_path / "images"
    _samples.make_samples(images, count=4, size=(32, 24))
    (images / "cut.jpg").write_bytes(_samples.encode(9, ".jpg", (64, 48))[:500])
    (images / "text.png").write_text("This is not a picture.")
    return tmp_path


Run = Callable[..., Outcome]


@pytest.fixture
def run(backend: TestedService, home: Path) -> Run:
    """Runs a command in the folder; nothing that it writes may hold a secret or, on a pipe, a control code."""
    environment = {
        **os.environ,
        **backend.environment,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
        "VI_LOG": "debug",
        "VI_CACHE_DIR": str(home / "cache"),
    }

    def call(*arguments: str, code: int = 0) -> Outcome:
        ended = subprocess.run(
            [sys.executable, *arguments], cwd=home, env=environment, capture_output=True, timeout=100, check=False
        )
        out, err = (text.decode().replace(os.linesep, "\n") for text in (ended.stdout, ended.stderr))
        assert ended.returncode == code, out + err
        check_no_secret(out + err, backend.secret_key)
        assert not re.search(r"[\r\x1b\x08]", out + err)
        return Outcome(ended.returncode, out, err)

    return call


def test_shell(run: Run, home: Path) -> None:
    def sdk(*arguments: str, code: int = 0) -> Outcome:
        return run("-m", "vi", *arguments, code=code)

    dataset = sdk("datasets", "create", "shell", "--quiet").out.strip()
    sent = sdk("assets", "upload", dataset, "images", code=1)
    assert sent.out == ""
    assert all(re.search(rf"{name}\b.* \[{code}\]", sent.err) for name, code in BAD.items())
    assert sdk("assets", "download", dataset, "copy").out == ""
    assert sdk("assets", "verify", dataset, "copy").out == ""
    differs = sdk("assets", "verify", dataset, "images", code=1)
    assert (differs.out, "text.png" in differs.err) == ("only in the folder  cut.jpg\n", True)
    lines = sdk("assets", "ls", dataset, "--json").json_lines()
    assert len(lines) == 4
    assert "assets" in sdk("assets", "ls", "0" * 20, code=4).err
    assert len(list((home / "copy").iterdir())) == 4


def test_script(run: Run, home: Path) -> None:
    (home / "script.py").write_text(SCRIPT)
    ended = run("script.py", code=1)
    assert ended.out.splitlines() == ["4 ['EBADMIME', 'ECORRUPT']", "True"]
    assert "DEBUG vi.http: GET " in ended.err
    assert re.search(r"^vi\.errors\.ViUploadError: ", ended.err, re.MULTILINE)
    assert "Asset(asset_id=" in ended.err


def test_fastapi(backend: TestedService, home: Path) -> None:
    command = ["-m", "uvicorn", "fastapi_app:app", "--app-dir", str(ROOT / "docs/examples"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *command, "--log-level", "debug", "--no-use-colors"],
        cwd=home,
        env={**os.environ, **backend.environment, "PYTHONPATH": str(ROOT), "VI_LOG": "debug"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    running: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read(output: IO[str]) -> None:  # all the time: a full pipe would stop the application
        for line in output:
            lines.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                running.put(found[1])

    reading = threading.Thread(target=read, args=(process.stdout,))
    reading.start()
    try:
        answers = _use(running.get(timeout=100), home / "images")
    finally:
        process.terminate()
        process.wait(30)
        reading.join()
        process.stdout.close()
    said = "".join(lines)
    assert "DEBUG vi.http: " in said
    check_no_secret(said + answers, backend.secret_key)
    assert not re.search(r"[\r\x1b\x08]", said)


def _use(url: str, images: Path) -> str:
    """Do the task through the application and return every answer, head and body."""
    import httpx2 as httpx

    heard = []

    def answered(response: Any, status: int) -> Any:
        assert response.status_code == status, response.text
        heard.append(f"{response.headers}\n{response.text if 'json' in response.headers['content-type'] else ''}")
        return response

    with httpx.Client(base_url=url, timeout=60) as web:
        dataset = answered(web.post("/datasets", params={"name": "web"}), 200).json()["dataset_id"]
        files = [("files", (path.name, path.read_bytes())) for path in sorted(images.iterdir())]
        report = answered(web.post(f"/datasets/{dataset}/images", files=files), 200).json()
        assert {failure["filename"]: failure["code"] for failure in report["failures"]} == BAD
        listed = answered(web.get(f"/datasets/{dataset}/images"), 200).json()
        for asset in listed:
            got = answered(web.get(f"/datasets/{dataset}/images/{asset['id']}"), 200)
            assert got.content == (images / asset["name"]).read_bytes()
        assert len(listed) == 4
        answered(web.get(f"/datasets/{dataset}/images/{'0' * 20}"), 404)
    return "".join(heard)


def test_pytest(run: Run, home: Path) -> None:
    (home / "test_task.py").write_text(SUITE)
    options = [
        "--showlocals",
        "-vv",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-o",
        "log_cli=true",
        "-o",
        "log_cli_level=DEBUG",
    ]
    if not _installed():
        options += ["-p", "vi.testing"]
    ended = run("-m", "pytest", *options, "--color=no", "-n0", "test_task.py", code=1)
    assert "2 failed, 1 passed" in ended.out
    assert "ViDownloadError" in ended.out
    assert "ViAuthenticationError" in ended.out
    assert "page       = " in ended.out
    check_no_secret(ended.out + ended.err, (home / "key").read_text())


def _installed() -> bool:
    import importlib.metadata

    return bool(importlib.metadata.entry_points(group="pytest11", name="vi"))


def test_the_check_would_notice(backend: TestedService) -> None:
    key = backend.secret_key
    with backend.client() as client:
        dataset = client.datasets.create(name="x").dataset_id
        client.assets.upload(dataset, ("a.png", _samples.encode(1, ".png", (8, 8))), show_progress=False)
        (asset,) = client.assets.list(dataset, contents=True).items
    assert asset.contents is not None
    assert asset.contents.asset is not None
    for text in (
        key,
        key[20:40],
        f"Bearer {key}",
        asset.contents.asset.url,
        json.dumps({"u": asset.contents.asset.url}),
    ):
        with pytest.raises(AssertionError):
            check_no_secret(text, key)
    check_no_secret(repr(asset), key)
