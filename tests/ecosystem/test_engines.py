"""Dask and Ray carry out a run as docs/many-machines.md shows, also when one of their workers is killed in a shard."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, stored
from tests.support.pictures import tiny
from tests.support.readme_blocks import ROOT, page

pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

PAGE = page("many-machines.md", (ROOT / "docs" / "many-machines.md").read_text("utf-8"))
FILES = 24


def recipe(word: str) -> str:
    """The one block of the page that holds *word*."""
    (block,) = [block for block in PAGE.blocks if block.language == "python" and word in block.text]
    assert len([line for line in block.text.splitlines() if line]) <= 6
    return block.text


@pytest.fixture
def service(tmp_path: Path) -> Iterator[CountingService]:
    running = CountingService(tmp_path / "data")
    with mock.patch.dict(os.environ, {**running.environment, "PYTHONPATH": str(ROOT)}):
        yield running
    running.stop()


def dask(run: str, kill: Callable[[Any], None]) -> None:
    pytest.importorskip("distributed")
    kill(lambda: [process.pid for process in multiprocessing.active_children()])
    exec(recipe("LocalCluster"), {"vi": vi, "RUN": run})


def ray(run: str, kill: Callable[[Any], None]) -> None:
    ray = pytest.importorskip("ray")
    actual = ray.init
    own = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
    environment = {**{name: value for name, value in os.environ.items() if name.startswith(("VI_", "DATATURE_"))}}
    own["runtime_env"] = {"env_vars": {**environment, "PYTHONPATH": str(ROOT)}}
    kill(lambda: [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and is_at_work(path)])
    with mock.patch.object(ray, "init", partial(actual, **own)):
        exec(recipe("import ray"), {"vi": vi, "RUN": run})


def is_at_work(process: Path) -> bool:
    """Tell whether a process is a worker of Ray that runs a shard, by the title that Ray gives it."""
    try:
        return process.joinpath("cmdline").read_bytes().startswith(b"ray::run_shard")
    except OSError:
        return False


@pytest.mark.parametrize("engine", [dask, ray], ids=lambda engine: engine.__name__)
def test_a_worker_killed_in_a_shard_loses_nothing_and_sends_nothing_twice(
    engine: Any, service: CountingService, tmp_path: Path
) -> None:
    folder, run = tmp_path / "images", str(tmp_path / "run")
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.png").write_bytes(tiny(number))
    with service.client() as client:
        dataset = client.datasets.create(name="engines").dataset_id
        client.assets.upload(dataset, folder, plan=run, shards=6)
        service.reset()
        killed: list[int] = []

        def arm(workers: Callable[[], list[int]]) -> None:
            def kill(number: int, request: web.Request) -> None:
                """Kill a worker when a session has ended, before it is told."""
                if killed or request.method != "GET" or "/assetIngestionSessions/" not in request.path:
                    return
                killed.append(workers()[0])
                os.kill(killed[0], signal.SIGKILL)

            service.after = kill

        engine(run, arm)
        assert killed
        status = vi.RunStatus.of(run)
        assert status.ok, status.summary()
        assert stored(client, dataset) == digests(folder)
        assert Counter(put.name for put in service.puts) == dict.fromkeys(stored(client, dataset), 1)
        upload = status.result.upload
        assert upload is not None
        assert upload.total_succeeded + upload.total_existing == client.assets.count(dataset) == FILES
