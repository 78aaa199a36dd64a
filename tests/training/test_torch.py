"""Datasets in torch's loaders: each sample once an epoch, in an order of the seed, resumed at any batch."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import vi
from tests.support.pictures import picture
from vi.testing import TestedService

torch = pytest.importorskip("torch", reason="torch is not installed")
data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
from vi.torch import Images, ImageStream, Index  # noqa: E402 - needs torch

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

COUNT = 200
MANY = 1000
METHODS = ["fork", "spawn", "forkserver"]


@attrs.frozen
class Stored:
    """A dataset and its files by name."""

    dataset_id: str
    files: dict[str, bytes]


def keep(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Collate nothing."""
    return samples


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("torch") / "data")
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(tested: TestedService) -> Iterator[None]:
    yield
    tested.faults.clear()


def store(tested: TestedService, count: int) -> Stored:
    files = {f"{number:04}.png": picture(number) for number in range(count)}
    with tested.client() as client:
        dataset = client.datasets.create(name="training").dataset_id
        metadata = {name: {"label": number % 3, "split": "ab"[number % 2]} for number, name in enumerate(files)}
        del metadata["0005.png"]["label"]
        client.assets.upload(dataset, list(files.items()), show_progress=False, custom_metadata=metadata)
    return Stored(dataset, files)


@pytest.fixture(scope="module")
def stored(tested: TestedService) -> Stored:
    return store(tested, COUNT)


@pytest.fixture
def client(tested: TestedService) -> Iterator[vi.Client]:
    with tested.client(retries=vi.RetryPolicy(backoff=0.01)) as client:
        yield client


def names(batches: Any) -> list[str]:
    return [sample["filename"] for batch in batches for sample in batch]


