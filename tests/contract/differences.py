"""Ways in which a service can differ, at least one for each rule of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.contract.different import Difference, Passing

ORGANIZATION = r"/workspaces/[^/]+"
DATASETS = rf"{ORGANIZATION}/datasets"
DATASET = rf"{DATASETS}/[^/]+"
ASSETS = rf"{DATASET}/assets"
ASSET = rf"{ASSETS}/[^/]+"
SOURCE = rf"{DATASET}/assetSources/[^/]+/[^/]+/[^/]+"
SESSIONS = rf"{SOURCE}/assetIngestionSessions"
SESSION = rf"{SESSIONS}/[^/:]+"
PARTS = rf"{SOURCE}/multipartUploads"
STORED = r"/(?!workspaces).*"

Change = Callable[[Passing], None]


def header(name: str, value: str | None) -> Change:
    """Set or remove a header."""

    def change(passing: Passing) -> None:
        passing.headers.pop(name, None)
        if value is not None:
            passing.headers[name] = value

    return change


def status(code: int) -> Change:
    def change(passing: Passing) -> None:
        passing.status = code

    return change


def edit(function: Callable[[Any], Any]) -> Change:
    """Change the JSON of a good answer."""

    def change(passing: Passing) -> None:
        if passing.status < 300 and passing.body:
            passing.edit(function)

    return change


def busy(passing: Passing) -> None:
    passing.status = 503
    passing.headers["Retry-After"] = "soon"


def put(path: str, value: Any) -> Change:
    """Set what stands at a dotted path; ``0`` is the first of a list, ``*`` each of them."""

    def walk(document: Any, names: list[str]) -> None:
        if names[0] == "*":
            for one in document:
                walk(one, names[1:])
        elif len(names) == 1:
            document[names[0]] = value
        elif names[0] == "0":
            if document:
                walk(document[0], names[1:])
        else:
            walk(document[names[0]], names[1:])

    return edit(lambda document: walk(document, path.split(".")))


def without(path: str) -> Change:
    """Remove what stands at a dotted path."""
    return put(path, None)


def only(condition: Callable[[Passing], bool], change: Change) -> Change:
    """Change only answers that meet a condition."""

    def conditioned(passing: Passing) -> None:
        if condition(passing):
            change(passing)

    return conditioned


def from_the_second(change: Change) -> Change:
    return only(lambda passing: passing.number > 0, change)


def asked(name: str, value: str | None = None) -> Callable[[Passing], bool]:
    """Whether a request had a header."""
    return lambda passing: passing.asked.get(name) is not None if value is None else passing.asked.get(name) == value


def more(document: Any) -> None:
    document["items"] = (document["items"] * 3)[:3]


def backwards(document: Any) -> None:
    document["items"].reverse()


def no_http(passing: Passing) -> None:
    passing.body = b"<html>a page of a proxy</html>"


def shorter(passing: Passing) -> None:
    passing.body = passing.body[:-1]


def other_bytes(passing: Passing) -> None:
    passing.body = bytes(one ^ 1 for one in passing.body)


def whole(passing: Passing) -> bool:
    return "Range" not in passing.asked and "If-Match" not in passing.asked and passing.status == 200


def a_different_dataset(passing: Passing) -> None:
    passing.edit(lambda document: document.update(datasetId=document["datasetId"] + "0"))


def unsigned(passing: Passing) -> None:
    if passing.status in (400, 401, 403):
        passing.status = 200


def made_up(document: Any) -> None:
    for one in document["items"]:
        one["contents"] = {"asset": {"url": "https://storage.example/x", "expiry": 0}, "thumbnail": None}


def same_token(document: Any) -> None:
    document["nextPage"] = "the-same"


def expired(document: Any) -> None:
    for one in document["items"]:
        one["contents"]["asset"]["expiry"] = 1_600_000_000_000


def expired_session(document: Any) -> None:
    for one in document["status"]["assets"]:
        one["upload"]["expiry"] = 1_600_000_000_000


def renamed_segment(document: Any) -> None:
    for one in document["items"]:
        one["contents"]["asset"]["url"] = one["contents"]["asset"]["url"].replace("?", "%20?", 1)


def refuse_formats(document: Any) -> None:
    count = document["status"]["progressCount"]
    if count["total"] > 5 and document["status"]["conditions"][0]["status"] == "Reached":
        count["succeeded"], count["errored"] = count["succeeded"] - 1, count["errored"] + 1
        document["status"]["events"].append(
            {"kind": "Error", "files": {"sample.gif": "EBADMIME"}, "corrections": {}, "time": 1}
        )


def forget_events(document: Any) -> None:
    document["status"]["events"] = []


def miscount(document: Any) -> None:
    document["status"]["progressCount"]["succeeded"] += 1


def text_metadata(document: Any) -> None:
    for one in document["items"]:
        custom = one["metadata"]["customMetadata"]
        one["metadata"]["customMetadata"] = {key: str(value) for key, value in custom.items()}


def counting(number: int, query: str) -> Change:
    return only(lambda passing: query in str(dict(passing.query)), edit(lambda _: {"count": number}))


READING: tuple[Difference, ...] = (
    Difference("answer.json", "GET", ORGANIZATION, no_http, hides=("organization.document",)),
    Difference("answer.trace", "GET", ORGANIZATION, header("x-cloud-trace-context", None)),
    Difference("answer.date", "GET", ORGANIZATION, header("Date", "some day"), hides=("answer.clock",)),
    Difference("answer.clock", "GET", ORGANIZATION, header("Date", "Wed, 01 Jan 2025 00:00:00 GMT"),
               hides=("answer.date", "download.life", "write.session_life")),
    Difference("organization.document", "GET", ORGANIZATION, without("billing"), hides=("answer.json",)),
    Difference("organization.list", "GET", "/workspaces", put("items", {})),
    Difference("dataset.list", "GET", DATASETS, put("items.*.createDate", "yesterday")),
    Difference("dataset.page_size", "GET", DATASETS, edit(more)),
    Difference("dataset.simple", "GET", rf"{ORGANIZATION}/simpleDatasets", status(404)),
    Difference("answer.retry_after", "GET", rf"{ORGANIZATION}/simpleDatasets", busy, hides=("dataset.simple",)),
    Difference("dataset.document", "GET", DATASET, put("type", "segmentation")),
    Difference("dataset.document", "GET", DATASET, put("surprise", 1)),
    Difference("dataset.id", "GET", DATASET, put("datasetId", "elsewhere")),
    Difference("asset.list", "GET", ASSETS, put("items.*.metadata.width", "wide")),
    Difference("asset.page_size", "GET", ASSETS, edit(more), hides=("asset.stable",)),
    Difference("asset.next_page", "GET", ASSETS, only(lambda one: "p" in one.query or one.query.get("s") == "2",
               edit(same_token)), hides=("refuse.page_token",)),
    Difference("asset.stable", "GET", ASSETS, from_the_second(edit(backwards)), query="^s=2$",
               hides=("asset.page_size", "asset.next_page")),
    Difference("asset.sort_filename", "GET", ASSETS, edit(backwards), query="sortBy=filename$"),
    Difference("asset.sort_descending", "GET", ASSETS, edit(backwards), query="o=d$"),
    Difference("asset.sort_size", "GET", ASSETS, edit(backwards), query="fileSize"),
    Difference("asset.id", "GET", ASSETS, put("items.*.assetId", "a b"), query="^s=2$",
               hides=("asset.document", "asset.next_page", "asset.stable")),
    Difference("asset.no_contents", "GET", ASSETS, edit(made_up), query="^s=2$"),
    Difference("asset.document", "GET", ASSET, put("metadata.frames", None)),
    Difference("asset.count", "GET", rf"{DATASET}/assets:count", edit(lambda _: {"count": 999})),
    Difference("asset.contents", "GET", ASSETS, without("items.*.contents"), query="contents=y",
               hides=("download.*",)),
    Difference("session.list", "GET", SESSIONS, status(500)),
    Difference("bulk_deletion.list", "GET", rf"{DATASET}/deleteManyAssetsSessions", put("items", "none")),
    Difference("refuse.key", "GET", ORGANIZATION, only(lambda one: one.status == 401, status(200))),
    Difference("refuse.organization", "GET", ORGANIZATION, only(lambda one: one.status == 403, status(200))),
    Difference("refuse.unknown_asset", "GET", ASSET, only(lambda one: one.status == 404, status(410))),
    Difference("refuse.unknown_dataset", "GET", DATASET, only(lambda one: one.status == 404, status(200)),
               hides=("write.delete_dataset",)),
    Difference("refuse.page_token", "GET", ASSETS, only(lambda one: one.status == 400 and "p" in one.query,
               status(200)), hides=("asset.next_page",)),
    Difference("refuse.filter", "GET", ASSETS, only(lambda one: one.status == 400 and "filter" in one.query,
               status(200))),
    Difference("refuse.document", "GET", ASSET, only(lambda one: one.status >= 400, no_http)),
    Difference("download.url", "GET", ASSETS, put("items.*.contents.asset.url", "ftp://storage/x"), query="contents=y",
               hides=("download.*",)),
    Difference("download.name", "GET", ASSETS, edit(renamed_segment), query="contents=y", hides=("download.*",)),
    Difference("download.life", "GET", ASSETS, edit(expired), query="contents=y"),
    Difference("download.status", "GET", STORED, status(404), hides=("download.*",)),
    Difference("download.size", "GET", STORED, only(whole, shorter), hides=("download.*",)),
    Difference("download.encoding", "GET", STORED, header("Content-Encoding", "br")),
    Difference("download.etag", "GET", STORED, header("ETag", None), hides=("download.if_match",)),
    Difference("download.ranges", "GET", STORED, header("Accept-Ranges", None)),
    Difference("download.checksum", "GET", STORED, header("x-goog-hash", "crc32c=AAAAAA==")),
    Difference("download.hash", "GET", STORED, only(whole, other_bytes), hides=("download.checksum",)),
    Difference("download.part", "GET", STORED, only(lambda one: one.status == 206, status(200))),
    Difference("download.bad_part", "GET", STORED, only(lambda one: one.status == 416, status(200))),
    Difference("download.if_match", "GET", STORED, only(lambda one: one.status == 412, status(206)),
               hides=("download.part",)),
    Difference("download.signature", "GET", STORED, unsigned),
)  # fmt: skip

WRITING: tuple[Difference, ...] = (
    Difference("write.dataset", "POST", DATASETS, put("datasetId", 5), hides=("write.*",)),
    Difference("write.idempotency", "POST", DATASETS, from_the_second(a_different_dataset)),
    Difference("write.update", "PATCH", DATASET, put("description", "")),
    Difference("write.session", "POST", SESSIONS, put("status.assets", []), hides=("write.*",)),
    Difference("write.session_life", "POST", SESSIONS, edit(expired_session)),
    Difference("write.put", "PUT", STORED, status(500)),
    Difference("write.put_checksum", "PUT", STORED, header("x-goog-hash", None)),
    Difference("write.settled", "GET", SESSION, edit(miscount), hides=("write.formats",)),
    Difference("write.formats", "GET", SESSION, edit(refuse_formats), hides=("write.settled", "write.refused")),
    Difference("write.refused", "GET", SESSION, edit(forget_events), hides=("write.settled", "write.formats")),
    Difference("write.empty_session", "POST", SESSIONS, only(lambda one: one.status == 400, status(201))),
    Difference("write.metadata", "GET", ASSETS, edit(text_metadata), query="s=100"),
    Difference("write.multipart", "POST", rf"{PARTS}/[^/]+/completion", status(409)),
    Difference("write.multipart_document", "POST", PARTS, without("etag")),
    Difference("write.part_document", "POST", rf"{PARTS}/[^/]+/parts/[^/]+", put("expiry", "soon")),
    Difference("write.overwrite_remove", "GET", ASSETS, put("items.*.metadata.fileSize", 1), query="s=100",
               hides=("write.overwrite_keep",)),
    Difference("write.overwrite_keep", "POST", SESSIONS, only(lambda one: b"KeepLinkedResources" in one.body,
               status(400))),
    Difference("write.cancel", "POST", rf"{SESSION}:cancel", status(404)),
    Difference("write.rename", "POST", rf"{ASSET}/name", status(500)),
    Difference("write.rename_by_name", "POST", rf"{DATASET}/assetFiles/.*/name", status(404)),
    Difference("write.rename_conflict", "POST", rf"{ASSET}/name", only(lambda one: one.status == 409, status(200)),
               hides=("write.rename",)),
    Difference("write.count", "GET", rf"{DATASET}/assets:count", counting(0, "text ==")),
    Difference("write.query", "GET", rf"{DATASET}/assets:count", counting(3, "text:a")),
    Difference("write.filter", "GET", rf"{DATASET}/assets:count", counting(0, "filename")),
    Difference("write.delete", "DELETE", ASSET, lambda passing: setattr(passing, "body", b"{}")
               or setattr(passing, "status", 200)),
    Difference("write.delete_several", "DELETE", ASSET, only(lambda one: one.status == 404, status(204))),
    Difference("write.delete_many", "POST", rf"{DATASET}/deleteManyAssetsSessions", put("status.conditions", "done")),
    Difference("write.delete_dataset", "DELETE", DATASET, put("status", [])),
)  # fmt: skip

NEVER_BROKEN = {
    "answer.round_trip": "it is measured",
    "answer.tls": "it depends on the endpoint alone",
    "download.rate": "it is measured",
}


def groups(differences: tuple[Difference, ...]) -> list[list[Difference]]:
    """Divide differences into runs in which none hides another, one difference of a rule at a time."""
    found: list[list[Difference]] = []
    for one in differences:
        for group in found:
            fits = all(
                not one.prevents(other) and not other.prevents(one) and one.rule != other.rule for other in group
            )
            if fits:
                group.append(one)
                break
        else:
            found.append([one])
    return found
