"""What is kept of files between their checksum and their PUT."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vi._transfer.sources.kept import LARGEST, LIMIT, MEMORY, Keeping, Room, room_for
from vi._transfer.sources.local import CHUNK, PathSource, examine_path

ONE = Room(memory=1 << 20)


@pytest.mark.anyio
async def test_what_is_kept_has_a_limit_and_makes_room_when_it_is_sent() -> None:
    keeping, count = Keeping(), MEMORY // ONE.memory
    assert all(keeping.take(ONE) for _ in range(count))
    assert not keeping.take(ONE)
    waiting = asyncio.create_task(keeping.wait(ONE))
    for _ in range(count // 2 - 1):
        keeping.give_back(ONE)
        await asyncio.sleep(0)
    assert not waiting.done(), "half of the room makes a session of more than one file"
    keeping.give_back(ONE)
    await waiting


@pytest.mark.anyio
async def test_room_that_a_file_does_not_use_is_given_back(tmp_path: Path) -> None:
    path, keeping = tmp_path / "a", Keeping()
    path.write_bytes(bytes(100))
    source = PathSource(str(path))
    for taken, kept in ((Room(memory=100), 100), (Room(memory=5000), 100), (Room(memory=99), 0), (Room(), 0)):
        assert keeping.take(taken)
        found = keeping.keep(source, examine_path(str(path), "crc32c"), taken)
        assert len(found.data or b"" if found else b"") == kept
        if found is not None:
            found.release()
        assert keeping.take(LIMIT)
        keeping.give_back(LIMIT)


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 << 20, LARGEST])
def test_a_local_file_is_handed_on_whole(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "a", bytes([7]) * size
    path.write_bytes(data)
    assert examine_path(str(path), "crc32c", keeps=True).data == data
    assert (examine_path(str(path), "crc32c").data is None) == (size > CHUNK)


def test_a_larger_one_is_read_again() -> None:
    assert room_for(PathSource("a"), LARGEST + 1) == Room()
