"""Files that open themselves (archives, object stores, web addresses) and pictures in memory, as sources of uploads."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http.server
import io
import random
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vi
from tests.support import engines
from vi import _samples
from vi._optional import requirement
from vi._transfer.sources.remote import RemoteSource, as_remote

Stored = Callable[[str], dict[str, str]]

FILES = {f"images/{name}.png": _samples.encode(n, ".png", (30 + n, 20)) for n, name in enumerate("abc")} | {
    "images/deep/d.jpg": _samples.encode(9, ".jpg", (30, 20)),
    "images/notes.txt": b"text",
    "images/.hidden.png": b"hidden",
}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in FILES.items():
            file.writestr(name, data)
    return path


class TestShapes:
    """The paths of an archive, which the standard library has, are of the same shape as those of fsspec."""

    def test_a_folder_is_walked(self, client: vi.Client, dataset: str, archive: Path, stored: Stored) -> None:
        with zipfile.ZipFile(archive) as file:
            result = client.assets.upload(dataset, zipfile.Path(file, "images/"), names="relative")
        assert stored(dataset) == {
            name.removeprefix("images/"): sha(data)
            for name, data in FILES.items()
            if name.endswith(("g", "jpg")) and "hidden" not in name
        }
        assert result.skip_reasons == {"hidden": 1, "unsupported (.txt)": 1}

    def test_filters_and_base_names(self, client: vi.Client, dataset: str, archive: Path, stored: Stored) -> None:
        with zipfile.ZipFile(archive) as file:
            client.assets.upload(dataset, zipfile.Path(file, "images/"), include=["*.png", "deep/*"], exclude="b.*")
        assert set(stored(dataset)) == {"a.png", "c.png", "d.jpg"}

    def test_a_function_names_them(self, client: vi.Client, dataset: str, archive: Path, stored: Stored) -> None:
        with zipfile.ZipFile(archive) as file:
            path = zipfile.Path(file, "images/a.png")
            client.assets.upload(dataset, path, names=lambda path: f"from the archive {path.name}")
            assert set(stored(dataset)) == {"from the archive a.png"}
            with pytest.raises(vi.ViInvalidParameterError, match="names"):
                client.assets.upload(dataset, path, names=lambda _: "")

    def test_one_may_be_given_another_name(
        self, client: vi.Client, dataset: str, archive: Path, stored: Stored
    ) -> None:
        with zipfile.ZipFile(archive) as file:
            client.assets.upload(dataset, ("other.png", zipfile.Path(file, "images/a.png")))
        assert stored(dataset) == {"other.png": sha(FILES["images/a.png"])}

    def test_missing_ones_are_an_error_before_anything_is_sent(
        self, client: vi.Client, dataset: str, archive: Path
    ) -> None:
        with zipfile.ZipFile(archive) as file, pytest.raises(vi.ViPathError, match=r"nothing\.png"):
            client.assets.upload(dataset, [zipfile.Path(file, "images/a.png"), zipfile.Path(file, "nothing.png")])

    def test_named_files_of_no_use_fail_by_name(self, client: vi.Client, dataset: str, archive: Path) -> None:
        with zipfile.ZipFile(archive) as file:
            paths = [zipfile.Path(file, "images/notes.txt"), zipfile.Path(file, "images/a.png")]
            result = client.assets.upload(dataset, paths, failure_mode="FailAfterAll")
        assert (result.total_succeeded, [failure.code for failure in result.failures]) == (1, ["EBADMIME"])

    def test_what_its_library_raises_is_the_failure_of_the_file(
        self, client: vi.Client, dataset: str, archive: Path
    ) -> None:
        class Odd:
            name = "odd.png"

            def open(self, mode: str) -> Any:
                raise LookupError("the bucket is gone")

        result = client.assets.upload(dataset, [Odd(), ("ok.png", FILES["images/a.png"])], failure_mode="FailAfterAll")
        assert result.total_succeeded == 1
        (failure,) = result.failures
        assert (failure.code, "the bucket is gone" in failure.message) == ("ESOURCE", True)

    def test_large_ones_go_up_in_parts(self, start_service: Callable[..., Any], archive: Path, tmp_path: Path) -> None:
        out = io.BytesIO()
        side = 4600 if engines.CHOSEN == "direct" else 1500  # a store takes no parts below 5 MiB from clients
        Image.effect_noise((side, side), 90).save(out, "BMP")
        with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("large.bmp", out.getvalue())
        service = start_service(part_bytes=600_000)
        limits = vi.TransferLimits(multipart_threshold=1_000_000)
        with service.client(limits=limits) as client, zipfile.ZipFile(tmp_path / "large.zip") as file:
            dataset = client.datasets.create(name="parts").dataset_id
            client.assets.upload(dataset, zipfile.Path(file, "large.bmp"))
            (asset,) = client.assets.list(dataset).items
        assert asset.metadata.hash.contents == sha(out.getvalue())
        assert len(service.requests("PUT", storage=True)) == 4


@pytest.mark.anyio
async def test_parts_that_are_read_at_once_from_one_copy_are_right(tmp_path: Path) -> None:
    size = 300_000
    content = random.Random(7).randbytes(16 * size)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as file:
        file.writestr("large.bmp", content)
    with zipfile.ZipFile(tmp_path / "one.zip") as file:
        found = as_remote(zipfile.Path(file, "large.bmp"))
        assert found is not None
        source = RemoteSource(found)
        source.keeps = True
        assert (await source.examine("crc32c")).size == len(content)

        async def read(start: int) -> bytes:
            return b"".join([bytes(data) async for data in source.chunks(start, start + size)])

        pace = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(20):
                parts = await asyncio.gather(*(read(start) for start in range(0, len(content), size)))
                assert b"".join(parts) == content
        finally:
            sys.setswitchinterval(pace)
        source.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "web"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


class TestLibraries:
    """With the extra `cloud`."""

    @pytest.fixture(autouse=True)
    def upath(self) -> Any:
        return pytest.importorskip("upath")

    @pytest.fixture
    def bucket(self, upath: Any, tmp_path: Path) -> Iterator[str]:
        root = f"memory://{tmp_path.name}"
        for name, data in FILES.items():
            path = upath.UPath(f"{root}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield root
        path.fs.rm(f"/{tmp_path.name}", recursive=True)

    def test_an_address_of_a_folder(self, client: vi.Client, dataset: str, bucket: str, stored: Stored) -> None:
        result = client.assets.upload(dataset, f"{bucket}/images")
        assert set(stored(dataset)) == {"a.png", "b.png", "c.png", "d.jpg"}
        assert result.total_skipped == 2

    def test_a_folder_may_have_the_name_of_a_file_of_windows(
        self, client: vi.Client, dataset: str, bucket: str, stored: Stored, upath: Any
    ) -> None:
        for place in ("", "/Thumbs.db"):
            path = upath.UPath(f"{bucket}/folders{place}/Thumbs.db/x.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(FILES["images/a.png"])
        client.assets.upload(dataset, f"{bucket}/folders", names="relative")
        assert set(stored(dataset)) == {"Thumbs.db/x.png", "Thumbs.db/Thumbs.db/x.png"}

    def test_paths_of_both_libraries(
        self, client: vi.Client, dataset: str, bucket: str, stored: Stored, upath: Any
    ) -> None:
        fsspec = pytest.importorskip("fsspec")
        paths = [upath.UPath(f"{bucket}/images/a.png"), fsspec.open(f"{bucket}/images/b.png")]
        client.assets.upload(dataset, paths)
        assert stored(dataset) == {name: sha(FILES[f"images/{name}"]) for name in ("a.png", "b.png")}

    def test_web_addresses(self, client: vi.Client, dataset: str, web: str, stored: Stored) -> None:
        client.assets.upload(dataset, [f"{web}/images/a.png?signature=secret", f"{web}/images/deep/d.jpg"])
        assert stored(dataset) == {"a.png": sha(FILES["images/a.png"]), "d.jpg": sha(FILES["images/deep/d.jpg"])}

    def test_a_missing_web_address_fails_without_its_query(self, client: vi.Client, dataset: str, web: str) -> None:
        result = client.assets.upload(dataset, f"{web}/no.png?signature=secret", failure_mode="FailAfterAll")
        (failure,) = result.failures
        assert failure.path == f"{web}/no.png"
        assert "secret" not in str(result.to_dict())

    def test_an_address_of_an_unknown_kind(self, client: vi.Client, dataset: str) -> None:
        with pytest.raises(vi.ViConfigurationError, match="nonsense://"):
            client.assets.upload(dataset, "nonsense://bucket/a.png")


def test_the_address_of_a_local_file_needs_no_extra(
    client: vi.Client, dataset: str, tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    folder = tmp_path / "with a space"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(FILES[f"images/{name}"])
    client.assets.upload(dataset, (folder / "a.png").as_uri())
    assert stored(dataset) == {"a.png": sha(FILES["images/a.png"])}
    client.assets.upload(dataset, folder.as_uri())
    assert set(stored(dataset)) == {"a.png", "b.png"}
    with pytest.raises(vi.ViPathError, match="No such file"):
        client.assets.upload(dataset, (folder / "c.png").as_uri())


class Elsewhere:
    """A path of a kind whose library is not installed: that is found out when it is needed."""

    name = "a.png"
    path = "bucket/a.png"

    def __str__(self) -> str:
        return "s3://bucket/a.png"

    @property
    def fs(self) -> Any:
        raise ImportError("Install s3fs to access S3")

    def exists(self) -> bool:
        return bool(self.fs)

    def open(self, mode: str = "r") -> Any:
        return self.fs.open(mode)


def test_a_library_that_is_missing_is_the_failure_of_the_file(client: vi.Client, dataset: str) -> None:
    with pytest.raises(vi.ViUploadError, match="Install s3fs to access S3") as raised:
        client.assets.upload(dataset, Elsewhere())
    assert raised.value.error_code == "ESOURCE"


def test_an_address_without_the_extra_says_what_to_install(
    client: vi.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "upath", None)
    with pytest.raises(vi.ViConfigurationError) as caught:
        client.assets.upload(dataset, "s3://bucket/a.png")
    assert requirement("cloud") in str(caught.value)


class TestPictures:
    def test_a_picture_is_encoded_by_its_name(self, client: vi.Client, dataset: str, stored: Stored) -> None:
        picture = _samples.draw(4, (50, 40))
        client.assets.upload(dataset, [("one.png", picture), ("two.webp", picture), ("three.JPG", picture)])
        found = {asset.filename: asset for asset in client.assets.list(dataset).items}
        assert {name: asset.metadata.mime_type for name, asset in found.items()} == {
            "one.png": "image/png",
            "two.webp": "image/webp",
            "three.JPG": "image/jpeg",
        }
        with client.assets.open(dataset, found["one.png"].asset_id) as file, Image.open(file) as stored_one:
            assert stored_one.tobytes() == picture.tobytes()

    def test_arrays(self, client: vi.Client, dataset: str) -> None:
        numpy = pytest.importorskip("numpy")
        colours = numpy.arange(20 * 30 * 3, dtype=numpy.uint8).reshape(20, 30, 3)
        deep = numpy.arange(20 * 30, dtype=numpy.uint16).reshape(20, 30)
        client.assets.upload(dataset, [("colours.png", colours), ("deep.tiff", deep)])
        for asset in client.assets.list(dataset).items:
            with client.assets.open(dataset, asset.asset_id) as file, Image.open(file) as image:
                expected = colours if asset.filename == "colours.png" else deep
                assert numpy.array_equal(numpy.asarray(image), expected)

    def test_one_that_cannot_be_written_fails_alone(self, client: vi.Client, dataset: str) -> None:
        see_through = Image.new("RGBA", (9, 9))
        result = client.assets.upload(
            dataset,
            [("a.jpg", see_through), ("b.png", Image.new("CMYK", (9, 9))), ("c.png", see_through)],
            failure_mode="FailAfterAll",
        )
        assert result.total_succeeded == 1
        assert sorted((failure.filename, failure.code) for failure in result.failures) == [
            ("a.jpg", "ESOURCE"),
            ("b.png", "ESOURCE"),
        ]
