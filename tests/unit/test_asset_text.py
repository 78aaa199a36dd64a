"""Assets as JSON text: whatever a row holds, the text says it, and what was signed is what is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from vi.server.contents import Contents
from vi.server.documents import Documents
from vi.server.http.signing import Signer
from vi.server.identity import Identity
from vi.server.store import query
from vi.server.store.assets import OF_URLS
from vi.server.store.schema import asset, metadata

ODD = st.sampled_from(
    ['"', "{=size}", "{id}", "%(id)s%", "%s%d", "a/b\\\n", "\x7f\x1f", "ä😀", "\u2028", 'a": "b', "'"]
)
NAMES = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), ODD)
VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), NAMES)
DOCUMENTS = Documents(cast("Identity", SimpleNamespace(organization_id="org%s", user_id='us"er')))
SIGNER = Signer(b"k" * 32)
ORIGIN = 'http://127.0.0.1:1/"%s"'
TEXTS = {column: f"{column}0" for column in ("id", "blob", "sha256", "kind", "mime", "source", "status")}


@pytest.fixture(scope="module")
def rows() -> Iterator[sa.Connection]:
    """A database with the tables of the service."""
    engine = sa.create_engine("sqlite://")
    sa.event.listen(engine, "connect", lambda driver, _: query.prepare(driver))
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def written(connection: sa.Connection, row: dict[str, Any]) -> tuple[str, Any]:
    """Return the text that the database writes of *row*, and the columns of its URLs."""
    connection.execute(asset.delete())
    connection.execute(asset.insert(), row)
    text, *columns = connection.execute(sa.select(DOCUMENTS.asset_text("set"), *OF_URLS)).one()
    return text, columns


@given(name=NAMES, custom=st.dictionaries(NAMES, VALUES, max_size=4), thumbnail=st.booleans(), size=st.integers(0, 9))
def test_the_text_says_what_the_row_holds(
    rows: sa.Connection, name: str, custom: dict[str, Any], thumbnail: bool, size: int
) -> None:
    row: dict[str, Any] = {column: number for number, column in enumerate(asset.c.keys())}
    row |= {**TEXTS, "filename": name, "kind": name, "custom_metadata": custom, "annotation_tags": {"a": 1}}
    row |= {"has_thumbnail": thumbnail, "size": size}
    text, columns = written(rows, row)
    read = json.loads(text)

    assert (read["filename"], read["kind"], read["metadata"]["fileSize"]) == (name, name, size)
    assert read["metadata"]["customMetadata"] == custom
    if not {float("inf"), -float("inf")}.intersection(custom.values()):  # which is no JSON, and taken no more
        assert read["metadata"]["customMetadataCount"] == len(custom)
    assert read["metadata"]["annotations"] == {"withTag": {"a": 1}, "total": row["annotation_total"]}
    assert (read["assetId"], read["etag"]) == ("id0", f'"id0-{row["generation"]}"')
    assert (read["owner"], read["metadata"]["insertedBy"]) == ("org%s", 'us"er')
    assert read["selfLink"].endswith("_set/assets/id0")

    urls = json.loads(Contents(SIGNER, 60).writer("set", ORIGIN, 1000)(*columns))
    assert (urls["thumbnail"] is None) is not thumbnail
    for one in filter(None, urls.values()):
        path, signed = one["url"].removeprefix(ORIGIN).split("?")
        assert SIGNER.check("GET", path, dict(parse_qsl(signed)), 1000) is None
        assert one["expiry"] == 61_000
    assert unquote(urlsplit(urls["asset"]["url"].removeprefix(ORIGIN)).path.rpartition("/")[2]) == name
