"""Every API answer says that idempotency keys are honoured, and the client hears it (rows W5 and H3)."""

from __future__ import annotations

from typing import Any

import pytest

import vi

pytestmark = pytest.mark.anyio


async def test_every_api_answer_says_so(fresh_api: Any) -> None:
    organization = fresh_api.organization
    created = await fresh_api("POST", f"{organization}/datasets", {"name": "a"}, headers={"Idempotency-Key": "one"})
    answers = [
        created,
        await fresh_api("POST", f"{organization}/datasets", {"name": "b"}, headers={"Idempotency-Key": "one"}),
        await fresh_api("POST", f"{organization}/datasets", {"name": ""}),
        await fresh_api("GET", "/workspaces"),
        await fresh_api("GET", "/workspaces", headers={"Authorization": None}),
        await fresh_api("GET", "/workspaces/nobody"),
        await fresh_api("GET", f"{organization}/nothing"),
        await fresh_api("PUT", organization),
    ]
    assert [answer.status for answer in answers] == [201, 422, 400, 200, 401, 403, 404, 405]
    assert all(answer.headers.get("Idempotency-Key") for answer in answers)


async def test_the_client_learns_it_from_any_answer(fresh_service: Any) -> None:
    """What it does where no answer says so is in tests/faults, row H3."""
    async with vi.AsyncClient(fresh_service.secret_key, fresh_service.organization_id, fresh_service.url) as client:
        assert not client._http.honours_keys
        with pytest.raises(vi.ViNotFoundError):
            await client.datasets.get("nothing")
        assert client._http.honours_keys
