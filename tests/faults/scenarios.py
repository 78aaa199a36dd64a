"""Whole operations under any plan of faults: each is checked by its outcome, whatever that is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.faults.proxy import Break
from tests.faults.stage import RETRIES, TIMEOUTS, Scene, caught, check_folder, check_sums
from vi.api.types import PaginationParams

LIMITS = vi.TransferLimits(max_concurrency=3, multipart_threshold=150_000, range_size=100_000, parts_per_file=2)

HANGS = 45.0

# Faults after which the outcome of a file may be unknown to the client: it is reported lost, and may be stored.
UNKNOWN = frozenset({"ENETWORK", "ETIMEOUT", "EREFUSED", "ECANCELLED", "EUNKNOWN"})


@attrs.define
class Run:
    """One run of a scenario: *prepare* has set the stage, *act* is what faults are put on, *judge* looks at its end."""

    act: Callable[[vi.AsyncClient], Awaitable[Any]]
    judge: Callable[[Any], None]


def upload(scene: Scene) -> Run:
    """Twelve files, one of them in parts."""
    folder = scene.folder / "up"
    if not folder.exists():
        scene.files(11)
        scene.large()
    dataset = scene.dataset()
    local = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    async def act(client: vi.AsyncClient) -> Any:
        return await client.assets.upload(dataset, folder, failure_mode="FailAfterAll", show_progress=False)

    def judge(result: Any) -> None:
        stored = scene.stored(dataset)
        assert stored.items() <= local.items(), "something else than the files is stored"
        if result is None:
            return
        check_sums(result)
        assert result.total_files == 12
        lost = {Path(f.path).name: f.code for f in [*result.failures, *result.cancelled]}
        assert set(lost.values()) <= UNKNOWN, lost
        if len(lost) == 12 - result.total_succeeded:
            missing = set(local) - set(stored)
            assert missing <= set(lost), "reported stored and is not"

    return Run(act, judge)


def download(scene: Scene) -> Run:
    """Twelve files, one of them in ranges."""
    dataset, contents = scene.filled(11, large=True)
    numbers = scene.folder / "downs"
    numbers.mkdir(exist_ok=True)
    target = numbers / str(len(list(numbers.iterdir())))

    async def act(client: vi.AsyncClient) -> Any:
        return await client.assets.download(dataset, target, show_progress=False, raise_on_failure=False)

    def judge(result: Any) -> None:
        arrived = {path.name for path in target.iterdir()} if target.exists() else set()
        if target.exists():
            check_folder(target, {name: contents[name] for name in arrived})
        if result is None:
            return
        check_sums(result)
        assert result.total_downloaded == len(arrived)
        assert {f.filename for f in result.failures} == set(contents) - arrived
        assert {f.code for f in result.failures} <= UNKNOWN | {"ECORRUPT"}

    return Run(act, judge)


def listing(scene: Scene) -> Run:
    """Twelve assets in pages of five."""
    dataset, contents = scene.filled(12)

    async def act(client: vi.AsyncClient) -> Any:
        pages = client.assets.list(dataset, PaginationParams(page_size=5))
        return [asset.filename async for asset in pages.all_items()]

    def judge(names: Any) -> None:
        if names is not None:
            assert sorted(names) == sorted(contents)

    return Run(act, judge)


def deletion(scene: Scene) -> Run:
    """Half by id, half by a bulk deletion."""
    dataset, contents = scene.fill(12, folder="deleted")
    assets = sorted(scene.admin.assets.list(dataset).all_items(), key=lambda asset: asset.filename)
    ids = [asset.asset_id for asset in assets[:6]]

    async def act(client: vi.AsyncClient) -> Any:
        first = await client.assets.delete_many(dataset, asset_ids=ids)
        assert (first.deleted, first.missing) == (6, [])
        second = await client.assets.delete_many(dataset, all=True)
        return first.deleted + second.deleted

    def judge(deleted: Any) -> None:
        left = scene.stored(dataset)
        if deleted is not None:
            assert deleted == 12
            assert left == {}
        assert set(left) <= set(contents)

    return Run(act, judge)


SCENARIOS: dict[str, Callable[[Scene], Run]] = {
    "upload": upload,
    "download": download,
    "list": listing,
    "delete_many": deletion,
}


async def play(scene: Scene, run: Run, *faults: tuple[Break, dict[str, Any]]) -> bool:
    """Run under *faults*; returns whether it succeeded in full. What it raises must be an error of ours."""
    rules = [scene.plan(action, **choice) for action, choice in faults]
    result, whole = None, False
    async with scene.client(timeouts=TIMEOUTS, retries=RETRIES, limits=LIMITS) as client:
        try:
            async with asyncio.timeout(HANGS):
                result = await run.act(client)
            whole = not getattr(result, "failures", None) and not getattr(result, "total_cancelled", 0)
        except vi.ViError as error:
            caught(error)
        except TimeoutError:
            pytest.fail(f"it hangs\n{scene.wire.show()}")
    scene.wire.check(RETRIES.max_attempts, scene.on_its_way)
    rested = [rule.name for rule in rules if not rule.fired and not rule.may_rest]
    assert not rested, f"planned and never fired: {rested}"
    for rule in rules:
        scene.proxy.rules.remove(rule)
    run.judge(result)
    return whole
