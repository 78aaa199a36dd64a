"""Rows H1 to H17: answers that are not the one hoped for."""

from __future__ import annotations

import email.utils
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.stage import RETRIES, TIMEOUTS, Scene, caught, check_sums
from tests.support.service_process import ServiceProcess
from vi._transfer.signed import SignedTransfer
from vi._transfer.storage import Storage
from vi.api.resources.datasets.assets.upload import sending

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

UP, DOWN, API = "^/up/", "^/dl/", "^/workspaces/"
SESSIONS, SESSION = "/assetIngestionSessions$", "/assetIngestionSessions/[^/:]+$"
ALL: dict[str, Any] = {"failure_mode": "FailAfterAll", "show_progress": False}
LOOK: dict[str, Any] = {"show_progress": False, "raise_on_failure": False}

EXPIRED_LIKE_S3 = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
EXPIRED_LIKE_GCS = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_H1_a_burst_of_server_errors_is_retried(scene: Scene, status: int) -> None:
    dataset, contents = scene.fill(4)
    folder = scene.files(4)
    scene.plan(breaks.answer(status), "PUT", UP, at=(1, 2, 3, 6))
    scene.plan(breaks.answer(status), "GET", DOWN, at=(1, 2, 3, 6))
    async with scene.client() as client:
        target = scene.dataset()
        result = await client.assets.upload(target, folder, **ALL)
        scene.check_upload(result, target, folder)
        down = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
        scene.check_download(down, scene.folder / "down", contents)


async def test_H1_five_attempts_and_no_more_with_random_waits(scene: Scene) -> None:
    folder, dataset = scene.files(6), scene.dataset()
    scene.plan(breaks.answer(503), "PUT", UP, at=None)
    async with scene.client(retries=vi.RetryPolicy(backoff=0.05, backoff_max=0.4)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    names = [path.name for path in folder.iterdir()]
    scene.check_upload(result, dataset, folder, failed=dict.fromkeys(names, "EREFUSED"))
    assert all(failure.attempts == 5 and "503" in failure.message for failure in result.failures)
    gaps = []
    for name in names:
        times = [seen.began for seen in scene.wire.of("PUT", f"{UP}.*{name}")]
        assert len(times) == 5
        gaps.append(times[4] - times[3])
    assert max(gaps) - min(gaps) > 0.02, "all waited alike"


async def test_H1_retries_come_out_of_one_budget(scene: Scene) -> None:
    folder, dataset = scene.files(40), scene.dataset()
    scene.plan(breaks.answer(500), "PUT", UP, at=None)
    async with scene.client() as client:
        client._http.budget.reserve = client._http.budget._balance = 10.0
        result = await client.assets.upload(dataset, folder, **ALL)
    assert result.total_failed == 40
    # Ten in reserve, half a one for each first attempt.
    assert scene.wire.count("PUT", UP) <= 40 + 10 + 20


@pytest.mark.parametrize(
    "fault", [breaks.answer(503), breaks.answer(500), breaks.reset_after_body(), breaks.lose_answer()]
)
async def test_H2_reads_and_polls_survive(scene: Scene, fault: Any) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(fault, "GET", API, at=(1, 3))
    scene.plan(fault, "GET", SESSION, at=(1, 2))
    async with scene.client() as client:
        await client.datasets.get(dataset)
        result = await client.assets.upload(dataset, folder, **ALL)
        assert {a.filename async for a in client.assets.list(dataset).all_items()} == set(scene.stored(dataset))
    scene.check_upload(result, dataset, folder)


@pytest.mark.parametrize("status", [503, 429])
async def test_H3_session_creation_is_repeated_after_the_wait_that_was_asked_for(scene: Scene, status: int) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.answer(status, [("Retry-After", "1")]), "POST", SESSIONS)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    first, second = scene.wire.of("POST", SESSIONS)
    assert second.began - first.began >= 0.97


