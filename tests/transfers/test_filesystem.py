"""``vi://``: what a file system of fsspec promises, over datasets."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

import vi
from tests.support.pictures import picture
from tests.sync.disks import KINDS, OtherDisk
from vi.testing import TestedService

fsspec = pytest.importorskip("fsspec")
filesystem = pytest.importorskip("vi.filesystem")


FILES = {
    **{f"north/{number:03}.png": picture(number) for number in range(50)},
    **{f"north/far/{number:03}.png": picture(number) for number in range(50, 95)},
    "alone.png": picture(95),
    "a b.png": picture(96),
    "odd [1]?*.png": picture(97),
    "ä#%20.png": picture(98),
    "north.png": picture(99),
}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("fs") / "data")
    with mock.patch.dict(os.environ, service.environment):
        yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(tested: TestedService) -> Iterator[None]:
    yield
    tested.faults.clear()


@pytest.fixture(scope="module")
def ds(tested: TestedService) -> str:
    with tested.client() as client:
        dataset = client.datasets.create(name="fs").dataset_id
        client.assets.upload(dataset, list(FILES.items()), names="relative", show_progress=False)
    return dataset


@pytest.fixture
def fs(tested: TestedService) -> Iterator[Any]:
    found = fsspec.filesystem("vi")
    found.invalidate_cache()
    found._lookups.clear()
    yield found
    filesystem.close_clients()


@pytest.fixture
def empty(tested: TestedService) -> str:
    with tested.client() as client:
        return client.datasets.create(name="empty").dataset_id


def test_names_make_folders(fs: Any, ds: str) -> None:
    names = sorted(one["name"].removeprefix(f"{ds}/") for one in fs.ls(f"vi://{ds}"))
    assert names == sorted(["north", "alone.png", "a b.png", "odd [1]?*.png", "ä#%20.png", "north.png"])
    assert fs.ls(f"{ds}/north/far/", detail=False) == sorted(f"{ds}/{name}" for name in FILES if "far" in name)
    assert [one["type"] for one in fs.ls(f"{ds}/north") if one["name"].endswith("far")] == ["directory"]
    assert fs.find(f"vi://{ds}") == sorted(f"{ds}/{name}" for name in FILES)
    assert len(fs.glob(f"vi://{ds}/north/*.png")) == 50
    assert len(fs.glob(f"vi://{ds}/**/*.png")) == len(FILES)
    assert fs.isdir(f"{ds}/north")
    assert not fs.isdir(f"{ds}/north.png")
    assert fs.isfile(f"{ds}/north.png")
    assert {root.removeprefix(ds) for root, _, _ in fs.walk(ds)} == {"", "/north", "/north/far"}
    assert ds in fs.ls("vi://", detail=False)


def test_what_is_not_there_is_told(fs: Any, ds: str) -> None:
    for path in (f"vi://{ds}/nothing.png", f"vi://{ds}/north/nothing", "vi://no-such-dataset", "vi://no-such/a.png"):
        assert not fs.exists(path)
        for call in (fs.info, fs.ls, fs.cat_file, fs.open, fs.rm_file):
            with pytest.raises(FileNotFoundError):
                call(path)
    with pytest.raises(IsADirectoryError):
        fs.cat_file(f"vi://{ds}/north")


def test_a_file_is_described(fs: Any, ds: str) -> None:
    path, data = f"vi://{ds}/alone.png", FILES["alone.png"]
    info = fs.info(path)
    assert (info["name"], info["size"], info["type"], info["mimetype"]) == (
        f"{ds}/alone.png",
        len(data),
        "file",
        "image/png",
    )
    assert info["ETag"] == f"sha256-{hashlib.sha256(data).hexdigest()}"
    assert fs.size(path) == len(data)
    assert abs(fs.modified(path) - dt.datetime.now(dt.UTC)) < dt.timedelta(hours=1)
    assert fs.created(path) <= fs.modified(path)
    assert fs.ukey(path) != fs.ukey(f"vi://{ds}/a b.png")
    assert isinstance(fs.checksum(path), int)


def test_a_hundred_files_cost_a_hundred_requests_and_a_page(tested: TestedService, fs: Any, ds: str) -> None:
    asked = tested.faults.delay(0, times=None)
    found = fs.cat([f"vi://{ds}/{name}" for name in FILES])
    assert {path.removeprefix(f"{ds}/"): data for path, data in found.items()} == FILES
    assert asked.hits <= len(FILES) + 1


def test_one_file_of_a_large_dataset_does_not_list_it(tested: TestedService, fs: Any, ds: str) -> None:
    asked = tested.faults.delay(0, times=None)
    assert fs.cat_file(f"vi://{ds}/alone.png") == FILES["alone.png"]
    assert asked.hits == 2
    assert fs._listings == {}


def test_a_pickle_has_the_listing_and_sends_none(tested: TestedService, fs: Any, ds: str) -> None:
    fs.find(ds)
    pickled = pickle.dumps(fs)
    assert tested.secret_key.encode() not in pickled
    type(fs).clear_instance_cache()
    asked = tested.faults.delay(0, to="api", times=None)
    again = pickle.loads(pickled)
    assert again is not fs
    assert again.find(ds) == fs.find(ds)
    assert again.cat_file(f"{ds}/alone.png") == FILES["alone.png"]
    assert asked.hits == 0
    assert again.client is fs.client


def test_bytes_are_those_of_a_file(fs: Any, ds: str) -> None:
    path, data = f"vi://{ds}/alone.png", FILES["alone.png"]
    for start, end in ((0, 5), (3, None), (-4, None), (2, -2), (None, 7), (5, 3), (0, 10_000), (10_000, None)):
        assert fs.cat_file(path, start=start, end=end) == data[start:end]
    assert fs.cat_ranges([path, f"{ds}/north.png"], [0, 1], [4, 5]) == [data[:4], FILES["north.png"][1:5]]
    assert fs.head(path, 8) == data[:8]
    assert fs.tail(path, 8) == data[-8:]
    with fs.open(path) as file:
        assert isinstance(file, io.BufferedReader)
        assert (file.read(4), file.seek(-2, 2), file.read()) == (data[:4], len(data) - 2, data[-2:])
    with fsspec.open(path) as file, Image.open(file) as image:
        assert image.size == (8, 6)


def test_damage_is_an_error(tested: TestedService, fs: Any, ds: str) -> None:
    tested.faults.corrupt(20, path="*alone.png", times=None)
    with pytest.raises(vi.ViDownloadError):
        fs.cat_file(f"vi://{ds}/alone.png")


def test_files_are_fetched(fs: Any, ds: str, tmp_path: Path) -> None:
    fs.get(f"vi://{ds}/north/", f"{tmp_path}/there/", recursive=True)
    found = {path.relative_to(tmp_path / "there").as_posix(): path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert found == {name.removeprefix("north/"): data for name, data in FILES.items() if name.startswith("north/")}
    fs.get_file(f"{ds}/alone.png", str(tmp_path / "one.png"))
    assert (tmp_path / "one.png").read_bytes() == FILES["alone.png"]
    assert not list(tmp_path.rglob("*.vi-part"))


def test_no_file_of_a_call_takes_the_place_of_another(
    fs: Any, tested: TestedService, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of Windows or of a Mac takes the two names for one."""
    pairs = {"A.png": picture(1), "a.png": picture(2)}
    with tested.client() as client:
        client.assets.upload(empty, list(pairs.items()), show_progress=False)
    paths, folder = [f"{empty}/{name}" for name in pairs], tmp_path / "there"
    folder.mkdir()
    targets = [str(folder / name) for name in pairs]
    with monkeypatch.context() as patch:
        OtherDisk(str(folder), KINDS["NTFS"]).install(patch)
        with pytest.raises(FileExistsError, match="the same file as"):
            fs.get(paths, targets, batch_size=1)
        for path in folder.iterdir():
            assert path.read_bytes() == pairs["A.png"]
        fs.get(paths[1:], targets[1:])  # alone, it may replace what was there before
        (found,) = folder.iterdir()
        assert found.read_bytes() == pairs["a.png"]
    fs.get(paths, targets)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == pairs


