"""Downloads into folders that are elsewhere: whole objects only, each accounted for, and nothing left on the way."""

from __future__ import annotations

import io
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

import vi
from vi._optional import requirement


def test_an_address_without_the_extra_says_what_to_install(
    client: vi.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(vi.ViConfigurationError) as caught:
        client.assets.download(dataset, "s3://bucket/images")
    assert requirement("cloud") in str(caught.value)


def test_comparing_with_an_address_needs_the_extra_too(
    client: vi.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    for call in (
        lambda: client.assets.download(dataset, "s3://bucket/x", dry_run=True),
        lambda: client.assets.upload(dataset, ("a.png", b"x"), plan="s3://bucket/x"),
        lambda: client.assets.sync(dataset, "s3://bucket/x", direction="down"),
        lambda: client.assets.verify(dataset, "s3://bucket/x"),
    ):
        with pytest.raises(vi.ViConfigurationError, match=re.escape(requirement("cloud"))):
            call()


@pytest.mark.parametrize("address", ["http://127.0.0.1/images", "https://user:secret@example.com/x?sig=secret"])
def test_web_addresses_can_only_be_read(client: vi.Client, dataset: str, address: str) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match="can only be read") as caught:
        client.assets.download(dataset, address)
    assert "secret" not in str(caught.value)


def test_the_address_of_a_local_folder_needs_no_extra(
    client: vi.Client, dataset: str, tmp_path: Path, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    client.assets.upload(dataset, folder(2))
    result = client.assets.download(dataset, (tmp_path / "with a space").as_uri())
    assert result.save_dir == tmp_path / "with a space"
    assert len(list(result.save_dir.iterdir())) == 2


class TestMemory:
    """With the extra `cloud`."""

    @pytest.fixture(autouse=True)
    def upath(self) -> Any:
        return pytest.importorskip("upath")

    @pytest.fixture
    def place(self, upath: Any, tmp_path: Path) -> Iterator[Any]:
        path = upath.UPath(f"memory://{tmp_path.name}/a[1]")
        yield path
        if path.fs.exists(f"/{tmp_path.name}"):
            path.fs.rm(f"/{tmp_path.name}", recursive=True)

    @pytest.fixture
    def originals(self, client: vi.Client, dataset: str, folder: Callable[..., Path]) -> dict[str, bytes]:
        """What the dataset holds, by name."""
        images = folder(names=["one.png", "two[1].png", "three.png"])
        client.assets.upload(dataset, images)
        return {path.name: path.read_bytes() for path in images.iterdir()}

    @pytest.fixture(autouse=True)
    def scratch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """The folder of temporary files: every test leaves it empty."""
        path = tmp_path / "scratch"
        path.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(path))
        yield path
        assert list(path.iterdir()) == []

    def test_all_files_arrive_and_are_left_alone_by_the_next_run(
        self, client: vi.Client, service: Any, dataset: str, place: Any, originals: dict[str, bytes]
    ) -> None:
        result = client.assets.download(dataset, place)
        assert held(place) == originals
        assert (result.total_downloaded, result.total_files) == (3, 3)
        assert result.bytes_received == sum(map(len, originals.values()))
        assert str(result) == result.to_dict()["save_dir"] == str(place)
        assert (result.save_dir / "one.png").read_bytes() == originals["one.png"]
        with pytest.raises(vi.ViOperationError, match="is not a local path"):
            Path(result)
        service.forget()
        again = client.assets.download(dataset, str(place))
        assert (again.total_existing, again.total_downloaded, again.bytes_received) == (3, 0, 0)
        assert service.requests("GET", "", storage=True) == []

    @pytest.mark.anyio
    async def test_the_async_client_takes_an_address(
        self, service: Any, dataset: str, place: Any, originals: dict[str, bytes]
    ) -> None:
        async with service.async_client() as client:
            result = await client.assets.download(dataset, str(place))
        assert held(place) == originals
        assert str(result) == str(place)

    def test_a_file_system_that_is_asynchronous_underneath(
        self, client: vi.Client, dataset: str, place: Any, originals: dict[str, bytes]
    ) -> None:
        """As those of object stores are."""
        wrapper = pytest.importorskip("fsspec.implementations.asyn_wrapper")

        class Wrapped:
            fs = wrapper.AsyncFileSystemWrapper(place.fs, asynchronous=False)
            path = place.path

            def __str__(self) -> str:
                return "s3://user:secret@bucket/x?sig=secret"

            def iterdir(self) -> Any: ...

        result = client.assets.download(dataset, Wrapped())
        assert (held(place), str(result)) == (originals, "s3://bucket/x")
        again = client.assets.download(dataset, Wrapped())
        assert (again.total_existing, again.total_files) == (3, 3)
        assert "secret" not in f"{again.summary()} {again.to_dict()}"

    def test_what_differs_is_kept_or_replaced(
        self, client: vi.Client, dataset: str, place: Any, originals: dict[str, bytes]
    ) -> None:
        place.mkdir(parents=True)
        (place / "one.png").write_bytes(b"other")
        (place / "three.png" / "within").write_bytes(b"")
        result = client.assets.download(dataset, place)
        assert (result.total_downloaded, result.total_conflicts, result.total_files) == (1, 2, 3)
        assert {conflict.path for conflict in result.conflicts} == {f"{place}/one.png", f"{place}/three.png"}
        assert (place / "one.png").read_bytes() == b"other"
        result = client.assets.download(dataset, place, overwrite=True)
        assert (result.total_downloaded, result.total_existing, result.total_conflicts) == (1, 1, 1)
        assert (place / "one.png").read_bytes() == originals["one.png"]

    def test_large_ones_come_in_ranges(self, start_service: Callable[..., Any], place: Any) -> None:
        out = io.BytesIO()
        Image.effect_noise((500, 500), 90).save(out, "BMP")
        data = out.getvalue()
        service = start_service()
        limits = vi.TransferLimits(multipart_threshold=64 << 10, range_size=64 << 10)
        with service.client(limits=limits) as client:
            dataset = client.datasets.create(name="ranges").dataset_id
            client.assets.upload(dataset, ("large.bmp", data))
            service.forget()
            client.assets.download(dataset, place)
        assert held(place) == {"large.bmp": data}
        assert len(service.requests("GET", "", storage=True)) == -(-len(data) // (64 << 10)) > 1

    @pytest.mark.parametrize("call", ["put_file", "cp_file"])
    def test_one_that_cannot_be_put_fails_alone(
        self,
        client: vi.Client,
        dataset: str,
        place: Any,
        originals: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
        call: str,
    ) -> None:
        real, lock, failed = getattr(place.fs, call), threading.Lock(), []

        def once(one: str, other: str, **arguments: Any) -> None:
            real(one, other, **arguments)
            with lock:
                if not failed:
                    failed.append(other)
                    raise OSError("https://host/x?X-Amz-Signature=secret is out of order")

        monkeypatch.setattr(place.fs, call, once)
        # What a copy has made before it failed is whole: only the temporary object must be gone.
        result = client.assets.download(dataset, place, raise_on_failure=False)
        (failure,) = result.failures
        assert (result.total_downloaded, result.total_failed, result.total_files) == (2, 1, 3)
        assert (failure.code, failure.path) == ("EIO", f"{place}/{failure.filename}")
        assert "secret" not in str(result.to_dict())
        assert not any(re.search(r"\.part$", name) for name in held(place))
        monkeypatch.undo()
        result = client.assets.download(dataset, place)
        assert held(place) == originals

    def test_a_place_that_cannot_be_written_to_ends_it_at_once(
        self,
        client: vi.Client,
        service: Any,
        dataset: str,
        place: Any,
        originals: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no")

        monkeypatch.setattr(place.fs, "pipe_file", refuse)
        service.forget()
        with pytest.raises(vi.ViDownloadError, match="Nothing can be saved in memory://") as caught:
            client.assets.download(dataset, place)
        assert (caught.value.error_code, caught.value.path) == ("EACCES", str(place))
        assert service.requests("GET", "", storage=True) == []

    @pytest.mark.anyio
    async def test_cancelling_leaves_nothing_temporary(
        self,
        service: Any,
        dataset: str,
        place: Any,
        originals: dict[str, bytes],
        scratch: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real, begun, go_on = place.fs.put_file, threading.Event(), threading.Event()

        def slow(one: str, other: str, *, callback: Any) -> None:
            real(one, other)
            begun.set()
            while not go_on.wait(0.01):
                callback.relative_update(1)  # as a file system does while bytes move: ends what nobody waits for

        monkeypatch.setattr(place.fs, "put_file", slow)
        async with service.async_client() as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.assets.download, dataset, place)
            assert await anyio.to_thread.run_sync(begun.wait, 10)
            assert list(scratch.iterdir())
            tasks.cancel_scope.cancel()
        assert not go_on.is_set()
        assert held(place) == {}

    def test_a_library_that_is_missing_is_told(self, client: vi.Client, dataset: str) -> None:
        class Bucket:
            path = "bucket/x"

            def __str__(self) -> str:
                return "s3://bucket/x"

            def iterdir(self) -> Any: ...

            @property
            def fs(self) -> Any:
                raise ImportError("Install s3fs to access S3")

        with pytest.raises(vi.ViConfigurationError, match="Install s3fs"):
            client.assets.download(dataset, Bucket())


def held(place: Any) -> dict[str, bytes]:
    """What is in a folder elsewhere, temporary objects too."""
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} if place.exists() else {}
