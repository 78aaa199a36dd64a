"""A web service whose images are in a Vi dataset: ``uvicorn fastapi_app:app``, with the settings in the environment."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response, UploadFile

from vi.fastapi import (
    PROBLEMS,
    ViClient,
    add_error_handlers,
    asset_response,
    body_source,
    cancelled_on_disconnect,
    lifespan,
    progress_response,
    upload_source,
)

app = FastAPI(title="Images", lifespan=lifespan(), responses=PROBLEMS)
add_error_handlers(app)


@app.post("/datasets")
async def create(name: str, client: ViClient) -> dict[str, str]:
    """Make a dataset."""
    dataset = await client.datasets.create(name=name)
    return {"dataset_id": dataset.dataset_id}


@app.get("/datasets/{dataset_id}/images")
async def index(dataset_id: str, client: ViClient) -> list[dict[str, Any]]:
    """The first page of images."""
    page = await client.assets.list(dataset_id)
    return [{"id": asset.asset_id, "name": asset.filename, "size": asset.metadata.file_size} for asset in page.items]


@app.post("/datasets/{dataset_id}/images")
async def add(request: Request, dataset_id: str, files: list[UploadFile], client: ViClient) -> dict[str, Any]:
    """Store the files of a form; the answer says what became of each."""
    sources = [upload_source(file) for file in files]
    async with cancelled_on_disconnect(request):
        result = await client.assets.upload(dataset_id, sources, failure_mode="FailAfterAll", show_progress=False)
    return result.to_dict()


@app.put("/datasets/{dataset_id}/images/{filename}", status_code=201)
async def put(request: Request, dataset_id: str, filename: str, client: ViClient) -> dict[str, int]:
    """Store the body as one image, sent on while it arrives."""
    async with cancelled_on_disconnect(request):
        result = await client.assets.upload(dataset_id, body_source(request, filename), show_progress=False)
    return {"stored": result.total_succeeded}


@app.post("/datasets/{dataset_id}/uploads")
async def add_with_progress(dataset_id: str, files: list[UploadFile], client: ViClient) -> Response:
    """Store the files of a form and tell the progress as server-sent events."""
    sources = [upload_source(file) for file in files]
    return progress_response(client.assets.upload_events(dataset_id, sources, failure_mode="FailAfterAll"))


@app.get("/datasets/{dataset_id}/images/{asset_id}")
@app.head("/datasets/{dataset_id}/images/{asset_id}")
async def show(request: Request, dataset_id: str, asset_id: str, client: ViClient) -> Response:
    """Send an image back, or the range of it that is asked for."""
    return await asset_response(request, client, dataset_id, asset_id)
