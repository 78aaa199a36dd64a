"""A bucket of S3 (moto, over HTTP) mirrored into a dataset and back; what is asked of it is counted."""

from __future__ import annotations

import pytest

import vi
from tests.ecosystem.conftest import COUNT, FILES, Store
from vi import _samples
from vi.testing import TestedService

pytestmark = pytest.mark.ecosystem


def test_up_and_the_second_time_no_object_is_read(client: vi.Client, dataset: str, store: Store) -> None:
    result = client.assets.sync(dataset, "s3://bucket/images", names="relative", show_progress=False)
    assert (result.ok, result.upload and result.upload.total_succeeded) == (True, COUNT)
    # Once for the plan, which looks at the first 64 bytes, and once to be sent.
    assert set(store.gets.values()) == {2}
    assert all(store.asked[name] <= len(data) + 64 for name, data in FILES.items())
    store.gets.clear()
    result = client.assets.sync(dataset, "s3://bucket/images", names="relative", show_progress=False)
    assert (result.plan.existing, len(result.plan)) == (COUNT, 0)
    assert not store.gets
    assert client.assets.verify(dataset, "s3://bucket/images", names="relative").ok
    assert set(store.gets.values()) == {1}
    store.fs.put_object(Bucket="bucket", Key="images/0.png", Body=_samples.encode(99, ".png", (20, 20)))
    store.fs.delete_object(Bucket="bucket", Key="images/2.png")
    result = client.assets.sync(dataset, "s3://bucket/images", delete=True, names="relative", show_progress=False)
    assert (result.upload and result.upload.total_succeeded, result.deleted) == (1, 1)


def test_down_with_deletions(client: vi.Client, dataset: str, store: Store) -> None:
    client.assets.upload(dataset, "s3://bucket/images", names="relative", show_progress=False)
    result = client.assets.sync(dataset, "s3://bucket/copy", "down", show_progress=False)
    assert (result.ok, result.download and result.download.total_downloaded) == (True, COUNT)
    store.fs.put_object(Bucket="bucket", Key="copy/more.png", Body=_samples.encode(99, ".png", (20, 20)))
    result = client.assets.sync(dataset, "s3://bucket/copy", "down", True, show_progress=False)
    assert (result.ok, result.plan.existing, result.deleted) == (True, COUNT, 1)
    assert client.assets.verify(dataset, "s3://bucket/copy", names="relative").ok


def test_a_run_between_buckets_needs_no_shared_disk(
    client: vi.Client, dataset: str, store: Store, service: TestedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    run, back = "s3://bucket/runs/up", "s3://bucket/runs/down"
    client.assets.upload(dataset, "s3://bucket/images", names="relative", plan=run, shards=3)
    assert vi.run_shards(run, processes=2).ok
    store.gets.clear()
    assert vi.run_shard(run, 0).ok
    assert store.gets == {"runs/up/report-00000.json": 1}, "one request"
    store.fs.put_object(Bucket="bucket", Key="runs/up/report-00001.json", Body=b"")
    assert vi.run_shard(run, 1).ok
    client.assets.download(dataset, "s3://bucket/copy", plan=back, shards=2)
    assert all(vi.run_shard(back, shard).ok for shard in range(2))
    assert client.assets.verify(dataset, "s3://bucket/copy", names="relative").matching == COUNT
    assert vi.finish(back).download.total_downloaded == COUNT  # type: ignore[union-attr]
