"""What the client sends, seen from the service: documents, queries and headers (protocol sections 1 and 5-10)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import StreamReader, web

import vi
from tests.support.protocol_documents import document
from vi import _checksums, _samples
from vi.api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion
from vi.api.types import PaginationParams
from vi.server import ServiceConfig
from vi.testing import TestedService

PART = 1 << 16
SIZE = 3 * PART + 5


@attrs.frozen
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Notebook:
    """Notes every request of a service."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    @property
    def middleware(self) -> Any:
        """What notes them."""

        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            body = None
            if request.path.startswith("/workspaces"):
                raw = await request.read()
                body = json.loads(raw) if raw else None
                # Handlers read the stream themselves, so they get one of their own.
                request._payload = StreamReader(request.protocol, 1 << 16)
                request._payload.feed_data(raw)
                request._payload.feed_eof()
            seen = Request(request.method, request.path, dict(request.query), dict(request.headers), body)
            self.requests.append(seen)
            answer: web.StreamResponse = await handler(request)
            return answer

        return note

    def of(self, method: str, ending: str) -> list[Request]:
        """The requests of a method whose path ends so; a regular expression."""
        return [r for r in self.requests if r.method == method and re.search(rf"{ending}$", r.path)]

    def one(self, method: str, ending: str) -> Request:
        (found,) = self.of(method, ending)
        return found


@pytest.fixture(scope="module")
def notes() -> Notebook:
    return Notebook()


