"""One asset as a stream: at the reader's pace, in stretches, through cuts and expiry, never damaged and complete."""

from __future__ import annotations

import asyncio
import io
import os
import random
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from PIL import Image

import vi
from vi.testing import TestedService

pytestmark = pytest.mark.anyio

LARGE = 3_000_000


@attrs.frozen
class Stored:
    """A dataset with a small and a large asset."""

    dataset_id: str
    small_id: str
    large_id: str
    small: bytes
    large: bytes


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("faulty") / "data")
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(faulty: TestedService) -> Iterator[None]:
    yield
    faulty.faults.clear()


@pytest.fixture(scope="session")
def stored(faulty: TestedService) -> Stored:
    small, large = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(small, "PNG")
    noise = Image.frombytes("RGB", (1000, 1000), random.Random(1).randbytes(LARGE))
    noise.save(large, "BMP")
    with faulty.client() as client:
        dataset_id = client.datasets.create(name="open").dataset_id
        contents = [("small.png", small.getvalue()), ("large.bmp", large.getvalue())]
        client.assets.upload(dataset_id, contents, show_progress=False)
        ids = {asset.filename: asset.asset_id for asset in client.assets.list(dataset_id).all_items()}
    return Stored(dataset_id, ids["small.png"], ids["large.bmp"], small.getvalue(), large.getvalue())


@pytest.fixture
def client(faulty: TestedService) -> Iterator[vi.Client]:
    with faulty.client(retries=vi.RetryPolicy(backoff=0.01)) as client:
        yield client


def fast(service: TestedService) -> vi.AsyncClient:
    return service.async_client(retries=vi.RetryPolicy(backoff=0.01))


