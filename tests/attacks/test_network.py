"""Rows A16 and A17: the service on a network, with TLS, and what its operator hears of."""

from __future__ import annotations

import contextlib
import http.client
import re
import shlex
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import trustme

import vi
from vi.server import ServiceConfig, middleware
from vi.server.http.addresses import is_everywhere, load_certificate
from vi.testing.service import TestedService


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = authority.issue_cert("127.0.0.1", "localhost")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextlib.contextmanager
def process(*words: str | Path) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """A service in a process of its own; gives the settings that it wrote. It must end by SIGTERM, in order."""
    env_file = Path(str(words[words.index("--env-file") + 1]))
    command = [sys.executable, "-m", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("Serving ")
        yield dict(line.split("=", 1) for line in shlex.split(env_file.read_text())), running
    except BaseException:
        running.kill()
        running.communicate()
        raise
    running.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("module", ["vi serve", "vi.server"])
def test_A16_the_service_speaks_tls(
    module: str, certificate: tuple[Path, Path], trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(picture())
    cert, key = certificate
    words = (*module.split(), "--data", tmp_path / "data", "--port", "0", "--env-file", tmp_path / "vi.env")
    with process(*words, "--tls-cert", cert, "--tls-key", key) as (settings, running):
        url = settings["DATATURE_VI_API_ENDPOINT"]
        assert re.fullmatch(r"https://127\.0\.0\.1:\d+", url)
        given = (settings["DATATURE_VI_SECRET_KEY"], settings["DATATURE_VI_ORGANIZATION_ID"], url)
        with vi.Client(*given, ssl_context=trusting) as client:
            dataset = client.datasets.create("d")
            assert client.assets.upload(dataset.dataset_id, paths=tmp_path / "images").total_succeeded == 1
            client.assets.download(dataset.dataset_id, tmp_path / "copy")
        assert (tmp_path / "copy" / "a.png").read_bytes() == picture()
        with vi.Client(*given, retries=0) as client, pytest.raises(vi.ViNetworkError, match="certificate"):
            client.datasets.list()
        with pytest.raises(http.client.BadStatusLine), closing(plain(url)) as connection:
            connection.request("GET", "/")
            connection.getresponse()
    out, err = running.communicate(timeout=30)
    assert (running.returncode, given[0] in out + err, "Traceback" in err) == (0, False, False)


def picture() -> bytes:
    from vi import _samples

    return _samples.encode(1, ".png")


def plain(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)


def test_A16_the_gallery_knows_its_scheme(
    certificate: tuple[Path, Path], trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    cert, key = certificate
    service = TestedService.start(tmp_path / "data", ServiceConfig(tls_cert=cert, tls_key=key))
    at = urlsplit(service.url)
    body = urlencode({"key": service.secret_key})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        for origin, status in ((service.url, 303), (service.url.replace("https", "http"), 403)):
            with closing(http.client.HTTPSConnection("127.0.0.1", at.port, context=trusting, timeout=20)) as connection:
                connection.request("POST", "/gallery/login", body, {**form, "Origin": origin})
                answer = connection.getresponse()
                assert answer.status == status
                assert ("Secure" in (answer.getheader("Set-Cookie") or "")) is (status == 303)
    finally:
        service.stop()


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example", " "])
def test_A16_a_login_from_another_origin_is_refused_and_noted(
    service: Any, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    middleware.refusals._kinds.clear()
    body = urlencode({"key": service.secret_key})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    for _ in range(3):
        with closing(plain(service.url)) as connection:
            connection.request("POST", "/gallery/login", body, headers)
            assert connection.getresponse().status == 403
    assert [record.getMessage() for record in caplog.records if "not the gallery's" in record.getMessage()] == [
        "Refused a change from a page that is not the gallery's"
    ]


def test_A16_a_login_with_another_key_is_noted_without_it(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    middleware.refusals._kinds.clear()
    body = urlencode({"key": "dtvi_guess1234567890"})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": service.url}
    for _ in range(3):
        with closing(plain(service.url)) as connection:
            connection.request("POST", "/gallery/login", body, headers)
            assert connection.getresponse().status == 401
    assert len([record for record in caplog.records if "with another key" in record.getMessage()]) == 1
    assert "guess" not in caplog.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tls_cert": "missing.pem"}, "does not exist"),
        ({"tls_key": "key.pem"}, "needs its certificate"),
        ({"tls_cert": "text.pem"}, "cannot be used"),
    ],
)
def test_A16_a_certificate_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    (tmp_path / "text.pem").write_text("not a certificate")
    config = ServiceConfig(**{name: tmp_path / file for name, file in files.items()})
    with pytest.raises(vi.ViConfigurationError, match=words):
        load_certificate(config)


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "", "::", "0.0"])
def test_A16_every_spelling_of_everywhere_is_known(host: str) -> None:
    assert is_everywhere(host)
    assert not is_everywhere("127.0.0.1")
    assert not is_everywhere("no such host")


def test_A16_listening_everywhere_warns_and_says_the_real_address(tmp_path: Path) -> None:
    words = ("vi.server", "--data", tmp_path / "data", "--port", "0", "--env-file", tmp_path / "vi.env")
    with process(*words, "--host", "0") as (settings, running):
        assert running.stdout is not None
        warning = running.stdout.readline()
        port = urlsplit(settings["DATATURE_VI_API_ENDPOINT"]).port
        found = re.search(rf"at http://([0-9.]+):{port}; key and data travel unencrypted", warning)
        assert found, warning
        with socket.create_connection((found[1], port), 20):
            pass
    running.communicate(timeout=30)


def test_A17_an_error_of_the_service_reaches_stderr_without_its_secrets(tmp_path: Path) -> None:
    words = ("vi.server", "--data", tmp_path / "data", "--port", "0", "--env-file", tmp_path / "vi.env")
    with process(*words) as (settings, running):
        key, organization = settings["DATATURE_VI_SECRET_KEY"], settings["DATATURE_VI_ORGANIZATION_ID"]
        with vi.Client(key, organization, settings["DATATURE_VI_API_ENDPOINT"], retries=0) as client:
            dataset = client.datasets.create("d").dataset_id
            with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as database, database:
                database.execute("drop table bulk_deletion")
        path = f"/workspaces/{organization}/datasets/{dataset}/deleteManyAssetsSessions"
        headers = {"Authorization": f"Bearer {key}", "Organization-Id": organization}
        with closing(plain(settings["DATATURE_VI_API_ENDPOINT"])) as connection:
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status == 500
        with closing(plain(settings["DATATURE_VI_API_ENDPOINT"])) as connection:
            connection.request("GET", "/workspaces", headers={"Authorization": f"Bearer {key}x"})
            assert connection.getresponse().status == 401
    _, err = running.communicate(timeout=30)
    assert re.search(r" ERROR vi\.server: Request [0-9a-f]{32} failed\nTraceback", err)
    assert " WARNING vi.server: Refused a secret key" in err
    assert key not in err
