"""Path tricks in every part of an address, and signed URLs used for something else (rows S7, S8, S9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service_faults.scenario import SOURCE

pytestmark = pytest.mark.anyio

TRICKS = [
    "..",
    "../..",
    "..%2f..%2f",
    "%2e%2e%2f%2e%2e%2fidentity.json",
    "%252e%252e%252f",
    "..%5c..%5c",
    "%00",
    "a%00.png",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cwindows",
    "%ff%fe",
    "' OR 1=1 --",
    "%27%3b%20DROP%20TABLE%20asset%3b--",
    "x" * 5000,
]


async def test_a_trick_in_an_address_finds_nothing(fresh_api: Any, picture: Any) -> None:
    dataset = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset, {"a.png": picture(1)})
    (asset,) = await fresh_api.assets(dataset, contents="y")
    before = everything(fresh_api.service.data)
    storage = urlsplit(asset["contents"]["asset"]["url"])
    thumbnail = urlsplit(asset["contents"]["thumbnail"]["url"])
    organization = fresh_api.organization
    for trick in TRICKS:
        addresses = [
            ("GET", f"{organization}/datasets/{trick}"),
            ("GET", f"{dataset}/assets/{trick}"),
            ("DELETE", f"{dataset}/assets/{trick}"),
            ("POST", f"{dataset}/assetFiles/{trick}/name"),
            ("GET", f"{dataset}/deleteManyAssetsSessions/{trick}"),
            ("GET", f"{dataset}{SOURCE}/assetIngestionSessions/{trick}"),
            ("POST", f"{dataset}{SOURCE}/assetIngestionSessions/{trick}:cancel"),
            ("DELETE", f"{dataset}{SOURCE}/multipartUploads/{trick}"),
            ("POST", f"{dataset}{SOURCE}/multipartUploads/{trick}/parts/1"),
            ("GET", f"/dl/{trick}/{trick}/{trick}?{storage.query}"),
            ("GET", f"{storage.path.rpartition('/')[0]}/{trick}?{storage.query}"),
            ("GET", f"{thumbnail.path.rpartition('/')[0]}/{trick}?{thumbnail.query}"),
            ("PUT", f"/up/{trick}/0/{trick}?{storage.query}"),
            ("PUT", f"/part/{trick}/1?{storage.query}"),
            ("GET", f"/{trick}"),
        ]
        for method, address in addresses:
            body = {"filename": "b.png"} if method == "POST" else None
            answer = await fresh_api(method, address.replace(" ", "%20"), body)
            assert 400 <= answer.status < 500, (method, address, answer.status)
            assert fresh_api.service.secret_key.encode() not in answer.body
    assert everything(fresh_api.service.data) == before
    assert await fresh_api.total(dataset) == 1


async def test_a_trick_in_a_field_is_refused_or_only_text(fresh_api: Any, picture: Any) -> None:
    dataset = await fresh_api.create_dataset()
    outside = everything(fresh_api.service.data.parent, but=fresh_api.service.data)
    for trick in TRICKS:
        for document in (
            {"name": trick, "description": trick, "tags": {trick: 1}},
            {"name": trick, "metadata": {"attributes": {trick: trick}}},
        ):
            assert (await fresh_api("POST", f"{fresh_api.organization}/datasets", document)).status in (201, 400)
        file = {"filename": trick, "kind": "Image", "mime": "image/png", "size": len(picture(1))}
        body = {"spec": {"kind": "Upload", "failureMode": "FailAfterAll", "assets": [file]}}
        answer = await fresh_api("POST", dataset + SOURCE + "/assetIngestionSessions", body)
        if trick == ".." or len(trick) > 1024:
            assert answer.status == 400
            continue
        assert answer.status == 201
        assert (await fresh_api.put(answer.document["status"]["assets"][0], picture(1))).status == 200
        for field in ("mime", "kind"):
            odd = {"spec": {**body["spec"], "assets": [{**file, field: trick}]}}
            tried = await fresh_api("POST", dataset + SOURCE + "/assetIngestionSessions", odd)
            assert tried.status == 400 or tried.document["status"]["assets"] == []
        for query in ({"p": trick}, {"s": trick}, {"sortBy": trick}, {"filter": trick}, {"metadataQuery": trick}):
            assert (await fresh_api("GET", dataset + "/assets", **query)).status in (200, 400), query
    assert everything(fresh_api.service.data.parent, but=fresh_api.service.data) == outside


async def test_a_signed_url_opens_nothing_else(fresh_api: Any, picture: Any) -> None:
    """Not another object, not another method, not with a signature of another URL, and nothing after the end."""
    dataset = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset, {"a.png": picture(1), "b.png": picture(2)})
    first, second = (
        urlsplit(asset["contents"]["asset"]["url"]) for asset in await fresh_api.assets(dataset, contents="y")
    )
    session = await fresh_api.open_session(dataset, {"c.png": picture(3), "d.png": picture(4)})
    ups = [urlsplit(upload["upload"]["url"]) for upload in session["status"]["assets"]]
    typed = {"Content-Type": "image/png"}
    for method, path, query in (
        ("GET", second.path, first.query),
        ("GET", ups[0].path, first.query),
        ("PUT", first.path, first.query),
        ("PUT", ups[1].path, ups[0].query),
        ("PUT", ups[0].path, first.query),
        ("DELETE", first.path, first.query),
        ("POST", ups[0].path, ups[0].query),
    ):
        answer = await fresh_api.raw(method, f"{fresh_api.service.url}{path}?{query}", b"x", typed)
        assert answer.status in (403, 405), (method, path, answer.status)
    await fresh_api.put_all(session, {"c.png": picture(3), "d.png": picture(4)})
    await fresh_api.ended(session)
    for upload in session["status"]["assets"]:
        assert (await fresh_api.put(upload, picture(5))).status == 410
    assert {len(asset["filename"]) for asset in await fresh_api.assets(dataset)} == {5}


def everything(folder: Path, but: Path | None = None) -> set[str]:
    """Every path below *folder*, but for SQLite's own."""
    return {
        str(path)
        for path in folder.rglob("*")
        if not path.name.startswith("vi.db") and (but is None or not path.is_relative_to(but))
    }
