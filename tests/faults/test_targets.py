"""Rows D1 to D9: disks and names coming down."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import struct
import subprocess
import sys
import unicodedata
import zlib
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.stage import LIMITS, ROOT, Scene, caught, check_folder, check_sums
from vi._transfer import files
from vi._transfer.names import below, remote_name, shortened

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

DOWN, LISTING = "^/dl/", "/assets$"
LOOK: dict[str, Any] = {"show_progress": False, "raise_on_failure": False}


async def download(scene: Scene, dataset: str, **choice: Any) -> Any:
    async with scene.client() as client:
        return await client.assets.download(dataset, scene.folder / "down", **{**LOOK, **choice})


class FullDisk:
    """Takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._real = files._pwrite

    def __call__(self, descriptor: int, data: Any, offset: int, /) -> int:
        if self.room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        return self._real(descriptor, data, offset)


@pytest.mark.parametrize("large", [False, True])
async def test_D1_a_disk_that_fills_ends_the_download_and_keeps_whole_files(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    dataset, contents = scene.fill(6, large=large)
    small = sum(len(data) for name, data in contents.items() if name.startswith("file"))
    disk = FullDisk(small // 2 if not large else 100_000)
    monkeypatch.setattr(files, "_pwrite", disk)
    with pytest.raises(vi.ViDownloadError) as error:
        await download(scene, dataset)
    assert caught(error.value).error_code == "ENOSPC"
    assert str(scene.folder / "down") in str(error.value.path)
    result = error.value.result
    check_sums(result)
    assert result.total_files == len(contents)
    left = {path.name for path in (scene.folder / "down").iterdir()}
    assert len(left) == result.total_downloaded
    check_folder(scene.folder / "down", {name: contents[name] for name in left})
    # Room is made; the same call brings the rest.
    disk.room = 1 << 30
    again = await download(scene, dataset)
    scene.check_download(again, scene.folder / "down", contents)
    assert again.total_existing == len(left)


async def test_D1_what_cannot_fit_is_refused_before_it_is_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    dataset, _ = scene.fill(1, large=True)
    usage = shutil.disk_usage(scene.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    result = await download(scene, dataset)
    check_sums(result)
    assert {f.filename: f.code for f in result.failures} == {"large.bmp": "ENOSPC"}
    assert scene.wire.count("GET", f"{DOWN}.*large") == 0


OF_ONE = ["EACCES", "EPERM", "EBUSY", "ETXTBSY", "ELOOP", "ESTALE", "EIO", "ENAMETOOLONG", "EXDEV"]


@pytest.mark.parametrize("code", OF_ONE)
async def test_D1_what_cannot_be_replaced_costs_itself_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    dataset, contents = scene.fill(3)
    await download(scene, dataset)
    old = scene.folder / "down" / "file-001.png"
    for path in (scene.folder / "down").iterdir():
        path.write_bytes(b"old")
    replace, number = os.replace, getattr(errno, code)

    def refuse(source: Any, target: Any, **place: Any) -> None:
        if os.path.basename(target) == old.name:  # noqa: PTH119
            raise OSError(number, os.strerror(number), target)
        replace(source, target, **place)

    monkeypatch.setattr(os, "replace", refuse)
    result = await download(scene, dataset, overwrite=True)
    check_sums(result)
    assert {f.filename: f.code for f in result.failures} == {old.name: code}
    check_folder(scene.folder / "down", {**contents, old.name: b"old"})


@pytest.mark.parametrize("code", ["EIO", "ESTALE", "ENOTCONN", "ENODEV"])
async def test_D1_a_disk_that_goes_away_ends_the_download(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    dataset, contents = scene.fill(40)
    real, number, left = os.open, getattr(errno, code), [4]

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT and ("dir_fd" in kwargs or str(path).startswith(str(scene.folder / "down"))):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(number, os.strerror(number), path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    async with scene.client(limits=vi.TransferLimits(max_concurrency=2)) as client:
        with pytest.raises(vi.ViDownloadError, match="cannot continue") as error:
            await client.assets.download(dataset, scene.folder / "down", **LOOK)
    assert caught(error.value).error_code == code
    check_sums(error.value.result)
    assert scene.wire.count("GET", DOWN) < len(contents) / 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS], ids=["permission", "read_only"])
async def test_D2_a_folder_that_takes_no_file_is_an_error_before_the_first_request_for_data(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    dataset, _ = scene.fill(2)
    real = os.open

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT and ("dir_fd" in kwargs or str(path).startswith(str(scene.folder / "down"))):
            raise OSError(code, os.strerror(code), path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    with pytest.raises(vi.ViDownloadError) as error:
        await download(scene, dataset)
    assert caught(error.value).error_code == errno.errorcode[code]
    assert error.value.path == str(scene.folder / "down")
    assert scene.wire.count("GET", DOWN) == 0


async def test_D2_a_file_where_the_folder_should_be_is_an_error(scene: Scene) -> None:
    dataset, _ = scene.fill(1)
    (scene.folder / "down").write_bytes(b"a file")
    with pytest.raises(vi.ViDownloadError) as error:
        await download(scene, dataset)
    caught(error.value)
    assert scene.wire.count("GET", DOWN) == 0


async def test_D3_a_local_file_is_kept_unless_it_may_be_overwritten(scene: Scene) -> None:
    dataset, contents = scene.fill(3)
    target = scene.folder / "down"
    target.mkdir()
    (target / "file-000.png").write_bytes(contents["file-000.png"])
    (target / "file-001.png").write_bytes(b"mine")
    result = await download(scene, dataset)
    check_sums(result)
    assert (result.total_existing, result.total_conflicts, result.total_downloaded) == (1, 1, 1)
    check_folder(target, {**contents, "file-001.png": b"mine"})
    # Kept until the new one is whole.
    scene.plan(breaks.edit(lambda reply: breaks.flip(reply, 9), "flipped"), "GET", f"{DOWN}.*file-001", at=None)
    result = await download(scene, dataset, overwrite=True)
    assert {f.filename for f in result.failures} == {"file-001.png"}
    check_folder(target, {**contents, "file-001.png": b"mine"})
    scene.proxy.rules.clear()
    result = await download(scene, dataset, overwrite=True)
    assert (result.total_existing, result.total_downloaded) == (2, 1)
    check_folder(target, contents)


@pytest.mark.parametrize("overwrite", [False, True])
async def test_D4_a_link_is_never_written_through(scene: Scene, overwrite: bool) -> None:
    dataset, contents = scene.fill(3)
    target, outside = scene.folder / "down", scene.folder / "outside.png"
    target.mkdir()
    outside.write_bytes(b"outside")
    (target / "file-000.png").symlink_to(outside)
    (target / "file-001.png").mkdir()
    result = await download(scene, dataset, overwrite=overwrite)
    check_sums(result)
    assert outside.read_bytes() == b"outside"
    assert (target / "file-001.png").is_dir()
    assert "file-001.png" in {c.filename for c in result.conflicts}
    if overwrite:
        assert not (target / "file-000.png").is_symlink()
        assert (target / "file-000.png").read_bytes() == contents["file-000.png"]
    else:
        assert (target / "file-000.png").is_symlink()
        assert "file-000.png" in {c.filename for c in result.conflicts}


async def test_D4_a_link_that_appears_during_the_download_is_not_written_through(scene: Scene) -> None:
    dataset, contents = scene.fill(2)
    target, outside = scene.folder / "down", scene.folder / "outside.png"
    outside.write_bytes(b"outside")
    scene.plan(breaks.first(lambda: (target / "file-000.png").symlink_to(outside)), "GET", f"{DOWN}.*file-000")
    result = await download(scene, dataset)
    check_sums(result)
    assert outside.read_bytes() == b"outside"
    assert {c.filename for c in result.conflicts} == {"file-000.png"}
    assert (target / "file-001.png").read_bytes() == contents["file-001.png"]


HOSTILE = [
    "../outside.png",
    "..",
    ".",
    "/etc/passwd",
    "C:\\Windows\\x.png",
    "\\\\host\\share\\x.png",
    "nul\0.png",
    "tab\tand\nline.png",
    "\x1b[31mred\x1b[0m.png",
    "CON.png",
    "aux",
    "lpt1.txt",
    "trailing. ",
    "x" * (1 << 20) + ".png",
    "",
    "...",
    "\u202egnp.exe",
    "a:stream.png",
    "nested/../../up.png",
    "~/home.png",
]


async def test_D5_hostile_names_stay_inside(scene: Scene) -> None:
    dataset, contents = scene.fill(len(HOSTILE))
    names = dict(zip(sorted(contents), HOSTILE, strict=True))

    def rename(document: Any) -> None:
        for item in document["items"]:
            item["filename"] = names[item["filename"]]

    scene.plan(breaks.edit_json(rename, "hostile names"), "GET", LISTING, at=None)
    before = set(scene.folder.rglob("*"))
    result = await download(scene, dataset)
    check_sums(result)
    target = scene.folder / "down"
    new = {path for path in set(scene.folder.rglob("*")) - before - {target} if not path.is_dir()}
    assert all(target in path.resolve().parents and path.is_file() for path in new)
    assert sorted(path.read_bytes() for path in new) == sorted(contents.values())
    for path in new:
        for name in path.relative_to(target).parts:
            assert len(os.fsencode(name)) <= 255
            assert not name.startswith(".")
            assert all(ord(c) >= 32 and ord(c) != 127 for c in name)
    verified = [remote_name(below(target, str(path))) for path in new]
    assert sorted(verified) == sorted(name if len(name) < 1000 else shortened(name) for name in HOSTILE)


async def test_D6_names_that_are_almost_or_really_equal_are_kept_apart(scene: Scene) -> None:
    colliding = [
        "same.png",
        "same.png",
        "SAME.png",
        unicodedata.normalize("NFC", "é.png"),
        unicodedata.normalize("NFD", "é.png"),
        "straße.png",
        "STRASSE.png",
    ]
    dataset, contents = scene.fill(len(colliding))
    names = dict(zip(sorted(contents), colliding, strict=True))

    def rename(document: Any) -> None:
        for item in document["items"]:
            item["filename"] = names[item["filename"]]

    scene.plan(breaks.edit_json(rename, "colliding names"), "GET", LISTING, at=None)
    result = await download(scene, dataset)
    check_sums(result)
    found = {path.name: path.read_bytes() for path in (scene.folder / "down").iterdir()}
    assert sorted(found.values()) == sorted(contents.values())
    assert len(found) == len(colliding)
    assert len(result.renamed) == 1, "the listing has one name twice"
    # The same again: the names are stable.
    again = await download(scene, dataset)
    assert again.total_existing == len(colliding)


async def test_D7_two_downloads_into_one_folder_at_once_both_end_right(scene: Scene) -> None:
    dataset, contents = scene.fill(20, large=True)
    async with scene.client() as one, scene.client() as other:
        target = scene.folder / "down"
        results = await asyncio.gather(
            one.assets.download(dataset, target, **LOOK), other.assets.download(dataset, target, **LOOK)
        )
    check_folder(target, contents)
    for result in results:
        check_sums(result)
        assert not result.failures
        assert result.total_files == len(contents)


FEW = """
import asyncio, json, resource, sys, vi
key, organization, url, dataset, up, down, count = sys.argv[1:]
async def main():
    retries = vi.RetryPolicy(backoff=0.02, connect_patience=10)
    limits = vi.TransferLimits(max_concurrency=64, multipart_threshold=150_000, range_size=65536)
    async with vi.AsyncClient(key, organization, url, retries=retries, limits=limits) as client:
        new = (await client.datasets.create(name="few")).dataset_id
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(count), int(count)))
        sent = await client.assets.upload(new, up, failure_mode="FailAfterAll", show_progress=False)
        came = await client.assets.download(new, down, show_progress=False, raise_on_failure=False)
    print(json.dumps([sent.total_succeeded, came.total_downloaded, [f.message for f in sent.failures + came.failures]]))
asyncio.run(main())
"""


@pytest.mark.parametrize("known", [True, False], ids=["known", "lowered_later"])
async def test_D8_too_few_descriptors_slow_the_work_and_fail_nothing(scene: Scene, known: bool) -> None:
    folder = scene.files(60)
    scene.large()
    script = FEW
    if known:
        # Known before the first connection.
        line = "        resource.setrlimit(resource.RLIMIT_NOFILE, (int(count), int(count)))\n"
        script = script.replace(line, "").replace("async def main():\n", "async def main():\n" + line[4:])
    arguments = [scene.service.secret_key, scene.service.organization_id, scene.proxy.url, scene.dataset()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        *arguments,
        str(folder),
        str(scene.folder / "down"),
        "26",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out, _ = await process.communicate()
    sent, came, failures = json.loads(out)
    assert failures == []
    assert (sent, came) == (61, 61)
    check_folder(scene.folder / "down", {path.name: path.read_bytes() for path in folder.iterdir()})


def bomb_png(side: int) -> bytes:
    """A picture of *side* times *side* pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_D9_an_image_bomb_costs_its_own_file_only(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    (folder / "bomb.png").write_bytes(bomb_png(40_000))
    async with scene.client(limits=LIMITS) as client:
        result = await client.assets.upload(dataset, folder, failure_mode="FailAfterAll", show_progress=False)
    scene.check_upload(result, dataset, folder, failed={"bomb.png": "EBADSIZE"})


async def test_D9_the_client_has_no_decoder() -> None:
    script = (
        "import asyncio, sys, vi, vi.client, vi.api.resources.datasets.assets.resource; print('PIL' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "False"
