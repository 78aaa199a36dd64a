"""Every async method has its sync twin, with the same signature and the same words."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

import vi
import vi.api
from vi._loop_thread import LoopThread
from vi.api.blocking import Blocking
from vi.api.pagination import Listing, PaginatedResponse


def twins() -> list[tuple[type, type]]:
    """Every sync resource with the async one it names as its own."""
    found = []
    for module in pkgutil.walk_packages(vi.api.__path__, "vi.api."):
        for cls in vars(importlib.import_module(module.name)).values():
            if (
                inspect.isclass(cls)
                and issubclass(cls, Blocking)
                and cls is not Blocking
                and cls.__module__ == module.name
            ):
                found.append((get_args(cls.__orig_bases__[0])[0], cls))  # type: ignore[attr-defined]
    return found


TWINS = twins()


def public(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: member
        for name in dir(cls)
        if not name.startswith("_") and callable(member := inspect.getattr_static(cls, name))
    }


METHODS = [(one, two, name) for one, two in TWINS for name in sorted({*public(one), *public(two)})]


def test_the_resources_are_found() -> None:
    assert {(one.__name__, two.__name__) for one, two in TWINS} >= {
        ("AsyncAssets", "Assets"),
        ("AsyncDatasets", "Datasets"),
        ("AsyncOrganizations", "Organizations"),
    }
    assert len(METHODS) >= 17


@pytest.mark.parametrize(("one", "two", "name"), METHODS, ids=lambda value: getattr(value, "__name__", value))
class TestMethods:
    def test_both_have_it(self, one: type, two: type, name: str) -> None:
        assert name in public(one)
        assert name in public(two)

    def test_signatures_are_identical(self, one: type, two: type, name: str) -> None:
        """Names, kinds, defaults and annotations, the text of the annotations included."""
        ours, twin = inspect.signature(getattr(one, name)), inspect.signature(getattr(two, name))
        assert ours == twin
        assert str(ours) == str(twin)

    def test_docstrings_are_identical(self, one: type, two: type, name: str) -> None:
        assert inspect.getdoc(getattr(one, name))
        assert getattr(one, name).__doc__ == getattr(two, name).__doc__

    def test_one_waits_and_the_other_does_not(self, one: type, two: type, name: str) -> None:
        asynchronous = getattr(one, name)
        returned = inspect.signature(asynchronous).return_annotation.split("[")[0]
        at_once = getattr(inspect.getmodule(asynchronous), returned, None)
        waits = hasattr(at_once, "__await__") or hasattr(at_once, "__anext__")
        assert inspect.iscoroutinefunction(asynchronous) or waits
        assert not inspect.iscoroutinefunction(getattr(two, name))
        assert not inspect.isasyncgenfunction(getattr(two, name))


def test_the_types_of_every_method_are_tested_in_both_forms() -> None:
    """tests/typing/api.py calls each method for its type, and once more with a mistake that must be found."""
    called: dict[tuple[str, bool], set[str]] = {}
    for function in ast.parse((Path(__file__).parent / "typing" / "api.py").read_text()).body:
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                resource = ast.unparse(node.func.value).removeprefix("client.")
                form = isinstance(function, ast.AsyncFunctionDef)
                called.setdefault((resource, form), set()).add(node.func.attr)
    for one, two in TWINS:
        for cls, form in ((one, True), (two, False)):
            assert set(public(cls)) <= called.get((two.__name__.lower(), form), set())


def test_a_missing_twin_would_be_found() -> None:
    class AsyncThings:
        async def get(self, thing_id: str) -> str:
            return thing_id

        async def lose(self) -> None: ...

    class Things(Blocking[AsyncThings]):
        def get(self, thing_id: int) -> str:
            return str(thing_id)

    assert set(public(AsyncThings)) - set(public(Things)) == {"lose"}
    assert inspect.signature(AsyncThings.get) != inspect.signature(Things.get)


def test_resources_say_the_same_of_themselves() -> None:
    assert [two.__name__ for one, two in TWINS if one.__doc__ != two.__doc__] == []


def test_clients_are_made_alike() -> None:
    assert inspect.signature(vi.Client.__init__) == inspect.signature(vi.AsyncClient.__init__)
    ours, twin = inspect.signature(vi.AsyncClient.local), inspect.signature(vi.Client.local)
    assert list(ours.parameters.values()) == list(twin.parameters.values())


def test_clients_have_the_same_resources(client: vi.Client) -> None:
    def resources(of: object) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert resources(client) == resources(client._client)
    for name in resources(client):
        assert (type(getattr(client._client, name)), type(getattr(client, name))) in TWINS


def test_clients_have_the_same_members() -> None:
    renamed = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
    ours = {renamed.get(name, name) for name in vars(vi.AsyncClient) if not name.startswith("_") or name in renamed}
    twin = {name for name in vars(vi.Client) if not name.startswith("_") or name in renamed.values()}
    assert ours == twin


def test_pages_offer_the_same_ways_through_a_listing() -> None:
    ways = {name for name in vars(Listing) if not name.startswith("_")} - {"fetch", "pagination", "first"}
    assert ways == {"pages", "all_items"}
    assert ways <= set(dir(PaginatedResponse))


def test_a_client_starts_no_thread_before_its_first_call(client: vi.Client) -> None:
    assert isinstance(client._loop_thread, LoopThread)
    assert client._loop_thread.runs is False
    client.datasets.list()
    assert client._loop_thread.runs is True