class TestImages:
    def test_a_sample_has_its_picture_names_and_columns(self, client: vi.Client, stored: Stored) -> None:
        images = Images(stored.dataset_id, client, columns=["label"])
        assert len(images) == COUNT
        by_name = {sample["filename"]: sample for sample in images.__getitems__(range(COUNT))}
        assert by_name.keys() == stored.files.keys()
        sample = by_name["0007.png"]
        assert sample["image"].getpixel((0, 0)) == (7, 0, 7)
        assert (sample["label"], by_name["0005.png"]["label"]) == (1, None)
        assert client.assets.get(stored.dataset_id, sample["asset_id"]).filename == "0007.png"
        assert images[-1]["filename"] == images[COUNT - 1]["filename"]
        with pytest.raises(IndexError):
            images[COUNT]

    def test_decoding_is_yours(self, client: vi.Client, stored: Stored) -> None:
        raw = Images(stored.dataset_id, client, decode="bytes")[0]
        assert raw["image"] == stored.files[raw["filename"]]
        assert Images(stored.dataset_id, client, decode=len, transform=str)[0]["image"] == str(len(raw["image"]))
        some = Images(stored.dataset_id, client, metadata_query='split == "a"')
        assert len(some) == COUNT // 2
        pytest.importorskip("torchvision", reason="torchvision is not installed")
        tensor = Images(stored.dataset_id, client, decode="torchvision")[0]["image"]
        assert tuple(tensor.shape) == (3, 6, 8)

    def test_a_batch_is_one_request_an_image(self, tested: TestedService, client: vi.Client, stored: Stored) -> None:
        images = Images(stored.dataset_id, client, decode="bytes")
        asked = tested.faults.delay(0, times=None)
        samples = images.__getitems__([3, 1, 3, 2])
        assert asked.hits == 3
        assert samples[0]["asset_id"] == samples[2]["asset_id"]
        assert [s["image"] for s in samples] == [stored.files[s["filename"]] for s in samples]

    @pytest.mark.parametrize("method", [None, *METHODS])
    def test_each_id_comes_once_an_epoch(self, client: vi.Client, stored: Stored, method: str | None) -> None:
        images = Images(stored.dataset_id, client, decode="bytes")
        loader = data.DataLoader(
            images,
            batch_size=16,
            shuffle=True,
            num_workers=2 if method else 0,
            multiprocessing_context=method,
            collate_fn=keep,
        )
        first, second = names(loader), names(loader)
        assert sorted(first) == sorted(second) == sorted(stored.files)
        assert first != second

    def test_damage_raises_with_its_name_or_is_counted(
        self, tested: TestedService, client: vi.Client, stored: Stored, caplog: pytest.LogCaptureFixture
    ) -> None:
        tested.faults.corrupt(5, path="*/0042.png", times=None)
        with pytest.raises(vi.ViDownloadError, match=r"0042\.png"):
            names(data.DataLoader(Images(stored.dataset_id, client), batch_size=8, collate_fn=keep))
        images = Images(stored.dataset_id, client, on_failure="skip")
        with caplog.at_level(logging.WARNING):
            found = names(data.DataLoader(images, batch_size=8, collate_fn=keep))
        assert sorted({*found, "0042.png"}) == sorted(stored.files)
        assert len(found) == COUNT - 1
        assert images.skipped == 1
        assert "0042.png" in caplog.text
        loader = data.DataLoader(images, batch_size=8, collate_fn=keep, num_workers=2)
        assert len(names(loader)) == COUNT - 1
        assert images.skipped == 2

    def test_what_cannot_be_decoded_is_named(self, client: vi.Client, stored: Stored) -> None:
        def refuse(data: bytes) -> object:
            raise ValueError("not this one")

        with pytest.raises(vi.ViOperationError, match=r"\.png: it cannot be decoded: not this one"):
            Images(stored.dataset_id, client, decode=refuse)[0]
        images = Images(stored.dataset_id, client, decode=refuse, on_failure="skip")
        with pytest.raises(vi.ViOperationError, match="No sample"):
            images.__getitems__([0, 1])
        assert images.skipped == 2

    @pytest.mark.parametrize(
        "bad", [{"decode": "jpeg"}, {"on_failure": "pass"}, {"columns": "label"}, {"columns": ["image"]}]
    )
    def test_arguments_that_cannot_be_are_refused(self, client: vi.Client, stored: Stored, bad: dict[str, Any]) -> None:
        with pytest.raises(vi.ViInvalidParameterError):
            Images(stored.dataset_id, client, **bad)

    def test_a_pickle_is_small_and_reads_without_listing(
        self, tested: TestedService, client: vi.Client, stored: Stored
    ) -> None:
        images = Images(stored.dataset_id, client, decode="bytes")
        pickled = pickle.dumps(images)
        asked = tested.faults.delay(0, to="api", times=None)
        assert pickle.loads(pickled)[3]["image"] == images[3]["image"]
        assert asked.hits == 0

    def test_an_asset_takes_at_most_400_bytes(self, client: vi.Client, stored: Stored) -> None:
        """At the length of names, ids and URLs that the service has."""
        listed = list(client.assets.list(stored.dataset_id, contents=True).all_items())
        index = Index.of(stored.dataset_id, (listed[n % COUNT] for n in range(100_000)), ["label"])
        assert index.nbytes / len(index) <= 400
        assert len(pickle.dumps(index)) / len(index) <= 400
        found, wanted = index.asset(77_777).contents, listed[77_777 % COUNT].contents
        assert found is not None
        assert wanted is not None
        assert found.asset is not None
        assert wanted.asset is not None
        assert found.asset.url == wanted.asset.url