def test_files_are_stored_replaced_and_removed(fs: Any, empty: str, tmp_path: Path) -> None:
    fs.pipe(f"vi://{empty}/a/one.png", picture(1))
    fs.pipe({f"{empty}/a/two.png": picture(2), f"{empty}/three.png": picture(3)})
    with fs.open(f"vi://{empty}/a/four.png", "wb") as file:
        Image.new("RGB", (3, 3)).save(file, "PNG")
    (tmp_path / "five.png").write_bytes(picture(5))
    fs.put(str(tmp_path / "five.png"), f"vi://{empty}/a/b/five.png")
    names = ["a/b/five.png", "a/four.png", "a/one.png", "a/two.png", "three.png"]
    assert fs.find(empty) == [f"{empty}/{name}" for name in names]
    assert fs.cat_file(f"{empty}/a/b/five.png") == picture(5)
    before = fs.ukey(f"{empty}/a/one.png")
    fs.pipe(f"{empty}/a/one.png", picture(11))
    assert fs.cat_file(f"{empty}/a/one.png") == picture(11)
    assert fs.ukey(f"{empty}/a/one.png") != before
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{empty}/a/one.png", picture(1), mode="create")
    fs.copy(f"{empty}/a/one.png", f"{empty}/six.png")
    fs.mv(f"{empty}/six.png", f"{empty}/seven.png")
    assert fs.cat_file(f"{empty}/seven.png") == picture(11)
    fs.rm(f"{empty}/seven.png")
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{empty}/a")
    fs.rm(f"{empty}/a", recursive=True)
    assert fs.find(empty) == [f"{empty}/three.png"]
    fs.invalidate_cache()
    assert fs.find(empty) == [f"{empty}/three.png"]
    fs.rm(empty, recursive=True)
    assert fs.ls(empty) == []


