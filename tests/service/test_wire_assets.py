"""Assets: listing, sorting, paging, filters, count, get, delete, rename (protocol section 8)."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote, unquote

import pytest

from vi import _wire
from vi.api.resources.datasets.assets import responses

pytestmark = pytest.mark.anyio


async def every_page(api: Any, path: str, size: int, **query: Any) -> list[list[dict[str, Any]]]:
    pages, token = [], None
    while True:
        answer = await api("GET", path, s=size, **query, **({"p": token} if token else {}))
        assert answer.status == 200, answer.body
        pages.append(answer.document["items"])
        token = answer.document["nextPage"]
        if not token:
            return pages


@pytest.fixture
def filled(picture: Callable[..., bytes]) -> Any:
    """Makes a dataset of assets whose names, sizes and ages are in different orders."""

    async def fill(api: Any, count: int = 11) -> str:
        path = str(await api.create_dataset())
        for number in range(count):
            name = f"{(number * 7) % count:02}.png"  # count must not be a multiple of 7
            document = api.announce({name: picture(number, width=1 + number % 3, height=40 - number)})
            document["spec"]["assets"][0]["customMetadata"] = {
                "camera": "Aerial" if number % 2 else "ground",
                "n": number,
            }
            session = (
                await api("POST", path + "/assetSources/managed/datature/default/assetIngestionSessions", document)
            ).document
            await api.put_all(session, {name: picture(number, width=1 + number % 3, height=40 - number)})
            await api.ended(session)
        return path

    return fill


@pytest.fixture
async def asset_path(api: Any, dataset_path: str, picture: Any) -> str:
    """The path of the one asset of a dataset, named ``cat.png``."""
    await api.ingest(dataset_path, {"cat.png": picture(1)})
    (asset,) = await api.assets(dataset_path)
    return str(asset["selfLink"])


async def test_an_asset_document_has_every_required_field(api: Any, asset_path: str) -> None:
    asset = (await api("GET", asset_path)).document
    _wire.structure(asset, responses.Asset)
    metadata = asset["metadata"]
    assert metadata["cohorts"] == []
    assert metadata["userDefined"] == metadata["customMetadata"] == metadata["framesChange"] == {}
    assert metadata["annotations"] == {"withTag": {}, "total": 0}
    assert metadata["dimensions"] == {"height": 6, "width": 8, "depth": None}
    assert metadata["pixelRatio"] == {"height": 1, "width": 1, "depth": None}
    assert "contents" not in asset


@pytest.mark.parametrize(("value", "given"), [("y", True), ("true", True), ("1", True), ("n", False), ("", False)])
async def test_urls_come_only_when_asked_for(api: Any, asset_path: str, value: str, given: bool) -> None:
    for path in (asset_path, asset_path.rpartition("/")[0]):
        document = (await api("GET", path, contents=value)).document
        asset = document["items"][0] if "items" in document else document
        assert ("contents" in asset) is given
        if given:
            contents = asset["contents"]["asset"]
            assert contents["method"] == "GET"
            assert 3_590_000 < contents["expiry"] - asset["metadata"]["timeCreated"] <= 3_610_000


SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "default": lambda asset: asset["metadata"]["timeCreated"],
    "assetId": lambda asset: asset["assetId"],
    "filename": lambda asset: asset["filename"],
    "lastModified.contents": lambda asset: (asset["metadata"]["contentsLastUpdated"], asset["assetId"]),
    "metadata.fileSize": lambda asset: (asset["metadata"]["fileSize"], asset["assetId"]),
}


async def test_every_sort_pages_without_repeating_or_skipping(api: Any, filled: Any) -> None:
    path = await filled(api)
    for (sort, key), order in itertools.product(SORTS.items(), ("", "a", "asc", "d", "desc")):
        pages = await every_page(api, path + "/assets", 4, sortBy=sort, o=order)
        assert [len(page) for page in pages] == [4, 4, 3]
        values = [key(asset) for page in pages for asset in page]
        assert values == sorted(values, reverse=order.startswith("d")), (sort, order)
        assert len({asset["assetId"] for page in pages for asset in page}) == 11


async def test_pages_lead_back_to_the_first(api: Any, filled: Any) -> None:
    path = await filled(api, 8) + "/assets"
    query = {"s": 3, "sortBy": "filename", "o": "desc"}
    first = (await api("GET", path, **query)).document
    assert first["prevPage"] is None
    second = (await api("GET", path, p=first["nextPage"], **query)).document
    third = (await api("GET", path, p=second["nextPage"], **query)).document
    assert third["nextPage"] is None
    back = (await api("GET", path, p=third["prevPage"], **query)).document
    assert back["items"] == second["items"]
    begin = (await api("GET", path, p=back["prevPage"], **query)).document
    assert (begin["items"], begin["prevPage"]) == (first["items"], None)
    assert (await api("GET", path, p=begin["nextPage"], **query)).document["items"] == second["items"]


async def test_an_asset_that_comes_or_goes_does_not_shift_later_pages(api: Any, filled: Any, picture: Any) -> None:
    path = await filled(api, 6)
    query = {"s": 2, "sortBy": "filename"}
    first = (await api("GET", path + "/assets", **query)).document
    assert (await api("DELETE", first["items"][0]["selfLink"])).status == 204
    await api.ingest(path, {"00a.png": picture(99)})
    second = (await api("GET", path + "/assets", p=first["nextPage"], **query)).document
    assert [asset["filename"] for asset in second["items"]] == ["02.png", "03.png"]


async def test_page_sizes(api: Any, filled: Any) -> None:
    path = await filled(api, 12) + "/assets"
    assert len((await api("GET", path)).document["items"]) == 10
    assert len((await api("GET", path, s=1)).document["items"]) == 1
    assert len((await api("GET", path, s=99999)).document["items"]) == 12
    for size in ("0", "-1", "x", "1.5", "٣"):
        assert (await api("GET", path, s=size)).status == 400, size


@pytest.mark.sqlite
async def test_a_page_size_above_1000_counts_as_1000_and_deep_pages_are_exact(fresh_api: Any) -> None:
    path = await fresh_api.create_dataset()
    insert_assets(fresh_api.service.data, path, 2500)
    pages = await every_page(fresh_api, path + "/assets", 5000, sortBy="filename", o="d")
    assert [len(page) for page in pages] == [1000, 1000, 500]
    names = [asset["filename"] for page in pages for asset in page]
    assert names == [f"{number:07}.png" for number in reversed(range(2500))]
    small = await every_page(fresh_api, path + "/assets", 7, contents="y")
    assert len(small) == 358
    assert len({asset["assetId"] for page in small for asset in page}) == 2500


def insert_assets(data: Any, path: str, count: int) -> None:
    """Put rows of assets into a dataset that nothing else uses meanwhile; their bytes do not matter."""
    with closing(sqlite3.connect(data / "vi.db")) as connection, connection:
        identifier = path.rpartition("_")[2]
        (seq,) = connection.execute("select seq from dataset where id = ?", (identifier,)).fetchone()
        connection.executemany(
            "insert into asset (id, dataset_seq, filename, kind, mime, status, source, size, crc32c, sha256, blob,"
            " has_thumbnail, width, height, frames, custom_metadata, annotation_tags, created, updated, contents_updated)"
            " values (?, ?, ?, 'Image', 'image/png', 'ready', 's', ?, 0, ?, '000000-x', 0, 1, 1, 1, '{}', '{}', 1, 1, 1)",
            [(f"id{number:07}", seq, f"{number:07}.png", number % 10, "0" * 64) for number in range(count)],
        )
        connection.execute("update dataset set asset_total = asset_total + ? where seq = ?", (count, seq))


async def test_foreign_and_made_up_tokens_are_refused(api: Any, filled: Any) -> None:
    path, other = await filled(api, 3), await filled(api, 3)
    token = (await api("GET", path + "/assets", s=1)).document["nextPage"]
    assert (await api("GET", path + "/assets", s=1, p=token)).status == 200
    assert (await api("GET", other + "/assets", s=1, p=token)).status == 400
    assert (await api("GET", path + "/assets", s=1, p=token, sortBy="filename")).status == 400
    assert (await api("GET", path + "/assets", s=1, p=token, o="desc")).status == 400
    assert (await api("GET", path + "/assets", s=1, p=token, filter='{"status": "ready"}')).status == 400
    assert (await api("GET", path + "/assetSources/a/b/c/assetIngestionSessions", p=token)).status == 400
    for made_up in ("x", "WzAsMV0", token[:-1], token + "0", "é", "a.b", "' OR 1=1 --", "A" * 9000):
        assert (await api("GET", path + "/assets", s=1, p=made_up)).status in (400, 414), made_up


@pytest.mark.parametrize(
    "query",
    [{"sortBy": "size"}, {"o": "down"}, {"contents": "maybe"}, {"strictQuery": "x"}, {"ruleQuery": "anything"}],
    ids=str,
)
async def test_parameters_that_mean_nothing_are_refused(api: Any, asset_path: str, query: dict[str, str]) -> None:
    answer = await api("GET", asset_path.rpartition("/")[0], **query)
    assert answer.status == 400
    assert next(iter(query)) in answer.message


async def test_parameters_of_no_effect_are_taken(api: Any, asset_path: str) -> None:
    path = asset_path.rpartition("/")[0]
    assert (await api("GET", path, pageAfter="y", ruleQuery="", unknown="1")).status == 200


FILTERS = [
    ({"filter": '{"status": "ready"}'}, 6),
    ({"filter": '{"status": "error"}'}, 0),
    ({"filter": '{"metadata.status": "ready", "kind": "Image"}'}, 6),
    ({"filter": '{"metadata.annotations.total": 0}'}, 6),
    ({"filter": '{"filename": "00.png"}'}, 1),
    ({"filter": '{"filename": "00.PNG"}'}, 1),
    ({"filter": '{"filename": "00.PNG"}', "strictQuery": "y"}, 0),
    ({"filter": '{"width": 1}'}, 2),
    ({"metadataQuery": 'camera == "Aerial"'}, 3),
    ({"metadataQuery": "camera:aerial"}, 3),
    ({"metadataQuery": "camera:aerial", "strictQuery": "y"}, 0),
    ({"metadataQuery": "camera:Aerial", "strictQuery": "y"}, 3),
    ({"metadataQuery": "camera:aerial", "filter": '{"width": 1}'}, 1),
]


async def test_filters_select_the_same_for_lists_and_counts(api: Any, filled: Any) -> None:
    path = await filled(api, 6)
    for query, wanted in FILTERS:
        assert len(await api.assets(path, **query)) == wanted, query
        assert (await api("GET", path + "/assets:count", **query)).document == {"count": wanted}, query
        pages = await every_page(api, path + "/assets", 2, **query)
        assert sum(len(page) for page in pages) == wanted, query
    assert (await api("GET", path + "/assets:count", strictQuery="n")).document == {"count": 6}
    assert (await api("GET", path + "/assets%3Acount")).document == {"count": 6}


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "{'status': 'error'}"},
        {"filter": "[]"},
        {"filter": '{"status": {"$ne": 1}}'},
        {"filter": '{"nothing.like.this": 1}'},
        {"filter": "{"},
        {"filter": "[" * 5000},
        {"filter": '{"width": NaN}'},
        {"metadataQuery": "=="},
        {"metadataQuery": "a == 'b"},
    ],
    ids=str,
)
async def test_a_malformed_filter_is_a_400_never_an_empty_result(api: Any, asset_path: str, query: Any) -> None:
    path = asset_path.rpartition("/")[0]
    for address in (path, path + ":count"):
        answer = await api("GET", address, **query)
        assert answer.status == 400, (address, answer.body)


INJECTIONS = ("'; DROP TABLE asset; --", '" OR 1=1 --', "x') OR ('1'='1", "%", "_", "\\")


@pytest.mark.parametrize("text", INJECTIONS)
async def test_sql_in_any_parameter_is_only_text(api: Any, asset_path: str, text: str) -> None:
    path = asset_path.rpartition("/")[0]
    assert await api.assets(path.removesuffix("/assets"), filter=json.dumps({"filename": text})) == []
    assert (await api("GET", path, sortBy=text)).status == 400
    assert (await api("GET", f"{path}/{quote(text, safe='')}")).status == 404
    assert (await api("POST", f"{asset_path}/name", {"filename": text})).status == 200
    assert len(await api.assets(path.removesuffix("/assets"), filter=json.dumps({"filename": text}))) == 1


async def test_a_deleted_asset_is_gone_with_its_bytes(api: Any, dataset_path: str, asset_path: str) -> None:
    asset = (await api("GET", asset_path, contents="y")).document
    answer = await api("DELETE", asset_path)
    assert (answer.status, answer.body) == (204, b"")
    assert (await api("GET", asset_path)).status == 404
    assert (await api("DELETE", asset_path)).status == 404
    assert await api.assets(dataset_path) == []
    assert await api.total(dataset_path) == 0
    assert (await api.raw("GET", asset["contents"]["asset"]["url"])).status == 404
    assert (await api.raw("GET", asset["contents"]["thumbnail"]["url"])).status == 404


async def test_the_counter_equals_what_is_listed(api: Any, filled: Any, picture: Any) -> None:
    path = await filled(api, 5)
    await api.ingest(path, {"00.png": picture(50), "new.png": picture(51)})
    (first, *_) = await api.assets(path)
    await api("DELETE", first["selfLink"])
    assert await api.total(path) == len(await api.assets(path)) == 5


NAMES = [
    "my cat.png",
    "ünïcödé 猫.png",
    "../../etc/passwd.png",
    "..%2F..%2Fetc.png",
    "a/b\\c.png",
    "100%.png",
    "%41.png",
    "q?x=1&y=2#z.png",
    "brace{d}.png",
    "quote'\".png",
    "line\nbreak\t.png",
    " leading and trailing .png ",
    "semi;colon:colon.png",
    "-rf.png",
    "CON.png",
    "e\u0301.png",
    "\u00e9.png",
    "😀.png",
    "x" * 1020 + ".png",
    "no extension",
    "+plus+.png",
    "\x01\x7f.png",
]


async def test_any_name_is_only_data(fresh_api: Any, picture: Any) -> None:
    dataset_path = await fresh_api.create_dataset()
    files = {name: picture(number) for number, name in enumerate(NAMES)}
    ended = await fresh_api.ingest(dataset_path, files)
    assert ended["status"]["progressCount"]["succeeded"] == len(NAMES), ended["status"]["events"]
    assets = await fresh_api.assets(dataset_path, contents="y")
    assert sorted(asset["filename"] for asset in assets) == sorted(NAMES)
    for asset in assets:
        url = asset["contents"]["asset"]["url"]
        segment = url.partition("?")[0].rpartition("/")[2]
        assert segment == quote(asset["filename"], safe="")
        assert unquote(segment) == asset["filename"]
        assert "/" not in url.partition("?")[2]
        answer = await fresh_api.raw("GET", url)
        assert (answer.status, answer.body) == (200, files[asset["filename"]])
    stored = [path for path in fresh_api.service.data.rglob("*") if path.is_file()]
    assert not [path for path in stored if path.suffix == ".png" or "etc" in path.name]


async def test_each_name_can_be_renamed_by_name(api: Any, dataset_path: str, asset_path: str) -> None:
    before = "cat.png"
    for name in NAMES:
        path = f"{dataset_path}/assetFiles/{quote(before, safe='')}/name"
        answer = await api("POST", path, {"filename": name})
        assert answer.status == 200, (before, name, answer.body)
        assert answer.document["filename"] == name
        before = name
    assert (await api("GET", asset_path)).document["filename"] == before


async def test_rename_by_id_and_its_refusals(api: Any, dataset_path: str, asset_path: str, picture: Any) -> None:
    await api.ingest(dataset_path, {"dog.png": picture(2)})
    before = (await api("GET", asset_path)).document
    renamed = await api("POST", asset_path + "/name", {"filename": "lion.png"})
    assert renamed.status == 200
    assert renamed.document["filename"] == "lion.png"
    assert renamed.document["etag"] != before["etag"]
    assert (await api("POST", asset_path + "/name", {"filename": "lion.png"})).status == 200
    taken = await api("POST", asset_path + "/name", {"filename": "dog.png"})
    assert (taken.status, taken.document["code"]) == (409, "ResourceConflict")
    for bad in ("", ".", "..", "a\0", "x" * 1025, "\ud800"):
        assert (await api("POST", asset_path + "/name", {"filename": bad})).status == 400, bad
    for body in ({}, {"filename": None}, {"filename": 7}):
        answer = await api("POST", asset_path + "/name", body)
        assert answer.status == 400
        assert "filename" in answer.message
    assert (await api("POST", asset_path + "x/name", {"filename": "z.png"})).status == 404
    assert (await api("POST", f"{dataset_path}/assetFiles/cat.png/name", {"filename": "z.png"})).status == 404


@pytest.mark.sqlite
async def test_annotations_go_or_stay_with_an_overwrite(fresh_api: Any, picture: Any) -> None:
    path = await fresh_api.create_dataset()
    for retention, left in (("KeepLinkedResource", 3), ("RemoveLinkedResource", 0)):
        await fresh_api.ingest(path, {f"{left}.png": picture(1)})
        with closing(sqlite3.connect(fresh_api.service.data / "vi.db")) as connection, connection:
            connection.execute(
                "update asset set annotation_total = 3, annotation_tags = '{\"cat\": 3}' where filename = ?",
                (f"{left}.png",),
            )
            connection.execute("update dataset set annotation_total = 3, asset_annotated = 1")
        await fresh_api.ingest(path, {f"{left}.png": picture(2)}, onAssetOverwritten=retention)
        (asset,) = await fresh_api.assets(path, filter=json.dumps({"filename": f"{left}.png"}))
        assert asset["metadata"]["annotations"]["total"] == left
        assert asset["metadata"]["annotations"]["withTag"] == ({"cat": 3} if left else {})
        statistic = (await fresh_api("GET", path)).document["statistic"]
        assert (statistic["annotationTotal"], statistic["assetAnnotated"]) == (left, 1 if left else 0)


async def test_an_id_with_a_nul_is_as_missing_as_any(api: Any, dataset_path: str) -> None:
    assert (await api("GET", dataset_path + "/assets/a%00b")).status == 404
    assert (await api("DELETE", dataset_path + "/assets/a%00b")).status == 404


async def test_assets_are_looked_up_by_many_names(api: Any, dataset_path: str, picture: Any) -> None:
    names = ("Straße.png", "STRASSE.png", "b.png")
    await api.ingest(dataset_path, {name: picture(number) for number, name in enumerate(names)})

    async def found(*filenames: Any, **spec: Any) -> list[str]:
        body = {"spec": {"filenames": list(filenames), **spec}}
        answer = await api("POST", f"{dataset_path}/assets:lookup", body)
        assert answer.status == 200, answer.message
        listed = {asset["assetId"]: asset for asset in await api.assets(dataset_path)}
        assert all(listed[asset["assetId"]] == asset for asset in answer.document["items"])
        return sorted(asset["filename"] for asset in answer.document["items"])

    assert await found("strasse.png", "B.PNG", "none.png") == sorted(names), "as the filter of a listing compares"
    assert await found("STRASSE.png", "B.PNG", strictQuery=True) == ["STRASSE.png"]
    assert await found(*[f"{number}" for number in range(999)], "b.png") == ["b.png"]
    asked = {"spec": {"filenames": ["b.png"]}}
    (asset,) = (await api("POST", f"{dataset_path}/assets:lookup?contents=y", asked)).document["items"]
    assert asset["contents"]["asset"]["method"] == "GET"
    for filenames in ([], ["x"] * 1001, "b.png", [7]):
        body = {"spec": {"filenames": filenames}}
        assert (await api("POST", f"{dataset_path}/assets:lookup", body)).status == 400, filenames
    assert (await api("POST", f"{dataset_path}x/assets:lookup", asked)).status == 404


async def test_numbers_that_json_does_not_have_are_refused(api: Any, dataset_path: str, asset_path: str) -> None:
    body = b'{"spec":{"assets":[{"filename":"cat.png","customMetadata":{"height":1e999}}]}}'
    answer = await api("POST", f"{dataset_path}/assets:setMetadata", body=body)
    assert (answer.status, answer.document["details"]["parameter"]) == (400, "spec.assets[0].customMetadata")
    (asset,) = await api.assets(dataset_path)
    assert asset["metadata"]["customMetadata"] == {}
