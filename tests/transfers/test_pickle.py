"""A client is what its settings say: pickled, it starts anew in another process, however that process was made."""

from __future__ import annotations

import asyncio
import copy
import functools
import multiprocessing
import pickle
import ssl
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import vi
from tests.support import children
from vi.testing import TestedService

pytestmark = [
    pytest.mark.anyio,
    # Python warns of a fork beside any thread; what is tested here is that it does no harm.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

METHODS = ["spawn"] if sys.platform == "win32" else ["fork", "spawn", "forkserver"]
KEYS = ("dtvi_" + "a" * 98, "dtvi_" + "b" * 98)


def again(thing: object) -> object:
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture
def filled(client: vi.Client, dataset: str, images: Path) -> tuple[str, list[str]]:
    client.assets.upload(dataset, images, show_progress=False)
    return dataset, sorted(path.name for path in images.iterdir())


WAYS = {"pickle": again, "copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_has_the_settings_and_nothing_else(client: vi.Client, filled: tuple[str, list[str]], way: str) -> None:
    client.hooks.add(lambda event: None)
    other = WAYS[way](client)
    assert type(other) is vi.Client
    assert other.settings == client.settings
    assert not other.hooks
    assert other._loop_thread.runs is False
    assert children.names(other, filled[0]) == filled[1]
    assert client.assets.count(filled[0]) == len(filled[1])


async def test_an_async_client_is_copied_too(service: TestedService) -> None:
    async with service.async_client(retries=vi.RetryPolicy(max_attempts=2)) as client:
        for way in WAYS.values():
            async with way(client) as other:
                assert other.settings == client.settings
                await other.datasets.list()


@pytest.mark.parametrize("method", METHODS)
def test_a_process_of_any_kind_takes_a_client(client: vi.Client, filled: tuple[str, list[str]], method: str) -> None:
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=children.answer, args=(queue, client, filled[0]))
    process.start()
    pid, found = queue.get(timeout=60)
    process.join(60)
    assert (process.exitcode, found) == (0, filled[1])
    assert pid == process.pid


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_runs_methods_of_a_client(client: vi.Client, filled: tuple[str, list[str]], method: str) -> None:
    """Without a function of one's own: a bound method takes its client along."""
    dataset, names = filled
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        read = [pool.submit(client.assets.read, dataset, filename=name) for name in names]
        assert [one.result(60) for one in read] == [client.assets.read(dataset, filename=name) for name in names]
        assert pool.submit(client.datasets.get, dataset).result(60).dataset_id == dataset


def test_resources_have_a_client_of_their_own(client: vi.Client, dataset: str) -> None:
    for name in ("assets", "datasets", "organizations"):
        copied = again(getattr(client, name))
        assert type(copied) is type(getattr(client, name))
        assert type(again(getattr(client._client, name))) is type(getattr(client._client, name))
        copied._loop_thread.close()
    read = functools.partial(client.assets.count, dataset)
    counted = again(read)
    assert counted() == 0
    counted.func.__self__._loop_thread.close()


def test_what_the_environment_gave_is_read_from_it_again(
    client: vi.Client, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", KEYS[0])
    pickled = pickle.dumps(vi.Client(None, "acme", "http://127.0.0.1:1"))
    assert KEYS[0].encode() not in pickled
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", KEYS[1])
    loaded = pickle.loads(pickled)
    assert loaded.settings.secret_key == KEYS[1]
    assert (loaded.settings.organization_id, loaded.settings.endpoint) == ("acme", "http://127.0.0.1:1")
    assert KEYS[1].encode() not in pickle.dumps(loaded)
    monkeypatch.delenv("DATATURE_VI_SECRET_KEY")
    with pytest.raises(vi.ViConfigurationError, match="DATATURE_VI_SECRET_KEY is not set here"):
        pickle.loads(pickled)
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", "wrong")
    with pytest.raises(vi.ViConfigurationError, match="malformed"):
        pickle.loads(pickled)


def test_what_was_given_travels_as_it_is(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "ORGANIZATION_ID", "API_ENDPOINT"):
        monkeypatch.setenv(f"DATATURE_VI_{name}", KEYS[1] if name == "SECRET_KEY" else "http://127.0.0.1:2")
    client = vi.Client(KEYS[0], "acme", "http://10.0.0.1", allow_http=True, timeouts=vi.Timeouts(request=7))
    pickled = pickle.dumps(client)
    assert KEYS[0].encode() in pickled
    assert pickle.loads(pickled).settings == client.settings
    assert again(client.settings) == client.settings


def test_an_ssl_context_is_refused_by_name_and_copied_here() -> None:
    client = vi.Client(KEYS[0], "acme", ssl_context=ssl.create_default_context())
    with pytest.raises(vi.ViOperationError, match="ssl_context"):
        pickle.dumps(client)
    assert copy.deepcopy(client).settings == client.settings


def test_a_client_of_a_local_service_joins_it(tmp_path: Path, images: Path) -> None:
    with vi.Client.local(tmp_path / "data") as client:
        dataset = client.datasets.create(name="joined").dataset_id
        client.assets.upload(dataset, images, show_progress=False)
        pickled = pickle.dumps(client)
        with pickle.loads(pickled) as other:
            assert other.assets.count(dataset) == 4
        assert client.assets.count(dataset) == 4  # the copy's end is not the service's
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            assert len(pool.submit(children.names, client, dataset).result(60)) == 4
    with vi.Client.local(tmp_path / "data") as moved, pickle.loads(pickled) as other:
        assert other.settings.endpoint == moved.settings.endpoint
        assert other.assets.count(dataset) == 4


async def test_an_async_client_of_a_local_service_joins_it(tmp_path: Path) -> None:
    async with vi.AsyncClient.local(tmp_path / "data") as client, again(client) as other:
        await client.datasets.create(name="joined")
        assert (await other.datasets.list()).items[0].name == "joined"
    await asyncio.sleep(0)


def test_a_subclass_stays_one(service: TestedService) -> None:
    with service.client() as made:
        client = Special.__new__(Special)
        client._wrap(made._client, made._loop_thread)
        assert type(again(client)) is Special


class Special(vi.Client):
    """A client of the user's own."""


def test_joblib_and_cloudpickle_take_it(client: vi.Client, filled: tuple[str, list[str]]) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    joblib = pytest.importorskip("joblib")
    dataset, names = filled
    loaded = cloudpickle.loads(cloudpickle.dumps(lambda: client.assets.count(dataset)))
    assert loaded() == len(names)
    loaded.__closure__[0].cell_contents.close()
    read = joblib.Parallel(2)(joblib.delayed(client.assets.read)(dataset, filename=name) for name in names)
    assert read == [client.assets.read(dataset, filename=name) for name in names]