class TestAsync:
    async def test_an_asset_comes_in_pieces_with_what_is_known_of_it(
        self, faulty: TestedService, stored: Stored
    ) -> None:
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            assert stream.asset.filename == "large.bmp"
            assert (stream.size, stream.content_type) == (len(stored.large), "image/bmp")
            assert stream.etag == f'"sha256-{stream.asset.metadata.hash.contents}"'
            pieces = [piece async for piece in stream]
        assert b"".join(pieces) == stored.large
        assert max(map(len, pieces)) <= 256 << 10

    async def test_reads_are_bounded_and_end_with_nothing(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            first = await stream.read(10)
            assert first == stored.large[:10]
            assert await stream.read(0) == b""
            rest = await stream.read()
            assert first + rest == stored.large
            assert await stream.read(10) == b""
            assert await stream.read() == b""
            await stream.select(10)
            assert await stream.read(None) == rest
            with pytest.raises(TypeError):
                await stream.read(1.5)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("start", "end"), [(0, 5), (100, 200), (1_000_000, None), (2_999_999, 99_999_999), (7, 7), (3_000_054, None)]
    )
    async def test_a_stretch_is_what_a_slice_is(
        self, faulty: TestedService, stored: Stored, start: int, end: int | None
    ) -> None:
        async with (
            fast(faulty) as client,
            client.assets.open(stored.dataset_id, stored.large_id, start, end) as stream,
        ):
            assert await stream.read() == stored.large[start:end]

    async def test_another_stretch_may_be_chosen_later(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            await stream.read(1)
            await stream.select(50, 60)
            assert await stream.read() == stored.large[50:60]

    @pytest.mark.parametrize(
        ("start", "end"), [(-1, None), (0, -1), (5, 4), (10_000_000, None), (1.5, None), (True, 2)]
    )
    async def test_a_stretch_that_cannot_be_is_refused(
        self, faulty: TestedService, stored: Stored, start: int, end: int | None
    ) -> None:
        async with fast(faulty) as client:
            with pytest.raises(vi.ViInvalidParameterError, match=r"start|end"):
                await client.assets.open(stored.dataset_id, stored.large_id, start, end)

    async def test_a_missing_asset_is_told_when_it_is_opened(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client:
            with pytest.raises(vi.ViNotFoundError):
                async with client.assets.open(stored.dataset_id, "nothing"):
                    pytest.fail("it was opened")

    async def test_a_broken_stream_resumes_where_it_broke(self, faulty: TestedService, stored: Stored) -> None:
        cuts = faulty.faults.truncate(400_000, times=3)
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            assert await stream.read() == stored.large
        assert cuts.hits == 3

    async def test_a_read_is_filled(self, faulty: TestedService, stored: Stored) -> None:
        """Fewer bytes than asked for mean the end, and nothing else."""
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            assert await stream.read(2_000_000) == stored.large[:2_000_000]
            room = bytearray(900_000)
            assert await stream.readinto(room) == 900_000
            assert room == stored.large[2_000_000:2_900_000]
            assert await stream.readinto(room) == len(stored.large) - 2_900_000
            assert await stream.readinto(room) == 0

    @pytest.mark.parametrize("status", [500, 503, 429])
    async def test_a_passing_refusal_is_waited_out(self, faulty: TestedService, stored: Stored, status: int) -> None:
        refusal = faulty.faults.status(status, to="storage", times=2)
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            assert await stream.read() == stored.large
        assert refusal.hits == 2

    async def test_an_expired_url_is_renewed(self, faulty: TestedService, stored: Stored) -> None:
        expired = faulty.faults.expiry(method="GET", times=2)
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            assert await stream.read() == stored.large
        assert expired.hits == 2

    async def test_a_damaged_asset_never_comes_whole(self, faulty: TestedService, stored: Stored) -> None:
        faulty.faults.corrupt(1_000_000, times=None)
        received = 0
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            with pytest.raises(vi.ViDownloadError) as caught:  # noqa: PT012
                async for piece in stream:
                    received += len(piece)
        assert caught.value.error_code == "ECORRUPT"
        assert 0 < received < len(stored.large)

    async def test_a_small_asset_that_is_damaged_once_comes_again(self, faulty: TestedService, stored: Stored) -> None:
        damage = faulty.faults.corrupt(3)
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.small_id) as stream:
            assert await stream.read() == stored.small
        assert damage.hits == 1

    async def test_an_asset_replaced_while_it_is_read_is_not_mixed(self, faulty: TestedService) -> None:
        name, first, second = "changing.bmp", io.BytesIO(), io.BytesIO()
        for number, out in enumerate((first, second)):
            Image.frombytes("RGB", (1000, 1000), random.Random(number).randbytes(LARGE)).save(out, "BMP")
        async with fast(faulty) as client:
            dataset = (await client.datasets.create(name="changing")).dataset_id
            await client.assets.upload(dataset, (name, first.getvalue()), show_progress=False)
            asset_id = (await client.assets.list(dataset)).items[0].asset_id
            cut = faulty.faults.truncate(500_000)
            async with client.assets.open(dataset, asset_id) as stream:
                pieces = [await stream.read(1000)]
                await client.assets.upload(dataset, (name, second.getvalue()), show_progress=False)
                with pytest.raises((vi.ViDownloadError, vi.ViNotFoundError)):  # noqa: PT012
                    while piece := await stream.read(100_000):
                        pieces.append(piece)
            assert cut.hits == 1
        received = b"".join(pieces)
        assert first.getvalue().startswith(received)
        assert len(received) < len(first.getvalue())

    async def test_a_read_that_is_cancelled_can_be_made_again(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            first = await stream.read(200_000)
            await stream.select(len(first))
            with faulty.faults.delay(30, to="storage") as slow:
                reading = asyncio.create_task(stream.read(100_000))
                while not slow.hits:
                    await asyncio.sleep(0.005)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            assert first + await stream.read() == stored.large

    async def test_what_is_not_read_is_not_fetched(self, faulty: TestedService, stored: Stored) -> None:
        """A reader that stops early holds one piece and the socket's buffers, and leaves nothing open."""
        async with fast(faulty) as client:
            async with client.assets.open(stored.dataset_id, stored.large_id) as stream:
                await stream.read(1)
                assert stream.connected
            assert not stream.connected

    async def test_a_read_of_everything_that_is_cancelled_loses_nothing(
        self, faulty: TestedService, stored: Stored
    ) -> None:
        async with fast(faulty) as client, client.assets.open(stored.dataset_id, stored.large_id) as stream:
            cut = faulty.faults.truncate(1_000_000)
            slow = faulty.faults.delay(30, to="storage")
            reading = asyncio.create_task(stream.read())
            while not slow.hits:
                await asyncio.sleep(0.005)
            assert cut.hits == 1
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await stream.read() == stored.large

    async def test_a_closed_stream_gives_nothing(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client:
            stream = await client.assets.open(stored.dataset_id, stored.large_id)
            await stream.read(1)
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(vi.ViOperationError, match="closed"):
                await stream.read(1)

    async def test_many_at_once(self, faulty: TestedService, stored: Stored) -> None:
        async with fast(faulty) as client:

            async def read(number: int) -> bytes:
                async with client.assets.open(stored.dataset_id, stored.large_id, number * 1000) as stream:
                    return await stream.read(10)

            found = await asyncio.gather(*(read(number) for number in range(50)))
        assert found == [stored.large[number * 1000 :][:10] for number in range(50)]


class TestFile:
    def test_it_is_a_file_that_libraries_take(self, client: vi.Client, stored: Stored) -> None:
        with client.assets.open(stored.dataset_id, stored.large_id) as file, Image.open(file) as image:
            assert image.size == (1000, 1000)
            assert image.convert("RGB").tobytes() == random.Random(1).randbytes(LARGE)
            assert (file.name, file.size, file.content_type) == ("large.bmp", len(stored.large), "image/bmp")

    def test_it_seeks_and_tells_like_a_file(self, client: vi.Client, stored: Stored) -> None:
        """A hundred random moves and reads give what a file on disk gives."""
        rng = random.Random(5)
        disk = io.BytesIO(stored.large)
        with client.assets.open(stored.dataset_id, stored.large_id) as file:
            for _ in range(100):
                whence = rng.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END))
                base = {0: 0, 1: disk.tell(), 2: len(stored.large)}[whence]
                target = rng.choice([rng.randrange(len(stored.large) + 100), disk.tell(), disk.tell() + 10])
                assert file.seek(target - base, whence) == disk.seek(target - base, whence)
                wanted = rng.choice((0, 1, 100, 70_000))
                assert file.read(wanted) == disk.read(wanted)
                assert file.tell() == disk.tell()

    def test_positions_count_from_the_stretch(self, client: vi.Client, stored: Stored) -> None:
        with client.assets.open(stored.dataset_id, stored.large_id, 1000, 2000) as file:
            assert file.tell() == 0
            assert file.read() == stored.large[1000:2000]
            assert file.seek(-10, os.SEEK_END) == 990
            assert file.read() == stored.large[1990:2000]

    def test_it_has_lines_and_may_be_peeked_at(self, client: vi.Client, stored: Stored) -> None:
        with client.assets.open(stored.dataset_id, stored.large_id) as file:
            assert file.readline() == io.BytesIO(stored.large).readline()
            assert file.peek(1)[:1] == stored.large[file.tell() :][:1]

    def test_a_wrong_seek_is_refused_as_by_a_file(self, client: vi.Client, stored: Stored) -> None:
        with client.assets.open(stored.dataset_id, stored.small_id) as file:
            with pytest.raises(ValueError, match="before the beginning"):
                file.seek(-1)
            with pytest.raises(ValueError, match="whence"):
                file.seek(0, 7)
        with pytest.raises(ValueError, match="closed"):
            file.read(1)
        file.close()

    def test_it_may_be_read_in_another_thread(self, client: vi.Client, stored: Stored) -> None:
        found: list[bytes] = []
        with client.assets.open(stored.dataset_id, stored.large_id) as file:
            thread = threading.Thread(target=lambda: found.append(file.read()))
            thread.start()
            thread.join(20)
        assert found == [stored.large]

    def test_closed_after_its_client_it_starts_nothing(self, faulty: TestedService, stored: Stored) -> None:
        """And says nothing: the client has let go of the connection."""
        before = set(threading.enumerate())
        client = faulty.client()
        file = client.assets.open(stored.dataset_id, stored.large_id)
        file.read(1)
        client.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            file.close()
        assert [t for t in set(threading.enumerate()) - before if t.name == "vi-client"] == []

    def test_a_damaged_asset_is_never_read_whole(
        self, faulty: TestedService, client: vi.Client, stored: Stored, tmp_path: Path
    ) -> None:
        faulty.faults.corrupt(1_000_000, times=None)
        with client.assets.open(stored.dataset_id, stored.large_id) as file, pytest.raises(vi.ViDownloadError):
            file.read()
