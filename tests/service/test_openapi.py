"""The OpenAPI document of the service: valid, complete, and what the answers really look like."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import jsonschema
import openapi_spec_validator
import pytest

from vi import _samples
from vi.server import app, openapi
from vi.testing import TestedService

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_document_is_valid_and_its_operations_have_names_of_their_own() -> None:
    document = openapi.document()
    openapi_spec_validator.validate(document)
    assert len({one.id for one in openapi.OPERATIONS}) == len(openapi.OPERATIONS)


def test_every_route_of_the_api_is_described() -> None:
    served = {(one.method, one.path.replace(":[^/]+", "")) for one in app._routes_of_api()}
    assert {(one.method, one.route) for one in openapi.OPERATIONS} == served


def test_the_file_of_the_docs_is_the_document() -> None:
    assert json.loads(DOCUMENT.read_text("utf-8")) == openapi.document()


@pytest.mark.anyio
async def test_it_is_served_without_a_key_and_answers_look_so(tmp_path: Path) -> None:
    service = TestedService.start(tmp_path / "data")
    try:
        async with service.async_client() as client:
            dataset_id = (await client.datasets.create(name="described")).dataset_id
            await client.assets.upload(
                dataset_id,
                [("a.png", _samples.encode(1, ".png", (20, 10)))],
                custom_metadata={"n": 1},
                show_progress=False,
            )
        async with aiohttp.ClientSession(service.url) as http:
            async with http.get("/openapi.json") as answer:
                document = await answer.json()
            assert document == openapi.document()
            headers = {
                "Authorization": f"Bearer {service.secret_key}",
                "Organization-Id": service.organization_id,
            }
            values = {"org": service.organization_id, "dataset": f"{service.organization_id}_{dataset_id}"}
            for route, query in (
                ("/workspaces/{org}", ""),
                ("/workspaces/{org}/datasets", ""),
                ("/workspaces/{org}/datasets/{dataset}", ""),
                ("/workspaces/{org}/datasets/{dataset}/assets", "?contents=y"),
                ("/workspaces/{org}/datasets/{dataset}/assets:count", ""),
            ):
                async with http.get(route.format(**values) + query, headers=headers) as answer:
                    body = await answer.json()
                described = document["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]
                schema = {**described["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(body)
    finally:
        service.stop()
