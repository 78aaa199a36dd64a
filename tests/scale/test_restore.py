"""A backup as docs/scaling.md describes it, rows first and then the bucket: restored, everything is there.

Also in another bucket, or at another address of a store: nothing serves bytes from there before `server set-store`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("psycopg")
pytest.importorskip("aiobotocore")

from tests.support.seaweed import Seaweed
from vi._samples import make_samples
from vi.cli import main
from vi.errors import ViConfigurationError
from vi.server import ServiceConfig
from vi.testing import TestedService

pytestmark = [pytest.mark.scale]


def copy_bucket(seaweed: Seaweed, source: dict[str, str], target: dict[str, str]) -> None:
    """Do as `aws s3 sync` does."""
    (_, _, bucket, before), (_, _, _, after) = (one["store"].split("/") for one in (source, target))
    for key in seaweed.keys(source):
        place = {"Bucket": bucket, "Key": f"{before}/{key}"}
        seaweed.client.copy_object(Bucket=bucket, Key=f"{after}/{key}", CopySource=place)


def test_what_was_backed_up_is_there_after_it_is_restored(postgres: Any, seaweed: Seaweed, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    pictures = make_samples(kept, count=16, size=(40, 30))
    later = [path.rename(tmp_path / path.name) for path in pictures[-2:]]
    rows, store = postgres.create(), seaweed.create()
    service = TestedService.start(tmp_path / "data", ServiceConfig(database=rows, **store))
    try:
        with service.client() as client:
            dataset = client.datasets.create(name="kept").dataset_id
            client.assets.upload(dataset, kept, custom_metadata={"lot": 7})
            dump = postgres.dump(rows)
            client.assets.upload(dataset, later[0])  # in the bucket, in no row of the backup
            backup = seaweed.create()
            copy_bucket(seaweed, store, backup)
            client.assets.upload(dataset, later[1])  # in neither
            organization, key = service.organization_id, service.secret_key
    finally:
        service.stop()
    for name in seaweed.keys(store):
        seaweed.remove(store, name)
    copy_bucket(seaweed, backup, store)
    other_rows = postgres.create()
    postgres.restore(dump, other_rows)
    service = TestedService.start(tmp_path / "other", ServiceConfig(database=other_rows, **store))
    try:
        assert (service.organization_id, service.secret_key) == (organization, key)
        with service.client() as client:
            report = client.assets.verify(dataset, kept)
            assert report.ok, report.summary()
            assert client.assets.count(dataset) == 14
            assert client.assets.count(dataset, metadata_query="lot == 7") == 14
            down = client.assets.download(dataset, tmp_path / "down")
            assert (down.total_downloaded, down.total_failed) == (14, 0)
            assert client.assets.upload(dataset, later).total_succeeded == 2
        with mock.patch.dict(os.environ, VI_DATABASE=other_rows):
            command = [sys.executable, "-m", "vi", "server", "check"]
            checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    finally:
        service.stop()


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_copy_in_another_bucket_is_served_once_it_is_set_and_complete(
    postgres: Any,
    seaweed: Seaweed,
    tmp_path: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, there = seaweed.create(), seaweed.create()
    rows = {"database": postgres.create()} if engine == "postgres" else {}
    data = tmp_path / "data"
    words = ["--data", str(data), *(f"--{name}={url}" for name, url in rows.items())]
    monkeypatch.setenv("VI_STORE_ENDPOINT", seaweed.endpoint)

    def set_store(store: dict[str, str], *more: str) -> tuple[int, str]:
        code = main(["server", "set-store", *words, "--store", store["store"], *more])
        return code, "".join(capsys.readouterr())

    def start(store: dict[str, str]) -> TestedService:
        return TestedService.start(data, ServiceConfig(**rows, **store))

    service = start(here)
    try:
        with service.client() as client:
            dataset = client.datasets.create(name="kept").dataset_id
            client.assets.upload(dataset, make_samples(tmp_path / "kept", count=6, size=(40, 30)))
            code, said = set_store(there)
            assert code == 2
            assert "running" in said or "already served" in said
    finally:
        service.stop()
    copy_bucket(seaweed, here, there)
    one = next(key for key in seaweed.keys(there) if key.startswith("sessions/") and "." not in key)
    seaweed.remove(there, one)
    elsewhere = {**here, "store_endpoint": seaweed.endpoint.replace("127.0.0.1", "localhost")}
    for other, said in ((there, "vi-sdk server set-store"), (elsewhere, "at http://127.*, not at http://localhost")):
        with pytest.raises(ViConfigurationError, match=said):
            start(other)
    code, said = set_store(there)
    assert code == 1
    assert "1 of 6 assets" in said
    assert "Nothing is changed" in said
    start(here).stop()
    copy_bucket(seaweed, here, there)
    assert set_store(there)[0] == 0
    with pytest.raises(ViConfigurationError, match="set-store"):
        start(here)
    service = start(there)
    try:
        with service.client() as client:
            assert client.assets.verify(dataset, tmp_path / "kept").ok
            assert client.assets.download(dataset, tmp_path / "down").total_downloaded == 6
    finally:
        service.stop()
    if rows:
        seaweed.remove(there, one)
        assert main(["server", "check", words[-1], "--store", there["store"]]) == 1
        assert "1 of 6 assets" in capsys.readouterr().err
    monkeypatch.setenv("VI_STORE_ENDPOINT", elsewhere["store_endpoint"])
    assert set_store(elsewhere, "--incomplete")[0] == 0
    start(elsewhere).stop()
