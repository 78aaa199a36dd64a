"""Three services on one database ask it no more for a file than one does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import vi  # noqa: E402
from vi._samples import make_samples  # noqa: E402
from vi.server import ServiceConfig, serve  # noqa: E402
from vi.server.context import CONTEXT  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.scale, pytest.mark.large]

FILES = 192


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the statements that change rows: those of an idle service, which looks for work, change none."""
    found: Counter[str] = Counter()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        verb = statement.split(None, 1)[0]
        if verb in ("INSERT", "UPDATE", "DELETE"):
            found[f"{verb} {statement.split()[1 if verb == 'UPDATE' else 2]}"] += 1

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def stop_looking(service: Any) -> None:
    for task in service._running._app[CONTEXT].ingestion._tasks:
        task.cancel()


async def test_statements_for_a_file_do_not_grow_with_the_processes(postgres: Any, tmp_path: Path) -> None:
    pictures = make_samples(tmp_path / "pictures", count=FILES, size=(20, 16))
    counts = []
    for number in (1, 3):
        config = ServiceConfig(database=postgres.create(), inspection_workers=1)
        data = tmp_path / f"data{number}"
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(await serve(data, config=config))
            await stop_looking(first)  # all files are there before anybody looks at one
            key, organization = first.secret_key, first.organization_id
            client = await stack.enter_async_context(
                vi.AsyncClient(secret_key=key, organization_id=organization, endpoint=first.url)
            )
            dataset = (await client.datasets.create(name="counted")).dataset_id
            await client.assets.upload(dataset, pictures, wait_until_done=False)
            with counting() as found:
                for _ in range(number):
                    await stack.enter_async_context(await serve(data, config=config))
                async with asyncio.timeout(100):
                    while await client.assets.count(dataset) < FILES:
                        await asyncio.sleep(0.05)
            counts.append(found)
    alone, together = (sum(found.values()) for found in counts)
    assert alone < FILES
    assert together <= 1.5 * alone, counts
