"""A bucket of S3 (moto, over HTTP) mirrored into a dataset and back; what is asked of it is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import vi
from vi import _samples

pytestmark = pytest.mark.ecosystem

COUNT = 40
FILES = {f"images/{'deep/' * (n % 2)}{n}.png": _samples.encode(n, ".png", (20, 20)) for n in range(COUNT)}


class Store:
    def __init__(self, fs: Any, upath: Any, gets: Counter[str]) -> None:
        self.fs = fs
        self.path = upath
        self.gets = gets


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Store]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    boto3 = pytest.importorskip("boto3")
    s3fs = pytest.importorskip("s3fs")
    upath = pytest.importorskip("upath")
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    gets: Counter[str] = Counter()
    real = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *args: Any, **options: Any) -> Any:
        if method == "get_object":
            gets[options.get("Key") or next(a["Key"] for a in args if isinstance(a, dict) and "Key" in a)] += 1
        return await real(self, method, *args, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    try:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="bucket")
        for name, data in FILES.items():
            s3.put_object(Bucket="bucket", Key=name, Body=data)
        yield Store(s3, upath.UPath, gets)
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def test_up_and_the_second_time_no_object_is_read(client: vi.Client, dataset: str, store: Store) -> None:
    result = client.assets.sync(dataset, "s3://bucket/images", names="relative", show_progress=False)
    assert (result.ok, result.upload and result.upload.total_succeeded) == (True, COUNT)
    assert set(store.gets.values()) <= {1, 2}
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
