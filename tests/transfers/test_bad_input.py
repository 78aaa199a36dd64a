"""Bad input, by either client: an error of ours or an entry for the file, which names what is wrong and what to do."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.support.systems import WINDOWS, needs_links
from vi.api.types import PaginationParams

Make = Callable[[Path, str], dict[str, Any]]
FOREIGN = ("aiohttp", "cattrs", "yarl", "json", "multidict")


@attrs.frozen
class Case:
    """A call, the error it must raise, words of its message, and whether the service may hear of it."""

    method: str
    make: Make
    error: type[vi.ViError]
    words: tuple[str, ...]
    requests: int = 0
    also: tuple[type[BaseException], ...] = ()


def upload(make: Callable[[Path], Any]) -> Make:
    return lambda folder, dataset: {"dataset_id": dataset, "paths": make(folder)}


def of_dataset(**arguments: Any) -> Make:
    return lambda folder, dataset: {"dataset_id": dataset, **arguments}


CASES = {
    "missing path": Case(
        "assets.upload", upload(lambda f: f / "missing.png"), vi.ViPathError, ("missing.png", "Check the spelling"),
        also=(FileNotFoundError, ValueError),
    ),
    "missing paths among good ones": Case(
        "assets.upload", upload(lambda f: [f / "good.png", f / "one.png", "two.png"]), vi.ViPathError,
        ("one.png", "two.png", "Check the spelling", "looked up in"),
    ),
    "empty folder": Case(
        "assets.upload", upload(lambda f: f / "empty"), vi.ViInvalidParameterError, (f"{os.sep}empty", "Give an image")
    ),
    "empty list": Case("assets.upload", upload(lambda f: []), vi.ViInvalidParameterError, ("[]", "Give an image")),
    "empty path": Case("assets.upload", upload(lambda f: ""), vi.ViInvalidParameterError, ("must not be empty",)),
    "nul in a path": Case("assets.upload", upload(lambda f: "a\0b"), vi.ViInvalidParameterError, ("a\\x00b",)),
    "equal names": Case(
        "assets.upload", upload(lambda f: [f / "a", f / "b"]), vi.ViInvalidParameterError,
        (str(Path("/a/same.png")), str(Path("/b/same.png")), "names='relative'"), also=(ValueError,),
    ),
    "oversized file": Case(
        "assets.upload", upload(lambda f: f / "huge.png"), vi.ViFileTooLargeError,
        ("huge.png", "268435457", "268435456", "Reduce it"), also=(vi.ViUploadError, vi.ViValidationError),
    ),
    "wrong dataset id on upload": Case(
        "assets.upload", lambda f, d: {"dataset_id": "nowhere", "paths": f / "good.png"}, vi.ViNotFoundError,
        ("nowhere", "client.datasets.list()"), 1,
    ),
    "wrong dataset id on download": Case(
        "assets.download", lambda f, d: {"dataset_id": "nowhere", "save_dir": f / "out"}, vi.ViNotFoundError,
        ("nowhere", "client.datasets.list()"), 1,
    ),
    "wrong asset id": Case(
        "assets.get", of_dataset(asset_id="nowhere"), vi.ViNotFoundError, ("nowhere", "client.assets.list"), 1
    ),
    "malformed id": Case(
        "assets.get", of_dataset(asset_id="no where"), vi.ViInvalidParameterError, ("'no where'", "A-Z a-z 0-9 - _")
    ),
    "no id": Case("assets.get", lambda f, d: {"dataset_id": None, "asset_id": "a"}, vi.ViInvalidParameterError, ("None",)),
    "wrong session id": Case(
        "assets.wait_until_done", of_dataset(asset_ingestion_session_id="nowhere"), vi.ViNotFoundError, ("nowhere",), 1
    ),
    "unparsable query": Case(
        "assets.count", of_dataset(metadata_query="colour === red"), vi.ViValidationError,
        ("Column 10", "write == to compare"), 1,
    ),
    "python notation for JSON": Case(
        "assets.count", of_dataset(filter_criteria="{'kind': 'Image'}"), vi.ViValidationError, ("not JSON", "double quotes"), 1
    ),
    "unknown failure mode": Case(
        "assets.upload", lambda f, d: {"dataset_id": d, "paths": f, "failure_mode": "Never"}, vi.ViInvalidParameterError,
        ("'Never'", "'FailAfterOne', 'FailAfterAll'"),
    ),
    "no transfer at once": Case(
        "assets.upload", lambda f, d: {"dataset_id": d, "paths": f, "max_concurrency": 0}, vi.ViInvalidParameterError,
        ("max_concurrency", "0"),
    ),
    "limit of none": Case(
        "assets.download", lambda f, d: {"dataset_id": d, "save_dir": f / "out", "limit": 0}, vi.ViInvalidParameterError,
        ("limit", "above 0", "0"),
    ),
    "ids that are one text": Case(
        "assets.download", lambda f, d: {"dataset_id": d, "save_dir": f / "out", "asset_ids": "a1"},
        vi.ViInvalidParameterError, ("asset_ids", "list of ids"),
    ),
    "nowhere to save": Case(
        "assets.download", of_dataset(save_dir=""), vi.ViInvalidParameterError, ("save_dir", "must not be empty")
    ),
    "a file where the folder must be": Case(
        "assets.download", lambda f, d: {"dataset_id": d, "save_dir": f / "good.png"}, vi.ViDownloadError,
        ("good.png", "a file, not a folder", "save_dir"), 1,
    ),
    "a folder below a file": Case(
        "assets.download", lambda f, d: {"dataset_id": d, "save_dir": f / "good.png" / "out"}, vi.ViDownloadError,
        ("good.png", "" if WINDOWS else "Not a directory", "save_dir"), 1,
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, png: Any) -> Path:
    """A folder with one good file and one of each kind of trouble."""
    for name in ("good.png", "a/same.png", "b/same.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "noextension").write_bytes(png(1))
    (tmp_path / "film.png").write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")
    (tmp_path / "image.mp4").write_bytes(png(1))
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    return tmp_path


Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, service: Any, client: vi.Client) -> Any:
    """Calls a method of the one client or the other."""

    def find(root: Any, path: str) -> Any:
        for name in path.split("."):
            root = getattr(root, name)
        return root

    async with service.async_client() as async_client:

        async def by(path: str, **arguments: Any) -> Any:
            if request.param == "sync":
                import anyio.to_thread

                return await anyio.to_thread.run_sync(lambda: find(client, path)(**arguments))
            return await find(async_client, path)(**arguments)

        yield by


def check(error: BaseException) -> None:
    """Fail if an exception of a library is to be seen, above, below, or in what a person would be shown."""
    assert isinstance(error, vi.ViError)
    assert error.message.rstrip().endswith((".", ")")) or error.status_code is not None
    assert "dtvi_" not in str(error)
    seen: BaseException | None = error
    while seen is not None:
        assert not type(seen).__module__.startswith(FOREIGN), seen
        seen = seen.__cause__ or seen.__context__
    shown = "".join(traceback.format_exception(error))
    assert not any(f"site-packages/{name}" in shown for name in FOREIGN)
    assert "During handling" not in shown
    assert "direct cause" not in shown


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_bad_call_raises_an_error_that_says_what_to_do(
    call: Call, service: Any, dataset: str, place: Path, case: Case
) -> None:
    service.forget()
    with pytest.raises(case.error) as raised:
        await call(case.method, **case.make(place, dataset))
    error = raised.value
    check(error)
    assert all(word in str(error) for word in case.words), str(error)
    assert all(isinstance(error, kind) for kind in case.also)
    assert len(service.requests()) == case.requests
    assert not (place / "out").exists() or list((place / "out").iterdir()) == []


FILES = {
    "unsupported": ("notes.txt", "EBADMIME", ("files ending in .txt", ".png")),
    "without extension": ("noextension", "EBADMIME", ("without an extension", ".png")),
    "mislabelled text": ("text.png", "EBADMIME", (".png", "save it again")),
    "mislabelled film": ("film.png", "EBADMIME", (".png", "save it again")),
    "mislabelled image": ("image.mp4", "EBADMIME", (".mp4", "png", "correct its extension")),
    "zero bytes": ("zero.png", "EBADSIZE", ("0 bytes", "leave it out")),
    "oversized": ("huge.png", "EBADSIZE", ("268435457", "268435456")),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "code", "words"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("mode", ["FailAfterOne", "FailAfterAll"])
async def test_a_bad_file_is_an_entry_that_says_what_to_do(
    call: Call, service: Any, dataset: str, place: Path, name: str, code: str, words: tuple[str, ...], mode: str
) -> None:
    service.forget()
    given = {"dataset_id": dataset, "paths": [place / "good.png", place / name], "failure_mode": mode}
    if mode == "FailAfterOne":
        with pytest.raises(vi.ViUploadError) as raised:
            await call("assets.upload", **given)
        check(raised.value)
        if name == "huge.png":
            assert service.requests() == []
            return
        result = raised.value.result
        assert raised.value.error_code == code
        assert name in str(raised.value)
    else:
        result = await call("assets.upload", **given)
        assert result.total_succeeded == 1
    (failure,) = result.failures
    assert (failure.path, failure.filename, failure.code) == (str(place / name), name, code)
    assert name in failure.message
    assert all(word in failure.message for word in words), failure.message
    assert [seen.path.rpartition("/")[2] for seen in service.requests("PUT")] in ([], ["good.png"])


def test_a_malformed_key_is_refused_without_being_shown(service: Any) -> None:
    for key in ("dtvi_short", "x" * 103, "dtvi_" + "ü" * 98, "dtvi_" + "x" * 97 + "\n", service.secret_key + "x"):
        with pytest.raises(vi.ViConfigurationError) as raised:
            vi.Client(key, service.organization_id, service.url)
        error = raised.value
        check_key = str(error) + repr(error) + str(error.to_dict())
        assert key.removeprefix("dtvi_") not in check_key
        assert error.error_code == "InvalidApiKey"
        assert "103 characters" in str(error)
        assert "Copy the whole key" in str(error)
    assert service.requests() == []


@pytest.mark.anyio
async def test_a_key_that_the_service_does_not_know_is_one_request(service: Any, dataset: str, place: Path) -> None:
    service.forget()
    async with vi.AsyncClient("dtvi_" + "x" * 98, service.organization_id, service.url) as client:
        with pytest.raises(vi.ViAuthenticationError, match="DATATURE_VI_SECRET_KEY") as raised:
            await client.assets.upload(dataset, place / "good.png")
        check(raised.value)
    assert [seen.status for seen in service.requests()] == [401]


@pytest.mark.parametrize("size", [0, -1, 1001, 5000, 2.5, "10", True, None], ids=repr)
def test_a_page_size_is_checked_where_it_is_given(size: Any) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        PaginationParams(page_size=size)
    assert raised.value.parameter == "page_size"
    assert repr(size) in str(raised.value)
    assert "between 1 and 1000" in str(raised.value) or "an integer" in str(raised.value)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory on *folder*, or skip the test where that is not allowed."""
    if WINDOWS:
        pytest.skip("Windows mounts no folder in memory")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def noise(client: vi.Client, dataset: str, tmp_path: Path) -> str:
    """A dataset of ten images of about 30 KB."""
    from PIL import Image

    for number in range(10):
        data = random.Random(number).randbytes(100 * 100 * 3)
        path = tmp_path / "noise" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.frombytes("RGB", (100, 100), data).save(path)
    client.assets.upload(dataset, tmp_path / "noise")
    return dataset


