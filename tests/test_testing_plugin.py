"""The pytest plugin as a user's suite meets it: each test here is a suite of its own, in a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vi._media import IMAGE_TYPES

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="vi"))

BACKEND = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for a suite in which warnings are errors."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("VI_CACHE_DIR", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    plugin = () if INSTALLED else ("-p", "vi.testing")
    return suite.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", *arguments, timeout=100)


def test_the_fixtures_work_together(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import os
        from pathlib import Path

        import vi

        def test_upload(vi_client, vi_dataset, vi_images, tmp_path):
            result = vi_client.assets.upload(vi_dataset.dataset_id, vi_images())
            assert result.total_succeeded == len(vi_images.extensions)
            vi_client.assets.download(vi_dataset.dataset_id, tmp_path / "copy")
            assert len(list((tmp_path / "copy").iterdir())) == result.total_succeeded

        def test_the_dataset_is_new_and_named_after_the_test(vi_client, vi_dataset):
            assert vi_dataset.name == "test_the_dataset_is_new_and_named_after_the_test"
            assert vi_client.assets.count(vi_dataset.dataset_id) == 0

        def test_images(vi_images):
            folder = vi_images(5, extensions=[".png", ".jpg"], size=(10, 8), seed=3)
            assert [path.suffix for path in sorted(folder.iterdir())] == [".png", ".jpg", ".png", ".jpg", ".png"]
            assert vi_images(5, seed=3) != folder
            assert vi_images.encode(seed=1) == vi_images.encode(".png", seed=1) != vi_images.encode(seed=2)

        def test_other_processes_find_the_service(vi_service, monkeypatch):
            for name, value in vi_service.environment.items():
                monkeypatch.setenv(name, value)
            with vi.Client() as client:
                assert client.organizations.list().items[0].organization_id == vi_service.organization_id

        def test_the_users_own_cache_is_left_alone(vi_service, tmp_path_factory):
            assert Path(os.environ["VI_CACHE_DIR"]).is_relative_to(tmp_path_factory.getbasetemp())
        """
    )
    run(suite).assert_outcomes(passed=5)


def test_async_tests_have_a_client(suite: pytest.Pytester) -> None:
    suite.makeconftest(BACKEND)
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.anyio
        async def test_upload(vi_async_client, vi_dataset, vi_images):
            result = await vi_async_client.assets.upload(vi_dataset.dataset_id, vi_images(3))
            assert result.total_succeeded == 3
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_every_fault_is_met_and_ends_with_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import time

        import pytest
        import vi

        @pytest.fixture
        def client(vi_service):
            retries = vi.RetryPolicy(backoff=0.01)
            with vi_service.client(retries=retries) as client:
                yield client

        @pytest.fixture
        def stored(client, vi_dataset, vi_images):
            client.assets.upload(vi_dataset.dataset_id, vi_images(1, extensions=[".png"], size=(300, 200)))
            return vi_dataset.dataset_id

        def test_status(vi_service, client):
            fault = vi_service.faults.status(503, retry_after=0.01, times=2)
            client.datasets.list()
            assert fault.hits == 2

        def test_status_for_ever(vi_service, client):
            vi_service.faults.status(500, to="api", times=None)
            with pytest.raises(vi.ViServerError):
                client.datasets.list()

        def test_the_one_before_has_ended(client):
            client.datasets.list()

        def test_reset(vi_service, client):
            fault = vi_service.faults.reset(path="*/datasets", times=2)
            client.datasets.list()
            assert fault.hits == 2

        @pytest.mark.parametrize("fault", ["reset", "truncate", "corrupt", "expiry"])
        def test_downloads_get_over_it(vi_service, client, stored, tmp_path, fault):
            made = getattr(vi_service.faults, fault)(method="GET", path="/dl/*")
            result = client.assets.download(stored, tmp_path / "copy")
            assert (result.total_downloaded, made.hits) == (1, 1)

        def test_damage_that_stays_is_a_failure(vi_service, client, stored, tmp_path):
            vi_service.faults.corrupt(100, times=None)
            with pytest.raises(vi.ViDownloadError):
                client.assets.download(stored, tmp_path / "copy")

        def test_damage_on_the_way_up(vi_service, client, vi_dataset, vi_images):
            fault = vi_service.faults.corrupt(100, method="PUT")
            client.assets.upload(vi_dataset.dataset_id, vi_images(1, extensions=[".png"]))
            assert fault.hits == 1

        def test_delay(vi_service, client):
            vi_service.faults.delay(0.2)
            began = time.monotonic()
            client.datasets.list()
            assert time.monotonic() - began >= 0.2

        def test_after_lets_some_through(vi_service, client):
            fault = vi_service.faults.status(404, after=2)
            client.datasets.list()
            client.datasets.list()
            with pytest.raises(vi.ViNotFoundError):
                client.datasets.list()
            assert fault.hits == 1

        def test_a_block_ends_it(vi_service, client):
            with vi_service.faults.status(404, times=None):
                with pytest.raises(vi.ViNotFoundError):
                    client.datasets.list()
            client.datasets.list()
        """
    )
    run(suite).assert_outcomes(passed=13)


def test_workers_of_xdist_have_their_own_service(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_upload(vi_client, vi_dataset, vi_images, vi_service, worker_id, number):
            assert vi_client.assets.upload(vi_dataset.dataset_id, vi_images(2)).total_succeeded == 2
            print(worker_id, vi_service.url)
        """
    )
    result = run(suite, "-n", "2", "-rP")
    result.assert_outcomes(passed=8)
    lines = {line for line in result.outlines if line.startswith("gw")}
    assert len({line.split()[0] for line in lines}) == len(lines) == 2


def test_a_suite_that_does_not_use_it_pays_nothing(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys
        import threading

        def test_nothing_is_there():
            heavy = {"aiohttp", "anyio._core", "sqlalchemy", "PIL", "cattrs", "vi.client", "vi.server"}
            assert not heavy & set(sys.modules)
            assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
        """
    )
    run(suite, "-p", "no:anyio").assert_outcomes(passed=1)


def test_importing_the_plugin_is_quick(tmp_path: Path) -> None:
    """Beside pytest itself it imports a handful of modules, none of them from elsewhere."""
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport vi.testing\nimport json\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(result.stdout)
    assert {name.split(".")[0] for name in loaded} <= {"vi", "json"}
    assert len(loaded) < 12


def test_the_images_are_of_every_format() -> None:
    from vi.testing import ImageFactory

    assert set(ImageFactory.extensions) == set(IMAGE_TYPES)
