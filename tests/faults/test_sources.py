"""Rows F1 to F12: what can be wrong with the files that go up."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.proxy import Exchange
from tests.faults.stage import LIMITS, ROOT, Scene, caught, check_sums
from vi import _samples
from vi._transfer.sources import kept
from vi._transfer.sources import local as sources

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

UP, PART, SESSIONS = "^/up/", "^/part/", "/assetIngestionSessions$"
ALL: dict[str, Any] = {"failure_mode": "FailAfterAll", "show_progress": False}


def rewrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


@pytest.mark.parametrize("kind", ["small", "large", "parts"])
@pytest.mark.parametrize("change", [rewrite, shorten, lengthen])
async def test_F1_a_file_that_changes_while_it_is_sent_is_no_success(
    scene: Scene, kind: str, change: Callable[[Path], None]
) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    path = folder / "file-000.png"
    if kind != "small":
        path = scene.large("big.bmp", size=(2200, 1700) if kind == "large" else (500, 400))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    where = PART if kind == "parts" else f"{UP}.*{path.name}"
    scene.plan(breaks.first(lambda: change(path), after_body=100), "PUT", where, at=1)
    async with scene.client(limits=LIMITS if kind == "parts" else vi.TransferLimits()) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    check_sums(result)
    assert {Path(f.path).name: f.code for f in result.failures} == {path.name: "ECHANGED"}
    # What the service may hold is the file as it was, never a mixture.
    stored = scene.stored(dataset)
    assert stored.pop(path.name, before) == before
    assert len(stored) == result.total_succeeded


@pytest.mark.parametrize("change", [rewrite, shorten, lengthen, Path.unlink])
async def test_F1_F2_a_file_that_changes_before_it_is_sent_is_not_stored(
    scene: Scene, change: Callable[[Path], None]
) -> None:
    folder, dataset = scene.files(5), scene.dataset()
    path = folder / "file-002.png"
    scene.plan(breaks.first(lambda: change(path)), "POST", SESSIONS)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    check_sums(result)
    code = "ENOENT" if change is Path.unlink else "ECHANGED"
    assert [(f.path, f.code) for f in result.failures] == [(str(path), code)]
    assert sorted(scene.stored(dataset)) == [f"file-00{n}.png" for n in (0, 1, 3, 4)]
    assert result.seconds < 10, "its URL was waited for"


@pytest.mark.skipif(sys.platform != "linux", reason="tells files by /proc")
@pytest.mark.parametrize("read", [1, 3], ids=["while it is prepared", "while it is sent"])
async def test_F1_a_read_that_gives_nothing_too_early_is_no_end_of_the_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    """As disks of a network do at times: nothing short is stored, and the same call again sends the file."""
    folder, dataset = scene.files(3), scene.dataset()
    real, reads = os.read, 0

    def empty_once(descriptor: int, count: int, /) -> bytes:
        nonlocal reads
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("file-001.png"):  # noqa: PTH115
            reads += 1
            if reads == read:
                return b""
        return real(descriptor, count)

    monkeypatch.setattr(sources, "_NOWAIT", None)
    monkeypatch.setattr(kept, "LARGEST", 0)
    monkeypatch.setattr(os, "read", empty_once)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
        assert reads >= read, "it never came to that read"
        assert [(Path(f.path).name, f.code) for f in result.failures] == [("file-001.png", "ECHANGED")]
        assert sorted(scene.stored(dataset)) == ["file-000.png", "file-002.png"]
        again = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(again, dataset, folder)


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Paths that cannot be read; root may read everything, so the calls themselves refuse."""
    paths: set[str] = set()
    real_open, real_scandir = os.open, os.scandir

    def refuse(path: Any) -> None:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path) in paths:
            code = errno.EIO if "io-" in str(path) else errno.EACCES
            raise OSError(code, os.strerror(code), os.fspath(path))

    def open_(path: Any, *args: Any, **kwargs: Any) -> int:
        refuse(path)
        return real_open(path, *args, **kwargs)

    def scandir(path: Any = ".") -> Any:
        refuse(path)
        return real_scandir(path)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir)
    return paths