@pytest.mark.parametrize("honoured", [True, False])
async def test_H3_without_the_wait_only_a_keyed_creation_is_repeated(scene: Scene, honoured: bool) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.answer(503), "POST", SESSIONS)
    if not honoured:
        scene.plan(breaks.edit(lambda reply: reply.without("Idempotency-Key")), path=API, at=None)
    async with scene.client() as client:
        if honoured:
            scene.check_upload(await client.assets.upload(dataset, folder, **ALL), dataset, folder)
        else:
            with pytest.raises(vi.ViServerError) as error:
                await client.assets.upload(dataset, folder, **ALL)
            check_sums(caught(error.value).result)
    assert scene.wire.count("POST", SESSIONS) == 1 + honoured


async def test_H4_one_429_holds_every_task_of_the_client(scene: Scene) -> None:
    folder, dataset = scene.files(64), scene.dataset()
    scene.plan(breaks.answer(429, [("Retry-After", "2")]), "PUT", UP, at=10)
    async with scene.client(limits=vi.TransferLimits()) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    # The invariants look at each request; here, that the hold was felt at all.
    began = sorted(seen.began for seen in scene.wire.log)
    assert max(b - a for a, b in itertools.pairwise(began)) > 1.5


@pytest.mark.faults
async def test_H4_one_429_of_five_seconds_among_64_transfers(scene: Scene) -> None:
    """Nothing goes out for five seconds, then all succeed."""
    folder, dataset = scene.files(64), scene.dataset()
    refused = scene.plan(breaks.answer(429, [("Retry-After", "5")]), "PUT", UP, at=5)
    async with scene.client(limits=vi.TransferLimits(max_concurrency=64)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    (told,) = scene.wire.of("PUT", UP)[4:5] if refused.fired else [None]
    assert told is not None
    assert told.answered is not None
    after = [seen.began - told.answered for seen in scene.wire.log if seen.began > told.answered + 0.3]
    assert min(after) > 4.9
    assert scene.wire.count("PUT", UP) == 65


async def test_H4_a_429_of_the_api_holds_the_api(scene: Scene) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.answer(429, [("Retry-After", "1")]), "GET", "/datasets/", at=1)
    async with scene.client() as client:
        began = time.monotonic()
        await client.datasets.get(dataset)
        assert time.monotonic() - began >= 0.97


@pytest.mark.parametrize(("status", "slower"), [(429, True), (503, True), (500, False)])
async def test_H4_a_429_of_the_api_slows_transfers_as_one_of_the_storage_does(
    scene: Scene, status: int, slower: bool
) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.answer(status), "GET", "/datasets/", at=1)
    async with scene.client(limits=vi.TransferLimits()) as client:
        slots = client._http.pacing.slots()
        before = slots.level
        await client.datasets.get(dataset)
        assert slots.level == (before // 2 if slower else before)


@pytest.mark.parametrize("skew", [-86400, 0, 86400], ids=["behind", "equal", "ahead"])
async def test_H5_a_date_counts_from_the_answers_own_date(scene: Scene, skew: int) -> None:
    now = time.time() + skew
    headers = [
        ("Date", email.utils.formatdate(now, usegmt=True)),
        ("Retry-After", email.utils.formatdate(now + 1, usegmt=True)),
    ]
    dataset = scene.dataset()
    scene.plan(breaks.answer(429, headers), "GET", "/datasets/", at=1)
    async with scene.client() as client:
        began = time.monotonic()
        await client.datasets.get(dataset)
    assert 0.97 <= time.monotonic() - began < 5


@pytest.mark.parametrize("value", ["-5", "soon", "nan", "inf", "", "1e999", "Thu, 99 Foo 2026"])
async def test_H6_nonsense_is_no_instruction(scene: Scene, value: str) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.answer(429, [("Retry-After", value)]), "GET", "/datasets/", at=1)
    async with scene.client() as client:
        began = time.monotonic()
        await client.datasets.get(dataset)
    assert time.monotonic() - began < 1


async def test_H6_a_wait_of_a_day_is_an_error_at_once(scene: Scene) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.answer(429, [("Retry-After", "86400")]), "GET", "/datasets/")
    async with scene.client() as client:
        with pytest.raises(vi.ViRateLimitError) as error:
            await client.datasets.get(dataset)
    assert caught(error.value).retry_after == 86400
    assert scene.wire.count("GET", "/datasets/") == 1


