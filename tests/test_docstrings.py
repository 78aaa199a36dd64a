"""The docstring of each public method says what an editor shows: every parameter, what comes back, what is raised."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator
from typing import Any

import pytest

import vi
from vi.api.resources.datasets.assets.resource import Assets, AsyncAssets
from vi.api.resources.datasets.resource import AsyncDatasets, Datasets
from vi.api.resources.organizations.resource import AsyncOrganizations, Organizations

CLASSES = (AsyncAssets, Assets, AsyncDatasets, Datasets, AsyncOrganizations, Organizations, vi.AsyncClient, vi.Client)


def methods() -> Iterator[tuple[str, Any]]:
    for cls in CLASSES:
        for name in dir(cls):
            member = getattr(cls, name)
            if not name.startswith("_") and callable(member):
                yield f"{cls.__name__}.{name}", member
    yield "AsyncClient()", vi.AsyncClient
    yield "Client()", vi.Client


METHODS = dict(methods())


def entries(documented: Any, section: str) -> dict[str, str]:
    """The entries of a section of a docstring: ``name: text``, indented by four."""
    doc = inspect.getdoc(documented) or ""
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)*)", doc, flags=re.MULTILINE)
    return dict(re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", found[1], flags=re.MULTILINE)) if found else {}


def parameters(documented: Any) -> list[str]:
    return [name for name in inspect.signature(documented).parameters if name not in ("self", "cls")]


def test_the_methods_are_found() -> None:
    assert len(METHODS) > 45
    assert {"AsyncAssets.upload", "Assets.upload_events", "Datasets.create", "Client.local"} <= METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_documented_and_no_other(name: str) -> None:
    documented = METHODS[name]
    assert list(entries(documented, "Args")) == parameters(documented)


@pytest.mark.parametrize("name", [name for name in METHODS if parameters(METHODS[name])])
def test_what_is_returned_and_raised_is_said(name: str) -> None:
    doc = inspect.getdoc(METHODS[name]) or ""
    assert "\n\nReturns:\n    " in doc or name.endswith("()")
    errors = entries(METHODS[name], "Raises")
    assert errors or name.endswith(".list")
    assert [error for error in errors if not hasattr(vi, error)] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_can_time_out_says_so_and_gives_the_unit(name: str) -> None:
    if "timeout" in parameters(METHODS[name]):
        assert entries(METHODS[name], "Args")["timeout"].startswith("Seconds ")
        assert "ViTimeoutError" in entries(METHODS[name], "Raises")


@pytest.mark.parametrize("client", [vi.Client, vi.AsyncClient])
def test_help_of_a_client_names_its_resources(client: type) -> None:
    text = pydoc.plain(pydoc.render_doc(client))
    assert all(f"client.{name}" in text for name in ("assets", "datasets", "organizations"))
