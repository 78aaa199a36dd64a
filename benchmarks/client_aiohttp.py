"""aiohttp alone as a client: whole files, 16 at a time, read and written in the loop's thread.

``up FOLDER STORE`` or ``down FOLDER STORE TARGET``; nothing is checked and nothing renamed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yarl
from measured import phase

IN_FLIGHT = 16
PIECE = 1 << 20


async def up(session: aiohttp.ClientSession, path: Path, url: yarl.URL) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        body = file.read() if size <= PIECE else _pieces(file)
        async with session.put(url, data=body, headers={"Content-Length": str(size)}) as answer:
            answer.raise_for_status()
            await answer.read()


async def _pieces(file):
    while piece := file.read(PIECE):
        yield piece


async def down(session: aiohttp.ClientSession, target: Path, url: yarl.URL) -> None:
    async with session.get(url) as answer:
        answer.raise_for_status()
        with target.open("wb") as file:
            if (answer.content_length or 0) <= PIECE:
                file.write(await answer.read())
                return
            gathered = bytearray()
            async for piece in answer.content.iter_any():
                gathered += piece
                if len(gathered) >= PIECE:
                    file.write(gathered)
                    gathered.clear()
            file.write(gathered)


async def main() -> None:
    way, folder, store = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    paths = sorted(folder.iterdir())
    jobs = iter([(path, yarl.URL(f"{store}/{path.name}", encoded=True)) for path in paths])
    async with aiohttp.ClientSession(auto_decompress=False, read_bufsize=PIECE) as session:

        async def work(jobs: Iterator[tuple[Path, yarl.URL]]) -> None:
            for path, url in jobs:
                if way == "up":
                    await up(session, path, url)
                else:
                    await down(session, Path(sys.argv[4]) / path.name, url)

        with phase():
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(work(jobs))


if __name__ == "__main__":
    asyncio.run(main())