class TestStream:
    def stream(self, client: vi.Client, stored: Stored, **options: Any) -> ImageStream:
        return ImageStream(stored.dataset_id, client, decode="bytes", batch_size=8, **{"shuffle": 7, **options})

    def loader(self, stream: ImageStream, workers: int = 0, method: str | None = None) -> Any:
        return data.DataLoader(
            stream, batch_size=8, num_workers=workers, collate_fn=keep, multiprocessing_context=method
        )

    def test_an_order_is_that_of_its_seed_and_epoch(self, client: vi.Client, stored: Stored) -> None:
        one, two = self.stream(client, stored), self.stream(client, stored)
        first = names(one.batches(self.loader(one)))
        second = names(one.batches(self.loader(one)))
        assert sorted(first) == sorted(second) == sorted(stored.files)
        assert first != second
        assert names(two.batches(self.loader(two, 2))) == first
        assert names(two.batches(self.loader(two, 2))) == second
        two.set_epoch(0)
        assert names(two.batches(self.loader(two))) == first
        plain = self.stream(client, stored, shuffle=None)
        assert names(plain.batches(self.loader(plain))) == [
            asset.filename for asset in client.assets.list(stored.dataset_id).all_items()
        ]

    @pytest.mark.parametrize("method", METHODS)
    def test_workers_share_the_samples(self, client: vi.Client, stored: Stored, method: str) -> None:
        stream = self.stream(client, stored)
        found = names(stream.batches(self.loader(stream, 2, method)))
        assert sorted(found) == sorted(stored.files)

    @pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 3), (3, 0), (0, 2)])
    def test_stopped_at_batch_seven_the_rest_comes_once(
        self, client: vi.Client, stored: Stored, before: int, after: int
    ) -> None:
        stream = self.stream(client, stored)
        found: list[str] = []
        for number, batch in enumerate(stream.batches(self.loader(stream, before)), 1):
            found += [sample["filename"] for sample in batch]
            if number == 7:
                break
        state = pickle.loads(pickle.dumps(stream.state_dict()))
        assert (state["epoch"], state["samples"]) == (0, 56)
        assert "http" not in str(state)
        resumed = self.stream(client, stored)
        resumed.load_state_dict(state)
        rest = names(resumed.batches(self.loader(resumed, after)))
        assert len(rest) == COUNT - 56
        assert sorted(found + rest) == sorted(stored.files)
        again = self.stream(client, stored)
        assert found + rest == names(again.batches(self.loader(again)))
        assert resumed.state_dict()["epoch"] == 1

    def test_workers_that_stay_hear_of_each_epoch(self, client: vi.Client, stored: Stored) -> None:
        """Reading ahead, some have finished the epoch that the loop leaves, and others have not."""
        stream = self.stream(client, stored)
        loader = data.DataLoader(
            stream, batch_size=8, num_workers=2, collate_fn=keep, persistent_workers=True, prefetch_factor=6
        )
        listed = [asset.filename for asset in client.assets.list(stored.dataset_id).all_items()]
        first, second, third = ([listed[place] for place in stream.order(epoch)] for epoch in range(3))
        for number, _ in enumerate(stream.batches(loader), 1):
            if number == 15:
                state = stream.state_dict()
                break
        assert names(stream.batches(loader)) == first
        assert names(stream.batches(loader)) == second
        stream.set_epoch(0)
        assert names(stream.batches(loader)) == first
        stream.load_state_dict(state)
        assert names(stream.batches(loader)) == first[120:]
        stream.set_epoch(0)
        for number, _ in enumerate(loader, 1):  # nobody counts
            if number == 15:
                break
        assert names(loader) == second
        assert names(loader) == third

    @pytest.mark.parametrize("loaded", [True, False])
    def test_what_was_skipped_is_done(
        self, tested: TestedService, client: vi.Client, stored: Stored, loaded: bool
    ) -> None:
        stream, resumed = (self.stream(client, stored, on_failure="skip") for _ in range(2))
        lost = client.assets.get(stored.dataset_id, stream.index.asset(int(stream.order(0)[1])).asset_id).filename
        tested.faults.corrupt(5, path=f"*/{lost}", times=None)
        found = []
        for sample in (
            (sample for batch in stream.batches(self.loader(stream)) for sample in batch) if loaded else stream
        ):
            found.append(sample["filename"])
            if len(found) == 16:
                break
        resumed.load_state_dict(stream.state_dict())
        rest = [sample["filename"] for sample in resumed]
        assert sorted([*found, *rest, lost]) == sorted(stored.files)

    def test_ranks_that_stop_within_a_batch_lose_nothing(self, client: vi.Client, stored: Stored) -> None:
        found = []
        for rank in range(2):
            stream = self.stream(client, stored, rank=rank, world_size=2)
            samples = iter(stream)
            found += [next(samples)["filename"] for _ in range(11)]
        assert stream.state_dict()["samples"] == 16
        rest = self.stream(client, stored)
        rest.load_state_dict(stream.state_dict())
        assert {*found, *(sample["filename"] for sample in rest)} == stored.files.keys()

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
    def test_a_copy_counts_what_its_workers_skip(
        self, tested: TestedService, client: vi.Client, stored: Stored, again: Callable[[ImageStream], ImageStream]
    ) -> None:
        tested.faults.corrupt(5, path="*/0042.png", times=None)
        stream = self.stream(client, stored, on_failure="skip")
        other = again(stream)
        assert len(names(other.batches(self.loader(other, 1, "fork")))) == COUNT - 1
        assert (other.skipped, stream.skipped) == (1, 0)
        del other
        assert next(iter(stream))

    def test_ranks_are_disjoint_and_a_state_holds_for_others(self, client: vi.Client, stored: Stored) -> None:
        done: list[str] = []
        states = []
        for rank in range(2):
            stream = self.stream(client, stored, rank=rank, world_size=2)
            for number, batch in enumerate(stream.batches(self.loader(stream, 2)), 1):
                done += [sample["filename"] for sample in batch]
                if number == 5:
                    break
            states.append(stream.state_dict())
        assert states[0] == states[1]
        assert len(done) == len(set(done)) == 80
        rest = []
        for rank in range(3):
            stream = self.stream(client, stored, rank=rank, world_size=3)
            stream.load_state_dict(states[0])
            rest += names(stream.batches(self.loader(stream)))
        assert sorted(done + rest) == sorted(stored.files)

    def test_ranks_come_from_the_environment(
        self, client: vi.Client, stored: Stored, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        found = []
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            stream = self.stream(client, stored)
            part = names(stream.batches(self.loader(stream)))
            assert len(part) < COUNT
            found += part
        assert sorted(found) == sorted(stored.files)

    def test_a_stateful_loader_resumes_its_workers(self, client: vi.Client, stored: Stored) -> None:
        stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
        for workers in (0, 2):
            loader = stateful(self.stream(client, stored), batch_size=8, num_workers=workers, collate_fn=keep)
            iterator = iter(loader)
            found = names(next(iterator) for _ in range(7))
            state = loader.state_dict()
            del iterator
            resumed = stateful(self.stream(client, stored), batch_size=8, num_workers=workers, collate_fn=keep)
            resumed.load_state_dict(state)
            assert sorted(found + names(resumed)) == sorted(stored.files)

    def test_workers_that_nobody_counts_have_no_state(self, client: vi.Client, stored: Stored) -> None:
        stream = self.stream(client, stored)
        next(iter(self.loader(stream, 1)))
        with pytest.raises(vi.ViOperationError, match="read ahead"):
            stream.state_dict()

    def test_a_dataset_that_changed_is_an_error_or_a_warning(self, tested: TestedService, client: vi.Client) -> None:
        changing = store(tested, 10)
        state = self.stream(client, changing).state_dict()
        client.assets.upload(changing.dataset_id, ("0003.png", picture(999)), show_progress=False)
        with pytest.raises(vi.ViOperationError, match="changed"):
            self.stream(client, changing).load_state_dict(state)
        with pytest.warns(UserWarning, match="changed"):
            self.stream(client, changing, pinned="warn").load_state_dict(state)
        with pytest.raises(vi.ViInvalidParameterError, match="shuffle=7"):
            self.stream(client, changing, shuffle=8).load_state_dict(state)
        with pytest.raises(vi.ViInvalidParameterError):
            self.stream(client, changing).load_state_dict({})

    def test_damage_is_skipped_and_counted(self, tested: TestedService, client: vi.Client, stored: Stored) -> None:
        tested.faults.corrupt(5, path="*/0042.png", times=None)
        stream = self.stream(client, stored, on_failure="skip")
        assert len(names(stream.batches(self.loader(stream, 2)))) == COUNT - 1
        assert stream.skipped == 1
        with pytest.raises(vi.ViDownloadError, match=r"0042\.png"):
            list(self.stream(client, stored))

    def test_a_client_of_the_environment_is_closed_with_it(
        self, tested: TestedService, stored: Stored, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in tested.environment.items():
            monkeypatch.setenv(name, value)
        stream = ImageStream(stored.dataset_id, decode="bytes", ahead=5)
        assert sum(1 for _ in stream) == COUNT
        assert os.environ["DATATURE_VI_SECRET_KEY"].encode() not in pickle.dumps(stream)


def test_a_thousand_pictures_come_once_an_epoch(tested: TestedService, client: vi.Client) -> None:
    large = store(tested, MANY)
    stream = ImageStream(large.dataset_id, client, shuffle=1, batch_size=32)
    loader = data.DataLoader(stream, batch_size=32, num_workers=2, collate_fn=keep)
    assert sorted(names(stream.batches(loader))) == sorted(large.files)
    images = Images(large.dataset_id, client)
    loader = data.DataLoader(images, batch_size=32, shuffle=True, num_workers=2, collate_fn=keep)
    assert sorted(names(loader)) == sorted(large.files)
