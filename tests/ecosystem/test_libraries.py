"""Libraries read the same hundred pictures through ``vi://``, each in its own way."""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from PIL import Image

import vi
from tests.support import children
from vi.testing import TestedService

pytest.importorskip("fsspec")

from vi import filesystem

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # what those libraries warn of is theirs
]

COUNT = 100
SIZE = (16, 12)


@attrs.frozen
class Stored:
    """A dataset of pictures and a table, by name."""

    dataset_id: str
    files: dict[str, bytes]

    @property
    def address(self) -> str:
        return f"vi://{self.dataset_id}"

    def colours(self) -> list[tuple[int, int, int]]:
        return sorted(colour(data) for data in self.files.values())


def picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", SIZE, (number, 255 - number, 7)).save(out, "PNG")
    return out.getvalue()


def colour(data: bytes) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(data)) as image:
        found = image.convert("RGB").getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("ecosystem") / "data")
    with mock.patch.dict(os.environ, service.environment):
        yield service
        filesystem.close_clients()
    service.stop()


@pytest.fixture(scope="module")
def stored(tested: TestedService) -> Stored:
    files = {f"{number:03}.png": picture(number) for number in range(COUNT)}
    with tested.client() as client:
        dataset = client.datasets.create(name="pictures").dataset_id
        client.assets.upload(dataset, list(files.items()), show_progress=False)
    return Stored(dataset, files)


@pytest.fixture
def fs(tested: TestedService) -> Iterator[Any]:
    import fsspec

    fs = fsspec.filesystem("vi")
    fs.invalidate_cache()
    yield fs
    filesystem.close_clients()


def test_pillow(fs: Any, stored: Stored) -> None:
    import fsspec

    found = []
    for name in stored.files:
        with fsspec.open(f"{stored.address}/{name}") as file, Image.open(file) as image:
            found.append(image.convert("RGB").getpixel((0, 0)))
    assert sorted(found) == stored.colours()


def test_universal_pathlib(stored: Stored) -> None:
    from upath import UPath

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = UPath(stored.address)
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == stored.files
    assert (folder / "001.png").exists()
    assert not (folder / "nothing.png").exists()


def test_pyarrow(fs: Any, stored: Stored) -> None:
    from pyarrow.fs import FileSelector, FSSpecHandler, PyFileSystem

    arrow = PyFileSystem(FSSpecHandler(fs))
    found = arrow.get_file_info(FileSelector(stored.dataset_id))
    assert len(found) == COUNT
    read = {}
    for one in found:
        with arrow.open_input_file(one.path) as file:
            read[one.base_name] = file.read()
    assert read == stored.files


def test_pandas(fs: Any, stored: Stored) -> None:
    import pandas as pd

    frame = pd.DataFrame({"path": fs.glob(f"{stored.address}/*.png")})
    frame["data"] = list(fs.cat(list(frame.path)).values())
    assert sorted(colour(data) for data in frame.data) == stored.colours()


def test_polars(fs: Any, stored: Stored) -> None:
    import polars as pl

    frame = pl.DataFrame(fs.ls(stored.address))
    assert frame["size"].sum() == sum(map(len, stored.files.values()))
    data = frame["name"].map_elements(fs.cat_file, return_dtype=pl.Binary)
    assert sorted(colour(one) for one in data) == stored.colours()


def test_duckdb(fs: Any, stored: Stored) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        rows = connection.sql(f"select filename, content from read_blob('{stored.address}/*.png')").fetchall()
    assert sorted(colour(content) for _, content in rows) == stored.colours()


def test_dask(stored: Stored) -> None:
    import dask
    from dask.bytes import read_bytes

    _, blocks = read_bytes(f"{stored.address}/*.png", blocksize=None, sample=False)
    found = dask.compute(*[block for one in blocks for block in one], scheduler="threads")
    assert sorted(colour(data) for data in found) == stored.colours()
    found = dask.compute(*[block for one in blocks for block in one], scheduler="processes", num_workers=2)
    assert sorted(colour(data) for data in found) == stored.colours()


def test_datasets_streaming(stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(
        "imagefolder",
        data_files=[f"{stored.address}/{name}" for name in stored.files],
        streaming=True,
        split="train",
        cache_dir=str(tmp_path),
    )
    assert sorted(row["image"].convert("RGB").getpixel((0, 0)) for row in rows) == stored.colours()


def test_ray(fs: Any, stored: Stored, tested: TestedService) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": tested.environment})
    try:
        paths = [f"{stored.dataset_id}/{name}" for name in stored.files]
        rows = ray.data.read_images(paths, filesystem=fs, mode="RGB").take_all()
    finally:
        ray.shutdown()
    assert sorted(tuple(int(c) for c in row["image"][0, 0]) for row in rows) == stored.colours()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_file_system_that_was_used_goes_into_processes(fs: Any, stored: Stored, method: str) -> None:
    paths = fs.find(stored.address)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        parts = [pool.submit(children.read_all, fs, paths[start::4]) for start in range(4)]
        found = {path: data for part in parts for path, data in part.result(120).items()}
    assert {path.rpartition("/")[2]: data for path, data in found.items()} == stored.files
    assert len(fs.cat(paths)) == COUNT  # and still works here


def test_boto3_and_tar_take_opened_assets(stored: Stored, tested: TestedService, tmp_path: Path) -> None:
    """Also such as have more than one part."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    large = io.BytesIO()
    Image.frombytes("RGB", (2000, 1500), os.urandom(9_000_000)).save(large, "BMP")
    try:
        s3 = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            region_name="us-east-1",
        )
        s3.create_bucket(Bucket="there")
        with tested.client() as client:
            dataset = client.datasets.create(name="large").dataset_id
            client.assets.upload(dataset, ("large.bmp", large.getvalue()), show_progress=False)
            with client.assets.open(dataset, filename="large.bmp") as file:
                s3.upload_fileobj(file, "there", "large.bmp")
            assert s3.get_object(Bucket="there", Key="large.bmp")["Body"].read() == large.getvalue()
            with (
                tarfile.open(tmp_path / "one.tar", "w") as tar,
                client.assets.open(dataset, filename="large.bmp") as file,
            ):
                member = tarfile.TarInfo("large.bmp")
                member.size = file.size
                tar.addfile(member, file)
        with tarfile.open(tmp_path / "one.tar") as tar:
            read = tar.extractfile("large.bmp")
            assert read is not None
            assert read.read() == large.getvalue()
    finally:
        server.stop()


def test_one_dataset_is_uploaded_into_another(stored: Stored, tested: TestedService) -> None:
    with tested.client() as client:
        other = client.datasets.create(name="copy").dataset_id
        result = client.assets.upload(other, stored.address, show_progress=False)
        assert result.total_succeeded == COUNT
        assert {asset.filename: data for asset, data in client.assets.stream(other)} == stored.files
        assert client.assets.upload(other, f"{stored.address}/001.png", skip_existing=True).total_existing == 1


def test_the_settings_may_be_options(tested: TestedService, stored: Stored) -> None:
    import fsspec

    options = {
        "secret_key": tested.secret_key,
        "organization_id": tested.organization_id,
        "endpoint": tested.url,
        "retries": vi.RetryPolicy(max_attempts=2),
    }
    with mock.patch.dict(os.environ):
        for name in tested.environment:
            del os.environ[name]
        fs = fsspec.filesystem("vi", **options)
        assert len(fs.find(stored.address)) == COUNT
