"""From a new dataset to stored bytes and back, over plain HTTP (protocol sections 7 to 9 and 11)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_a_file_goes_up_is_ingested_and_comes_down_unchanged(api: Any, dataset: str, picture: Any) -> None:
    data = picture(1, width=9, height=5)
    ended = await api.ingest(dataset, {"cat.png": data})
    assert ended["status"]["progressCount"] == {"total": 1, "succeeded": 1, "errored": 0}
    (asset,) = await api.assets(dataset, contents="y")
    metadata = asset["metadata"]
    assert (metadata["width"], metadata["height"], metadata["fileSize"]) == (9, 5, len(data))
    assert metadata["hash"] == {"algorithm": "sha256", "contents": hashlib.sha256(data).hexdigest()}
    answer = await api.raw("GET", asset["contents"]["asset"]["url"])
    assert (answer.status, answer.body) == (200, data)
