"""Addresses, proxies and answers as networks have them."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

import vi
from vi import _proxies
from vi._connections import origin_of
from vi.config import is_loopback
from vi.server import ServiceConfig
from vi.testing import TestedService


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.fixture(scope="module")
def on_ipv6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    running = TestedService.start(tmp_path_factory.mktemp("six") / "data", host="::1")
    yield running
    running.stop()


@ipv6
def test_a_service_at_an_ipv6_address_is_used_like_any_other(
    on_ipv6: TestedService, images: Path, tmp_path: Path
) -> None:
    assert on_ipv6.url.startswith("http://[::1]:")
    with on_ipv6.client() as client:
        dataset = client.datasets.create(name="six").dataset_id
        assert client.assets.upload(dataset, images).total_succeeded == 4
        assert client.assets.download(dataset, tmp_path / "copy").total_downloaded == 4
        assert client.assets.verify(dataset, tmp_path / "copy").ok


NAMES = ("bücher.localhost", "BÜCHER.localhost", "xn--bcher-kva.localhost", "日本語.localhost", "[::1]")


@ipv6
@pytest.mark.parametrize("host", NAMES)
def test_signed_urls_and_redirects_may_lead_to_any_spelling_of_a_host(
    host: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo
    known = {b"xn--bcher-kva.localhost", b"xn--wgv71a119e.localhost"}
    asked = set[str]()

    def resolve(name: Any, *rest: Any, **more: Any) -> Any:
        return look_up("::1" if str(name).encode() in known else name, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    @web.middleware
    async def rename(request: web.Request, handler: Any) -> web.StreamResponse:
        asked.add(request.host)
        if request.path.startswith("/dl/") and not redirected:
            redirected.append(request.path)
            return web.Response(status=307, headers={"Location": f"http://{host}:{port}{request.raw_path}"})
        answer = await handler(request)
        if isinstance(answer, web.Response) and answer.content_type == "application/json" and answer.text:
            return web.json_response(text=answer.text.replace("//[::1]:", f"//{host}:"), status=answer.status)
        return answer

    redirected: list[str] = []
    config = ServiceConfig(allowed_hosts=[name.decode() for name in known])
    running = TestedService(tmp_path / "data", config, host="::1", middlewares=[rename])
    port = URL(running.url).port
    try:
        with running.client(retries=0) as client:
            dataset = client.datasets.create(name="odd").dataset_id
            assert client.assets.upload(dataset, images).total_succeeded == 4
            assert client.assets.download(dataset, tmp_path / "copy").total_downloaded == 4
            assert client.assets.verify(dataset, tmp_path / "copy").ok
    finally:
        running.stop()
    assert redirected
    assert all(name.isascii() for name in asked)
    assert len(asked) == (1 if host == "[::1]" else 2)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://[::1]:8787/a?b", "http://[::1]:8787"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:443/a", "https://[2001:db8::1]"),
        ("https://vi.example:443/", "https://vi.example"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_put_together_as_it_was(url: str, origin: str) -> None:
    assert origin_of(URL(url, encoded=True)) == origin


@pytest.mark.parametrize(
    "host", ["::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "127.0.0.1", "localhost", "a.localhost"]
)
def test_this_machine_is_known_by_each_of_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["::2", "2001:db8::1", "::", "fe80::1", "::ffff:10.0.0.1", "128.0.0.1", "x:y", ""])
def test_another_machine_is_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


def ask() -> None:
    with vi.Client("dtvi_" + "a" * 98, "acme", "https://vi.test", retries=0) as client:
        client.datasets.list()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_proxies")
class TestProxies:
    @pytest.mark.parametrize(
        ("given", "user", "password"),
        [
            ("http://user:p#ss@proxy.test:3128", "user", "p#ss"),
            ("http://user:p/ss@proxy.test:3128", "user", "p/ss"),
            ("http://user:p?s:s@proxy.test:3128/", "user", "p?s:s"),
            ("http://user:p@ss@proxy.test:3128", "user", "p@ss"),
            ("http://user:p%40s%ss@proxy.test:3128", "user", "p@s%ss"),
            ("user:p[s]s@proxy.test:3128", "user", "p[s]s"),
            ("http://us\u00e9r:p\u20acss@proxy.test:3128", "us\u00e9r", "p\u20acss"),
            ("http://user@proxy.test:3128", "user", None),
            ("proxy.test:3128", None, None),
        ],
    )
    def test_odd_passwords_are_taken_as_they_are(self, given: str, user: str | None, password: str | None) -> None:
        url = _proxies.read_proxy(given, "HTTP_PROXY")
        assert (url.scheme, url.host, url.port, url.user, url.password) == ("http", "proxy.test", 3128, user, password)

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    @pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS"])
    def test_a_socks_proxy_is_refused_by_name_before_anything_is_sent(
        self, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.setblocking(False)
            monkeypatch.setenv(name, f"{scheme}://me:secret@127.0.0.1:{proxy.getsockname()[1]}")
            with pytest.raises(vi.ViConfigurationError, match="SOCKS") as refused:
                ask()
            assert "secret" not in str(refused.value)
            assert name.upper() in str(refused.value)
            with pytest.raises(BlockingIOError):
                proxy.accept()

    @pytest.mark.parametrize(
        "address", ["http://", "http://proxy:port", "http://[::1", "ftp://proxy:21", "http://a%3Ab:c@p:1"]
    )
    def test_an_address_that_cannot_be_a_proxy_is_an_error_of_ours(
        self, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(vi.ViConfigurationError, match="HTTPS_PROXY is not a valid proxy address"):
            ask()

    @pytest.mark.parametrize(
        ("listed", "url", "direct"),
        [
            ("2001:db8::1", "https://[2001:db8::1]:8443", True),
            ("[2001:db8::1]", "https://[2001:db8::1]:8443", True),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", True),
            ("2001:db8:0:0:0:0:0:1", "https://[2001:db8::1]", True),
            ("2001:db8::/32", "https://[2001:db8::1]", True),
            ("10.0.0.0/8", "https://10.1.2.3", True),
            ("10.0.0.0/8", "https://11.1.2.3", False),
            ("2001:db8::2, x.test", "https://[2001:db8::1]", False),
            ("vi.test", "https://vi.test", True),
            (".test", "https://vi.test:8443", True),
            ("*", "https://[2001:db8::1]", True),
            ("", "https://[2001:db8::1]", False),
        ],
    )
    def test_no_proxy_knows_addresses(
        self, monkeypatch: pytest.MonkeyPatch, listed: str, url: str, direct: bool
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
        monkeypatch.setenv("NO_PROXY", listed)
        assert (_proxies.proxy_of(URL(url)) is None) is direct

    def test_a_password_of_any_letters_reaches_the_proxy_in_utf8(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heads: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as proxy:

            def answer() -> None:
                taken, _ = proxy.accept()
                with taken:
                    heads.append(taken.recv(65536))
                    taken.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            monkeypatch.setenv("HTTPS_PROXY", f"http://us\u00e9r:p\u20ac#ss@127.0.0.1:{proxy.getsockname()[1]}")
            with pytest.raises(vi.ViNetworkError, match="proxy refused with status 407"):
                ask()
            thread.join(10)
        expected = base64.b64encode("us\u00e9r:p\u20ac#ss".encode())
        assert b"Proxy-Authorization: Basic " + expected in heads[0]


@web.middleware
async def wordy(request: web.Request, handler: Any) -> web.StreamResponse:
    answer: web.StreamResponse = await handler(request)
    answer.headers["Content-Security-Policy"] = "x" * 60_000
    for number in range(300):
        answer.headers[f"X-Gateway-{number}"] = "y"
    return answer


def test_answers_with_long_and_many_headers_are_read(tmp_path: Path, images: Path) -> None:
    running = TestedService.start(tmp_path / "data", middlewares=[wordy])
    try:
        with running.client() as client:
            dataset = client.datasets.create(name="wordy").dataset_id
            assert client.assets.upload(dataset, images).total_succeeded == 4
            assert client.assets.download(dataset, tmp_path / "copy").total_downloaded == 4
    finally:
        running.stop()