async def test_F3_what_cannot_be_read_is_reported_and_the_rest_done(scene: Scene, denied: set[str]) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    (folder / "io-error.png").write_bytes(_samples.encode(70, ".png", (16, 12)))
    closed = folder / "closed"
    closed.mkdir()
    (closed / "inside.png").write_bytes(_samples.encode(71, ".png", (16, 12)))
    denied |= {str(folder / "file-001.png"), str(folder / "io-error.png"), str(closed)}
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    check_sums(result)
    assert {Path(f.path).name: f.code for f in result.failures} == {
        "file-001.png": "EACCES",
        "io-error.png": "EIO",
        "closed": "EACCES",
    }
    assert sorted(scene.stored(dataset)) == ["file-000.png", "file-002.png", "file-003.png"]


async def test_F4_an_empty_file_fails_by_name_and_is_listed_in_a_folder(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    empty = folder / "empty.png"
    empty.touch()
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
        check_sums(result)
        assert [(Path(s.path).name, s.reason) for s in result.skipped] == [("empty.png", "empty")]
        assert result.total_succeeded == 2
        named = await client.assets.upload(dataset, [empty], **ALL)
    assert [(f.path, f.code) for f in named.failures] == [(str(empty), "EBADSIZE")]


async def test_F5_what_is_no_file_is_never_opened(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket has little room
        try:
            listener.bind("socket.png")
        finally:
            os.chdir(here)
        (folder / "loop.png").symlink_to(folder / "loop.png")
        (folder / "dangling.png").symlink_to(folder / "nothing.png")
        (folder / "around").symlink_to(folder)
        (folder / "null.png").symlink_to("/dev/zero")
        for follow in (False, True):
            async with scene.client() as client:
                async with asyncio.timeout(20):
                    result = await client.assets.upload(dataset, folder, follow_links=follow, **ALL)
            check_sums(result)
            left = {Path(s.path).name for s in result.skipped} | {Path(f.path).name for f in result.failures}
            assert {"pipe.png", "socket.png", "loop.png", "dangling.png", "null.png", "around"} <= left
            assert sorted(scene.stored(dataset)) == ["file-000.png", "file-001.png"]


async def test_F5_a_pipe_that_takes_a_files_place_hangs_nothing(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    path = folder / "file-001.png"

    def replace() -> None:
        path.unlink()
        os.mkfifo(path)

    scene.plan(breaks.first(replace), "POST", SESSIONS)
    async with scene.client() as client:
        async with asyncio.timeout(20):
            result = await client.assets.upload(dataset, folder, **ALL)
    check_sums(result)
    assert [Path(f.path).name for f in result.failures] == ["file-001.png"]
    assert sorted(scene.stored(dataset)) == ["file-000.png", "file-002.png"]


NAMES = [
    "with space.png",
    "per%20cent%2F.png",
    "hash#tag?query&a=b.png",
    "\N{GRINNING FACE}.png",
    "-rf.png",
    "quote'\"<>;|.png",
    "日本語.png",
    unicodedata.normalize("NFC", "é-twin.png"),
    unicodedata.normalize("NFD", "é-twin.png"),
    "back\\slash.png",
    "a" * 200 + ".png",
]


async def test_F6_names_arrive_as_they_are(scene: Scene) -> None:
    folder, dataset = scene.files(0), scene.dataset()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(_samples.encode(number, ".png", (16, 12)))
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert set(scene.stored(dataset)) == set(NAMES)


async def test_F7_a_name_that_is_no_text_is_failed_and_can_be_printed(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    raw = os.fsencode(folder) + b"/bad-\xff\xfe.png"
    Path(os.fsdecode(raw)).write_bytes(_samples.encode(5, ".png", (16, 12)))
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    check_sums(result)
    (failure,) = result.failures
    for text in (failure.path, failure.message, result.summary(), str(result.to_dict()), repr(result)):
        text.encode()
    assert "bad-" in failure.path
    json.dumps(result.to_dict()).encode()
    assert sorted(scene.stored(dataset)) == ["file-000.png", "file-001.png"]


async def test_F8_one_name_in_two_folders_is_an_error_before_the_first_byte(scene: Scene) -> None:
    folder, dataset = scene.files(0), scene.dataset()
    for below in ("left", "right"):
        (folder / below).mkdir()
        (folder / below / "same.png").write_bytes(_samples.encode(len(below), ".png", (16, 12)))
    async with scene.client() as client:
        with pytest.raises(vi.ViInvalidParameterError) as error:
            await client.assets.upload(dataset, folder, **ALL)
        told = str(caught(error.value))
        assert "left/same.png" in told
        assert "right/same.png" in told
        assert "relative" in told
        assert scene.wire.count("POST") == scene.wire.count("PUT") == 0
        await client.assets.upload(dataset, folder, names="relative", **ALL)
    assert sorted(scene.stored(dataset)) == ["left/same.png", "right/same.png"]


MEASURED = r"""
import asyncio, json, re, sys, vi
async def main():
    key, organization, url, dataset, folder = sys.argv[1:]
    retries = vi.RetryPolicy(backoff=0.01, backoff_max=0.05)
    limits = vi.TransferLimits(max_concurrency=24)
    async with vi.AsyncClient(key, organization, url, retries=retries, limits=limits) as client:
        result = await client.assets.upload(dataset, folder, failure_mode="FailAfterAll", show_progress=False)
    # ru_maxrss would begin with the size of the process that started this one.
    peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
    print(json.dumps([result.total_succeeded, result.total_failed, result.total_cancelled, peak]))
asyncio.run(main())
"""


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.timeout(600)])])
async def test_F9_many_files_arrive_although_one_in_twenty_fails_first(scene: Scene, count: int) -> None:
    folder, dataset = scene.files(0), scene.dataset()
    image = _samples.encode(1, ".png", (16, 12))
    for number in range(count):
        # A text chunk's worth of difference, behind the image's end, would be refused: every file is the same.
        (folder / f"f{number:05d}.png").write_bytes(image)
    failed: set[str] = set()

    async def some(x: Exchange) -> None:
        name = x.seen.path
        if name not in failed and random.Random(f"F9 {name.rpartition('/')[2]}").random() < 0.05:
            failed.add(name)
            x.seen.fault = "one in twenty"
            await x.read()
            x.reset()
        x.seen.fault = None
        await x.send(await x.forward())

    scene.plan(some, "PUT", UP, at=None)
    arguments = [scene.service.secret_key, scene.service.organization_id, scene.proxy.url, dataset, str(folder)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEASURED, *arguments, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    out, _ = await process.communicate()
    succeeded, lost, cancelled, peak = json.loads(out)
    assert (succeeded, lost, cancelled) == (count, 0, 0)
    assert len(scene.stored(dataset)) == count
    puts = scene.wire.of("PUT", UP)
    assert failed
    assert len(puts) == count + len(failed) <= 1.2 * count
    assert peak * 1024 < 200 << 20, f"{peak / 1024:.0f} MiB"
    moments = sorted(moment for seen in puts if seen.answered for moment in ((seen.began, 1), (seen.answered, -1)))
    level = most = 0
    for _, step in moments:
        level += step
        most = max(most, level)
    assert most <= 24


async def test_F10_a_file_over_the_limit_is_refused_before_anything_is_sent(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    with (folder / "huge.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    async with scene.client() as client:
        with pytest.raises(vi.ViFileTooLargeError) as error:
            await client.assets.upload(dataset, folder, show_progress=False)
    assert isinstance(caught(error.value), vi.ViUploadError)
    assert error.value.file_size == (256 << 20) + 1
    assert scene.wire.count("POST") == scene.wire.count("PUT") == 0


async def test_F11_only_what_was_offered_is_sent_and_each_once(scene: Scene) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    secret = scene.folder / "secret.png"
    secret.write_bytes(_samples.encode(50, ".png", (16, 12)))

    def meddle(document: Any) -> None:
        assets = sorted(document["status"]["assets"], key=lambda entry: entry["metadata"]["filename"])
        never_offered = json.loads(json.dumps(assets[0]))
        never_offered["metadata"]["filename"] = str(secret)
        never_offered["upload"]["url"] = assets[0]["upload"]["url"].replace("file-000", "other")
        climbing = json.loads(json.dumps(never_offered))
        climbing["metadata"]["filename"] = "../secret.png"
        document["status"]["assets"] = [never_offered, climbing, *assets[1:], *assets[1:]]

    scene.plan(breaks.edit_json(meddle, "meddled"), "POST", SESSIONS)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-000.png": "EUNKNOWN"})
    assert "no upload URL" in result.failures[0].message
    assert scene.wire.count("PUT", UP) == 3


async def test_F12_two_uploads_of_one_folder_at_once_make_one_asset_a_name(scene: Scene) -> None:
    folder, dataset = scene.files(12), scene.dataset()
    async with scene.client() as one, scene.client() as other:
        results = await asyncio.gather(
            one.assets.upload(dataset, folder, **ALL), other.assets.upload(dataset, folder, **ALL)
        )
    for result in results:
        scene.check_upload(result, dataset, folder)