@pytest.fixture(scope="module")
def noted_service(notes: Notebook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(
        tmp_path_factory.mktemp("noted") / "data", ServiceConfig(part_bytes=PART), middlewares=[notes.middleware]
    )
    yield service
    service.stop()


@pytest.fixture
def client(noted_service: TestedService, notes: Notebook) -> Iterator[vi.Client]:
    limits = vi.TransferLimits(multipart_threshold=2 * PART)
    with noted_service.client(limits=limits) as client:
        notes.requests.clear()
        yield client


@pytest.fixture
def dataset(client: vi.Client, notes: Notebook) -> str:
    dataset_id = client.datasets.create(name="test").dataset_id
    notes.requests.clear()
    return dataset_id


def picture(number: int = 0) -> bytes:
    return _samples.encode(number, ".png", (16, 12))


def large_picture() -> bytes:
    """A picture of just `SIZE` bytes."""
    data = _samples.encode(0, ".bmp", (128, 128))
    return data + bytes(SIZE - len(data))


class TestDocuments:
    def test_creating_a_dataset(self, client: vi.Client, notes: Notebook) -> None:
        client.datasets.create("Street signs", metadata={"team": "north"})
        expected = {**document("DatasetCreateRequest"), "owner": client.settings.organization_id}
        assert notes.one("POST", "/datasets").body == expected
        notes.requests.clear()
        client.datasets.create("Street signs")
        del expected["metadata"]
        assert notes.one("POST", "/datasets").body == expected

    def test_opening_a_session(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        metadata = {"cat.png": {"camera_type": "aerial", "height_m": 12.5, "night": False}}
        client.assets.upload(dataset, [("cat.png", picture()), ("b.png", picture(1))], custom_metadata=metadata)
        spec = notes.one("POST", "/assetSources/managed/datature/default/assetIngestionSessions").body["spec"]
        expected = document("SessionCreateRequest")["spec"]
        assert spec.keys() == expected.keys()
        assert {name: spec[name] for name in spec if name != "assets"} == {
            name: expected[name] for name in expected if name != "assets"
        }
        cat, other = spec["assets"]
        assert cat == {
            "filename": "cat.png",
            "kind": "Image",
            "mime": "image/png",
            "size": len(picture()),
            "crc32c": _checksums.to_signed(_checksums.crc32c(picture())),
            "customMetadata": metadata["cat.png"],
        }
        assert cat.keys() == expected["assets"][0].keys()
        assert other["customMetadata"] is None

    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ({"failure_mode": "FailAfterAll"}, ("FailAfterAll", "RemoveLinkedResource")),
            ({"on_asset_overwritten": "KeepLinkedResource"}, ("FailAfterOne", "KeepLinkedResource")),
            ({"on_asset_overwritten": "KeepLinkedResources"}, ("FailAfterOne", "KeepLinkedResource")),
        ],
    )
    def test_the_modes_of_a_session(
        self, given: dict[str, Any], sent: tuple[str, str], client: vi.Client, dataset: str, notes: Notebook
    ) -> None:
        client.assets.upload(dataset, ("a.png", picture()), **given)
        spec = notes.one("POST", "/assetIngestionSessions").body["spec"]
        assert (spec["failureMode"], spec["onAssetOverwritten"]) == sent

    def test_a_multipart_upload(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        result = client.assets.upload(dataset, ("drive.bmp", large_picture()))
        assert result.total_succeeded == 1
        created = notes.one("POST", "/multipartUploads").body
        assert created.keys() == document("MultipartCreateRequest").keys()
        assert created["spec"].pop("ingestionId")
        assert created["spec"] == {"filename": "drive.bmp", "contentType": "image/bmp", "sizeBytes": SIZE}
        asked = notes.of("POST", r"/parts/\d+")
        assert {request.path.rpartition("/")[2] for request in asked} == {"1", "2", "3", "4"}
        assert [request.body for request in asked] == [{}] * 4
        done = notes.of("POST", r"/parts/\d+/completion")
        assert len(done) == 4
        for request in done:
            assert request.body.keys() <= document("PartCompletionRequest").keys()
            assert request.body["responseHeaders"].keys() == {"ETag"}
            assert request.body["responseHeaders"]["ETag"].startswith('"')
        assert notes.one("POST", r"/multipartUploads/\w+/completion").body is None
        sizes = sorted(int(request.headers["Content-Length"]) for request in notes.of("PUT", ""))
        assert sizes == [SIZE // 4] * 3 + [SIZE - 3 * (SIZE // 4)]
        assert all("Transfer-Encoding" not in request.headers for request in notes.of("PUT", ""))

    @pytest.mark.parametrize(
        ("selection", "spec"),
        [
            (
                {"filter_criteria": {"status": "error"}, "strict_query": True},
                {"filter": '{"status": "error"}', "strictQuery": True},
            ),
            ({"filter_criteria": '{"status": "ready"}'}, {"filter": '{"status": "ready"}'}),
            ({"metadata_query": "a:b"}, {"metadataQuery": "a:b"}),
            ({"all": True}, {}),
        ],
    )
    def test_a_bulk_deletion(
        self, selection: dict[str, Any], spec: dict[str, Any], client: vi.Client, dataset: str, notes: Notebook
    ) -> None:
        metadata = {"a.png": {"a": "b"}, "b.png": {}}
        client.assets.upload(dataset, [("a.png", picture()), ("b.png", picture(1))], custom_metadata=metadata)
        client.assets.delete_many(dataset, **selection)
        sent = notes.of("POST", "/deleteManyAssetsSessions")
        nothing = dict.fromkeys(document("BulkDeleteRequest")["spec"])
        if "error" in str(selection):
            assert sent == []  # nothing is in error, so nothing is asked for
        else:
            assert [request.body for request in sent] == [{"spec": {**nothing, **spec}}]

    def test_a_rename(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        client.assets.upload(dataset, ("a #1?.png", picture()))
        asset = client.assets.rename(dataset, "new name.png", filename="a #1?.png")
        client.assets.rename(dataset, "a.png", asset_id=asset.asset_id)
        by_name, by_id = notes.of("POST", "/name")
        assert by_name.body == document("RenameRequest")
        assert by_name.path.endswith("/assetFiles/a #1?.png/name")
        assert by_id.path.endswith(f"/assets/{asset.asset_id}/name")

    def test_what_has_no_body_sends_none(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        result = client.assets.upload(dataset, ("a.png", picture()))
        client.assets.cancel(dataset, result.session_ids[0])
        client.assets.delete(dataset, client.assets.list(dataset).items[0].asset_id)
        client.datasets.delete(dataset)
        for request in (*notes.of("DELETE", ""), notes.one("POST", ":cancel"), *notes.of("GET", "")):
            assert request.body is None


class TestQueries:
    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ({}, {"s": "10"}),
            ({"pagination": PaginationParams(page_size=7)}, {"s": "7"}),
            ({"contents": True}, {"s": "10", "contents": "y"}),
            ({"sort_by": AssetSortCriterion()}, {"s": "10"}),
            ({"sort_by": AssetSortCriterion(SortCriterion.FILENAME)}, {"s": "10", "sortBy": "filename"}),
            ({"sort_by": AssetSortCriterion("filename", "desc")}, {"s": "10", "sortBy": "filename", "o": "d"}),
            ({"sort_by": AssetSortCriterion(order="desc")}, {"s": "10", "sortBy": "default", "o": "d"}),
            ({"filter_criteria": {"status": "ready"}}, {"s": "10", "filter": '{"status": "ready"}'}),
            ({"filter_criteria": '{"status": "ready"}'}, {"s": "10", "filter": '{"status": "ready"}'}),
            ({"metadata_query": 'a == "é&b=c"'}, {"s": "10", "metadataQuery": 'a == "é&b=c"'}),
            ({"metadata_query": "a:b", "strict_query": True}, {"s": "10", "metadataQuery": "a:b", "strictQuery": "y"}),
        ],
    )
    def test_a_listing(
        self, given: dict[str, Any], sent: dict[str, str], client: vi.Client, dataset: str, notes: Notebook
    ) -> None:
        client.assets.list(dataset, **given)
        assert notes.one("GET", "/assets").query == sent

    def test_the_next_page_repeats_every_parameter(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        client.assets.upload(dataset, [(f"{number}.png", picture(number)) for number in range(5)])
        notes.requests.clear()
        listing = client.assets.list(
            dataset,
            PaginationParams(page_size=2),
            contents=True,
            sort_by=AssetSortCriterion("filename", "desc"),
            filter_criteria={"status": "ready"},
        )
        assert [asset.filename for asset in listing.all_items()] == ["4.png", "3.png", "2.png", "1.png", "0.png"]
        first, *others = (request.query for request in notes.of("GET", "/assets"))
        assert "p" not in first
        assert len(others) == 2
        for query in others:
            assert {**query, "p": None} == {**first, "p": None}

    def test_one_asset(self, client: vi.Client, dataset: str, notes: Notebook) -> None:
        client.assets.upload(dataset, ("a.png", picture()))
        asset_id = client.assets.list(dataset).items[0].asset_id
        for contents in (False, True):
            client.assets.get(dataset, asset_id, contents=contents)
        assert [r.query for r in notes.of("GET", f"/assets/{asset_id}")] == [{}, {"contents": "y"}]

    @pytest.mark.parametrize("composite", [False, True])
    def test_a_dataset_is_named_by_its_composite_id(
        self, composite: bool, client: vi.Client, dataset: str, notes: Notebook
    ) -> None:
        organization = client.settings.organization_id
        client.datasets.get(f"{organization}_{dataset}" if composite else dataset)
        assert notes.requests[-1].path == f"/workspaces/{organization}/datasets/{organization}_{dataset}"


class TestHeaders:
    @pytest.fixture
    def everything(self, client: vi.Client, dataset: str, notes: Notebook, tmp_path: Path) -> list[Request]:
        """The requests of an upload, a multipart upload, a listing and a download."""
        client.assets.upload(dataset, [("a.png", picture()), ("large.bmp", large_picture())])
        client.assets.list(dataset, contents=True)
        client.assets.download(dataset, tmp_path)
        return notes.requests

    def test_api_requests_carry_the_key_and_the_organization(
        self, everything: list[Request], client: vi.Client
    ) -> None:
        api = [request for request in everything if request.path.startswith("/workspaces")]
        assert len(api) > 10
        for request in api:
            assert request.headers["Authorization"] == f"Bearer {client.settings.secret_key}"
            assert request.headers["Organization-Id"] == client.settings.organization_id
            assert request.headers["Content-Type"] == "application/json"
            assert request.headers["Accept"] == "application/json"
            assert re.fullmatch(r"vi/\S+ \(Python/\S+; \S+/\S+\)", request.headers["User-Agent"])
            assert "Cookie" not in request.headers

    def test_signed_transfers_carry_none_of_them(self, everything: list[Request]) -> None:
        storage = [request for request in everything if not request.path.startswith("/workspaces")]
        assert {request.method for request in storage} == {"PUT", "GET"}
        assert len(storage) == 1 + 4 + 2
        for request in storage:
            assert not {"Authorization", "Organization-Id", "Cookie"} & set(request.headers)
            assert request.headers["Accept-Encoding"] == "identity"
            assert "dtvi_" not in str(request)

    def test_a_put_has_its_length_and_the_type_that_was_signed(self, everything: list[Request]) -> None:
        types = {}
        for request in everything:
            if request.method == "PUT":
                assert "Transfer-Encoding" not in request.headers
                types[int(request.headers["Content-Length"])] = request.headers.get("Content-Type")
        assert types[len(picture())] == "image/png"
        assert len(types) == 3

    def test_a_creating_post_has_a_key_of_its_own(self, everything: list[Request]) -> None:
        keys = [request.headers.get("Idempotency-Key") for request in everything if request.method == "POST"]
        assert None not in keys
        assert len(set(keys)) == len(keys)
        assert all("Idempotency-Key" not in request.headers for request in everything if request.method == "GET")
