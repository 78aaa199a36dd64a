"""Ingestion sessions: the table of section 9.5, refusals, cancelling, listing, idempotency."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import web

from vi import _wire
from vi.api.resources.datasets.assets import responses

pytestmark = pytest.mark.anyio

SESSIONS = "/assetSources/managed/datature/default/assetIngestionSessions"


def finished(session: dict[str, Any]) -> tuple[str, str | None]:
    condition = session["status"]["conditions"][0]
    assert condition["condition"] == "Finished"
    return condition["status"], condition.get("reason")


def errors(session: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for event in session["status"]["events"]:
        if event["kind"] == "Error":
            found.update(event["files"])
    return found


def counts(session: dict[str, Any]) -> tuple[int, int, int]:
    count = session["status"]["progressCount"]
    return count["total"], count["succeeded"], count["errored"]


async def send(api: Any, session: dict[str, Any], name: str, data: bytes) -> int:
    upload = next(a for a in session["status"]["assets"] if a["metadata"]["filename"] == name)
    return int((await api.put(upload, data)).status)


async def test_a_new_session_has_every_field_and_a_url_per_file(api: Any, dataset_path: str, picture: Any) -> None:
    files = {"a.png": picture(1), "b.png": picture(2)}
    session = await api.open_session(dataset_path, files, failureMode="FailAfterOne")
    _wire.structure(session, responses.AssetIngestionSession)
    assert session["kind"] == "AssetIngestionSession"
    assert session["assetSourceClass"], session["assetSourceProvider"] == ("managed", "datature")
    assert session["assetSourceId"] == "default"
    assert session["ingestionId"]
    assert session["datasetId"] == dataset_path.rpartition("/")[2]
    assert session["spec"] == {
        "kind": "Upload",
        "failureMode": "FailAfterOne",
        "onAssetOverwritten": "RemoveLinkedResource",
    }
    assert finished(session) == ("Waiting", None)
    assert session["status"]["conditions"][1]["status"] == "Reached"
    assert session["status"]["events"] == []
    assert counts(session) == (2, 0, 0)
    for upload in session["status"]["assets"]:
        signed = upload["upload"]
        assert signed["method"] == "PUT"
        assert signed["headers"] == {"Content-Type": "image/png"}
        assert signed["url"].startswith(api.service.url)
        assert 890_000 < signed["expiry"] - session["metadata"]["timeCreated"] <= 900_000
    read = await api.read_session(session)
    assert "assets" not in read["status"]
    assert {**read, "status": None} == {**session, "status": None}


async def test_every_file_ingested_is_reached(api: Any, dataset_path: str, picture: Any) -> None:
    ended = await api.ingest(dataset_path, {"a.png": picture(1), "b.png": picture(2)}, failureMode="FailAfterOne")
    assert finished(ended) == ("Reached", None)
    assert counts(ended) == (2, 2, 0)
    progress = [event for event in ended["status"]["events"] if event["kind"] == "Progress"]
    assert progress == [{"kind": "Progress", "tasks": {"ingest": {"total": 2, "done": 2}}}]


async def test_fail_after_one_ends_with_the_first_error_and_keeps_what_is_in(
    api: Any, dataset_path: str, picture: Any
) -> None:
    files = {"a.png": picture(1), "b.png": picture(2), "c.png": picture(3)}
    session = await api.open_session(dataset_path, files, failureMode="FailAfterOne")
    assert await send(api, session, "a.png", files["a.png"]) == 200
    await api.until(session, lambda found: counts(found)[1] == 1)
    assert await send(api, session, "b.png", bytes(len(files["b.png"]))) == 200
    ended = await api.ended(session)
    assert finished(ended) == ("FailedReach", "AssetFailed")
    assert set(errors(ended)) == {"b.png"}
    assert counts(ended) == (3, 1, 1)
    assert await send(api, session, "c.png", files["c.png"]) == 410
    assert [asset["filename"] for asset in await api.assets(dataset_path)] == ["a.png"]


async def test_fail_after_all_finishes_when_one_file_is_in(api: Any, dataset_path: str, picture: Any) -> None:
    files = {"a.png": picture(1), "b.png": picture(2)}
    session = await api.open_session(dataset_path, files, failureMode="FailAfterAll")
    assert await send(api, session, "b.png", files["b.png"][:-1]) == 200
    assert await send(api, session, "a.png", files["a.png"]) == 200
    ended = await api.ended(session)
    assert finished(ended) == ("Reached", None)
    assert errors(ended) == {"b.png": "EBADSIZE"}
    assert counts(ended) == (2, 1, 1)


async def test_fail_after_all_fails_when_every_file_errored(api: Any, dataset_path: str, picture: Any) -> None:
    files = {"a.png": picture(1), "b.png": picture(2)}
    session = await api.open_session(dataset_path, files, failureMode="FailAfterAll")
    for name, data in files.items():
        assert await send(api, session, name, data[:-1]) == 200
    ended = await api.ended(session)
    assert finished(ended)[0] == "FailedReach"
    assert errors(ended) == {"a.png": "EBADSIZE", "b.png": "EBADSIZE"}
    assert counts(ended) == (2, 0, 2)


async def test_a_cancelled_session_fails_and_its_urls_stop_working(api: Any, dataset_path: str, picture: Any) -> None:
    files = {"a.png": picture(1), "b.png": picture(2)}
    session = await api.open_session(dataset_path, files)
    assert await send(api, session, "a.png", files["a.png"]) == 200
    await api.until(session, lambda found: counts(found)[1] == 1)
    answer = await api("POST", api.session_path(session) + ":cancel")
    assert answer.status == 200
    assert finished(answer.document) == ("FailedReach", "Cancelled")
    assert await send(api, session, "b.png", files["b.png"]) == 410
    assert [asset["filename"] for asset in await api.assets(dataset_path)] == ["a.png"]
    again = await api("POST", api.session_path(session) + "%3Acancel")
    assert (again.status, again.document) == (200, answer.document)


async def test_cancelling_a_finished_session_changes_nothing(api: Any, dataset_path: str, picture: Any) -> None:
    ended = await api.ingest(dataset_path, {"a.png": picture(1)})
    answer = await api("POST", api.session_path(ended) + ":cancel")
    assert (answer.status, answer.document) == (200, ended)


async def test_a_put_after_the_end_is_gone(api: Any, dataset_path: str, picture: Any) -> None:
    files = {"a.png": picture(1)}
    session = await api.open_session(dataset_path, files)
    await api.put_all(session, files)
    await api.ended(session)
    assert await send(api, session, "a.png", files["a.png"]) == 410


async def test_bytes_that_do_not_arrive_in_time_are_etimeout(fresh_api: Any, picture: Any) -> None:
    dataset_path = await fresh_api.create_dataset()
    files = {"a.png": picture(1), "b.png": picture(2)}
    session = await fresh_api.open_session(dataset_path, files)
    assert await send(fresh_api, session, "a.png", files["a.png"]) == 200
    await fresh_api.until(session, lambda found: counts(found)[1] == 1)
    fresh_api.service.clock.advance(840)  # not nearly 900: the clock goes on while a busy machine works
    assert finished(await fresh_api.read_session(session)) == ("Waiting", None)
    fresh_api.service.clock.advance(61)
    ended = await fresh_api.read_session(session)
    assert finished(ended) == ("Reached", None)
    assert errors(ended) == {"b.png": "ETIMEOUT"}
    assert counts(ended) == (2, 1, 1)


async def test_an_abandoned_session_ends_without_anybody_asking(start_service: Any, connect: Any, picture: Any) -> None:
    api = await connect(start_service(sweep_seconds=0.02))
    dataset_path = await api.create_dataset()
    session = await api.open_session(dataset_path, {"a.png": picture(1)}, failureMode="FailAfterOne")
    api.service.clock.advance(901)
    async with asyncio.timeout(10):
        while True:  # the list does not settle anything itself
            (listed,) = (await api("GET", dataset_path + SESSIONS)).document["items"]
            if finished(listed)[0] != "Waiting":
                break
    assert finished(listed) == ("FailedReach", "AssetFailed")
    assert listed["assetIngestionSessionId"] == session["assetIngestionSessionId"]


async def test_a_file_that_is_arriving_at_the_expiry_is_not_given_up(
    start_service: Any, connect: Any, picture: Any
) -> None:
    receiving = threading.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        answer = asyncio.ensure_future(handler(request))
        await asyncio.sleep(0)  # the handler runs until it waits for the body
        if request.method == "PUT":
            receiving.set()
        return await answer

    api = await connect(start_service(middlewares=[watch]))
    dataset_path = await api.create_dataset()
    data, late = picture(1), picture(2)
    session = await api.open_session(dataset_path, {"a.png": data, "b.png": late})
    rest = asyncio.Event()

    async def slowly() -> Any:
        yield data[:5]
        await rest.wait()
        yield data[5:]

    sending = asyncio.create_task(api.put(session["status"]["assets"][0], slowly()))
    assert await asyncio.to_thread(receiving.wait, 10)
    api.service.clock.advance(901)
    assert errors(await api.read_session(session)) == {"b.png": "ETIMEOUT"}
    rest.set()
    assert (await sending).status == 200
    assert counts(await api.ended(session)) == (2, 1, 1)


REFUSED = {
    "empty": ({"size": 0}, "EBADSIZE"),
    "image over 256 MiB": ({"size": (256 << 20) + 1}, "EBADSIZE"),
    "video over 512 GiB": ({"kind": "Video", "mime": "video/mp4", "size": (512 << 30) + 1}, "EBADSIZE"),
    "unknown type": ({"mime": "application/pdf"}, "EBADMIME"),
    "video type for an image": ({"mime": "video/mp4"}, "EBADMIME"),
}


@pytest.mark.parametrize(("change", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_file_refused_at_once_has_no_url_and_an_error_event(
    api: Any, dataset_path: str, picture: Any, change: dict[str, Any], code: str
) -> None:
    document = api.announce({"bad.png": b"123", "good.png": picture(1)})
    document["spec"]["assets"][0].update(change)
    session = (await api("POST", dataset_path + SESSIONS, document)).document
    assert [upload["metadata"]["filename"] for upload in session["status"]["assets"]] == ["good.png"]
    assert errors(session) == {"bad.png": code}
    assert finished(session) == ("Waiting", None)
    await api.put_all(session, {"good.png": picture(1)})
    ended = await api.ended(session)
    assert counts(ended) == (2, 1, 1)
    assert errors(ended) == {"bad.png": code}


async def test_a_file_refused_at_once_ends_a_fail_after_one_session(api: Any, dataset_path: str, picture: Any) -> None:
    document = api.announce({"bad.png": b"", "good.png": picture(1)}, failureMode="FailAfterOne")
    session = (await api("POST", dataset_path + SESSIONS, document)).document
    assert finished(session) == ("FailedReach", "AssetFailed")
    assert await send(api, session, "good.png", picture(1)) == 410


async def test_contents_are_judged_when_they_arrive(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(1, width=40, height=40)
    sent = {
        "wrong sum.png": data,
        "half.png": data[: len(data) // 2],
        "gif in truth.png": picture(1, format="GIF"),
        "text.png": b"not a picture at all, though it is called one",
        "fine.png": data,
    }
    document = api.announce(sent)
    document["spec"]["assets"][0]["crc32c"] = 12345
    session = (await api("POST", dataset_path + SESSIONS, document)).document
    await api.put_all(session, sent)
    ended = await api.ended(session)
    found = errors(ended)
    assert found["wrong sum.png"] == "ECORRUPT"
    assert found["half.png"] == "ECORRUPT"
    assert found["gif in truth.png"] == "EBADMIME"
    assert found["text.png"] == "EBADMIME"
    assert counts(ended) == (5, 1, 4)


async def test_beyond_the_quota_is_enoquota(start_service: Any, connect: Any, picture: Any) -> None:
    data = picture(1)
    api = await connect(start_service(quota_bytes=2 * len(data) + 5))
    dataset_path = await api.create_dataset()
    session = await api.open_session(dataset_path, {"a.png": data, "b.png": data, "c.png": data})
    assert errors(session) == {"c.png": "ENOQUOTA"}
    await api.put_all(session, {"a.png": data, "b.png": data})
    await api.ended(session)
    assert errors(await api.open_session(dataset_path, {"d.png": data})) == {"d.png": "ENOQUOTA"}
    (first, _) = await api.assets(dataset_path)
    assert (await api("DELETE", f"{dataset_path}/assets/{first['assetId']}")).status == 204
    assert errors(await api.ingest(dataset_path, {"d.png": data})) == {}


async def test_what_an_open_session_announced_counts(start_service: Any, connect: Any, picture: Any) -> None:
    data = picture(1)
    api = await connect(start_service(quota_bytes=len(data)))
    dataset_path = await api.create_dataset()
    first = await api.open_session(dataset_path, {"a.png": data})
    assert errors(await api.open_session(dataset_path, {"b.png": data})) == {"b.png": "ENOQUOTA"}
    await api("POST", api.session_path(first) + ":cancel")
    assert errors(await api.ingest(dataset_path, {"b.png": data})) == {}


@pytest.mark.parametrize("sent", ["KeepLinkedResource", "KeepLinkedResources"])
async def test_both_spellings_of_keep_are_taken_and_the_plural_answered(
    api: Any, dataset_path: str, picture: Any, sent: str
) -> None:
    session = await api.open_session(dataset_path, {"a.png": picture(1)}, onAssetOverwritten=sent)
    assert session["spec"]["onAssetOverwritten"] == "KeepLinkedResources"


def _spec(document: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]
    return spec


BAD_REQUESTS: dict[str, tuple[Any, str]] = {
    "no spec": (lambda d: d.pop("spec"), "spec"),
    "no files": (lambda d: _spec(d).update(assets=[]), "spec.assets"),
    "no list": (lambda d: _spec(d).update(assets={}), "spec.assets"),
    "name twice": (lambda d: _spec(d)["assets"].append(_spec(d)["assets"][0]), "spec.assets[1].filename"),
    "name missing": (lambda d: _spec(d)["assets"][0].pop("filename"), "spec.assets[0].filename"),
    "name empty": (lambda d: _spec(d)["assets"][0].update(filename=""), "spec.assets[0].filename"),
    "name dot": (lambda d: _spec(d)["assets"][0].update(filename="."), "spec.assets[0].filename"),
    "name dots": (lambda d: _spec(d)["assets"][0].update(filename=".."), "spec.assets[0].filename"),
    "name nul": (lambda d: _spec(d)["assets"][0].update(filename="a\0b"), "spec.assets[0].filename"),
    "name half a pair": (lambda d: _spec(d)["assets"][0].update(filename="\ud800"), "spec.assets[0].filename"),
    "name too long": (lambda d: _spec(d)["assets"][0].update(filename="x" * 1025), "spec.assets[0].filename"),
    "size text": (lambda d: _spec(d)["assets"][0].update(size="7"), "spec.assets[0].size"),
    "size negative": (lambda d: _spec(d)["assets"][0].update(size=-1), "spec.assets[0].size"),
    "size true": (lambda d: _spec(d)["assets"][0].update(size=True), "spec.assets[0].size"),
    "size huge": (lambda d: _spec(d)["assets"][0].update(size=10**30), "spec.assets[0].size"),
    "sum too large": (lambda d: _spec(d)["assets"][0].update(crc32c=1 << 31), "spec.assets[0].crc32c"),
    "kind": (lambda d: _spec(d)["assets"][0].update(kind="Audio"), "spec.assets[0].kind"),
    "metadata null": (lambda d: _spec(d)["assets"][0].update(customMetadata={"a": None}), "customMetadata.a"),
    "metadata list": (lambda d: _spec(d)["assets"][0].update(customMetadata={"a": []}), "customMetadata.a"),
    "failure mode": (lambda d: _spec(d).update(failureMode="Never"), "spec.failureMode"),
    "retention": (lambda d: _spec(d).update(onAssetOverwritten="Maybe"), "spec.onAssetOverwritten"),
    "spec kind": (lambda d: _spec(d).update(kind="Download"), "spec.kind"),
}


@pytest.mark.parametrize(("spoil", "field"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_a_wrong_request_is_a_400_that_names_the_field(
    api: Any, dataset_path: str, picture: Any, spoil: Any, field: str
) -> None:
    document = api.announce({"a.png": picture(1)})
    spoil(document)
    answer = await api("POST", dataset_path + SESSIONS, document)
    assert answer.status == 400
    assert field in answer.message
    assert (await api("GET", dataset_path + SESSIONS)).document["items"] == []


async def test_ten_thousand_files_fit_in_a_session_and_no_more(api: Any, dataset_path: str) -> None:
    files = {f"{number}.png": b"12345678" for number in range(10_000)}
    session = await api.open_session(dataset_path, files)
    assert len(session["status"]["assets"]) == 10_000
    assert counts(session) == (10_000, 0, 0)
    assert len({upload["upload"]["url"] for upload in session["status"]["assets"]}) == 10_000
    assert (await api("POST", api.session_path(session) + ":cancel")).status == 200
    too_many = api.announce({**files, "one more.png": b"12345678"})
    assert (await api("POST", dataset_path + SESSIONS, too_many)).status == 400


async def test_unknown_fields_and_nulls_are_passed_over(api: Any, dataset_path: str, picture: Any) -> None:
    document = api.announce({"a.png": picture(1)})
    document["later"] = {"x": 1}
    document["spec"]["more"] = [1]
    document["spec"]["assets"][0].update(customMetadata=None, crc32c=None, unknown="y")
    assert (await api("POST", dataset_path + SESSIONS, document)).status == 201


async def test_custom_metadata_reaches_the_asset(api: Any, dataset_path: str, picture: Any) -> None:
    custom = {"camera": "aerial", "height_m": 12.5, "runs": 3, "night": False}
    document = api.announce({"a.png": picture(1)})
    document["spec"]["assets"][0]["customMetadata"] = custom
    session = (await api("POST", dataset_path + SESSIONS, document)).document
    assert session["status"]["assets"][0]["metadata"]["customMetadata"] == custom
    await api.put_all(session, {"a.png": picture(1)})
    await api.ended(session)
    (asset,) = await api.assets(dataset_path)
    assert asset["metadata"]["customMetadata"] == custom
    assert asset["metadata"]["customMetadataCount"] == 4


async def test_sessions_are_found_by_id_whatever_the_source(api: Any, dataset_path: str, picture: Any) -> None:
    path = dataset_path + "/assetSources/managed/datature/transient/assetIngestionSessions"
    session = (await api("POST", path, api.announce({"a.png": picture(1)}))).document
    assert session["assetSourceId"] == "transient"
    elsewhere = f"{dataset_path}{SESSIONS}/{session['assetIngestionSessionId']}"
    assert (await api("GET", elsewhere)).document["assetIngestionSessionId"] == session["assetIngestionSessionId"]
    assert (await api("POST", elsewhere + ":cancel")).status == 200
    assert (await api("GET", dataset_path + SESSIONS + "/nothing")).status == 404


async def test_sessions_are_listed_newest_first_in_pages(api: Any, dataset_path: str, picture: Any) -> None:
    made = [await api.open_session(dataset_path, {f"{n}.png": picture(n)}) for n in range(5)]
    wanted = [session["assetIngestionSessionId"] for session in reversed(made)]
    found, token = [], None
    while True:
        query = {"s": 2} | ({"p": token} if token else {})
        page = (await api("GET", dataset_path + SESSIONS, **query)).document
        found += [item["assetIngestionSessionId"] for item in page["items"]]
        token = page["nextPage"]
        if not token:
            break
    assert found == wanted


async def test_the_same_key_and_body_get_the_first_answer(fresh_api: Any, picture: Any) -> None:
    dataset_path = await fresh_api.create_dataset()
    document = fresh_api.announce({"a.png": picture(1), "empty.png": b""})
    key = {"Idempotency-Key": "one"}
    first = await fresh_api("POST", dataset_path + SESSIONS, document, headers=key)
    await fresh_api.put_all(first.document, {"a.png": picture(1)})
    await fresh_api.ended(first.document)
    again = await fresh_api("POST", dataset_path + SESSIONS, document, headers=key)
    assert (again.status, again.document) == (201, first.document)
    assert len((await fresh_api("GET", dataset_path + SESSIONS)).document["items"]) == 1
    other = await fresh_api("POST", dataset_path + SESSIONS, fresh_api.announce({"b.png": b"1"}), headers=key)
    assert other.status == 422
    fresh_api.service.clock.advance(24 * 3600 + 1)
    later = await fresh_api("POST", dataset_path + SESSIONS, document, headers=key)
    assert later.status == 201
    assert later.document["assetIngestionSessionId"] != first.document["assetIngestionSessionId"]


async def test_one_key_sent_many_times_at_once_makes_one_session(api: Any, dataset_path: str, picture: Any) -> None:
    document = api.announce({"a.png": picture(1)})
    answers = await asyncio.gather(
        *(api("POST", dataset_path + SESSIONS, document, headers={"Idempotency-Key": "k"}) for _ in range(8))
    )
    assert {answer.status for answer in answers} == {201}
    assert len({answer.document["assetIngestionSessionId"] for answer in answers}) == 1
    assert len((await api("GET", dataset_path + SESSIONS)).document["items"]) == 1


async def test_a_reading_that_waits_is_answered_when_the_session_ends(
    api: Any, dataset_path: str, picture: Any
) -> None:
    files = {"a.png": picture(1)}
    session = await api.open_session(dataset_path, files)
    early = await api("GET", api.session_path(session) + "?wait=0.01")
    assert finished(early.document) == ("Waiting", None)
    assert "session-wait" in early.headers["Vi-Additions"]
    waiting = asyncio.create_task(api("GET", api.session_path(session) + "?wait=10"))
    await asyncio.sleep(0)
    await api.put_all(session, files)
    ended = await waiting
    assert (ended.status, finished(ended.document)) == (200, ("Reached", None))
    again = await api("GET", api.session_path(session) + "?wait=10")
    assert again.document == ended.document


@pytest.mark.parametrize("wait", ["-1", "10.1", "nan", "soon", ""])
async def test_a_wait_that_is_no_time_is_refused(api: Any, dataset_path: str, picture: Any, wait: str) -> None:
    session = await api.open_session(dataset_path, {"a.png": picture(1)})
    answer = await api("GET", f"{api.session_path(session)}?wait={wait}")
    assert (answer.status, answer.message) == (400, "wait must be seconds from 0 to 10")


async def test_a_service_that_stops_answers_those_that_wait(start_service: Any, connect: Any, picture: Any) -> None:
    waiting = threading.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        if "wait" in request.query:
            waiting.set()
        answer: web.StreamResponse = await handler(request)
        return answer

    api = await connect(start_service(middlewares=[watch]))  # which cuts a request off after 3 seconds
    session = await api.open_session(await api.create_dataset(), {"a.png": picture(1)})
    reading = asyncio.create_task(api("GET", api.session_path(session) + "?wait=10"))
    assert await asyncio.to_thread(waiting.wait, 10)
    await asyncio.to_thread(api.service.stop)
    answer = await reading
    assert (answer.status, finished(answer.document)) == (200, ("Waiting", None))
