"""Tests of transfers meet on an S3 store what they meet on a folder: each transfer once, under the same path."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support import engines
from tests.support.ports import free_ports
from tests.support.recorded_service import RecordedService
from tests.support.seaweed import Seaweed
from tests.support.store_front import serve_fronted
from vi.server import ServiceConfig
from vi.testing import service as tested

pytest.importorskip("aiobotocore")

pytestmark = pytest.mark.scale


@pytest.mark.parametrize("uploads", ["through", "direct"])
def test_each_transfer_is_met_once_and_can_be_damaged(
    seaweed: Seaweed, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploads: str
) -> None:
    monkeypatch.setattr(tested, "serve", partial(serve_fronted, tested.serve))
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    config = ServiceConfig(**seaweed.create(), store_public_url=url, uploads=uploads)
    running = RecordedService(tmp_path / "data", config)
    names = sorted(path.name for path in images.iterdir())
    try:
        with running.client() as client:
            dataset = client.datasets.create(name="met").dataset_id
            client.assets.upload(dataset, images, show_progress=False)
            sent = running.requests("PUT", storage=True)
            running.forget()
            with running.faults.corrupt(3, method="GET") as damage:
                client.assets.download(dataset, tmp_path / "copy", show_progress=False)
    finally:
        running.stop()
    assert sorted(seen.path.rpartition("/")[2] for seen in sent) == names
    assert {seen.path.split("/")[1] for seen in sent} == {"up"}
    fetched = [seen.path.rpartition("/")[2] for seen in running.requests("GET", storage=True)]
    # The damaged one, which the fault asks for once more, comes again.
    assert (damage.hits, len(fetched), sorted(set(fetched))) == (1, len(names) + 2, names)
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {
        path.name: path.read_bytes() for path in images.iterdir()
    }


def test_what_does_not_run_on_the_other_engines_exists() -> None:
    folder = Path(__file__).parents[1]
    files = {
        path.name: path.read_text("utf-8") for name in ("transfers", "resume") for path in folder.glob(f"{name}/*.py")
    }
    for name in {name for listed in engines.NOT_RUN.values() for name in listed}:
        assert name in files or any(f"def {name}(" in text for text in files.values()), name