def test_a_file_that_fails_while_it_is_written_is_not_stored(fs: Any, empty: str) -> None:
    with pytest.raises(RuntimeError), fs.open(f"vi://{empty}/half.png", "wb") as file:  # noqa: PT012
        file.write(picture(1)[:10])
        raise RuntimeError
    assert not fs.exists(f"vi://{empty}/half.png")
    for mode in ("ab", "r+b"):
        with pytest.raises(NotImplementedError, match="whole"):
            fs.open(f"vi://{empty}/half.png", mode)
    with pytest.raises(vi.ViUploadError), fs.open(f"vi://{empty}/half.png", "wb") as file:
        file.write(b"no picture")
    with pytest.raises(IsADirectoryError):
        fs.open(f"vi://{empty}", "wb")


def test_a_transaction_stores_at_its_end(fs: Any, empty: str) -> None:
    with fs.transaction:
        with fs.open(f"vi://{empty}/late.png", "wb") as file:
            file.write(picture(1))
        assert not fs.exists(f"vi://{empty}/late.png")
    assert fs.cat_file(f"vi://{empty}/late.png") == picture(1)


def test_what_others_store_is_found_beside_a_listing(tested: TestedService, fs: Any, empty: str) -> None:
    assert fs.ls(empty) == []
    with tested.client() as client:
        client.assets.upload(empty, ("new.png", picture(1)), show_progress=False)
    assert fs.exists(f"{empty}/new.png")
    assert fs.ls(empty, detail=False) == [f"{empty}/new.png"]
    with tested.client() as client:
        client.assets.delete(empty, filename="new.png")
    assert fs.ls(empty, detail=False, refresh=True) == []


def test_a_listing_lives_as_long_as_asked(tested: TestedService, ds: str) -> None:
    fs = fsspec.filesystem("vi", listings_expiry_time=0.0)
    asked = tested.faults.delay(0, to="api", times=None)
    fs.ls(ds)
    fs.ls(ds)
    assert asked.hits == 2
    filesystem.close_clients()


def test_a_dataset_is_uploaded_as_a_folder(tested: TestedService, ds: str, empty: str) -> None:
    pytest.importorskip("upath")
    with tested.client() as client:
        client.assets.upload(empty, f"vi://{ds}/north", names="relative", show_progress=False)
        filesystem.close_clients()
        found = {asset.filename: data for asset, data in client.assets.stream(empty)}
    assert found == {n.removeprefix("north/"): data for n, data in FILES.items() if n.startswith("north/")}
