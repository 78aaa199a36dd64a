"""An asset of a page costs the service the same few lines, however many the page has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.growth.counting import Operations
from vi.server.contents import Contents
from vi.server.documents import Documents
from vi.server.http.signing import Signer
from vi.server.identity import Identity
from vi.server.store.schema import asset

MOST_LINES = 75
"""Of one asset with two signed URLs."""


def test_lines_of_an_asset() -> None:
    documents = Documents(cast("Identity", SimpleNamespace(organization_id="org", user_id="user")))
    text = dict.fromkeys(("id", "filename", "kind", "mime", "source", "status", "sha256", "blob"), "a1")
    row: Any = tuple(
        {**dict.fromkeys(asset.c.keys(), 1), **text, "custom_metadata": {}, "annotation_tags": {}}.values()
    )
    lines = {}
    for count in (100, 200):
        operations = Operations()
        with operations.here():
            urls = Contents(Signer(b"k" * 32), 60).writer("set", "http://127.0.0.1:1", 1)
            write = documents.asset_writer("set", urls)
            for _ in range(count):
                write(row)
        lines[count] = operations.count
    each = (lines[200] - lines[100]) / 100
    assert 10 < each <= MOST_LINES
    assert lines[200] < 2 * lines[100]