async def test_H6_a_wait_of_a_day_for_one_file_does_not_hold_the_others(scene: Scene) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    scene.plan(breaks.answer(429, [("Retry-After", "86400")]), "PUT", f"{UP}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-001.png": "EREFUSED"})


@pytest.mark.parametrize("status", [500, 403, 400])
async def test_H7_one_file_refused_for_ever_fails_alone(scene: Scene, status: int) -> None:
    folder, dataset = scene.files(8), scene.dataset()
    scene.plan(breaks.answer(status), "PUT", f"{UP}.*file-003", at=None)
    began = time.monotonic()
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    # The URL would live for 900 s.
    assert time.monotonic() - began < 10
    scene.check_upload(result, dataset, folder, failed={"file-003.png": "EREFUSED"})
    (failure,) = result.failures
    assert result.failed_files == [str(folder / "file-003.png")]
    assert str(status) in failure.message
    assert failure.attempts == (5 if status == 500 else 1)


@pytest.mark.parametrize("status", [402, 409, 412, 416, 418, 451])
async def test_H7_one_download_refused_for_ever_fails_alone(scene: Scene, status: int) -> None:
    """Also with a status that speaks of ranges and conditions, where none were asked for."""
    dataset, contents = scene.fill(6)
    scene.plan(breaks.answer(status), "GET", f"{DOWN}.*file-003", at=None)
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-003.png": "EREFUSED"})
    assert result.failures[0].attempts == 1


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422, 451])
async def test_H8_what_cannot_get_better_is_tried_once(scene: Scene, status: int) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.answer(status, body={"message": "No."}), "GET", "/datasets/", at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViError) as error:
            await client.datasets.get(dataset)
    assert caught(error.value).status_code == status
    assert scene.wire.count("GET", "/datasets/") == 1


async def test_H8_an_answer_before_the_body_is_read_is_taken(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    scene.large("big.bmp", size=(2200, 1700))
    scene.plan(breaks.answer(413, body=b"too large", read=False), "PUT", f"{UP}.*big")
    async with scene.client(limits=vi.TransferLimits()) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"big.bmp": "EREFUSED"})
    (failure,) = result.failures
    assert "413" in failure.message
    assert failure.attempts == 1


@pytest.mark.parametrize(("status", "kind"), [(401, vi.ViAuthenticationError), (403, vi.ViPermissionError)])
@pytest.mark.parametrize("path", ["/datasets/[^/]+$", SESSIONS])
async def test_H9_a_refused_key_is_one_request_and_nothing_is_sent(
    scene: Scene, status: int, kind: type[vi.ViError], path: str
) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.answer(status, body={"message": "Not you."}), path=path, at=None)
    async with scene.client() as client:
        with pytest.raises(kind) as error:
            await client.assets.upload(dataset, folder, **ALL)
    caught(error.value)
    assert scene.wire.count(path=path) == 1
    assert scene.wire.count("PUT") == 0


async def test_H9_a_wrong_key_is_not_shown(scene: Scene) -> None:
    key = "dtvi_" + "wrong" * 19 + "abc"
    async with scene.client(key=key) as client:
        with pytest.raises(vi.ViAuthenticationError) as error:
            await client.datasets.list()
    caught(error.value)
    assert "wrongwrong" not in f"{error.value} {error.value!r}"
    assert len(scene.proxy.log) == 1


