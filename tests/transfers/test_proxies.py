"""Requests go the way that ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` say, never to this machine by a proxy."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import attrs
import pytest

import vi
from tests.support.recorded_service import RecordedService
from vi._connections import Connections
from vi._pacing import Pacing
from vi._retry import RetryBudget
from vi._transfer.bodies import BytesBody
from vi._transfer.outcomes import TransferFailed
from vi._transfer.signed import signed_transfer
from vi._transfer.storage import Storage
from vi.config import load_settings
from vi.server import ServiceConfig

ROOT = Path(__file__).parents[2]
NAME = "service.test"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that knows one service, by whatever name it is asked for, and writes down what it is asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, upstream: tuple[str, int], wanted: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.upstream = upstream
        self.wanted = wanted
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, name="proxy", daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Passage(socketserver.BaseRequestHandler):
    """One connection: a request line is read, then bytes go both ways."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(65536)
            if not piece:
                return
            head += piece
        top, _, body = head.partition(b"\r\n\r\n")
        self.server.heads.append(top.decode("latin-1").lower())
        line, *headers = top.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        self.server.asked.append(f"{method} {target if method == 'CONNECT' else urlsplit(target).netloc}")
        given = [h.partition(": ")[2] for h in headers if h.lower().startswith("proxy-authorization:")]
        if self.server.wanted is not None and given != [self.server.wanted]:
            self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self.server.upstream) as service:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                parts = urlsplit(target)
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                kept = [h for h in headers if not h.lower().startswith(("connection:", "proxy-"))]
                rewritten = [f"{method} {path} {version}", *kept, "Connection: close"]
                service.sendall("\r\n".join(rewritten).encode("latin-1") + b"\r\n\r\n" + body)
            back = threading.Thread(target=_pass_on, args=(service, self.request), daemon=True)
            back.start()
            _pass_on(self.request, service)
            back.join()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedService]:
    """A service that answers to a name which only the proxy knows."""
    config = ServiceConfig(public_url=f"http://{NAME}:8080", allowed_hosts=frozenset({NAME, f"below.{NAME}"}))
    running = RecordedService(tmp_path_factory.mktemp("named") / "data", config)
    yield running
    running.stop()


@pytest.fixture
def proxy(service: RecordedService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Proxy]]:
    """Starts a proxy in front of the service; nothing of the machine's own settings is left."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    started: list[Proxy] = []
    parts = urlsplit(service.url)

    def start(wanted: str | None = None) -> Proxy:
        started.append(Proxy((parts.hostname, parts.port), wanted))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def client_of(service: RecordedService, endpoint: str) -> vi.Client:
    retries = vi.RetryPolicy(max_attempts=1)
    return vi.Client(service.secret_key, service.organization_id, endpoint, allow_http=True, retries=retries)


def test_api_and_storage_go_through_the_proxy(
    service: RecordedService, proxy: Callable[..., Proxy], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = proxy()
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{way.port}")
    with client_of(service, "http://service.test:8080") as client:
        dataset = client.datasets.create(name="by proxy").dataset_id
        assert client.assets.upload(dataset, images).total_succeeded == 4
    methods = {asked.split()[0] for asked in way.asked}
    assert {asked.split()[1] for asked in way.asked} == {"service.test:8080"}
    assert {"GET", "POST", "PUT"} <= methods


def test_name_and_password_of_the_proxy_are_sent_to_it(
    service: RecordedService, proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    way = proxy("Basic " + base64.b64encode(b"me:p@ss").decode())
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{way.port}")
    with client_of(service, "http://service.test") as client:
        client.datasets.list()
    assert way.asked == ["GET service.test"]


def test_no_proxy_leaves_a_name_and_those_below_it_out(
    service: RecordedService, proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    way = proxy()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{way.port}")
    monkeypatch.setenv("NO_PROXY", "elsewhere.test,.service.test")
    with client_of(service, "http://below.service.test") as client, pytest.raises(vi.ViNetworkError, match="resolved"):
        client.datasets.list()
    assert way.asked == []


def test_this_machine_is_reached_without_the_proxy(
    proxy: Callable[..., Proxy], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy knows nothing of our loopback; with one in the environment the local service has to work."""
    way = proxy()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{way.port}")
    with vi.Client.local(tmp_path / "data") as client:
        dataset = client.datasets.create(name="here").dataset_id
        assert client.assets.upload(dataset, images).total_succeeded == 4
    assert way.asked == []


PROBE = """
import sys, vi
retries = vi.RetryPolicy(max_attempts=1)
with vi.Client(endpoint="https://service.test", retries=retries) as client:
    client.datasets.list()
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the certificate is made by openssl")
@pytest.mark.parametrize("given", ["", "me:p%40ss@"], ids=["open", "with a password"])
@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_tunnelled_and_a_certificate_of_ssl_cert_file_is_trusted(
    trusted: bool,
    given: str,
    service: RecordedService,
    proxy: Callable[..., Proxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subject = ("-subj", "/CN=service.test", "-addext", "subjectAltName=DNS:service.test")
    command = ("openssl", "req", "-x509", *curve, *subject, "-keyout", str(key), "-out", str(certificate))
    subprocess.run(command, check=True, capture_output=True)
    way = proxy("Basic " + base64.b64encode(b"me:p@ss").decode() if given else None)
    way.upstream = _behind_tls(way.upstream, certificate, key)
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{given}127.0.0.1:{way.port}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    ended = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60)
    assert way.asked == ["CONNECT service.test:443"]
    (head,) = way.heads  # what the proxy reads is in the clear
    assert "dtvi_" not in head
    assert service.organization_id not in head
    if trusted:
        assert (ended.returncode, ended.stderr) == (0, "")
    else:
        assert "the certificate of service.test was refused: self" in ended.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_a_proxy_that_takes_a_connection_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    limits = {"timeouts": vi.Timeouts(connect=0.2), "retries": vi.RetryPolicy(connect_patience=0.2)}
    settings = attrs.evolve(load_settings("dtvi_" + "a" * 98, "acme", "https://service.test"), **limits)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        connections = Connections(settings, None)
        storage = Storage(connections, Pacing(1), RetryBudget())
        transfer = signed_transfer("https://storage.test/x", {}, method, 0, endpoint=settings.endpoint)
        with anyio.fail_after(10):
            if method == "PUT":
                with pytest.raises(TransferFailed) as refused:
                    await storage.put(transfer, lambda: BytesBody(b"x"), 1)
                assert "no connection to storage.test in time" in refused.value.message.lower()
            else:
                with pytest.raises(TimeoutError), storage.minimum_rate():
                    async with storage.get(transfer):
                        pass
        await connections.aclose()


def _behind_tls(upstream: tuple[str, int], certificate: Path, key: Path) -> tuple[str, int]:
    """Take TLS connections for *upstream*, one after the other, until two have come or the test process ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))
    address: tuple[str, int] = listening.getsockname()

    def serve() -> None:
        with listening, contextlib.suppress(OSError):
            plain, _ = listening.accept()
            with context.wrap_socket(plain, server_side=True) as secure, socket.create_connection(upstream) as service:
                threading.Thread(target=_pass_on, args=(secure, service), daemon=True).start()
                _pass_on(service, secure)

    threading.Thread(target=serve, name="tls", daemon=True).start()
    return address
