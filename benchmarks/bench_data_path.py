"""How near to curl is the data path alone, small files up and down, with nginx as the store?"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import yarl
from harness import arguments, interleave, make_files, median, ratio, report
from neutral import KEY, ORGANIZATION, nginx

from vi._checksums import Expected
from vi._connections import Connections
from vi._http import Http
from vi._transfer.discovery import Filters, discover
from vi._transfer.download import RemoteFile, fetch
from vi._transfer.lanes import Lanes
from vi._transfer.pool import TaskPool
from vi._transfer.preparation import prepare
from vi._transfer.storage import Storage, signed_transfer
from vi._transfer.upload import send_whole
from vi.config import load_settings

IN_FLIGHT = 16


class Ours:
    """The transfers of the SDK without its API calls."""

    def __init__(self, store: str, folder: Path) -> None:
        self._settings = load_settings(KEY, ORGANIZATION, store)
        self._store = store
        self._folder = folder

    def up(self) -> None:
        asyncio.run(self._run(self._up))

    def down(self, target: Path) -> None:
        target.mkdir(exist_ok=True)
        asyncio.run(self._run(self._down, target))
        shutil.rmtree(target)

    async def _run(self, call: Any, *args: Any) -> None:
        connections = Connections(self._settings, None)
        http = Http(self._settings, connections)
        storage = Storage(self._settings, connections, http.pacing, http.budget)
        lanes = Lanes()
        try:
            await call(storage, lanes, *args)
        finally:
            lanes.close()
            await connections.aclose()

    async def _up(self, storage: Storage, lanes: Lanes) -> None:
        inventory = discover([self._folder], "basename", Filters())
        async with TaskPool(IN_FLIGHT) as pool:
            async for records in prepare(inventory, lanes, _refuse):
                for record in records:
                    record.upload = self._signed(record.filename, "PUT")
                    await pool.submit(send_whole, record, storage, lanes)

    async def _down(self, storage: Storage, lanes: Lanes, target: Path) -> None:
        limits = self._settings.limits

        async def one(path: Path) -> None:
            remote = RemoteFile(
                path.name, path.name, path.stat().st_size, Expected(None, None), self._signed(path.name, "GET")
            )
            await fetch(remote, str(target / path.name), storage, lanes, limits, replace=True, renew=_renew)

        async with TaskPool(IN_FLIGHT) as pool:
            for path in self._folder.iterdir():
                await pool.submit(one, path)

    def _signed(self, name: str, method: str) -> Any:
        return signed_transfer(f"{self._store}/{name}", {}, method, 0, endpoint=self._store)


def _refuse(record: Any, code: str, message: str) -> None:
    raise AssertionError(message)


async def _renew(remote: RemoteFile) -> None:
    raise AssertionError("no URL expires here")


def curl(lines: list[str], scratch: Path) -> None:
    """Run curl over many transfers at once."""
    config = scratch / "curl.txt"
    config.write_text("\nnext\n".join(lines))
    command = ["curl", "-s", "--parallel", "--parallel-immediate", "--parallel-max", str(IN_FLIGHT), "-K", str(config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def plain_aiohttp_up(store: str, folder: Path) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:

            async def one(path: Path) -> None:
                async with session.put(
                    yarl.URL(f"{store}/{path.name}", encoded=True), data=path.read_bytes()
                ) as answer:
                    await answer.read()

            async with TaskPool(IN_FLIGHT) as pool:
                for path in folder.iterdir():
                    await pool.submit(one, path)

    asyncio.run(main())


def obstore_up(store: str, folder: Path) -> None:
    from obstore.store import HTTPStore

    async def main() -> None:
        target = HTTPStore(store, client_options={"allow_http": True})

        async def one(path: Path) -> None:
            await target.put_async(path.name, path.read_bytes(), use_multipart=False)

        async with TaskPool(IN_FLIGHT) as pool:
            for path in folder.iterdir():
                await pool.submit(one, path)

    asyncio.run(main())


def main() -> None:
    given = arguments(__doc__)
    count, size = (300, 20_000) if given.quick else (5000, 100_000)
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as name, nginx() as (store, _):
        scratch = Path(name)
        folder = make_files(scratch / "images", count, size)
        ours = Ours(store, folder)
        puts = [f'upload-file = "{path}"\nurl = "{store}/{path.name}"' for path in sorted(folder.iterdir())]
        gets = [f'output = "{scratch}/curl/{p.name}"\nurl = "{store}/{p.name}"' for p in sorted(folder.iterdir())]

        def curl_down() -> None:
            (scratch / "curl").mkdir()
            curl(gets, scratch)
            shutil.rmtree(scratch / "curl")

        up = interleave(
            {
                "curl": lambda: curl(puts, scratch),
                "vi": ours.up,
                "aiohttp alone": lambda: plain_aiohttp_up(store, folder),
                "obstore": lambda: obstore_up(store, folder),
            },
            given.rounds,
        )
        down = interleave({"curl": curl_down, "vi": lambda: ours.down(scratch / "ours")}, given.rounds)
    rows: dict[str, object] = {"files": count, "bytes each": size}
    for way, costs in (("up", up), ("down", down)):
        for name_, values in costs.items():
            rows[f"{way}: {name_}"] = {
                "files/s": round(count / median([c.wall for c in values])),
                "CPU s per 1,000": round(median([c.cpu for c in values]) / count * 1000, 3),
            }
    rows["up: of curl's rate"] = round(1 / ratio(up, "vi", "curl"), 2)
    rows["up: of aiohttp's rate"] = round(1 / ratio(up, "vi", "aiohttp alone"), 2)
    rows["up: of obstore's rate"] = round(1 / ratio(up, "vi", "obstore"), 2)
    rows["down: of curl's rate"] = round(1 / ratio(down, "vi", "curl"), 2)
    report(str(__doc__), rows)


if __name__ == "__main__":
    main()
