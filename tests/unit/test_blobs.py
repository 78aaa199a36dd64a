"""The bytes of the local service: what is handed in is stored, whenever it comes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from vi.server.disk import blobs as module
from vi.server.disk.blobs import Blobs

pytestmark = pytest.mark.anyio


async def test_what_comes_just_when_the_last_lane_ends_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who learns that an object is stored may hand in the next in the same turn of the loop."""
    monkeypatch.setattr(module, "_LANES", 1)  # of several, all must end in that turn, which is rare
    async with aclosing(Blobs(tmp_path / "blobs")) as stored:
        for number in range(5):
            data = b"%d" % number
            async with asyncio.timeout(10):
                assert stored.path(await stored.put(data, "s")).read_bytes() == data
