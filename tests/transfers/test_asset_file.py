"""The sync form of `assets.open` is a buffered binary file, and one asset is found by id, name or as it was listed."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from PIL import Image

import vi
from vi.testing import TestedService

SIZES = {"PNG": (900, 700), "JPEG": (1600, 1200), "BMP": (300, 200), "TIFF": (800, 600), "WEBP": (1000, 800)}


@attrs.frozen
class Stored:
    """A dataset of large pictures, by name."""

    dataset_id: str
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("files") / "data")
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(tested: TestedService) -> Iterator[None]:
    yield
    tested.faults.clear()


@pytest.fixture(scope="module")
def stored(tested: TestedService) -> Stored:
    files = {}
    for number, (kind, size) in enumerate(SIZES.items()):
        out = io.BytesIO()
        noise = Image.frombytes("RGB", size, random.Random(number).randbytes(size[0] * size[1] * 3))
        noise.save(out, kind, quality=95)
        files[f"{kind.lower()}.{kind.lower()}"] = out.getvalue()
    with tested.client() as client:
        dataset = client.datasets.create(name="files").dataset_id
        client.assets.upload(dataset, list(files.items()), show_progress=False)
    return Stored(dataset, files)


@pytest.fixture
def client(tested: TestedService) -> Iterator[vi.Client]:
    with tested.client(retries=vi.RetryPolicy(backoff=0.01)) as client:
        yield client


@pytest.mark.parametrize("name", [f"{kind.lower()}.{kind.lower()}" for kind in SIZES])
def test_two_thousand_random_moves_and_reads_are_those_of_a_file_in_memory(
    client: vi.Client, stored: Stored, name: str
) -> None:
    rng = random.Random(name)
    memory = io.BytesIO(stored.files[name])
    size = len(stored.files[name])
    with client.assets.open(stored.dataset_id, filename=name) as file:
        for _ in range(2000):
            move = rng.random()
            if move < 0.2:
                # Most moves of real readers are short.
                near = rng.random() < 0.8
                to = max(0, memory.tell() + rng.randrange(-9000, 9000)) if near else rng.randrange(size + 100)
                whence = rng.choice((io.SEEK_SET, io.SEEK_CUR, io.SEEK_END))
                base = {io.SEEK_SET: 0, io.SEEK_CUR: memory.tell(), io.SEEK_END: size}[whence]
                assert file.seek(to - base, whence) == memory.seek(to - base, whence)
            elif move < 0.3:
                assert file.readline() == memory.readline()
            elif move < 0.4:
                room, other = bytearray(rng.randrange(5000)), bytearray()
                other += memory.read(len(room))
                assert file.readinto(room) == len(other)
                assert room[: len(other)] == other
            elif move < 0.5:
                ahead = file.peek(100)
                assert stored.files[name][memory.tell() :].startswith(ahead)
                assert bool(ahead) == (memory.tell() < size)
            elif move < 0.6:
                piece = file.read1(3000)
                assert piece == memory.read(len(piece))
                assert piece or memory.tell() >= size
            else:
                wanted = rng.choice((0, 1, 16, 700, 8192, 70_000, rng.randrange(300_000)))
                assert file.read(wanted) == memory.read(wanted)
            assert file.tell() == memory.tell()
        assert file.read() == memory.read()
        assert file.seek(0) == 0
        file.seek(0)
        assert file.readlines() == io.BytesIO(stored.files[name]).readlines()


def test_pictures_decode_from_the_file_alone(client: vi.Client, stored: Stored) -> None:
    for name, data in stored.files.items():
        with client.assets.open(stored.dataset_id, filename=name) as file, Image.open(file) as image:
            image.load()
            with Image.open(io.BytesIO(data)) as same:
                assert image.convert("RGB").tobytes() == same.convert("RGB").tobytes()


def test_a_tar_file_takes_it_as_a_member(client: vi.Client, stored: Stored, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for asset in client.assets.list(stored.dataset_id, contents=True).all_items():
            member = tarfile.TarInfo(asset.filename)
            with client.assets.open(stored.dataset_id, asset) as file:
                member.size = file.size
                tar.addfile(member, file)
    with tarfile.open(tmp_path / "all.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        assert {name: file.read() for name, file in members.items() if file is not None} == stored.files


def test_it_is_what_open_returns(client: vi.Client, stored: Stored) -> None:
    with client.assets.open(stored.dataset_id, filename="png.png") as file:
        assert isinstance(file, io.BufferedReader)
        assert (file.name, file.mode, file.readable(), file.seekable(), file.writable()) == (
            "png.png",
            "rb",
            True,
            True,
            False,
        )
        assert "png.png" in repr(file)
    assert file.closed


def test_a_read_that_fails_moves_nothing(tested: TestedService, stored: Stored) -> None:
    """What came before the failure is not lost: the same read, made again, gives all of it."""
    data = stored.files["bmp.bmp"]
    with (
        tested.client(retries=vi.RetryPolicy(max_attempts=1)) as client,
        client.assets.open(stored.dataset_id, filename="bmp.bmp") as file,
    ):
        cut = tested.faults.truncate(100_000)
        head = file.read(10)
        with pytest.raises(vi.ViNetworkError):
            file.read(len(data))
        assert cut.hits == 1
        assert file.tell() == 10
        assert head + file.read(len(data)) == data


def test_what_lies_behind_a_damage_is_not_given(tested: TestedService, client: vi.Client, stored: Stored) -> None:
    """A digest that was wrong once is not passed over by reading on; from the beginning the asset may be read again."""
    damage = tested.faults.corrupt(1_000, times=None)
    data = stored.files["png.png"]
    with client.assets.open(stored.dataset_id, filename="png.png") as file:
        file.read(10)
        for _ in range(3):
            with pytest.raises(vi.ViDownloadError) as caught:
                file.read()
            assert caught.value.error_code == "ECORRUPT"
        damage.remove()
        with pytest.raises(vi.ViDownloadError):
            file.read()
        file.seek(0)
        assert file.read() == data


class TestOneAsset:
    """`get`, `open`, `delete` and `rename` take an id, a filename, or an asset."""

    def test_by_name_costs_one_request(self, tested: TestedService, client: vi.Client, stored: Stored) -> None:
        with tested.faults.delay(0, to="api", times=None) as asked:
            by_name = client.assets.get(stored.dataset_id, filename="png.png")
            assert asked.hits == 1
        assert client.assets.get(stored.dataset_id, by_name.asset_id) == by_name
        assert client.assets.get(stored.dataset_id, by_name) == by_name
        assert client.assets.get(stored.dataset_id, filename="png.png", contents=True).contents is not None

    def test_an_asset_listed_with_contents_is_opened_without_asking(
        self, tested: TestedService, client: vi.Client, stored: Stored
    ) -> None:
        assets = client.assets.list(stored.dataset_id, contents=True).items
        with tested.faults.delay(0, to="api", times=None) as asked:
            for asset in assets:
                with client.assets.open(stored.dataset_id, asset) as file:
                    assert file.read() == stored.files[asset.filename]
        assert asked.hits == 0

    def test_an_asset_whose_url_is_over_is_asked_for_again(self, client: vi.Client, stored: Stored) -> None:
        asset = client.assets.get(stored.dataset_id, filename="png.png", contents=True)
        with client.assets.open(stored.dataset_id, asset) as file:
            file.read(1)  # an answer tells the service's clock
        assert asset.contents is not None
        assert asset.contents.asset is not None
        asset.contents.asset.url += "x"
        asset.contents.asset.expiry = 1_000
        with client.assets.open(stored.dataset_id, asset) as file:
            assert file.read() == stored.files["png.png"]

    def test_an_asset_without_contents_is_asked_for(self, client: vi.Client, stored: Stored) -> None:
        asset = client.assets.list(stored.dataset_id).items[0]
        with client.assets.open(stored.dataset_id, asset) as file:
            assert file.read() == stored.files[asset.filename]

    @pytest.mark.parametrize("name", ["PNG.png", "nothing.png", 'a "quoted" \\ name.png'])
    def test_a_name_that_is_not_there_is_told(self, client: vi.Client, stored: Stored, name: str) -> None:
        for call in (client.assets.get, client.assets.open, client.assets.delete):
            with pytest.raises(vi.ViNotFoundError, match=r"no asset named"):
                call(stored.dataset_id, filename=name)

    def test_both_and_neither_are_refused(self, client: vi.Client, stored: Stored) -> None:
        for call in (client.assets.get, client.assets.open, client.assets.delete):
            with pytest.raises(vi.ViInvalidParameterError, match="either asset_id or filename"):
                call(stored.dataset_id)
            with pytest.raises(vi.ViInvalidParameterError, match="either asset_id or filename"):
                call(stored.dataset_id, "a", filename="b")
        for bad in (7, b"a", "", "a/b"):
            with pytest.raises(vi.ViInvalidParameterError, match="asset_id"):
                client.assets.get(stored.dataset_id, bad)  # type: ignore[arg-type]

    def test_an_asset_of_another_dataset_is_refused(self, client: vi.Client, stored: Stored) -> None:
        asset = client.assets.list(stored.dataset_id).items[0]
        other = client.datasets.create(name="other").dataset_id
        for call in (client.assets.get, client.assets.open, client.assets.delete):
            with pytest.raises(vi.ViInvalidParameterError, match="belongs to the dataset"):
                call(other, asset)

    def test_one_is_deleted_by_name_or_as_an_asset(self, client: vi.Client) -> None:
        dataset = client.datasets.create(name="deletions").dataset_id
        out = io.BytesIO()
        Image.new("RGB", (4, 4), "red").save(out, "PNG")
        client.assets.upload(dataset, [(f"{n}.png", out.getvalue()) for n in "abc"], show_progress=False)
        by_name = client.assets.get(dataset, filename="a.png")
        assert client.assets.delete(dataset, filename="a.png").asset_id == by_name.asset_id
        client.assets.delete(dataset, client.assets.get(dataset, filename="b.png"))
        assert [asset.filename for asset in client.assets.list(dataset).all_items()] == ["c.png"]
        renamed = client.assets.rename(dataset, "d.png", client.assets.get(dataset, filename="c.png"))
        assert renamed.filename == "d.png"
