"""Neutral parties: nginx as a byte store, and a light API before it that speaks just enough of the protocol.

The light API knows no more than a load test needs: it opens sessions whose URLs point at nginx and says that all of it
is ingested, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from aiohttp import web
from client_pages import document

NGINX = """
worker_processes 2;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log crit;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/t1; fastcgi_temp_path {root}/t2; uwsgi_temp_path {root}/t3; scgi_temp_path {root}/t4;
    server {{
        listen 127.0.0.1:{port} backlog=1024{tls};
        root {root}/store;
        location /nowhere/ {{ return 201; }}
        location / {{ dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw; }}
    }}
}}
"""

ORGANIZATION = "acme"
KEY = "dtvi_" + "a" * 98
LONG = 1 << 43  # ms: no URL of the light API ever expires


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nginx(certificates: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Run nginx over an empty folder in memory; yields its address and the folder.

    With *certificates*, a folder that `make_certificates` has filled, it speaks TLS.
    """
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        sys.exit("This benchmark needs nginx (Debian package nginx-light).")
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vi-nginx-", dir=base) as root:
        store = Path(root) / "store"
        store.mkdir()
        Path(root).chmod(0o755)
        port = free_port()
        tls = ""
        if certificates is not None:
            tls = f" ssl; ssl_certificate {certificates}/server.pem; ssl_certificate_key {certificates}/server.key"
        configuration = Path(root) / "nginx.conf"
        text = NGINX.format(root=root, port=port, tls=tls)
        # Started by root, its workers would not be, and could not write into a folder of root's.
        configuration.write_text(f"user root;\n{text}" if hasattr(os, "geteuid") and os.geteuid() == 0 else text)
        with subprocess.Popen([program, "-c", str(configuration), "-e", f"{root}/error.log"]) as process:
            try:
                _wait_for(port)
                yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", store
            finally:
                process.terminate()
                process.wait()


def make_certificates(folder: Path) -> Path:
    """Make an authority and a certificate of 127.0.0.1 for a run: ``ca.pem``, ``server.pem``, ``server.key``."""
    folder.mkdir()

    def openssl(*given: str) -> None:
        subprocess.run(
            ["openssl", *given], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Benchmark CA", *usage)
    openssl("req", *key[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return folder


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("the store did not start")


@attrs.frozen
class Sample:
    """The object that every asset of a dataset of the light API has."""

    url: str
    size: int
    crc32c: int


class LightApi:
    """Sessions whose URLs lead into a store, and datasets ``nCOUNT`` of that many assets, all of one object's bytes."""

    def __init__(self, store: str, sample: Sample | None) -> None:
        self._store = store
        self._sample = sample
        self._totals: dict[str, int] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        if request.method == "POST" and path.endswith("/assetIngestionSessions"):
            return self._open(await request.json())
        if "/assetIngestionSessions/" in path:
            return _json(self._session(path.rpartition("/")[2].partition(":")[0], None))
        if path.endswith("/assets"):
            dataset = path.split("/")[-2].rpartition("_")[2]
            return _json(self._page(int(dataset[1:]), int(request.query.get("p", 0)), int(request.query["s"])))
        if request.method == "POST" and path.endswith("/datasets"):
            return _json(self._dataset("ds1"), 201)
        return _json(self._dataset(path.rpartition("_")[2]))

    def _open(self, body: dict[str, Any]) -> web.Response:
        identifier = f"s{len(self._totals) + 1}"
        files = body["spec"]["assets"]
        self._totals[identifier] = len(files)
        assets = [
            {
                "metadata": file,
                "upload": {"url": f"{self._store}/{identifier}/{quote(file['filename'])}?X-Signature=0f%2F",
                           "expiry": LONG, "method": "PUT", "headers": {"Content-Type": file["mime"]}},
            }
            for file in files
        ]  # fmt: skip
        return _json(self._session(identifier, assets), 201)

    def _session(self, identifier: str, assets: list[Any] | None) -> dict[str, Any]:
        total = self._totals.get(identifier, 0)
        reached = "Waiting" if assets is not None else "Reached"
        status: dict[str, Any] = {
            "conditions": [
                {"condition": "Finished", "status": reached, "lastTransitionTime": 1},
                {"condition": "Started", "status": "Reached", "lastTransitionTime": 1},
            ],
            "events": [],
            "progressCount": {"total": total, "succeeded": 0 if assets is not None else total, "errored": 0},
        }
        if assets is not None:
            status["assets"] = assets
        return {
            "kind": "AssetIngestionSession", "workspaceId": ORGANIZATION, "datasetId": f"{ORGANIZATION}_ds1",
            "assetSourceClass": "managed", "assetSourceProvider": "datature", "assetSourceId": "default",
            "assetIngestionSessionId": identifier, "ingestionId": identifier, "selfLink": "/", "etag": '"1"',
            "metadata": {"timeCreated": 1, "lastUpdated": 1, "generation": 1, "attributes": {}},
            "spec": {"kind": "Upload", "failureMode": "FailAfterOne", "onAssetOverwritten": "RemoveLinkedResource"},
            "status": status,
        }  # fmt: skip

    def _page(self, total: int, start: int, size: int) -> dict[str, Any]:
        end = min(total, start + size)
        return {"items": [self._asset(number) for number in range(start, end)],
                "nextPage": str(end) if end < total else None, "prevPage": None}  # fmt: skip

    def _asset(self, number: int) -> dict[str, Any]:
        assert self._sample is not None
        asset = document(number)
        asset["filename"] = f"{number:07}.jpg"
        asset["metadata"]["fileSize"] = self._sample.size
        asset["metadata"]["hash"] = {"algorithm": "crc32c", "contents": str(self._sample.crc32c)}
        asset["contents"]["asset"] |= {"url": self._sample.url, "expiry": LONG}
        return asset

    def _dataset(self, identifier: str) -> dict[str, Any]:
        return {
            "kind": "Dataset", "datasetId": f"{ORGANIZATION}_{identifier}", "name": "bench", "owner": ORGANIZATION,
            "workspaceId": ORGANIZATION, "type": "phrase-grounding", "content": "Image", "createDate": 1,
            "statistic": {"assetTotal": 0, "annotationTotal": 0, "tagsCount": {}, "assetAnnotated": 0}, "users": {},
            "tags": {}, "cohorts": [], "status": 0, "lastAccessed": 1, "isLocked": False,
            "access": {"isPublic": False, "isReadOnly": False, "isHidden": False}, "preference": {},
            "assetStatuses": {}, "selfLink": "/", "etag": '"1"',
        }  # fmt: skip


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


def _serve(store: str, port: int, sample: Sample | None) -> None:
    async def main() -> None:
        runner = web.AppRunner(LightApi(store, sample).app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    asyncio.run(main())


@contextlib.contextmanager
def light_api(store: str, file: Path | None = None, origin: str = "") -> Iterator[dict[str, str]]:
    """Run the light API before a store; yields the settings of a client.

    *file* is what its datasets hold, over and over, found under its name at *origin*.
    """
    sample = None
    if file is not None:
        from vi._checksums import crc32c, to_signed

        data = file.read_bytes()
        sample = Sample(f"{origin}/{file.name}", len(data), to_signed(crc32c(data)))
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(store, port, sample), daemon=True)
    process.start()
    try:
        _wait_for(port)
        yield {
            "DATATURE_VI_API_ENDPOINT": f"http://127.0.0.1:{port}",
            "DATATURE_VI_SECRET_KEY": KEY,
            "DATATURE_VI_ORGANIZATION_ID": ORGANIZATION,
        }
    finally:
        process.terminate()
        process.join()
