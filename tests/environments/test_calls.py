"""Calls from the client's own callbacks, at the interpreter's exit, and under nest_asyncio."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import vi
from tests.environments.conftest import Program
from vi.testing import TestedService


def test_on_progress_that_calls_its_own_client_is_told_so(client: vi.Client, dataset: str, images: Path) -> None:
    with pytest.raises(vi.ViOperationError, match="A callback of this client called the client"):
        client.assets.upload(dataset, images, on_progress=lambda progress: client.assets.count(dataset))


def test_a_program_on_trio_uses_the_sync_client_and_is_told_so(
    client: vi.Client, service: TestedService, images: Path, tmp_path: Path
) -> None:
    trio = pytest.importorskip("trio")
    name = client.organizations.get().name

    async def ask() -> str | None:
        return client.organizations.get().name

    assert anyio.run(ask, backend="trio") == trio.run(ask) == name

    async def ask_async() -> None:
        async with service.async_client() as other:
            await other.organizations.get()

    async def upload() -> None:
        await service.async_client().assets.upload("d", images, show_progress=False)

    async def local() -> None:
        await vi.AsyncClient.local(tmp_path / "data")

    for call in (ask_async, upload, local):
        with pytest.raises(vi.ViOperationError, match=r"needs a running event loop of asyncio\. .* trio"):
            anyio.run(call, backend="trio")
    assert not (tmp_path / "data").exists()


def test_a_metadata_function_that_calls_its_own_client_is_told_so(
    client: vi.Client, dataset: str, images: Path
) -> None:
    def describe(path: Any) -> dict[str, Any]:
        return {"count": client.assets.count(dataset)}

    with pytest.raises(vi.ViError, match="A callback of this client called the client"):
        client.assets.upload(dataset, images, custom_metadata=describe)


def test_a_hook_that_calls_its_own_client_is_told_so(client: vi.Client, dataset: str, images: Path) -> None:
    told: list[str] = []

    def hook(event: object) -> None:
        try:
            client.assets.count(dataset)
        except vi.ViOperationError as error:
            told.append(error.message)

    client.hooks.add(hook)
    assert client.assets.upload(dataset, images).total_succeeded == 4
    assert "A callback of this client called the client, which would wait for itself forever." in told


def test_another_client_may_be_used_in_a_callback(service: Any, client: vi.Client, dataset: str, images: Path) -> None:
    counts: list[int] = []
    with service.client() as other:
        client.assets.upload(dataset, images, on_progress=lambda _: counts.append(other.assets.count(dataset)))
    assert counts


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyboardInterrupt"])
def test_a_callback_that_ends_the_program_ends_it(program: Program, images: Path, end: str) -> None:
    code = f"""
import sys, vi

def on_progress(progress):
    {end}

with vi.Client() as client:
    dataset = client.datasets.create(name="exit").dataset_id
    try:
        client.assets.upload(dataset, sys.argv[1], on_progress=on_progress)
    except (SystemExit, KeyboardInterrupt) as error:
        print(type(error).__name__, client.datasets.get(dataset).name)
        raise
"""
    ended = program(code, images)
    name = "SystemExit" if "exit" in end else "KeyboardInterrupt"
    assert ended.stdout == f"{name} exit\n", ended.stderr
    assert (ended.returncode == 3) if name == "SystemExit" else (ended.returncode != 0)
    assert "ViOperationError" not in ended.stderr


def test_a_call_from_an_exit_function_works_and_a_later_one_is_an_error(program: Program) -> None:
    code = """
import atexit, os, sys, vi

class Late:
    def __init__(self, client):
        self.client, self.write, self.error = client, os.write, vi.ViError
    def __del__(self):
        try:
            self.write(1, f"{self.client.datasets.list()}".encode())
        except self.error as error:
            self.write(1, f"late: {error.message}\\n".encode())

client = vi.Client()
dataset = client.datasets.create(name="exit").dataset_id
atexit.register(lambda: print("at exit:", client.datasets.get(dataset).name, flush=True))
# A module's own names go before the built-in ones: this is dropped when the interpreter is past its exit functions.
sys.modules["kept"] = Late(client)
"""
    ended = program(code)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        "at exit: exit\nlate: The interpreter is shutting down; the client can no longer be used.\n"
    )


BROKEN_NEST = sys.version_info >= (3, 14)
"""nest_asyncio itself ended before Python 3.14, under which no task can use `asyncio.timeout`; others carry it on."""


def test_a_script_under_nest_asyncio_ends(program: Program, images: Path, tmp_path: Path) -> None:
    code = f"""
import asyncio, sys, {"nest_asyncio2" if BROKEN_NEST else "nest_asyncio"} as nested, vi
nested.apply()

async def main():
    async with vi.AsyncClient() as client:
        dataset = (await client.datasets.create(name="nested")).dataset_id
        result = await client.assets.upload(dataset, sys.argv[1], show_progress=False)
        print(result.total_succeeded)
        print((await client.assets.download(dataset, sys.argv[2], show_progress=False)).total_downloaded)
        print((await client.assets.verify(dataset, sys.argv[2])).ok)

asyncio.run(main())
"""
    ended = program(code, images, tmp_path / "copy")
    assert (ended.returncode, ended.stdout) == (0, "4\n4\nTrue\n"), ended.stderr


@pytest.mark.skipif(not BROKEN_NEST, reason="nest_asyncio works on this Python")
def test_where_nest_asyncio_breaks_every_loop_the_client_says_so(program: Program) -> None:
    code = """
import nest_asyncio, vi
nest_asyncio.apply()
try:
    vi.Client().datasets.list()
except vi.ViOperationError as error:
    print(error)
"""
    ended = program(code)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "nest_asyncio does not work on this Python" in ended.stdout
    assert "nest_asyncio2" in ended.stdout


@pytest.fixture
def listed(client: vi.Client, dataset: str, images: Path) -> Any:
    client.assets.upload(dataset, images, show_progress=False)
    return client.assets.list(dataset, pagination=vi.api.types.PaginationParams(page_size=2))


def test_a_page_is_pickled_without_its_client(listed: Any) -> None:
    again = pickle.loads(pickle.dumps(listed))
    assert (again.items, again.next_page, again.bad_items) == (listed.items, listed.next_page, listed.bad_items)
    pages = iter(again)
    assert next(pages).items == listed.items
    with pytest.raises(vi.ViOperationError, match="without its client"):
        next(pages)


def test_a_last_page_that_was_pickled_is_all_there_is(client: vi.Client, dataset: str) -> None:
    again = pickle.loads(pickle.dumps(client.assets.list(dataset)))
    assert [page.items for page in again] == [[]]


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy], ids=["copied", "copied in depth"])
def test_a_copied_page_continues_with_the_others(listed: Any, made: Any) -> None:
    again = made(listed)
    assert again == listed
    assert again.items is not listed.items or made is copy.copy
    assert len(list(again.all_items())) == 4
