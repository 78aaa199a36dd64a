"""Rows A8 to A10: the local service against strangers on the network and against what they send."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from tests.service.conftest import connect, start_service
from vi.server import ServiceConfig, removal
from vi.server.gallery.forms import next_file
from vi.server.http.api_errors import ApiError
from vi.server.http.names import check_metadata
from vi.server.http.signing import Signer
from vi.server.store import query

__all__ = ["connect", "start_service"]

pytestmark = pytest.mark.anyio


def address(service: Any) -> tuple[str, int]:
    parts = urlsplit(service.url)
    return parts.hostname or "", parts.port or 0


def send(service: Any, data: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    with socket.create_connection(address(service), 10) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:80@evil.example", "127.0.0.1:", "127.0.0.1:a", "localhost/x", "localhost:80:80", "[::1", "[::1]x", "a b", "",
        "localhost?", "evil.example", "127.0.0.1:123456",
    ],
)  # fmt: skip
def test_A8_host_is_a_name_and_a_port_and_nothing_else(service: Any, host: str) -> None:
    answer = send(service, f"GET /workspaces HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"400", b"403")


@pytest.mark.parametrize("line", ["Authorization : Bearer {key}", "Authorization\x01: Bearer {key}", "{key}"])
def test_A8_a_malformed_request_with_a_key_leaves_no_word_of_it(
    service: Any, line: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    head = line.format(key=service.secret_key)
    answer = send(service, f"GET /workspaces HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
    out, err = capfd.readouterr()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    for text in (answer.decode("latin-1"), caplog.text, out, err):
        assert service.secret_key not in text


def test_A8_refused_keys_are_logged_and_not_each(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    from vi.server import middleware

    middleware.refusals._kinds.clear()
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        answer = send(
            service,
            b"GET /workspaces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 401")
    assert len([record for record in caplog.records if "secret key" in record.getMessage()]) == 1


KEYLESS = b"GET /workspaces HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Descriptors for both ends of more than a thousand connections."""
    resource = pytest.importorskip("resource", reason="connections cannot be counted in descriptors on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("the limit of open files is below 4,096")
    if soft != resource.RLIM_INFINITY and soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("first", [b"", KEYLESS], ids=["silent", "keyless"])
def test_A9_idle_connections_shut_nobody_out(tmp_path: Any, first: bytes) -> None:
    from vi.testing.service import TestedService

    service = TestedService.start(tmp_path / "data")
    idle: list[socket.socket] = []

    def open_(number: int) -> None:
        for _ in range(number):
            idle.append(socket.create_connection(address(service), 20))
            if first:
                idle[-1].sendall(first)
                assert idle[-1].recv(1 << 16).startswith(b"HTTP/1.1 401")

    try:
        with service.client(retries=0) as client:
            client.datasets.create("before")
            open_(1100)
            with service.client(retries=0) as other:
                assert [dataset.name for dataset in other.datasets.list().items] == ["before"]
                open_(20)
                other.datasets.create("after")
            client.datasets.create("later")
    finally:
        for connection in idle:
            connection.close()
        service.stop()


BAD_METADATA = [
    {"a": "\ud800"}, {"\udfff": 1}, {"a": "x\0y"}, {"a\0": 1}, {"k" * 513: 1}, {"a": "x" * 70_000}, {str(n): 1 for n in range(1001)},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD_METADATA)))
def test_A10_metadata_that_cannot_be_searched_is_refused(number: int) -> None:
    with pytest.raises(ApiError):
        check_metadata(BAD_METADATA[number], "customMetadata")
    check_metadata({"camera": "north", "\xe4": "\U0001f600", "lot": 42, "night": False, "": ""}, "customMetadata")


@pytest.mark.parametrize("digits", [309, 400, 4000, 5000])
def test_A10_a_number_that_no_database_holds_is_refused(digits: int) -> None:
    """In a query and in a filter alike, also of a bulk deletion, which would fail again and again."""
    for read, text in (
        (query.parse_metadata_query, f"a == 1{'0' * digits}"),
        (query.parse_metadata_query, f"a > -1{'0' * digits}"),
        (query.parse_filter, f'{{"customMetadata.a": 1{"0" * digits}}}'),
        (query.parse_filter, f'{{"metadata.width": -1{"0" * digits}}}'),
    ):
        with pytest.raises(query.QueryError):
            read(text)


def test_A10_metadata_is_checked_at_the_door(service: Any, dataset: str) -> None:
    organization = service.organization_id
    path = f"/workspaces/{organization}/datasets/{organization}_{dataset}/assetSources/managed/datature/default/assetIngestionSessions"
    file = {"filename": "a.png", "kind": "Image", "mime": "image/png", "size": 1, "customMetadata": {"a": "\ud800"}}
    body = json.dumps({"spec": {"kind": "Upload", "assets": [file]}})
    connection = http.client.HTTPConnection(*address(service), timeout=10)
    headers = {
        "Authorization": f"Bearer {service.secret_key}",
        "Organization-Id": organization,
        "Content-Type": "application/json",
    }
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    assert (answer.status, b"customMetadata" in answer.read()) == (400, True)
    connection.close()


