"""A bucket of S3 (moto, over HTTP), whose reads are counted."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from vi import _samples

COUNT = 40
FILES = {f"images/{'deep/' * (n % 2)}{n}.png": _samples.encode(n, ".png", (20, 20)) for n in range(COUNT)}


class Store:
    """*gets* counts the requests for each object, *asked* the bytes of each that they asked for."""

    def __init__(self, fs: Any, upath: Any, gets: Counter[str], asked: Counter[str]) -> None:
        self.fs = fs
        self.path = upath
        self.gets = gets
        self.asked = asked


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
    asked: Counter[str] = Counter()
    real = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *args: Any, **options: Any) -> Any:
        if method == "get_object":
            given = {**next((a for a in args if isinstance(a, dict) and "Key" in a), {}), **options}
            gets[given["Key"]] += 1
            first, last = given.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
            size = len(FILES.get(given["Key"], b""))
            asked[given["Key"]] += min(size, int(last or size) + 1) - int(first)
        return await real(self, method, *args, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    try:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="bucket")
        for name, data in FILES.items():
            s3.put_object(Bucket="bucket", Key=name, Body=data)
        yield Store(s3, upath.UPath, gets, asked)
    finally:
        # What its buckets hold belongs to the process, not to the server.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
