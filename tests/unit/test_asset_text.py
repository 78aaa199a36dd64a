"""Assets as JSON text: whatever a row holds, the text says it, and what was signed is what is checked."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from vi.server.contents import Contents
from vi.server.documents import Documents
from vi.server.http.signing import Signer
from vi.server.identity import Identity
from vi.server.store.schema import asset

NAMES = st.one_of(st.text(min_size=1), st.sampled_from(['"', "{=size}", "{id}", "%(id)s%", "a/b\\\n", "\ud800", "ä😀"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = Documents(cast("Identity", SimpleNamespace(organization_id="org", user_id="user")))
SIGNER = Signer(b"k" * 32)
ORIGIN = 'http://127.0.0.1:1/"%s"'


@given(name=NAMES, custom=st.dictionaries(NAMES, VALUES, max_size=4), thumbnail=st.booleans(), size=st.integers(0))
def test_the_text_says_what_the_row_holds(name: str, custom: dict[str, Any], thumbnail: bool, size: int) -> None:
    row = {column: number for number, column in enumerate(asset.c.keys())}
    texts = {column: f"{column}0" for column in ("id", "blob", "sha256", "kind", "mime", "source", "status")}
    row = {**row, **texts, "filename": name, "custom_metadata": custom, "annotation_tags": {}, "size": size}
    row["has_thumbnail"] = thumbnail
    encodable = name.encode("utf-8", "replace").decode() == name
    contents = Contents(SIGNER, 60).writer("set", ORIGIN, 1000) if encodable else None
    text = DOCUMENTS.asset_writer("set", contents)(cast("Any", tuple(row.values())))
    read = json.loads(text)

    assert text.isascii()
    assert (read["filename"], read["metadata"]["fileSize"]) == (name, size)
    assert read["metadata"]["customMetadata"] == custom
    assert read["metadata"]["customMetadataCount"] == len(custom)
    assert (read["assetId"], read["etag"]) == ("id0", f'"id0-{row["generation"]}"')
    assert read["selfLink"] == "/workspaces/org/datasets/org_set/assets/id0"
    if not encodable:
        return
    urls = read["contents"]
    assert (urls["thumbnail"] is None) is not thumbnail
    for one in filter(None, urls.values()):
        path, query = one["url"].removeprefix(ORIGIN).split("?")
        assert SIGNER.check("GET", path, dict(parse_qsl(query)), 1000) is None
        assert one["expiry"] == 61_000
    assert unquote(urlsplit(urls["asset"]["url"].removeprefix(ORIGIN)).path.rpartition("/")[2]) == name
