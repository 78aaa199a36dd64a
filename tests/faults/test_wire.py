"""Rows W1 to W13: faults of the wire."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.proxy import Exchange
from tests.faults.stage import LIMITS, RETRIES, Scene, caught, check_sums

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

UP, DOWN, API = "^/up/", "^/dl/", "^/workspaces/"
SESSIONS = "/assetIngestionSessions$"
ALL = {"failure_mode": "FailAfterAll", "show_progress": False}


async def test_W1_an_outage_of_three_seconds_in_the_middle_is_not_seen(scene: Scene) -> None:
    folder, dataset = scene.files(12), scene.dataset()
    gone = threading.Event()

    def out() -> None:
        if not gone.is_set():
            gone.set()
            scene.proxy.go_away()
            scene.proxy.later(3.0, scene.proxy.come_back)

    scene.plan(breaks.first(lambda: scene.proxy.later(0, out), breaks.stall()), "PUT", UP, at=5)
    async with scene.client(retries=vi.RetryPolicy(backoff=0.05, connect_patience=10)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    assert gone.is_set()
    assert result.seconds > 2.5
    scene.check_upload(result, dataset, folder)


@pytest.mark.parametrize("call", ["list", "upload"])
async def test_W1_a_lasting_refusal_is_a_network_error(scene: Scene, call: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        async with scene.client(endpoint=nobody) as client:
            with pytest.raises(vi.ViNetworkError) as error:
                if call == "list":
                    await client.datasets.list()
                else:
                    await client.assets.upload("some", scene.files(2), **ALL)
    assert time.monotonic() - began < 15
    assert "refused" in str(caught(error.value))


async def test_W1_a_connection_never_answered_is_given_up_in_time(scene: Scene) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = listener.getsockname()
    # A queue that is full drops further connections without a word.
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(address)
    try:
        began = time.monotonic()
        async with scene.client(endpoint=f"http://127.0.0.1:{address[1]}", timeouts=vi.Timeouts()) as client:
            with pytest.raises(vi.ViNetworkError) as error:
                await client.datasets.list()
        assert time.monotonic() - began < 10
        assert caught(error.value).error_code == "ConnectionFailed"
    finally:
        for one in [listener, *fillers]:
            one.close()


@pytest.mark.parametrize(
    "fault",
    [breaks.reset_at_head(), breaks.reset_inside_body(1000), breaks.reset_inside_body(100_000)],
    ids=["W2_before_the_body", "W3_in_a_small_body", "W3_in_a_large_body"],
)
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_W2_W3_a_reset_of_an_upload_is_repeated_from_the_first_byte(scene: Scene, fault: Any, at: int) -> None:
    folder, dataset = scene.files(2, size=(100, 80)), scene.dataset()
    scene.large("whole.bmp", size=(1000, 700))
    scene.plan(fault, "PUT", UP, at=at)
    async with scene.client(limits=vi.TransferLimits(max_concurrency=1)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert scene.wire.count("PUT", UP) == 4


async def test_W3_a_reset_inside_a_part_repeats_that_part(scene: Scene) -> None:
    dataset = scene.dataset()
    large = scene.large()
    scene.plan(breaks.reset_inside_body(40_000), "PUT", "^/part/", at=2)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, large.parent, **ALL)
    scene.check_upload(result, dataset, large.parent)
    assert scene.wire.count("PUT", "^/part/") == 4


@pytest.mark.parametrize(
    "fault", [breaks.lose_answer(), breaks.lose_answer(close=True), breaks.answer(500, forward=True)]
)
async def test_W4_an_answer_lost_after_the_bytes_were_stored_makes_no_second_asset(scene: Scene, fault: Any) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(fault, "PUT", UP, at=(1, 3))
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)


async def test_W5_a_lost_answer_of_session_creation_is_asked_for_again_by_its_key(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.lose_answer(), "POST", SESSIONS)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    first, second = scene.wire.of("POST", SESSIONS)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(result.session_ids) == 1


async def test_W5_without_keys_the_outcome_is_unknown_and_nothing_is_sent(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.lose_answer(), "POST", SESSIONS)
    scene.plan(breaks.edit(lambda reply: reply.without("Idempotency-Key")), path=API, at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViNetworkError, match="unknown") as error:
            await client.assets.upload(dataset, folder, **ALL)
    caught(error.value)
    check_sums(error.value.result)
    assert scene.wire.count("POST", SESSIONS) == 1
    assert scene.wire.count("PUT") == 0
    assert scene.stored(dataset) == {}


async def test_W5_a_dataset_is_not_created_twice(scene: Scene) -> None:
    name = f"once-{random.randrange(1 << 40)}"
    scene.plan(breaks.lose_answer(), "POST", "/datasets$")
    async with scene.client() as client:
        await client.datasets.list()
        await client.datasets.create(name=name)
    assert [d.name for d in scene.admin.datasets.list().all_items()].count(name) == 1


@pytest.mark.parametrize("close", [False, True], ids=["reset", "close"])
@pytest.mark.parametrize("kind", ["small", "stream", "ranges"])
async def test_W6_a_cut_answer_is_repeated_or_resumed(scene: Scene, kind: str, close: bool) -> None:
    dataset, contents = scene.fill(2, large=True)
    name, limits = ("file-000.png", LIMITS) if kind == "small" else ("large.bmp", LIMITS)
    if kind == "stream":
        limits = vi.TransferLimits(max_concurrency=4)
    scene.plan(breaks.cut_answer(200 if kind == "small" else 50_000, close=close), "GET", f"{DOWN}.*{name}")
    async with scene.client(limits=limits) as client:
        result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_download(result, scene.folder / "down", contents)


async def test_W6_a_large_stream_resumes_after_its_verified_prefix(scene: Scene) -> None:
    scene.large("big.bmp", size=(1200, 900), folder="seed")
    dataset, contents = scene.fill(0)
    scene.plan(breaks.cut_answer(2_000_000), "GET", DOWN)
    async with scene.client(limits=vi.TransferLimits()) as client:
        result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_download(result, scene.folder / "down", contents)
    first, second = scene.wire.of("GET", DOWN)
    assert "range" not in first.headers
    start = int(second.headers["range"].removeprefix("bytes=").partition("-")[0])
    assert 0 < start <= 2_000_000
    assert second.headers["if-match"]


@pytest.mark.parametrize(
    "fault",
    [breaks.cut_head(), breaks.raw(b"\x16\x03\x01" + b"nonsense " * 4000), breaks.raw(b"")],
    ids=["inside_the_head", "nonsense", "nothing"],
)
async def test_W7_a_head_that_is_cut_or_nonsense_is_repeated(scene: Scene, fault: Any) -> None:
    dataset, contents = scene.fill(3)
    scene.plan(fault, "GET", DOWN, at=2)
    scene.plan(fault, "GET", "/assets$")
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_download(result, scene.folder / "down", contents)


async def test_W7_lasting_nonsense_is_not_quoted_at_length(scene: Scene) -> None:
    scene.plan(breaks.raw(b"SSH-2.0-nonsense " * 4000), at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViNetworkError) as error:
            await client.datasets.list()
    assert len(str(caught(error.value))) < 300


async def test_W8_a_stalled_upload_is_ended_and_repeated_while_others_continue(scene: Scene) -> None:
    folder, dataset = scene.files(6), scene.dataset()
    scene.large("big.bmp", size=(2200, 1700))
    stalled = scene.plan(breaks.stall(), "PUT", f"{UP}.*big")
    done: list[int] = []
    async with scene.client(limits=vi.TransferLimits()) as client:
        result = await client.assets.upload(dataset, folder, on_progress=lambda p: done.append(p.bytes_done), **ALL)
    scene.check_upload(result, dataset, folder)
    assert stalled.fired == 1
    slow, again = scene.wire.of("PUT", f"{UP}.*big")
    assert all(seen.began < again.began for seen in scene.wire.of("PUT", f"{UP}.*file"))
    assert again.began - slow.began < 5


@pytest.mark.parametrize(
    ("fault", "method", "path"),
    [
        (breaks.stall_after_body(), "PUT", UP),
        (breaks.stall(), "GET", DOWN),
        (breaks.stall_in_answer(100), "GET", DOWN),
        (breaks.stall(), "GET", "/assets$"),
        (breaks.stall(), "POST", SESSIONS),
    ],
    ids=["put_answer", "get", "get_body", "listing", "session"],
)
async def test_W8_a_silent_connection_is_given_up_and_the_request_repeated(
    scene: Scene, fault: Any, method: str, path: str
) -> None:
    if method == "GET":
        dataset, contents = scene.fill(3)
    else:
        folder, dataset = scene.files(3), scene.dataset()
    scene.plan(fault, method, path, at=1)
    async with scene.client() as client:
        if method == "GET":
            result: Any = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
            scene.check_download(result, scene.folder / "down", contents)
        else:
            result = await client.assets.upload(dataset, folder, **ALL)
            scene.check_upload(result, dataset, folder)


async def test_W9_a_dripped_listing_ends_with_its_deadline(scene: Scene) -> None:
    scene.plan(breaks.drip_out(20), at=None)
    began = time.monotonic()
    async with scene.client(timeouts=vi.Timeouts(request=1.0, stall=0.6)) as client:
        with pytest.raises(vi.ViTimeoutError) as error:
            await client.datasets.list()
    caught(error.value)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", ["up", "down"])
async def test_W9_a_dripping_transfer_falls_below_the_floor(scene: Scene, way: str) -> None:
    dataset, contents = scene.fill(2)
    folder = scene.files(2, size=(900, 800))
    scene.large("big.bmp", size=(2200, 1700))
    began = time.monotonic()
    async with scene.client(retries=vi.RetryPolicy(max_attempts=2, backoff=0.01), limits=vi.TransferLimits()) as client:
        if way == "down":
            scene.plan(breaks.drip_out(100), "GET", f"{DOWN}.*file-001", at=None)
            result: Any = await client.assets.download(
                dataset, scene.folder / "down", show_progress=False, raise_on_failure=False
            )
            scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "ETIMEOUT"})
        else:
            scene.plan(breaks.drip_in(100), "PUT", f"{UP}.*big", at=None)
            result = await client.assets.upload(dataset, folder, **ALL)
            stored = scene.stored(dataset)
            check_sums(result)
            assert [(Path(f.path).name, f.code, f.attempts) for f in result.failures] == [("big.bmp", "ETIMEOUT", 2)]
            assert "big.bmp" not in stored
    scene.attempts = 2
    assert time.monotonic() - began < 10


async def test_W9_a_slow_transfer_above_the_floor_takes_its_time(scene: Scene) -> None:
    folder, dataset = scene.files(1), scene.dataset()
    scene.large("big.bmp", size=(1000, 700))
    # The stalls in it are shorter than the limit, the whole is several times longer.
    scene.plan(breaks.slowly(200_000, 0.2), "PUT", f"{UP}.*big")
    async with scene.client(limits=vi.TransferLimits()) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert scene.wire.count("PUT", f"{UP}.*big") == 1
    assert result.seconds > 1.5


@pytest.mark.parametrize("kind", ["list", "create", "upload", "download"])
async def test_W10_a_kept_connection_that_is_dead_is_not_seen(scene: Scene, kind: str) -> None:
    dataset, contents = scene.fill(6)
    folder = scene.files(6, start=0)
    stale = scene.plan(breaks.reset_at_head(), reused=True, at=(1, 2, 3), may_rest=kind == "create")
    async with scene.client(retries=RETRIES, limits=vi.TransferLimits(max_concurrency=2)) as client:
        reserve = client._http.budget._balance
        await client.datasets.get(dataset)
        if kind == "list":
            for _ in range(3):
                await client.datasets.get(dataset)
        elif kind == "create":
            # Not known to honour keys, so it must not be repeated: it never goes out on a kept connection.
            client._http.honours_keys = False
            await client.datasets.create(name="created")
            assert scene.wire.of("POST")[0].nth_on_connection == 1
        elif kind == "upload":
            result: Any = await client.assets.upload(dataset, folder, **ALL)
            assert result.total_succeeded == 6
        else:
            result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
            scene.check_download(result, scene.folder / "down", contents)
        assert client._http.budget._balance == reserve
    assert stale.fired or kind == "create"


async def test_W11_a_name_that_does_not_resolve_is_a_network_error_that_names_it(scene: Scene) -> None:
    began = time.monotonic()
    async with scene.client(endpoint="https://no-such-host.invalid") as client:
        with pytest.raises(vi.ViNetworkError, match=r"no-such-host\.invalid") as error:
            await client.datasets.list()
    caught(error.value)
    assert time.monotonic() - began < 15


async def test_W11_a_resolver_that_hangs_holds_nothing_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real, release = socket.getaddrinfo, threading.Event()

    def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example":
            release.wait(30)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    async with scene.client(endpoint="https://slow.example") as client:
        with pytest.raises(vi.ViNetworkError, match=r"slow\.example"):
            await client.datasets.list()
    release.set()
    assert time.monotonic() - began < 10


class TlsServer:
    """Accepts TLS connections with a certificate, and counts them."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.accepted = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                plain.settimeout(5)
                self._context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(AUTHORITY.format(folder=folder))
    made = {}
    for name, subject, first, last in (
        ("untrusted", "localhost", 2020, 2048),
        ("expired", "localhost", 2020, 2021),
        ("other_host", "example.com", 2020, 2048),
    ):
        key, request, certificate = (folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-new", *curve, "-subj", f"/CN={subject}", "-keyout", key, "-out", request)
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{subject}\nbasicConstraints=critical,CA:true\n")
        dates = ["-startdate", f"{first}0101000000Z", "-enddate", f"{last}0101000000Z"]
        signing = ["-selfsign", "-batch", "-notext", "-config", folder / "ca.cnf", "-extfile", extensions]
        openssl("ca", *signing, *dates, "-keyfile", key, "-in", request, "-out", certificate)
        made[name] = (certificate, key)
    return made


AUTHORITY = """[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)


@pytest.fixture
def tls(request: pytest.FixtureRequest, certificates: dict[str, tuple[Path, Path]]) -> Iterator[TlsServer]:
    server = TlsServer(*certificates[request.param])
    yield server
    server.close()


@pytest.mark.parametrize(
    ("tls", "reason"),
    [("untrusted", "self-signed"), ("expired", "expired"), ("other_host", "mismatch|not valid for")],
    indirect=["tls"],
)
async def test_W12_a_bad_certificate_is_refused_at_once_with_its_reason(
    scene: Scene, tls: TlsServer, reason: str, certificates: dict[str, tuple[Path, Path]]
) -> None:
    context = ssl.create_default_context()
    if reason != "self-signed":
        # Trusted, so that the date, or the name, is what is wrong with it.
        name = "expired" if reason == "expired" else "other_host"
        context.load_verify_locations(certificates[name][0])
    async with scene.client(endpoint=f"https://localhost:{tls.port}", ssl_context=context) as client:
        with pytest.raises(vi.ViNetworkError, match=f"(?i){reason}") as error:
            await client.datasets.list()
    caught(error.value)
    assert tls.accepted == 1


async def test_W12_a_plain_port_is_no_tls(scene: Scene) -> None:
    async with scene.client(endpoint=scene.service.url.replace("http:", "https:")) as client:
        with pytest.raises(vi.ViNetworkError, match="TLS") as error:
            await client.datasets.list()
    caught(error.value)


async def test_W12_nothing_turns_verification_off(scene: Scene) -> None:
    with pytest.raises(TypeError):
        scene.client(verify=False)
    with pytest.raises(TypeError):
        scene.client(verify_ssl=False)


@pytest.mark.parametrize("seed", [1, 2])
async def test_W13_random_resets_lose_nothing_and_cost_little(scene: Scene, seed: int) -> None:
    folder, dataset = scene.files(80), scene.dataset()
    chance = random.Random(seed)
    fails = {path.name: chance.random() for path in sorted(folder.iterdir())}
    attempts: dict[str, int] = {}

    async def reset_some(x: Exchange) -> None:
        # By name and attempt, so that the order of arrival does not decide.
        name = x.seen.path.rpartition("/")[2]
        attempts[name] = attempts.get(name, 0) + 1
        if fails[name] < 0.25 ** attempts[name]:
            x.seen.fault = "reset"
            await x.read(random.Random(f"{seed} {name}").randrange(x.length))
            x.reset()
        x.seen.fault = None
        await x.send(await x.forward())

    scene.plan(reset_some, "PUT", UP, at=None)
    async with scene.client(retries=vi.RetryPolicy(backoff=0.01, backoff_max=0.05)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    puts = scene.wire.count("PUT", UP)
    expected = sum(1 + sum(1 for n in range(1, 5) if chosen < 0.25**n) for chosen in fails.values())
    assert 80 < puts == expected <= 1.5 * 80
