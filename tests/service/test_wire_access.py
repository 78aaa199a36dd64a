"""Who may ask, how much, and how errors are worded (protocol sections 1.2 to 1.4, 4)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import stat
from typing import Any

import pytest
from aiohttp import web

from tests.support.systems import needs_modes
from vi.errors import ViConfigurationError

pytestmark = pytest.mark.anyio


async def test_the_key_decides(api: Any, dataset_path: str) -> None:
    for headers, status in (
        ({}, 200),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer dtvi_" + "x" * 98}, 401),
        ({"Authorization": f"Basic {api.service.secret_key}"}, 401),
        ({"Authorization": f"Bearer {api.service.secret_key}x"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Organization-Id": None}, 403),
        ({"Organization-Id": "another"}, 403),
    ):
        for path in (dataset_path, "/workspaces", "/workspaces/nobody/datasets", "/workspaces/x/unknown/thing"):
            if status == 200 and path not in (dataset_path, "/workspaces"):
                continue
            answer = await api("GET", path, headers=headers)
            assert answer.status == status, (path, headers)
    refused = await api("GET", dataset_path, headers={"Authorization": None})
    assert refused.document["code"] == "AuthenticationFailed"
    assert api.service.secret_key not in refused.body.decode()


async def test_the_path_must_be_of_the_keys_organization(api: Any) -> None:
    for path in (
        "/workspaces/another",
        "/workspaces/another/datasets",
        "/workspaces/another/datasets/another_1/assets",
    ):
        answer = await api("GET", path)
        assert (answer.status, answer.document["code"]) == (403, "PermissionDenied")


async def test_the_key_has_the_promised_form(api: Any) -> None:
    assert re.fullmatch(r"dtvi_[A-Za-z0-9_-]{98}", api.service.secret_key)


async def test_every_api_answer_has_a_trace_id_and_a_date(api: Any, dataset_path: str) -> None:
    seen = set()
    for path, headers in ((dataset_path, {}), (dataset_path + "x", {}), (dataset_path, {"Authorization": None})):
        answer = await api("GET", path, headers=headers)
        match = re.fullmatch(r"([0-9a-f]{32})/\d+;o=1", answer.headers["x-cloud-trace-context"])
        assert match
        seen.add(match[1])
        assert "Date" in answer.headers
    assert len(seen) == 3


async def test_errors_have_code_message_and_details(api: Any, dataset_path: str) -> None:
    for method, path, status, code in (
        ("GET", dataset_path + "0", 404, "ResourceNotFound"),
        ("GET", "/workspaces/", 404, "ResourceNotFound"),
        ("PUT", dataset_path, 405, "ValidationFailed"),
        ("GET", dataset_path + "/assets?s=0", 400, "InvalidParameter"),
        ("GET", f"/workspaces/{api.service.organization_id}/datasets/{'x' * 300}", 404, "ResourceNotFound"),
    ):
        answer = await api(method, path)
        assert answer.status == status, path
        document = answer.document
        assert document["code"] == code
        assert isinstance(document["message"], str)
        assert isinstance(document["details"], dict)
        assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("evil.example:8787", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.0.1", 403),
        ("", 403),
    ],
)
async def test_the_host_header_must_name_the_service(api: Any, dataset_path: str, host: str, status: int) -> None:
    assert (await api("GET", dataset_path, headers={"Host": host})).status == status
    assert (await api.raw("GET", api.service.url + "/", headers={"Host": host})).status == status


async def test_no_page_of_another_origin_is_allowed_in(api: Any, dataset_path: str) -> None:
    origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    for method in ("GET", "OPTIONS"):
        answer = await api(method, dataset_path, headers=origin)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_allowed_hosts_and_a_public_address(start_service: Any, connect: Any, picture: Any) -> None:
    for wrong in ({"allowed_hosts": ["https://vi.example"]}, {"allowed_hosts": ["a:80"]}, {"public_url": "vi.example"}):
        with pytest.raises(ViConfigurationError, match="such as"):
            start_service(**wrong)
    api = await connect(start_service(allowed_hosts=["Other.Example"], public_url="https://Vi.example/"))
    path = await api.create_dataset()
    for host, status in (("vi.example:443", 200), ("other.example", 200), ("third.example", 403)):
        assert (await api("GET", path, headers={"Host": host})).status == status
    session = await api.open_session(path, {"a.png": picture(1)})
    url = session["status"]["assets"][0]["upload"]["url"]
    assert url.startswith("https://Vi.example/up/")
    local = url.replace("https://Vi.example", api.service.url)
    assert (await api.raw("PUT", local, picture(1), {"Content-Type": "image/png"})).status == 200


BODIES = {
    "not json": b"{",
    "not utf-8": b'{"name": "\xff"}',
    "nan": b'{"name": "x", "tags": {"a": NaN}}',
    "infinity": b'{"name": "x", "status": -Infinity}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "deep": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "20,000 digits": b'{"name": "x", "status": ' + b"9" * 20_000 + b"}",
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_object_is_a_400(api: Any, body: bytes) -> None:
    answer = await api("POST", f"{api.organization}/datasets", body=body)
    assert (answer.status, type(answer.message)) == (400, str)
    assert len(answer.body) < 1000


async def test_a_body_over_the_limit_is_413(start_service: Any, connect: Any) -> None:
    api = await connect(start_service(max_json_bytes=1000))
    path = f"{api.organization}/datasets"
    answer = await api("POST", path, {"name": "x" * 1000})
    assert (answer.status, answer.document["code"]) == (413, "FileTooLarge")

    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 100
            await asyncio.sleep(0)

    assert (await api("POST", path, body=chunks())).status == 413
    assert (await api("POST", path, {"name": "x"}, headers={"Content-Encoding": "gzip"})).status == 415


async def test_an_empty_post_with_a_json_type_is_taken(api: Any, dataset_path: str, picture: Any) -> None:
    session = await api.open_session(dataset_path, {"a.png": picture(1)})
    answer = await api("POST", api.session_path(session) + ":cancel", headers={"Content-Length": "0"})
    assert answer.status == 200


async def test_requests_over_the_rate_get_429_and_when_to_come_back(start_service: Any, connect: Any) -> None:
    api = await connect(start_service(requests_per_second=5))
    answers = [await api("GET", "/workspaces") for _ in range(7)]
    assert [answer.status for answer in answers[:5]] == [200] * 5
    refused = answers[-1]
    assert (refused.status, refused.document["code"]) == (429, "RateLimitExceeded")
    assert 0 < float(refused.headers["Retry-After"]) <= 1
    api.service.clock.advance(1)
    assert (await api("GET", "/workspaces")).status == 200


async def test_sessions_over_the_rate_get_429(start_service: Any, connect: Any, picture: Any) -> None:
    api = await connect(start_service(sessions_per_minute=2))
    path = await api.create_dataset()
    sessions = path + "/assetSources/managed/datature/default/assetIngestionSessions"
    document = api.announce({"a.png": picture(1)})
    statuses = [(await api("POST", sessions, document)).status for _ in range(2)]
    refused = await api("POST", sessions, document)
    assert (statuses, refused.status) == ([201, 201], 429)
    assert (await api("GET", sessions)).status == 200
    api.service.clock.advance(float(refused.headers["Retry-After"]))
    assert (await api("POST", sessions, document)).status == 201


async def test_middlewares_of_a_test_come_before_the_services_own(start_service: Any, connect: Any) -> None:
    @web.middleware
    async def down(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("X-Fault"):
            return web.Response(status=503, headers={"Retry-After": "7"})
        return await handler(request)

    api = await connect(start_service(middlewares=[down]))
    answer = await api("GET", "/workspaces", headers={"X-Fault": "1", "Authorization": None})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    assert (await api("GET", "/workspaces")).status == 200


async def talk(url: str, data: bytes) -> bytes:
    """Send bytes as they are and return everything up to the end of the connection.

    A service that closes before it has read everything resets the connection, behind its answer.
    """
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    answer = b""
    with socket.socket() as connection:
        connection.setblocking(False)
        async with asyncio.timeout(10):
            await loop.sock_connect(connection, (host, int(port)))
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(connection, data)
            with contextlib.suppress(ConnectionResetError):
                while piece := await loop.sock_recv(connection, 1 << 16):
                    answer += piece
    return answer


async def test_a_head_that_does_not_end_is_cut_off(start_service: Any) -> None:
    service = start_service(header_seconds=0.2)
    assert await talk(service.url, b"") == b""
    assert await talk(service.url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == b""


async def test_a_body_that_stalls_or_trickles_is_given_up(start_service: Any, connect: Any) -> None:
    api = await connect(start_service(body_seconds=0.2))
    head = (
        f"POST {api.organization}/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in api.headers.items())
        + "\r\n{"
    )
    answer = await talk(api.service.url, head.encode())
    assert answer.startswith(b"HTTP/1.1 408")

    async def trickle() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    async with asyncio.timeout(10):
        assert (await api("POST", f"{api.organization}/datasets", body=trickle())).status == 408


async def test_connections_over_the_limit_are_turned_away(start_service: Any) -> None:
    service = start_service(max_connections=3)
    host, port = service.url.removeprefix("http://").split(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    # One without a key would make room; an answer shows that the connection counts.
    key = f"Authorization: Bearer {service.secret_key}\r\nOrganization-Id: {service.organization_id}\r\n".encode()
    for reader, writer in held:
        writer.write(b"GET /workspaces HTTP/1.1\r\nHost: localhost\r\n" + key + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    refused = await talk(service.url, b"")
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in refused
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(10):
        while not (await talk(service.url, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")).startswith(b"HTTP/1.0 200"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["two framings", "two lengths", "long header", "nonsense"],
)
async def test_ambiguous_http_is_refused(api: Any, request_line: bytes) -> None:
    assert (await talk(api.service.url, request_line)).startswith(b"HTTP/1.")
    answer = await talk(api.service.url, request_line)
    assert answer.split(b" ")[1].startswith(b"4")


@needs_modes
async def test_everything_at_rest_is_the_owners_alone(fresh_api: Any, picture: Any) -> None:
    path = await fresh_api.create_dataset()
    await fresh_api.ingest(path, {"a.png": picture(1)})
    root = fresh_api.service.data
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for entry in root.rglob("*"):
        assert stat.S_IMODE(entry.stat().st_mode) == (0o700 if entry.is_dir() else 0o600), entry


async def test_it_listens_on_loopback_alone(api: Any) -> None:
    host, port = api.service.url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    with socket.socket() as other:
        other.settimeout(1)
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            assert other.connect_ex((address, int(port))) != 0
