"""Documents and results as JSON-ready values, and as pydantic and FastAPI see them."""

from __future__ import annotations

import json

import pydantic
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import vi
from vi.api.pagination import Page
from vi.api.resources.datasets.assets.responses import (
    Asset,
    AssetContents,
    AssetForUpload,
    AssetHash,
    AssetIngestionSession,
    AssetIngestionSessionStatus,
    AssetMetadata,
    Contents,
    FailureMode,
    UploadedAssetMetadata,
)
from vi.api.resources.datasets.assets.results import AssetUploadResult
from vi.api.resources.datasets.responses import Dataset

URL = "https://storage.example/x?X-Signature=5f"
ASSET = Asset(
    "a1",
    "d1",
    filename="x.png",
    metadata=AssetMetadata(hash=AssetHash("sha256", "00"), custom_metadata={"camera": "north"}),
    contents=AssetContents(Contents(URL, 5)),
)
SESSION = AssetIngestionSession(
    "s1",
    status=AssetIngestionSessionStatus(
        assets=[AssetForUpload(UploadedAssetMetadata("Image", "x.png", "image/png", 1), Contents(URL, 5))]
    ),
)


def test_signed_urls_are_left_out_unless_asked_for() -> None:
    for document in (ASSET, SESSION, Page([ASSET])):
        assert "Signature" not in json.dumps(document.to_dict())
        assert URL in json.dumps(document.to_dict(urls=True))
    assert ASSET.to_dict()["metadata"]["hash"] == {"algorithm": "sha256", "contents": "00"}


def test_values_are_json() -> None:
    document = SESSION.to_dict()
    assert document["spec"]["failure_mode"] == FailureMode.FAIL_AFTER_ONE.value
    assert type(document["spec"]["failure_mode"]) is str
    assert Page([Dataset("d", name="signs")], next_page="t").to_dict() == {
        "items": [Dataset("d", name="signs").to_dict()],
        "next_page": "t",
        "prev_page": None,
        "bad_items": [],
    }


@pytest.fixture
def web() -> TestClient:
    app = FastAPI()

    @app.get("/asset")
    def asset() -> Asset:
        return ASSET

    @app.get("/page")
    def page() -> Page[Asset]:
        return Page([ASSET])

    @app.get("/datasets")
    def datasets() -> list[Dataset]:
        return [Dataset("d")]

    @app.get("/upload")
    def upload() -> AssetUploadResult:
        return AssetUploadResult()

    return TestClient(app)


def test_an_endpoint_may_return_them(web: TestClient) -> None:
    assert web.get("/asset").json() == ASSET.to_dict()
    assert web.get("/page").json() == Page([ASSET]).to_dict()
    assert web.get("/datasets").json() == [Dataset("d").to_dict()]
    assert web.get("/upload").json() == json.loads(json.dumps(AssetUploadResult().to_dict()))


def test_they_appear_in_openapi_with_their_fields(web: TestClient) -> None:
    paths = web.get("/openapi.json").json()["paths"]

    def schema(path: str) -> dict[str, object]:
        return dict(paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"])

    asset = schema("/asset")["properties"]
    assert isinstance(asset, dict)
    assert asset.keys() == ASSET.to_dict().keys()
    assert asset["metadata"]["properties"].keys() == ASSET.to_dict()["metadata"].keys()
    items = schema("/page")["properties"]["items"]["items"]  # type: ignore[index]
    assert items["properties"].keys() == asset.keys()


def test_a_field_takes_instances_only() -> None:
    class Holder(pydantic.BaseModel):
        asset: vi.Asset

    assert json.loads(Holder(asset=ASSET).model_dump_json())["asset"] == ASSET.to_dict()
    with pytest.raises(pydantic.ValidationError):
        Holder(asset={"asset_id": "a"})  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="Asset is not read from JSON: give its id"):
        Holder.model_validate_json(json.dumps({"asset": ASSET.to_dict()}))
