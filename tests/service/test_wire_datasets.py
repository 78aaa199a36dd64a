"""Organizations, datasets, their deletion, and bulk deletions (protocol sections 6 and 7)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vi import _wire
from vi.api.resources.datasets import responses
from vi.api.resources.organizations.responses import Organization

pytestmark = pytest.mark.anyio


def objects(data: Path) -> set[str]:
    return {path.name for path in (data / "bytes" / "objects").rglob("*") if path.is_file()}


async def test_the_organization_and_its_page(fresh_api: Any) -> None:
    path = await fresh_api.create_dataset()
    document = (await fresh_api("GET", fresh_api.organization)).document
    assert _wire.structure(document, Organization).organization_id == fresh_api.service.organization_id
    assert document["billing"]["ledger"] == []
    assert document["datasets"] == [path.rpartition("/")[2]]
    assert document["lockStatus"]["isLocked"] is False
    assert len(document["users"]) == 1
    page = (await fresh_api("GET", "/workspaces", s=5)).document
    assert [item["workspaceId"] for item in page["items"]] == [document["workspaceId"]]
    assert not page["nextPage"]


async def test_a_new_dataset_has_every_field(api: Any) -> None:
    sent = {
        "name": "Street signs",
        "owner": "acme",
        "description": "north",
        "type": "vqa",
        "content": "Image",
        "localization": "Datature/Multi",
        "status": 0,
        "tags": {"a": 1},
        "metadata": {"attributes": {"team": "north"}},
    }
    answer = await api("POST", f"{api.organization}/datasets", sent)
    assert answer.status == 201
    document = answer.document
    _wire.structure(document, responses.Dataset)
    assert (document["type"], document["content"], document["tags"]) == ("vqa", "Image", {"a": 1})
    assert document["statistic"] == {"assetTotal": 0, "annotationTotal": 0, "tagsCount": {}, "assetAnnotated": 0}
    organization, _, short = document["datasetId"].rpartition("_")
    assert organization == api.service.organization_id
    assert set(short) <= set("0123456789abcdef")
    assert (await api("GET", document["selfLink"])).document == document


async def test_a_name_is_enough(api: Any) -> None:
    document = (await api("POST", f"{api.organization}/datasets", {"name": "x"})).document
    assert (document["type"], document["description"]) == ("phrase-grounding", "")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x", "type": "sculpture"}, "type"),
        ({"name": "x", "content": "Video"}, "content"),
        ({"name": "x", "tags": {"a": "b"}}, "tags.a"),
        ({"name": "x", "metadata": {"attributes": {"a": 1}}}, "metadata.attributes.a"),
        ({"name": "x", "metadata": []}, "metadata"),
    ],
    ids=str,
)
async def test_a_wrong_dataset_is_a_400_that_names_the_field(api: Any, body: Any, field: str) -> None:
    answer = await api("POST", f"{api.organization}/datasets", body)
    assert answer.status == 400
    assert field in answer.message


async def test_half_a_surrogate_pair_is_a_400(api: Any) -> None:
    body = b'{"name": "\\ud800"}'
    assert (await api("POST", f"{api.organization}/datasets", body=body)).status == 400


async def test_an_update_changes_what_it_names(api: Any, dataset_path: str) -> None:
    before = (await api("GET", dataset_path)).document
    change = {"description": "new", "type": "vqa", "unknown": [], "metadata": {"attributes": {"a": "1"}}}
    changed = (await api("PATCH", dataset_path, change)).document
    assert (changed["description"], changed["name"], changed["type"]) == ("new", before["name"], before["type"])
    assert changed["etag"] != before["etag"]
    more = await api("PATCH", dataset_path, {"name": "n", "tags": {"t": 2}, "metadata": {"attributes": {"b": "2"}}})
    assert (more.document["name"], more.document["tags"]) == ("n", {"t": 2})
    assert more.document["metadata"]["attributes"] == {"a": "1", "b": "2"}
    assert more.document["metadata"]["generation"] == 3
    assert (await api("PATCH", dataset_path, {"name": ""})).status == 400
    assert (await api("PATCH", dataset_path + "0", {"name": "x"})).status == 404


async def test_datasets_are_listed_in_pages(fresh_api: Any) -> None:
    made = [(await fresh_api.create_dataset(f"set {number}")).rpartition("/")[2] for number in range(7)]
    for kind in ("datasets", "simpleDatasets"):
        found, token = [], None
        while True:
            query = {"s": 3, **({"p": token} if token else {})}
            page = (await fresh_api("GET", f"{fresh_api.organization}/{kind}", **query)).document
            found += page["items"]
            token = page["nextPage"]
            if not token:
                break
        assert [item["datasetId"] for item in found] == made
        assert [item["name"] for item in found] == [f"set {number}" for number in range(7)]
    assert len((await fresh_api("GET", f"{fresh_api.organization}/datasets")).document["items"]) == 7


async def test_a_deleted_dataset_is_gone_with_everything(fresh_api: Any, picture: Any) -> None:
    path, other = await fresh_api.create_dataset(), await fresh_api.create_dataset()
    await fresh_api.ingest(other, {"stays.png": picture(0)})
    stays = objects(fresh_api.service.data)
    await fresh_api.ingest(path, {f"{number}.png": picture(number) for number in range(5)})
    (asset, *_) = await fresh_api.assets(path, contents="y")
    waiting = await fresh_api.open_session(path, {"late.png": picture(9), "later.png": picture(8)})
    assert (await fresh_api("GET", path + "/deleteOperation")).status == 404
    answer = await fresh_api("DELETE", path)
    assert answer.status == 200
    _wire.structure(answer.document, responses.DeletedDataset)
    assert {condition["status"] for condition in answer.document["status"]["conditions"]} == {"Reached"}
    assert answer.document["datasetId"] == path.rpartition("/")[2]
    assert (await fresh_api("GET", path + "/deleteOperation")).document == answer.document
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/assets"), ("GET", "/assets:count"), ("PATCH", "")):
        assert (await fresh_api(method, path + below)).status == 404, (method, below)
    assert (await fresh_api("GET", fresh_api.session_path(waiting))).status == 404
    assert (await fresh_api.put(waiting["status"]["assets"][0], picture(9))).status == 410
    assert (await fresh_api.raw("GET", asset["contents"]["asset"]["url"])).status == 404
    assert objects(fresh_api.service.data) == stays
    listed = (await fresh_api("GET", f"{fresh_api.organization}/datasets")).document["items"]
    assert [item["selfLink"] for item in listed] == [other]


async def test_a_bulk_deletion_takes_what_its_filter_selects(api: Any, dataset_path: str, picture: Any) -> None:
    await api.ingest(dataset_path, {f"{n}.png": picture(n, width=1 + n % 2) for n in range(8)})
    sessions = dataset_path + "/deleteManyAssetsSessions"
    spec = {"filter": '{"width": 1}', "metadataQuery": None, "ruleQuery": None, "strictQuery": True}
    answer = await api("POST", sessions, {"spec": spec})
    assert answer.status == 201
    document = answer.document
    _wire.structure(document, responses.BulkAssetDeletionSession)
    assert document["spec"] == spec
    assert {condition["status"] for condition in document["status"]["conditions"]} == {"Reached"}
    assert [asset["metadata"]["width"] for asset in await api.assets(dataset_path)] == [2] * 4
    assert await api.total(dataset_path) == 4
    assert (await api("GET", document["selfLink"])).document == document
    nothing = {"filter": {"status": "error"}, "metadataQuery": None, "ruleQuery": None, "strictQuery": None}
    assert (await api("POST", sessions, {"spec": nothing})).status == 201
    assert await api.total(dataset_path) == 4
    assert (await api("POST", sessions, {"spec": dict.fromkeys(spec)})).status == 201
    assert (await api.total(dataset_path), await api.assets(dataset_path)) == (0, [])
    listed = (await api("GET", sessions)).document["items"]
    assert [item["spec"]["filter"] for item in listed] == [None, {"status": "error"}, '{"width": 1}']
    assert (await api("GET", sessions + "/nothing")).status == 404


@pytest.mark.sqlite
async def test_a_bulk_deletion_of_thousands_leaves_no_bytes(fresh_api: Any, picture: Any) -> None:
    path = await fresh_api.create_dataset()
    await fresh_api.ingest(path, {f"{number}.png": picture(0) for number in range(1200)})
    assert len(objects(fresh_api.service.data)) >= 1200
    answer = await fresh_api("POST", path + "/deleteManyAssetsSessions", {"spec": {}})
    async with asyncio.timeout(20):
        while answer.document["status"]["conditions"][0]["status"] != "Reached":
            answer = await fresh_api("GET", answer.document["selfLink"])
    assert await fresh_api.total(path) == 0
    assert objects(fresh_api.service.data) == set()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"filter": "{'a': 1}"}, "filter"),
        ({"filter": 7}, "spec.filter"),
        ({"ruleQuery": "x"}, "ruleQuery"),
        ({"metadataQuery": "=="}, "metadataQuery"),
        ({"strictQuery": "y"}, "spec.strictQuery"),
    ],
    ids=str,
)
async def test_a_wrong_bulk_deletion_deletes_nothing(
    api: Any, dataset_path: str, picture: Any, spec: Any, field: str
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    answer = await api("POST", dataset_path + "/deleteManyAssetsSessions", {"spec": spec})
    assert answer.status == 400
    assert field in answer.message
    assert (await api("POST", dataset_path + "/deleteManyAssetsSessions", {})).status == 400
    assert await api.total(dataset_path) == 1


async def test_every_creating_post_keeps_its_idempotency_key(api: Any, dataset_path: str) -> None:
    for path, body, other in (
        (f"{api.organization}/datasets", {"name": "once"}, {"name": "twice"}),
        (dataset_path + "/deleteManyAssetsSessions", {"spec": {}}, {"spec": {"filter": '{"width": 1}'}}),
    ):
        key = {"Idempotency-Key": "the same for both paths"}
        first = await api("POST", path, body, headers=key)
        again = await api("POST", path, body, headers=key)
        assert first.status == again.status == 201
        assert first.document == again.document
        refused = await api("POST", path, other, headers=key)
        assert (refused.status, refused.document["code"]) == (422, "ValidationFailed")
        assert (await api("POST", path, body)).document["selfLink"] != first.document["selfLink"]


@pytest.mark.sqlite
async def test_another_organizations_dataset_is_as_missing_as_none(fresh_api: Any, picture: Any) -> None:
    path = await fresh_api.create_dataset()
    await fresh_api.ingest(path, {"a.png": picture(1)})
    (asset,) = await fresh_api.assets(path)
    with closing(sqlite3.connect(fresh_api.service.data / "vi.db")) as connection, connection:
        connection.execute("update dataset set organization_id = 'somebody-else'")
    short = path.rpartition("_")[2]
    for name in (path.rpartition("/")[2], f"somebody-else_{short}", short):
        for below in ("", "/assets", f"/assets/{asset['assetId']}", "/deleteOperation", "/deleteManyAssetsSessions"):
            theirs = await fresh_api("GET", f"{fresh_api.organization}/datasets/{name}{below}")
            none = await fresh_api("GET", f"{fresh_api.organization}/datasets/{name[:-1]}z{below}")
            assert theirs.status == none.status == 404
            assert theirs.message.replace(name, "") == none.message.replace(f"{name[:-1]}z", "")
    assert (await fresh_api("GET", f"/workspaces/somebody-else/datasets/somebody-else_{short}")).status == 403
    assert (await fresh_api("GET", f"{fresh_api.organization}/datasets")).document["items"] == []


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": "a\0b"}, "name"),
        ({"name": "n", "tags": {"a\0": 1}}, "tags"),
        ({"name": "n", "metadata": {"attributes": {"a": ["\0"]}}}, "metadata.attributes.a[0]"),
    ],
    ids=["name", "key", "nested"],
)
async def test_a_nul_is_refused_wherever_it_is(api: Any, sent: dict[str, Any], field: str) -> None:
    answer = await api("POST", f"{api.organization}/datasets", sent)
    assert answer.status == 400
    assert answer.message == f"{field} holds a NUL character"
    kept = await api("POST", f"{api.organization}/datasets", {"name": "a \\u0000 that is written out"})
    assert kept.status == 201
