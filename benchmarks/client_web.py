"""A FastAPI application that uploads each `UploadFile` and waits until it is settled: of ours, or the published client.

``client_web.py DATASET`` listens on a free port and prints it. Ours awaits the call; the published client, which is
synchronous and takes paths, gets a temporary file in a thread, as an application over it has to do.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, UploadFile

import vi

DATASET = sys.argv[1]


def ours() -> FastAPI:
    from vi.fastapi import get_client, lifespan, upload_source

    app = FastAPI(lifespan=lifespan())

    @app.post("/upload")
    async def upload(file: UploadFile, request: Request) -> dict[str, int]:
        done = await get_client(request).assets.upload(DATASET, upload_source(file), show_progress=False)
        return {"succeeded": done.total_succeeded}

    return app


def published() -> FastAPI:
    app, client = FastAPI(), vi.Client()

    @app.post("/upload")
    def upload(file: UploadFile) -> dict[str, int]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file.filename or "").name
            with path.open("wb") as copy:
                shutil.copyfileobj(file.file, copy)
            done: Any = client.assets.upload(
                dataset_id=DATASET, paths=str(path), wait_until_done=True, show_progress=False
            )
        return {"succeeded": done.total_succeeded}

    return app


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        made = ours() if hasattr(vi, "AsyncClient") else published()
        uvicorn.Server(uvicorn.Config(made, log_level="error")).run(sockets=[listener])
