"""obstore as a client of its own, 16 at a time: ``up FOLDER STORE`` or ``down FOLDER STORE TARGET``."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from measured import phase
from obstore.store import HTTPStore

IN_FLIGHT = 16
PIECE = 1 << 20


async def up(store: HTTPStore, path: Path) -> None:
    await store.put_async(path.name, path.read_bytes(), use_multipart=False)


async def down(store: HTTPStore, name: str, target: Path) -> None:
    answer = await store.get_async(name)
    with target.open("wb") as file:
        if answer.meta["size"] <= PIECE:
            file.write(await answer.bytes_async())
            return
        async for piece in answer.stream(min_chunk_size=PIECE):
            file.write(piece)


async def main() -> None:
    way, folder = sys.argv[1], Path(sys.argv[2])
    store = HTTPStore(sys.argv[3], client_options={"allow_http": True})

    async def work(paths: Iterator[Path]) -> None:
        for path in paths:
            if way == "up":
                await up(store, path)
            else:
                await down(store, path.name, Path(sys.argv[4]) / path.name)

    paths = iter(sorted(folder.iterdir()))
    with phase():
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work(paths))


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # its threads sometimes abort an interpreter that is ending
