"""Processes that serve one PostgreSQL database behind one address, and what its rows must say at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs

PATIENCE = 100.0


@attrs.define
class Cluster:
    """Services with one database, and one folder or one store, whose clients know only *url*."""

    folder: Path
    database: str
    url: str
    store: dict[str, str] = attrs.Factory(dict)
    words: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = attrs.Factory(list)
    settings: dict[str, str] = attrs.Factory(dict)

    async def start(self, port: int = 0, program: str = "vi") -> int:
        """Start one more, of the module *program*, and return its port once it answers."""
        file = self.folder / f"{len(self.processes)}.env"
        words = ("--port", str(port), "--env-file", str(file), "--public-url", self.url, *self.words)
        self._run("serve", *words, program=program)
        process = self.processes[-1]
        async with asyncio.timeout(PATIENCE):
            while not file.exists() or "ORGANIZATION" not in file.read_text("utf-8"):
                assert process.poll() is None
                await asyncio.sleep(0.05)
        values = dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines())
        self.settings = {"secret_key": values["DATATURE_VI_SECRET_KEY"], "endpoint": self.url}
        self.settings["organization_id"] = values["DATATURE_VI_ORGANIZATION_ID"]
        return int(values["DATATURE_VI_API_ENDPOINT"].rpartition(":")[2])

    def work(self, *words: str) -> None:
        """Start a process that looks at files and listens nowhere."""
        self._run("worker", *words)

    def _run(self, verb: str, *words: str, program: str = "vi") -> None:
        # Machines that share a store need no folder in common.
        data = self.folder / (f"data{len(self.processes)}" if self.store else "data")
        command = [sys.executable, "-m", program, verb, "--data", str(data), *words]
        environment = {**os.environ, "VI_DATABASE": self.database}
        if self.store:
            environment["VI_STORE"] = self.store["store"]
            command += ["--store-endpoint", self.store["store_endpoint"]]
        with (self.folder / "services.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log))

    def log(self) -> str:
        """Return what all of them have logged."""
        return (self.folder / "services.log").read_text("utf-8")

    async def end(self) -> None:
        """End all with SIGTERM, and wait for them."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            await asyncio.to_thread(process.wait, 60)

    def kill(self) -> None:
        """Kill what is left."""
        for process in self.processes:
            process.kill()
            process.wait(20)

    async def tidy(self) -> None:
        """Do what one of the processes does after a day."""
        from vi.server import ServiceConfig
        from vi.server.config import Folder
        from vi.server.disk.leftovers import Leftovers
        from vi.server.housekeeping import Housekeeping
        from vi.server.lifecycle import wall_clock
        from vi.server.parts import open_parts
        from vi.server.s3.store import S3Store
        from vi.server.sweeping import SessionSweep

        def clock() -> int:
            return wall_clock() + 24 * 3600 * 1000

        config = ServiceConfig(database=self.database, **self.store)
        folder = Folder(self.folder / ("tidy" if self.store else "data"))
        folder.root.mkdir(exist_ok=True)
        async with AsyncExitStack() as stack:
            opened: Any = await open_parts(stack, folder, config, wall_clock)
            await opened.removal.resume(await opened.removal.left())
            leftovers = Leftovers(folder.bytes)
            keeping = Housekeeping(opened.database, opened.ingestion, opened.removal, leftovers, config, clock)
            if isinstance(opened.blobs, S3Store):
                organization, remove = opened.identity.organization_id, opened.removal.remove
                sweep = SessionSweep(opened.database, opened.blobs, organization, clock, remove)
                while await sweep.sweep():
                    pass
            else:
                await keeping.sweep(0)


def open_engine(database: str) -> Any:
    """Return an engine of the database, for looking."""
    import sqlalchemy as sa

    address = sa.make_url(database).set(drivername="postgresql+psycopg")
    return sa.create_engine(address, poolclass=sa.NullPool)  # it may have been away in the meantime


def count(engine: Any, table: Any) -> int:
    """Return the number of rows."""
    import sqlalchemy as sa

    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


async def until(engine: Any, table: Any, number: int) -> None:
    """Wait until a table has so many rows."""
    async with asyncio.timeout(PATIENCE):
        while count(engine, table) < number:
            await asyncio.sleep(0.02)


def check_rows(engine: Any, number: int) -> set[str]:
    """Counters equal rows; returns the objects of the assets."""
    import sqlalchemy as sa

    from vi.server.store.schema import asset, dataset, ingest_item, ingestion_session

    with engine.connect() as connection:
        rows = connection.execute(sa.select(asset.c.filename, asset.c.size, asset.c.blob)).all()
        assert len({row.filename for row in rows}) == len(rows) == number
        (one,) = connection.execute(sa.select(dataset)).all()
        assert (one.asset_total, one.byte_total) == (number, sum(row.size for row in rows))
        for session in connection.execute(sa.select(ingestion_session)):
            states = connection.execute(sa.select(ingest_item.c.state).where(ingest_item.c.session_seq == session.seq))
            done = [state for (state,) in states if state == 2]
            assert session.succeeded == len(done)
            assert session.state != "open"
            assert session.total == session.succeeded + session.errored or session.reason == "Cancelled"
    return {row.blob for row in rows}