async def test_H10_a_file_may_be_late_any_number_of_times_while_others_get_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is in time in every second session: none is given up for being late in all before."""
    folder, dataset = scene.files(12), scene.dataset()
    in_time: dict[int, object] = {}

    def near_expiry(_: Storage, transfer: SignedTransfer) -> bool:
        sessions = scene.wire.count("POST", SESSIONS)
        if sessions % 2 == 0:
            in_time.setdefault(sessions, transfer.url)
        return in_time.get(sessions) != transfer.url

    monkeypatch.setattr(Storage, "near_expiry", near_expiry)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, timeout=60, **ALL)
    check_sums(result)
    assert (result.total_succeeded, result.failures) == (12, [])
    assert scene.wire.count("POST", SESSIONS) == 24


@pytest.mark.parametrize(("status", "body"), [(403, EXPIRED_LIKE_S3), (400, EXPIRED_LIKE_GCS)], ids=["as_S3", "as_GCS"])
async def test_H10_upload_urls_that_expire_are_replaced_unseen(scene: Scene, status: int, body: bytes) -> None:
    folder, dataset = scene.files(8), scene.dataset()
    scene.plan(breaks.answer(status, body=body), "PUT", f"{UP}.*file-00[4-7]", at=(1, 2, 3, 4))
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert scene.wire.count("POST", SESSIONS) == 2
    assert scene.wire.count("PUT", UP) == 12
    assert scene.wire.count("POST", ":cancel$") >= 1


LOST_ON_THE_WAY = ("BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout")


@pytest.mark.parametrize("said", LOST_ON_THE_WAY)
async def test_H17_bytes_that_a_store_finds_damaged_are_sent_again(scene: Scene, said: str) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    body = f'<?xml version="1.0"?><Error><Code>{said}</Code><Message>Try it again.</Message></Error>'.encode()
    scene.plan(breaks.answer(400, body=body), "PUT", f"{UP}.*file-00[12]", at=(1, 2))
    scene.plan(breaks.answer(400, body=body), "PUT", f"{UP}.*file-003", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-003.png": "ECORRUPT"})
    assert said in result.failures[0].message
    assert scene.wire.count("PUT", f"{UP}.*file-003") > 2


@pytest.mark.parametrize(("status", "said"), [(400, "InvalidDigest"), (403, "RequestTimeTooSkewed")])
async def test_H17_what_a_store_says_of_the_signed_address_is_final(scene: Scene, status: int, said: str) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    body = f"<Error><Code>{said}</Code><Message>BadDigest</Message></Error>".encode()
    scene.plan(breaks.answer(status, body=body), "PUT", f"{UP}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-001.png": "EREFUSED"})
    assert scene.wire.count("PUT", f"{UP}.*file-001") == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.faults)], ids=["4s", "60s"])
async def test_H10_urls_that_live_two_seconds_carry_an_upload_that_takes_longer(
    scene: Scene, tmp_path: Path, seconds: int
) -> None:
    each, at_once = 0.25, 2
    folder = scene.files(int(at_once * seconds / each))
    large = scene.large(size=(320, 240))
    service = ServiceProcess(tmp_path / "data", public_url=scene.proxy.url, upload_url_seconds=2, part_bytes=80_000)

    async def slowly(x: Any) -> None:
        await x.read()
        await x.pause(each)
        await x.send(await x.forward())

    scene.plan(slowly, "PUT", at=None)
    scene.proxy.upstream = service.url
    limits = vi.TransferLimits(max_concurrency=at_once, multipart_threshold=150_000, parts_per_file=1)
    try:
        async with vi.AsyncClient(
            service.secret_key,
            service.organization_id,
            scene.proxy.url,
            timeouts=TIMEOUTS,
            retries=RETRIES,
            limits=limits,
        ) as client:
            dataset = (await client.datasets.create(name="short-lived")).dataset_id
            result = await client.assets.upload(dataset, folder, **ALL)
            names = {asset.filename async for asset in client.assets.list(dataset).all_items()}
    finally:
        service.stop()
    assert result.seconds > seconds
    assert result.total_succeeded == len(names) == len(list(folder.iterdir())), result.summary()
    assert large.name in names


async def test_H10_files_that_others_keep_waiting_are_not_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of their URLs end meanwhile: it is not the service that gives them too late."""
    folder, dataset = scene.files(3), scene.dataset()
    monkeypatch.setattr(sending, "LONG_WAIT", -1.0)
    monkeypatch.setattr(Storage, "near_expiry", lambda *_: scene.wire.count("POST", SESSIONS) <= 8)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, timeout=30, **ALL)
    check_sums(result)
    assert (result.total_succeeded, result.failures) == (3, [])
    assert scene.wire.count("POST", SESSIONS) == 9


