"""`assets.read` and `assets.stream`: verified bytes in memory, in order, one request an asset."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import attrs
import pytest

import vi
from tests.support.pictures import noise
from vi.api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion, SortOrder
from vi.testing import TestedService

pytestmark = pytest.mark.anyio

COUNT = 1000


@attrs.frozen
class Stored:
    """A dataset and its files by name, in the order of the listing."""

    dataset_id: str
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("stream") / "data")
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(tested: TestedService) -> Iterator[None]:
    yield
    tested.faults.clear()


def store(tested: TestedService, files: dict[str, bytes]) -> Stored:
    with tested.client() as client:
        dataset = client.datasets.create(name="stream").dataset_id
        client.assets.upload(
            dataset,
            list(files.items()),
            show_progress=False,
            custom_metadata={name: {"number": number} for number, name in enumerate(files)},
        )
        names = [asset.filename for asset in client.assets.list(dataset).all_items()]
    return Stored(dataset, {name: files[name] for name in names})


@pytest.fixture(scope="module")
def many(tested: TestedService) -> Stored:
    return store(tested, {f"{number:04}.bmp": noise(number) for number in range(COUNT)})


@pytest.fixture(scope="module")
def few(tested: TestedService) -> Stored:
    return store(tested, {f"{number}.bmp": noise(number, (300, 400)) for number in range(12)})


@pytest.fixture
def five(tested: TestedService) -> Stored:
    return store(tested, {f"{number}.bmp": noise(number) for number in range(5)})


def fast(tested: TestedService, **settings: object) -> vi.AsyncClient:
    return tested.async_client(retries=vi.RetryPolicy(backoff=0.01), **settings)


class TestStream:
    async def test_a_thousand_assets_cost_a_thousand_requests_and_a_page_or_two(
        self, tested: TestedService, many: Stored
    ) -> None:
        data = tested.faults.delay(0, to="storage", times=None)
        pages = tested.faults.delay(0, to="api", times=None)
        async with fast(tested) as client:
            reader = client.assets.stream(many.dataset_id)
            found = [(asset.filename, data) async for asset, data in reader]
        assert found == list(many.files.items())
        assert data.hits == COUNT
        assert pages.hits <= 2
        assert (reader.report.total_read, reader.report.failures) == (COUNT, [])
        assert reader.report.bytes_read == sum(map(len, many.files.values()))

    async def test_an_order_and_a_selection_are_those_of_the_listing(self, tested: TestedService, many: Stored) -> None:
        order = AssetSortCriterion(SortCriterion.FILENAME, SortOrder.DESC)
        async with fast(tested) as client:
            names = [a.filename async for a, _ in client.assets.stream(many.dataset_id, sort_by=order)]
            assert names == sorted(many.files, reverse=True)
            query = client.assets.stream(many.dataset_id, metadata_query="number == 7")
            assert [asset.filename async for asset, _ in query] == ["0007.bmp"]

    async def test_many_are_in_flight_and_no_more_than_asked(self, tested: TestedService, few: Stored) -> None:
        """The service holds every answer back: as many requests come as may be ahead, by number and by bytes."""
        size = len(few.files["0.bmp"])
        for ahead, memory, most in ((5, 1 << 30, 5), (50, size * 3 + 10, 3), (50, 10, 1)):
            async with fast(tested) as client:
                held = tested.faults.delay(30, to="storage", times=None)
                reader = client.assets.stream(few.dataset_id, ahead=ahead, memory=memory)
                reading = asyncio.create_task(reader.next())
                while held.hits < most:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.1)
                assert held.hits == most
                reading.cancel()
                await asyncio.wait([reading])
                held.remove()
                await reader.aclose()
                assert await reader.next() is None

    async def test_what_is_cancelled_can_be_asked_for_again(self, tested: TestedService, few: Stored) -> None:
        async with fast(tested) as client:
            reader = client.assets.stream(few.dataset_id)
            with tested.faults.delay(0.3, to="storage", times=None) as held:
                reading = asyncio.create_task(reader.next())
                while not held.hits:
                    await asyncio.sleep(0.005)
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled()
            assert [(asset.filename, data) async for asset, data in reader] == list(few.files.items())

    async def test_damage_is_never_given(self, tested: TestedService, few: Stored) -> None:
        damage = tested.faults.corrupt(1_000, path="*/3.bmp", times=None)
        given: list[str] = []
        async with fast(tested) as client:
            with pytest.raises(vi.ViDownloadError, match=r"3\.bmp") as caught:  # noqa: PT012
                async for asset, data in client.assets.stream(few.dataset_id):
                    assert data == few.files[asset.filename]
                    given.append(asset.filename)
            assert caught.value.error_code == "ECORRUPT"
            assert given == list(few.files)[: list(few.files).index("3.bmp")]
            reader = client.assets.stream(few.dataset_id, on_failure="skip")
            rest = [asset.filename async for asset, _ in reader]
        assert damage.hits > 1
        assert rest == [name for name in few.files if name != "3.bmp"]
        assert [(one.filename, one.code) for one in reader.report.failures] == [("3.bmp", "ECORRUPT")]
        assert reader.report.total_read == len(rest)

    @pytest.mark.parametrize("fault", ["truncate", "corrupt", "reset", "status"])
    async def test_what_passes_is_waited_out(self, tested: TestedService, few: Stored, fault: str) -> None:
        if fault == "status":
            met = tested.faults.status(503, to="storage", times=5)
        elif fault == "reset":
            met = tested.faults.reset(to="storage", times=5)
        else:
            met = getattr(tested.faults, fault)(100_000, times=5)
        async with fast(tested) as client:
            found = {asset.filename: data async for asset, data in client.assets.stream(few.dataset_id)}
        assert found == few.files
        assert met.hits == 5

    async def test_a_cut_asset_is_resumed_and_not_begun_again(self, tested: TestedService, few: Stored) -> None:
        cut = tested.faults.truncate(200_000, times=1)
        async with fast(tested) as client:
            assert await client.assets.read(few.dataset_id, filename="5.bmp") == few.files["5.bmp"]
        assert cut.hits == 1

    async def test_expired_urls_are_renewed(self, tested: TestedService, few: Stored) -> None:
        expired = tested.faults.expiry(method="GET", times=4)
        async with fast(tested) as client:
            found = {asset.filename: data async for asset, data in client.assets.stream(few.dataset_id)}
        assert found == few.files
        assert expired.hits == 4

    async def test_an_asset_that_is_gone_is_named(self, tested: TestedService, five: Stored) -> None:
        stored = five
        async with fast(tested) as client:
            listed = [asset async for asset in client.assets.list(stored.dataset_id, contents=True).all_items()]
            await client.assets.delete(stored.dataset_id, filename="2.bmp")
            reader = client.assets.stream(stored.dataset_id, assets=listed, on_failure="skip")
            assert [asset.filename async for asset, _ in reader] == [n for n in stored.files if n != "2.bmp"]
            assert [(one.filename, one.code) for one in reader.report.failures] == [("2.bmp", "ENOENT")]
            with pytest.raises(vi.ViNotFoundError, match=r"2\.bmp"):
                _ = [asset async for asset, _ in client.assets.stream(stored.dataset_id, assets=listed)]

    async def test_a_listing_that_fails_is_told_also_when_failures_are_skipped(
        self, tested: TestedService, few: Stored
    ) -> None:
        tested.faults.status(500, to="api", times=None)
        async with tested.async_client(retries=vi.RetryPolicy(max_attempts=1)) as client:
            with pytest.raises(vi.ViServerError):
                await client.assets.stream(few.dataset_id, on_failure="skip").next()

    @pytest.mark.parametrize(("status", "error"), [(401, vi.ViAuthenticationError), (403, vi.ViPermissionError)])
    async def test_a_refused_key_skips_nothing(
        self, tested: TestedService, few: Stored, status: int, error: type[vi.ViError]
    ) -> None:
        tested.faults.expiry(method="GET", times=None)
        tested.faults.status(status, to="api", after=1, times=None)
        async with fast(tested) as client, client.assets.stream(few.dataset_id, on_failure="skip") as reader:
            with pytest.raises(error):
                await anext(reader)
            assert reader.report.failures == []

    async def test_nothing_is_sent_before_the_first_is_wanted(self, tested: TestedService, few: Stored) -> None:
        sent = tested.faults.delay(0, times=None)
        async with fast(tested) as client:
            client.assets.stream(few.dataset_id)
        assert sent.hits == 0

    async def test_a_closed_client_ends_it(self, tested: TestedService, few: Stored) -> None:
        client = fast(tested)
        held = tested.faults.delay(30, to="storage", times=None)
        reading = asyncio.create_task(client.assets.stream(few.dataset_id).next())
        while not held.hits:
            await asyncio.sleep(0.005)
        await client.aclose()
        with pytest.raises(vi.ViOperationError, match="closed"):
            await reading

    @pytest.mark.parametrize(
        "bad",
        [
            {"ahead": 0},
            {"ahead": True},
            {"memory": 1.5},
            {"on_failure": "pass"},
            {"assets": [], "metadata_query": "a:b"},
        ],
    )
    async def test_arguments_that_cannot_be_are_refused(self, tested: TestedService, bad: dict[str, object]) -> None:
        async with fast(tested) as client:
            with pytest.raises(vi.ViInvalidParameterError):
                client.assets.stream("d", **bad)  # type: ignore[arg-type]

    async def test_only_assets_of_the_dataset_are_taken(self, tested: TestedService, few: Stored, many: Stored) -> None:
        async with fast(tested) as client:
            other = (await client.assets.list(many.dataset_id)).items
            for bad in (other, ["an id"]):
                with pytest.raises(vi.ViInvalidParameterError):
                    await client.assets.stream(few.dataset_id, assets=bad).next()  # type: ignore[arg-type]


class TestTwin:
    def test_it_is_a_plain_iterator(self, tested: TestedService, few: Stored) -> None:
        with tested.client() as client:
            reader = client.assets.stream(few.dataset_id)
            assert iter(reader) is reader
            assert [(asset.filename, data) for asset, data in reader] == list(few.files.items())
            assert reader.report.total_read == len(few.files)
            with pytest.raises(StopIteration):
                next(reader)

    def test_left_early_it_leaves_nothing(self, tested: TestedService, few: Stored) -> None:
        with tested.client() as client:
            for asset, _ in client.assets.stream(few.dataset_id):
                assert asset.filename in few.files
                break
            with client.assets.stream(few.dataset_id) as reader:
                next(reader)
            assert list(reader) == []

    def test_one_asset_is_read_by_id_name_or_as_it_was_listed(self, tested: TestedService, few: Stored) -> None:
        with tested.client() as client:
            asset = client.assets.list(few.dataset_id, contents=True).items[0]
            data = few.files[asset.filename]
            asked = tested.faults.delay(0, times=None)
            assert client.assets.read(few.dataset_id, asset) == data
            assert asked.hits == 1
            assert client.assets.read(few.dataset_id, asset.asset_id) == data
            assert client.assets.read(few.dataset_id, filename=asset.filename) == data
            assert asked.hits == 5

    def test_damage_and_absence_are_errors(self, tested: TestedService, few: Stored) -> None:
        with tested.client(retries=vi.RetryPolicy(backoff=0.01)) as client:
            with tested.faults.corrupt(5, times=None), pytest.raises(vi.ViDownloadError) as caught:
                client.assets.read(few.dataset_id, filename="1.bmp")
            assert caught.value.error_code == "ECORRUPT"
            with pytest.raises(vi.ViNotFoundError):
                client.assets.read(few.dataset_id, "nothing")
