"""Services with settings of a test's own, and a raw connection to a service that knows nothing of our client."""

from __future__ import annotations

import asyncio
import io
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import yarl

from tests.service import answers
from tests.service.gallery_visitor import Visitor
from tests.support import pictures
from vi.server import ServiceConfig
from vi.server.lifecycle import wall_clock
from vi.testing import TestedService

SOURCE = "/assetSources/managed/datature/default"


class Clock:
    """Milliseconds since 1970 that a test can move on."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return wall_clock() + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += int(seconds * 1000)


class ClockedService(TestedService):
    """A service whose clock a test moves on."""

    def __init__(
        self,
        data: Path,
        config: ServiceConfig | None = None,
        middlewares: Sequence[Any] = (),
        port: int = 0,
    ) -> None:
        self.clock = Clock()
        super().__init__(data, config, clock=self.clock, middlewares=middlewares, port=port)
        self.loop = self._loop

    def _end(self) -> None:
        self._run(_at_rest())
        super()._end()


async def _at_rest() -> None:
    """Let connections that their clients closed a moment ago come to their end."""
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)


StartService = Callable[..., ClockedService]


ON_BOTH = (
    "test_wire_assets", "test_wire_datasets", "test_wire_sessions", "test_wire_multipart", "test_wire_upload",
    "test_wire_downloads", "test_wire_restart", "test_gallery_pages", "test_gallery_selection", "test_gallery_uploads",
)  # fmt: skip
"""Modules whose tests run on both engines, except those that look into the file of SQLite (`sqlite`)."""


@pytest.fixture(
    scope="session",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.scale),
        pytest.param("direct", marks=[pytest.mark.scale, pytest.mark.large]),
    ],
)
def engine(request: pytest.FixtureRequest) -> str:
    """What the service keeps its metadata in; with PostgreSQL, bytes are in an S3 store, and may go there directly."""
    return str(request.param)


_SESSION_IS_OVER = "the store does not know that a session has ended: 200, not 410"
_STORE_JUDGES = "the store itself refuses another length, type or checksum"
_LATE = "a file has five minutes more, because the store looks at the time when one begins"
_ADDRESS = "the address is the store's"
_PARTS = "parts have 5 MiB at least, and the store answers for them"
NOT_DIRECT = {
    "test_fail_after_one_ends_with_the_first_error_and_keeps_what_is_in": _SESSION_IS_OVER,
    "test_a_cancelled_session_fails_and_its_urls_stop_working": _SESSION_IS_OVER,
    "test_a_put_after_the_end_is_gone": _SESSION_IS_OVER,
    "test_a_file_refused_at_once_ends_a_fail_after_one_session": _SESSION_IS_OVER,
    "test_a_session_is_seen_as_it_goes_and_can_be_cancelled": _SESSION_IS_OVER,
    "test_a_deleted_dataset_is_gone_with_everything": _SESSION_IS_OVER,
    "test_fail_after_all_finishes_when_one_file_is_in": _STORE_JUDGES,
    "test_fail_after_all_fails_when_every_file_errored": _STORE_JUDGES,
    "test_contents_are_judged_when_they_arrive": _STORE_JUDGES,
    "test_a_put_answers_with_etag_and_checksum_of_what_was_stored": _STORE_JUDGES,
    "test_a_chunked_body_is_taken": _STORE_JUDGES,
    "test_a_body_that_is_cut_short_stores_nothing": _STORE_JUDGES,
    "test_a_longer_body_is_refused_and_the_file_ends_with_ebadsize": _STORE_JUDGES,
    "test_bytes_that_do_not_arrive_in_time_are_etimeout": _LATE,
    "test_an_abandoned_session_ends_without_anybody_asking": _LATE,
    "test_a_file_that_is_arriving_at_the_expiry_is_not_given_up": _LATE,
    "test_a_url_past_its_expiry_is_refused": _LATE,
    "test_an_abandoned_upload_expires_with_its_last_part_url": _LATE,
    "test_a_new_session_has_every_field_and_a_url_per_file": _ADDRESS,
    "test_the_same_key_and_body_get_the_first_answer": _ADDRESS,
    "test_an_altered_url_is_refused": _ADDRESS,
    "test_a_signed_header_must_be_sent_and_the_method_is_signed": _ADDRESS,
    "test_a_file_in_parts_becomes_an_asset": _PARTS,
    "test_a_part_of_another_size_is_refused": _PARTS,
    "test_what_the_client_saw_must_be_what_is_stored": _PARTS,
    "test_completion_without_every_part_is_a_conflict": _PARTS,
    "test_an_aborted_upload_drops_its_parts_and_leaves_the_session_open": _PARTS,
    "test_wrong_requests": _PARTS,
}
"""Tests of promises that hold only for bytes that pass the service; `test_wire_direct` says what holds instead."""


def _kept(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of a service with a new database and a new place for its bytes."""
    if engine == "sqlite":
        return {}
    database = request.getfixturevalue("postgres").create()
    # Through the service: these tests look at the headers of its own answers.
    uploads = "direct" if engine == "direct" else "through"
    return {
        "database": database,
        "uploads": uploads,
        "downloads": "through",
        **request.getfixturevalue("seaweed").create(),
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    for item in list(items):
        if not str(item.path).startswith(here) or getattr(item, "callspec", None) is None:
            continue
        other = item.callspec.params.get("engine", "sqlite") != "sqlite"
        if other and (item.path.stem not in ON_BOTH or item.get_closest_marker("sqlite") is not None):
            items.remove(item)
        elif item.callspec.params.get("engine") == "direct" and item.originalname in NOT_DIRECT:
            item.add_marker(pytest.mark.skip(reason=NOT_DIRECT[item.originalname]))


@pytest.fixture(scope="session")
def service(
    engine: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[TestedService]:
    config = ServiceConfig(**_kept(engine, request))
    running = TestedService.start(tmp_path_factory.mktemp("service") / "data", config)
    yield running
    running.stop()


@pytest.fixture
def start_service(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartService]:
    """Starts services with settings of a test's own; by default all in one folder, with one database."""
    kept: defaultdict[Path, dict[str, Any]] = defaultdict(lambda: _kept(engine, request))
    running: list[ClockedService] = []

    def start(
        data: Path | None = None, *, middlewares: Sequence[Any] = (), port: int = 0, **settings: Any
    ) -> ClockedService:
        folder = data or tmp_path / "data"
        config = ServiceConfig(**{**kept[folder], **settings})
        running.append(ClockedService(folder, config, middlewares, port))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def fresh_service(start_service: StartService) -> ClockedService:
    return start_service()


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.document["message"])


class Api:
    """Authorized JSON requests to a service, and its storage side."""

    def __init__(self, service: Any, session: aiohttp.ClientSession) -> None:
        self.service = service
        self.session = session
        self.organization = f"/workspaces/{service.organization_id}"

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.service.secret_key}",
            "Organization-Id": self.service.organization_id,
            "Content-Type": "application/json",
        }

    async def __call__(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        **query: Any,
    ) -> Answer:
        """Send a request and hold the answer against the contract; a header of None is left out."""
        sent = {name: value for name, value in {**self.headers, **(headers or {})}.items() if value is not None}
        data = body if document is None else json.dumps(document)
        url = yarl.URL(self.service.url + path, encoded=True)
        if query:
            url = url.update_query({name: str(value) for name, value in query.items()})
        answer = await self.raw(method, url, data, sent)
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            assert answers.problems(method, url.path, answer.status, answer.document) == []
        return answer

    async def raw(
        self, method: str, url: str | yarl.URL, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request with exactly these headers."""
        url = yarl.URL(str(url), encoded=True)
        data = io.BytesIO(data) if isinstance(data, bytes) and len(data) > 1 << 20 else data
        skip = () if headers and "Content-Type" in headers else ("Content-Type",)
        async with self.session.request(
            method, url, data=data, headers=headers, allow_redirects=False, skip_auto_headers=skip
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def create_dataset(self, name: str = "Street signs") -> str:
        """Make a dataset and return its path."""
        answer = await self("POST", f"{self.organization}/datasets", {"name": name})
        assert answer.status == 201, answer.body
        return f"{self.organization}/datasets/{answer.document['datasetId']}"

    def announce(self, files: Mapping[str, bytes], **spec: Any) -> dict[str, Any]:
        """Return the body that opens a session for *files*."""
        assets = [
            {"filename": name, "kind": "Image", "mime": "image/png", "size": len(data), "crc32c": None}
            for name, data in files.items()
        ]
        return {"spec": {"kind": "Upload", "failureMode": "FailAfterAll", "assets": assets, **spec}}

    async def open_session(self, dataset: str, files: Mapping[str, bytes], **spec: Any) -> dict[str, Any]:
        answer = await self("POST", dataset + SOURCE + "/assetIngestionSessions", self.announce(files, **spec))
        assert answer.status == 201, answer.body
        return dict(answer.document)

    def session_path(self, session: Mapping[str, Any]) -> str:
        return str(session["selfLink"])

    async def put(self, upload: Mapping[str, Any], data: Any) -> Answer:
        """Send the bytes of one entry of a session's ``status.assets``."""
        signed = upload["upload"]
        return await self.raw("PUT", signed["url"], data, signed["headers"])

    async def put_all(self, session: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        places = asyncio.Semaphore(32)

        async def send(upload: Mapping[str, Any]) -> None:
            async with places:
                answer = await self.put(upload, files[upload["metadata"]["filename"]])
                assert answer.status == 200, answer.body

        async with asyncio.TaskGroup() as group:
            for upload in session["status"]["assets"]:
                group.create_task(send(upload))

    async def read_session(self, session: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self("GET", self.session_path(session))
        assert answer.status == 200, answer.body
        return dict(answer.document)

    async def until(self, session: Mapping[str, Any], reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll a session until it is as wanted."""
        async with asyncio.timeout(20):
            while not reached(found := await self.read_session(session)):
                await asyncio.sleep(0.01)
        return found

    async def ended(self, session: Mapping[str, Any]) -> dict[str, Any]:
        """Poll a session until it has ended."""
        return await self.until(session, lambda found: found["status"]["conditions"][0]["status"] != "Waiting")

    async def ingest(self, dataset: str, files: Mapping[str, bytes], **spec: Any) -> dict[str, Any]:
        """Upload *files* and return the ended session."""
        session = await self.open_session(dataset, files, **spec)
        await self.put_all(session, files)
        return await self.ended(session)

    async def assets(self, dataset: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items of one page."""
        answer = await self("GET", dataset + "/assets", **{"s": 1000, **query})
        assert answer.status == 200, answer.body
        return list(answer.document["items"])

    async def total(self, dataset: str) -> int:
        """Return the counter of a dataset's assets."""
        return int((await self("GET", dataset)).document["statistic"]["assetTotal"])


Connect = Callable[[Any], Awaitable[Api]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections to services; what is given needs url, secret_key and organization_id."""
    sessions: list[aiohttp.ClientSession] = []

    async def open_(service: Any) -> Api:
        sessions.append(aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60)))
        return Api(service, sessions[-1])

    yield open_
    for session in sessions:
        await session.close()


@pytest.fixture
async def visit() -> AsyncIterator[Callable[..., Awaitable[Visitor]]]:
    """Opens browsers of services' galleries, logged in unless *key* is None."""
    sessions: list[aiohttp.ClientSession] = []

    async def open_(service: Any, *, key: str | None = "") -> Visitor:
        jar = aiohttp.CookieJar(unsafe=True)  # which here means: also of a host that is an address
        sessions.append(aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=60)))
        visitor = Visitor(service, sessions[-1])
        if key is not None:
            await visitor.log_in(key or service.secret_key)
        return visitor

    yield open_
    for session in sessions:
        await session.close()


@pytest.fixture
async def api(service: Any, connect: Connect) -> Api:
    return await connect(service)


@pytest.fixture
async def fresh_api(fresh_service: ClockedService, connect: Connect) -> Api:
    return await connect(fresh_service)


@pytest.fixture
async def dataset_path(api: Api) -> str:
    """The path of an empty dataset of the shared service."""
    return await api.create_dataset()


Picture = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Makes the bytes of small images: equal arguments give equal bytes."""

    def make(number: int = 0, *, width: int = 8, height: int = 6, format: str = "PNG") -> bytes:
        return pictures.picture(number, (width, height), format)

    return make