async def test_H10_urls_that_are_always_too_late_end_the_upload(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a service would have a new session opened for ever."""
    folder, dataset = scene.files(3), scene.dataset()
    monkeypatch.setattr(Storage, "near_expiry", lambda *_: True)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, timeout=30, **ALL)
    check_sums(result)
    assert [failure.code for failure in result.failures] == ["ETIMEOUT"] * 3
    assert scene.wire.count("PUT", UP) == 0


@pytest.mark.parametrize(("status", "body"), [(403, EXPIRED_LIKE_S3), (400, EXPIRED_LIKE_GCS), (401, b"")])
async def test_H11_download_urls_that_expire_are_asked_for_again(scene: Scene, status: int, body: bytes) -> None:
    dataset, contents = scene.fill(4)
    scene.plan(breaks.answer(status, body=body), "GET", DOWN, at=(2, 3))
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_download(result, scene.folder / "down", contents)
    assert scene.wire.count("GET", "/assets/[^/]+$") == 2


async def test_H11_a_url_that_expires_again_and_again_is_asked_for_a_few_times(scene: Scene) -> None:
    dataset, contents = scene.fill(3)
    scene.plan(breaks.answer(403, body=EXPIRED_LIKE_S3), "GET", f"{DOWN}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "ETIMEOUT"})
    assert scene.wire.count("GET", "/assets/[^/]+$") <= 3


async def test_H12_an_object_that_is_gone_is_reported_and_the_others_done(scene: Scene) -> None:
    dataset, contents = scene.fill(4)
    gone = next(a for a in scene.admin.assets.list(dataset).all_items() if a.filename == "file-002.png")
    listed = breaks.first(lambda: None, breaks.edit(lambda reply: reply))

    async def list_then_delete(x: Any) -> None:
        await listed(x)
        import asyncio

        await asyncio.to_thread(scene.admin.assets.delete, dataset, gone.asset_id)

    scene.plan(list_then_delete, "GET", "/assets$", name="deleted after the listing")
    # Held back until the asset is gone.
    async with scene.client(limits=vi.TransferLimits(max_concurrency=1)) as client:
        scene.plan(breaks.answer(404), "GET", f"{DOWN}.*file-002", at=None, may_rest=True)
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-002.png": "ENOENT"})


async def test_H13_a_session_cancelled_by_another_hand_ends_the_upload(scene: Scene) -> None:
    folder, dataset = scene.files(8), scene.dataset()
    session: list[str] = []

    def cancel() -> None:
        scene.admin.assets.cancel(dataset, session[0])

    def note(document: Any) -> None:
        session.append(document["assetIngestionSessionId"])

    scene.plan(breaks.edit_json(note, "noted"), "POST", SESSIONS)
    scene.plan(breaks.first(cancel), "PUT", UP, at=4)
    began = time.monotonic()
    async with scene.client(limits=vi.TransferLimits(max_concurrency=1)) as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    assert time.monotonic() - began < 10
    check_sums(result)
    assert not result.failures
    assert result.total_cancelled >= 1
    assert sorted(scene.stored(dataset)) == sorted(
        {p.name for p in folder.iterdir()} - {entry.filename for entry in result.cancelled}
    )


@pytest.mark.parametrize("status", [404, 410])
async def test_H13_a_session_that_is_gone_is_not_polled_for_ever(scene: Scene, status: int) -> None:
    folder, dataset = scene.files(4), scene.dataset()
    scene.plan(breaks.answer(status, body={"message": "gone"}), "PUT", UP, at=None)
    scene.plan(breaks.answer(status, body={"message": "gone"}), path="/assetIngestionSessions/.", at=None)
    began = time.monotonic()
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    assert time.monotonic() - began < 10
    scene.check_upload(result, dataset, folder, cancelled=4)
    assert all("gone" in entry.message or "ended" in entry.message for entry in result.cancelled)


async def test_H14_a_download_follows_five_redirects_without_api_headers(scene: Scene) -> None:
    dataset, contents = scene.fill(2)
    foreign = scene.proxy.foreign

    async def onward(x: Any) -> None:
        hop = int(x.seen.headers.get("x-hop", "0"))
        del hop
        await breaks.redirect(foreign + x.seen.target)(x)

    scene.plan(onward, "GET", f"{DOWN}.*file-001", name="redirect to another origin")
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    scene.check_download(result, scene.folder / "down", contents)
    assert scene.wire.count("GET", DOWN, "foreign") == 1


async def test_H14_a_circle_of_redirects_ends(scene: Scene) -> None:
    dataset, contents = scene.fill(2)

    async def circle(x: Any) -> None:
        await breaks.redirect(scene.proxy.url + x.seen.target)(x)

    scene.attempts = 6
    scene.plan(circle, "GET", f"{DOWN}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "EUNKNOWN"})
    assert scene.wire.count("GET", f"{DOWN}.*file-001") == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//user:word@127.0.0.1/x", "", "http://"]
)
async def test_H14_a_redirect_elsewhere_than_http_is_refused(scene: Scene, location: str) -> None:
    dataset, contents = scene.fill(2)
    scene.plan(breaks.redirect(location), "GET", f"{DOWN}.*file-001", at=None)
    scene.attempts = 6
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "EUNKNOWN"})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_H14_an_upload_is_never_redirected(scene: Scene, status: int) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.redirect(f"{scene.proxy.foreign}/elsewhere", status), "PUT", f"{UP}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-001.png": "EUNKNOWN"})
    assert scene.wire.count(origin="foreign") == 0


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_H15_an_api_redirect_to_another_origin_is_refused(scene: Scene, method: str, status: int) -> None:
    dataset = scene.dataset()
    scene.plan(breaks.redirect(f"{scene.proxy.foreign}/workspaces", status), method, at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match="another origin") as error:
            if method == "GET":
                await client.datasets.get(dataset)
            elif method == "POST":
                await client.datasets.create(name="x")
            else:
                await client.datasets.delete(dataset)
    caught(error.value)
    assert scene.wire.count(origin="foreign") == 0
    assert len(scene.proxy.log) == 1


async def test_H15_an_api_redirect_within_the_origin_is_followed(scene: Scene) -> None:
    dataset = scene.dataset()

    async def once(x: Any) -> None:
        await breaks.redirect(x.seen.path)(x)

    scene.plan(once, "GET", "/datasets/")
    async with scene.client() as client:
        assert (await client.datasets.get(dataset)).dataset_id == dataset


async def test_H16_waiting_for_a_session_that_never_ends_stops_in_time(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()

    def unfinished(document: Any) -> None:
        document["status"]["conditions"] = [{"condition": "Finished", "status": "Waiting", "lastTransitionTime": 1}]
        document["status"]["progressCount"] = {"total": 3, "succeeded": 1, "errored": 0}

    scene.plan(breaks.edit_json(unfinished, "unfinished"), "GET", SESSION, at=None)
    async with scene.client() as client:
        began = time.monotonic()
        with pytest.raises(vi.ViTimeoutError) as error:
            await client.assets.upload(dataset, folder, timeout=1.5, **ALL)
        assert time.monotonic() - began < 5
        result = caught(error.value).result
        check_sums(result)
        assert result.total_files == 3
        assert result.sessions[0].status.progressCount.total == 3
        with pytest.raises(vi.ViTimeoutError) as error:
            await client.assets.wait_until_done(dataset, result.session_ids[0], timeout=0.7)
        assert caught(error.value).session.asset_ingestion_session_id == result.session_ids[0]


@pytest.mark.parametrize("lost", [breaks.lose_answer(), breaks.answer(408, forward=True)], ids=["lost", "408"])
async def test_H_a_deletion_whose_answer_was_lost_is_done(scene: Scene, lost: Any) -> None:
    dataset, _ = scene.fill(3)
    ids = [asset.asset_id for asset in scene.admin.assets.list(dataset).all_items()]
    scene.plan(lost, "DELETE", "/assets/", at=(1, 3))
    scene.plan(breaks.answer(502, forward=True), "DELETE", "/datasets/[^/]+$")
    async with scene.client() as client:
        assert (await client.assets.delete(dataset, ids[0])).deleted
        result = await client.assets.delete_many(dataset, asset_ids=ids[1:])
        assert (result.deleted, result.missing) == (2, [])
        with pytest.raises(vi.ViNotFoundError):
            await client.assets.delete(dataset, ids[0])
        assert (await client.datasets.delete(dataset)).dataset_id == dataset
        with pytest.raises(vi.ViNotFoundError):
            await client.datasets.get(dataset)
