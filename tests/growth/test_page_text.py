"""An asset of a page costs the service the same few steps, however many the page has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa

from tests.growth.counting import Operations, Steps
from vi.server.contents import Contents
from vi.server.documents import Documents
from vi.server.http.signing import Signer
from vi.server.identity import Identity
from vi.server.store.assets import OF_URLS, listed
from vi.server.store.schema import asset, metadata

MOST_LINES = 45
"""Of one asset with two signed URLs."""
MOST_STEPS = 130
"""Of the database, for one asset with a text of thirty values and the columns of its URLs."""


def test_work_of_an_asset() -> None:
    documents = Documents(cast("Identity", SimpleNamespace(organization_id="org", user_id="user")))
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    text = dict.fromkeys(("filename", "kind", "mime", "source", "status", "sha256", "blob"), "a1")
    row: dict[str, Any] = {**dict.fromkeys(asset.c.keys(), 1), **text, "custom_metadata": {}, "annotation_tags": {}}
    with engine.begin() as connection:
        names = [{**row, "seq": n, "id": f"a{n}", "filename": f"{n}", "has_thumbnail": True} for n in range(300)]
        connection.execute(asset.insert(), names)
    steps, lines = Steps(engine), {}
    counts = {}
    for count in (100, 200):
        statement = listed(1, documents.asset_text("set"), *OF_URLS, asset.c.seq).order_by(asset.c.seq).limit(count)
        rows = steps.of(lambda connection, statement=statement: connection.execute(statement).all())
        assert (len(rows), steps.statements) == (count, 1)
        counts[count] = steps.steps
        operations = Operations()
        with operations.here():
            write = Contents(Signer(b"k" * 32), 60).writer("set", "http://127.0.0.1:1", 1)
            for one in rows:
                write(*one[1:-1])
        lines[count] = operations.count
    engine.dispose()
    assert 10 < (lines[200] - lines[100]) / 100 <= MOST_LINES
    assert 10 < (counts[200] - counts[100]) / 100 <= MOST_STEPS