def test_A10_parameters_of_a_signed_url_cannot_be_melted() -> None:
    signer = Signer(b"k" * 32)
    url = signer.sign("PUT", "/up/a", 2000, size=5)
    query = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    assert signer.check("PUT", "/up/a", query, 1000) == 5
    melted = {"X-Expires": "2000&X-Size=5", "X-Signature": query["X-Signature"]}
    for other in (
        melted,
        {**query, "X-Expires": "20005", "X-Size": ""},
        {**query, "X-Size": "5 "},
        {**query, "X-Size": "\u0665"},
    ):
        with pytest.raises(ApiError) as refused:
            signer.check("PUT", "/up/a", other, 1000)
        assert refused.value.status == 403


def test_A10_json_is_bounded_in_values(service: Any) -> None:
    organization = service.organization_id
    connection = http.client.HTTPConnection(*address(service), timeout=30)
    headers = {
        "Authorization": f"Bearer {service.secret_key}",
        "Organization-Id": organization,
        "Content-Type": "application/json",
    }
    connection.request("POST", f"/workspaces/{organization}/datasets", b'{"a":[' + b"1," * 600_000 + b"1]}", headers)
    assert connection.getresponse().status == 413
    connection.close()


def test_A10_parts_of_a_form_without_a_file_are_bounded() -> None:
    async def read(parts: int) -> None:
        stream = aiohttp.StreamReader(idle_protocol(), 1 << 20, loop=asyncio.get_running_loop())
        part = b"--bb\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n"
        stream.feed_data(part * parts + b"--bb--\r\n")
        stream.feed_eof()
        reader = aiohttp.MultipartReader({"Content-Type": "multipart/form-data; boundary=bb"}, stream)
        assert await next_file(reader, ServiceConfig()) is None

    asyncio.run(read(50))
    with pytest.raises(ApiError, match="parts without a file"):
        asyncio.run(read(40_000))


async def test_A10_a_form_within_a_form_is_refused() -> None:
    """Its parts would all be read at once, before the next one of the form is asked for."""
    stream = aiohttp.StreamReader(idle_protocol(), 1 << 20, loop=asyncio.get_running_loop())
    inner = b"--in\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n" * 50 + b"--in--\r\n"
    stream.feed_data(b"--bb\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n" + inner + b"\r\n--bb--\r\n")
    stream.feed_eof()
    reader = aiohttp.MultipartReader({"Content-Type": "multipart/form-data; boundary=bb"}, stream)
    with pytest.raises(ApiError, match="cannot be read"):
        await next_file(reader, ServiceConfig())


def idle_protocol() -> Any:
    """Return what a stream reader tells to pause, where nothing is to be paused."""
    return aiohttp.base_protocol.BaseProtocol(asyncio.get_running_loop())


async def test_A10_a_deletion_that_cannot_succeed_ends(
    start_service: Any, connect: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_PAUSE", 0.0)
    service = start_service()
    api = await connect(service)
    dataset = await api.create_dataset()
    made = (await api("POST", f"{dataset}/deleteManyAssetsSessions", {"spec": {}})).document
    service.stop()
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as database, database:
        database.execute("update bulk_deletion set finished = null, spec = json_set(spec, '$.filter', 5)")
    api = await connect(start_service())
    async with asyncio.timeout(20):
        while True:
            found = (await api("GET", made["selfLink"])).document["status"]["conditions"][0]
            if found["status"] != "Waiting":
                break
    assert (found["status"], found["reason"]) == ("FailedReach", "DeletionFailed")
    assert "could not be deleted" in found["message"]


def test_A10_text_that_is_not_text_is_searched_like_any_other() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        query.prepare(connection)
        connection.execute("create table asset (filename, custom_metadata)")
        rows = [(1, "\ud800"), ("B.png", "Cat\udfff"), (None, "cat")]
        connection.executemany(
            "insert into asset values (?, ?)",
            [(name, json.dumps({"a": text})) for name, text in rows],
        )
        for text, found in (("a:cat", 1), ('a == "CAT"', 1), ("a:x", 0)):
            parsed = query.parse_metadata_query(text)
            condition = query.to_sql(parsed, {}, sa.column("custom_metadata", sa.JSON), strict=False)
            statement = sa.select(sa.func.count()).select_from(sa.table("asset")).where(condition)
            compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
            assert connection.execute(str(compiled)).fetchone() == (found,), text


def test_A9_a_connection_with_a_key_stays(tmp_path: Any) -> None:
    from vi.testing.service import TestedService

    service = TestedService.start(tmp_path / "data", ServiceConfig(max_connections=10))
    idle: list[socket.socket] = []
    connection = http.client.HTTPConnection(*address(service), timeout=20)
    headers = {"Authorization": f"Bearer {service.secret_key}", "Organization-Id": service.organization_id}
    path = f"/workspaces/{service.organization_id}/datasets"
    try:
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().read()
        kept = connection.sock
        for _ in range(30):
            idle.append(socket.create_connection(address(service), 20))
            idle[-1].sendall(KEYLESS)
            assert idle[-1].recv(1 << 16).startswith(b"HTTP/1.1 401")
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == 200
        assert connection.sock is kept
    finally:
        connection.close()
        for one in idle:
            one.close()
        service.stop()