@pytest.mark.anyio
async def test_a_read_only_target_is_refused_before_a_file_is_asked_for(
    call: Call, service: Any, noise: str, tmp_path: Path
) -> None:
    with mounted(tmp_path / "frozen", "size=64k,ro") as frozen:
        service.forget()
        for target in (frozen, frozen / "below"):
            with pytest.raises(vi.ViDownloadError) as raised:
                await call("assets.download", dataset_id=noise, save_dir=target)
            check(raised.value)
            assert raised.value.error_code == "EROFS"
            assert raised.value.path == str(target)
            assert str(target) in str(raised.value)
            assert "Read-only" in str(raised.value)
            assert "save_dir" in str(raised.value)
    assert service.requests(storage=True) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_target_without_permission_is_refused(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(vi.ViDownloadError, match="Permission denied"):
        client.assets.download(dataset, tmp_path / "locked")


@pytest.mark.anyio
async def test_a_full_target_ends_the_download_and_holds_whole_files_only(
    call: Call, noise: str, tmp_path: Path, contents: Any
) -> None:
    with mounted(tmp_path / "small", "size=128k") as small:
        with pytest.raises(vi.ViDownloadError) as raised:
            await call("assets.download", dataset_id=noise, save_dir=small)
        check(raised.value)
        error, there = raised.value, contents(small)
        assert there.items() <= contents(tmp_path / "noise").items()
        assert error.error_code == errno.errorcode[errno.ENOSPC]
        assert str(small) in str(error)
        assert "No space left" in str(error)
        assert "Free space" in str(error)
        result = error.result
        assert result.total_downloaded == len(there) >= 1
        assert result.total_failed >= 1
        assert result.total_downloaded + result.total_failed + result.total_cancelled == result.total_files
    assert await call("assets.count", dataset_id=noise) == 10


@pytest.mark.anyio
async def test_a_large_file_that_cannot_fit_is_not_begun(service: Any, noise: str, tmp_path: Path) -> None:
    limits = vi.TransferLimits(multipart_threshold=1000)
    async with service.async_client(limits=limits) as client:
        with mounted(tmp_path / "tiny", "size=8k") as tiny:
            service.forget()
            result = await client.assets.download(noise, tiny, raise_on_failure=False)
            assert list(tiny.iterdir()) == []
    assert {failure.code for failure in result.failures} == {"ENOSPC"}
    assert all("are free" in failure.message for failure in result.failures)
    assert service.requests(storage=True) == []


@needs_links
@pytest.mark.anyio
async def test_an_unreadable_file_fails_alone(call: Call, dataset: str, place: Path) -> None:
    unreadable = "/proc/self/mem"
    link = place / "unreadable.png"
    link.symlink_to(unreadable)
    result = await call(
        "assets.upload", dataset_id=dataset, paths=[place / "good.png", link], failure_mode="FailAfterAll"
    )
    (failure,) = result.failures
    assert (failure.path, result.total_succeeded) == (str(link), 1)
