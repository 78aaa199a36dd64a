"""Pictures that come with a page or an asset: only when asked for, within bytes and seconds, and never a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from vi import _samples
from vi._media import sniff
from vi.api.resources.datasets.assets.download import thumbnails
from vi.api.types import PaginationParams
from vi.testing import TestedService


@pytest.fixture
def filled(client: vi.Client, service: Any, dataset: str, tmp_path: Path) -> str:
    """The id of a dataset with twelve images."""
    _samples.make_samples(tmp_path / "images", count=12, size=(64, 48))
    client.assets.upload(dataset, tmp_path / "images", show_progress=False)
    service.forget()
    return dataset


def test_a_page_has_them_when_asked(client: vi.Client, service: Any, filled: str) -> None:
    page = client.assets.list(filled, thumbnails=True)
    assert len(page) == 10
    assert {sniff((asset.thumbnail or b"")[:64]) for asset in page.items} <= {"jpeg", "webp"}
    assert len(service.requests("GET", storage=True)) == 10
    assert len(service.requests("GET", storage=False)) == 1
    assert {asset.contents for asset in page.items} == {None}


def test_a_page_has_none_when_not_asked(client: vi.Client, service: Any, filled: str) -> None:
    page = client.assets.list(filled, contents=True)
    page._repr_html_()
    repr(page)
    assert [asset.thumbnail for asset in page.items] == [None] * 10
    assert service.requests(storage=True) == []


def test_every_page_of_an_iteration_has_them(client: vi.Client, filled: str) -> None:
    listing = client.assets.list(filled, PaginationParams(page_size=5), contents=True, thumbnails=True)
    assets = list(listing.all_items())
    assert len(assets) == 12
    assert all(asset.thumbnail and asset.contents for asset in assets)


def test_an_asset_has_its_own_when_asked(client: vi.Client, service: Any, filled: str) -> None:
    asset_id = client.assets.list(filled).items[0].asset_id
    service.forget()
    assert client.assets.get(filled, asset_id).thumbnail is None
    assert service.requests(storage=True) == []
    asset = client.assets.get(filled, asset_id, thumbnail=True)
    assert asset.thumbnail
    assert asset.contents is None
    assert client.assets.get(filled, asset_id, True, thumbnail=True).contents is not None


@pytest.mark.anyio
async def test_awaited_too(async_client: vi.AsyncClient, filled: str) -> None:
    page = await async_client.assets.list(filled, thumbnails=True)
    assert all(asset.thumbnail for asset in page.items)
    assert page._repr_html_().count("<img") == 10


def test_they_go_without_the_key(client: vi.Client, service: Any, filled: str) -> None:
    client.assets.list(filled, thumbnails=True)
    for seen in service.requests(storage=True):
        assert "Authorization" not in seen.headers
        assert "Organization-Id" not in seen.headers


def test_bytes_are_bounded(client: vi.Client, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [asset.thumbnail or b"" for asset in client.assets.list(filled, thumbnails=True).items]
    monkeypatch.setattr(thumbnails, "AT_ONCE", 1)
    monkeypatch.setattr(thumbnails, "ALL_BYTES", sum(map(len, whole[:4])))
    some = [asset.thumbnail for asset in client.assets.list(filled, thumbnails=True).items]
    assert some == [*whole[:4], *[None] * 6]


def test_a_large_one_is_left_out(client: vi.Client, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "ONE_BYTES", 100)
    page = client.assets.list(filled, thumbnails=True)
    assert [asset.thumbnail for asset in page.items] == [None] * 10


def test_a_storage_that_hangs_is_not_waited_for(
    client: vi.Client, service: Any, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "SECONDS", 0.3)
    with service.hold("GET", "/thumbnail/", after=3):
        began = time.monotonic()
        page = client.assets.list(filled, thumbnails=True)
        assert time.monotonic() - began < 3
    assert sum(asset.thumbnail is not None for asset in page.items) == 3
    shown = page._repr_html_()
    assert shown.count("<img") == 3
    assert all(asset.filename in shown for asset in page.items)


class Failing:
    """What the service answers in place of a thumbnail."""

    def __init__(self) -> None:
        self.answer: Any = None

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def answer(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.path.startswith("/thumbnail/") and self.answer is not None:
                response: web.StreamResponse = await self.answer(request)
                return response
            given: web.StreamResponse = await handler(request)
            return given

        return answer


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[tuple[TestedService, Failing]]:
    failing = Failing()
    running = TestedService.start(tmp_path / "failing", middlewares=[failing.middleware])
    yield running, failing
    running.stop()


async def _gone(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def _broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _script(request: web.Request) -> web.StreamResponse:
    return web.Response(
        body=b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", content_type="image/svg+xml"
    )


async def _packed(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\xff\xd8\xff", headers={"Content-Encoding": "br"})


async def _round(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(request.path_qs)


@pytest.mark.parametrize("answer", [_gone, _broken, _script, _packed, _round])
def test_a_failure_leaves_a_place_and_no_error(
    failing: tuple[TestedService, Failing], answer: Any, tmp_path: Path
) -> None:
    service, failures = failing
    _samples.make_samples(tmp_path / "images", count=2, size=(32, 24))
    with service.client() as client:
        dataset = client.datasets.create(name="x").dataset_id
        client.assets.upload(dataset, tmp_path / "images", show_progress=False)
        failures.answer = answer
        page = client.assets.list(dataset, thumbnails=True)
    assert [asset.thumbnail for asset in page.items] == [None, None]
    assert "<img" not in page._repr_html_()
