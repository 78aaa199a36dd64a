"""Several keys with names, read-only ones, and signing keys that rotate while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.service.conftest import Api, ClockedService, Connect, StartService
from vi._samples import make_samples
from vi.cli import main
from vi.server.config import Folder
from vi.server.context import CONTEXT
from vi.server.identity import IdentityFile

pytestmark = pytest.mark.anyio


def run(capsys: pytest.CaptureFixture[str], service: Any, *words: str) -> str:
    assert main(["server", "keys", *words, "--data", str(service._local.data)]) == 0
    return capsys.readouterr().out.strip()


async def until_answered(api: Api, key: str, status: int, method: str = "GET", document: Any = None) -> None:
    """Ask with *key* until the service has followed its keys."""
    headers: Mapping[str, str] = {"Authorization": f"Bearer {key}"}
    async with asyncio.timeout(20):
        while (await api(method, f"{api.organization}/datasets", document, headers=headers)).status != status:
            await asyncio.sleep(0.05)


async def test_a_key_is_added_and_revoked_while_the_service_runs(
    fresh_service: ClockedService, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    api = await connect(fresh_service)
    key = run(capsys, fresh_service, "add", "ci")
    await until_answered(api, key, 201, "POST", {"name": "by ci"})
    shown = run(capsys, fresh_service, "list")
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [["owner", "full"], ["ci", "full"]]
    folder = Folder(fresh_service._local.data)
    assert key not in shown
    assert key not in folder.identity.read_text("utf-8")
    other = run(capsys, fresh_service, "replace", "ci")
    await until_answered(api, other, 200)
    await until_answered(api, key, 401)
    run(capsys, fresh_service, "revoke", "ci")
    await until_answered(api, other, 401)
    assert (await api("GET", f"{api.organization}/datasets")).status == 200
    owner = run(capsys, fresh_service, "replace", "owner")
    await until_answered(api, owner, 200)
    await until_answered(api, fresh_service.secret_key, 401)
    assert IdentityFile(folder.identity).read().secret_key == owner


async def test_a_read_only_key_reads_and_changes_nothing(
    fresh_service: ClockedService,
    connect: Connect,
    visit: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = await connect(fresh_service)
    dataset = await api.create_dataset()
    key = run(capsys, fresh_service, "add", "reader", "--read-only")
    await until_answered(api, key, 200)
    headers = {"Authorization": f"Bearer {key}"}
    for method, path, document in (
        ("POST", f"{api.organization}/datasets", {"name": "no"}),
        ("PATCH", dataset, {"name": "no"}),
        ("DELETE", dataset, None),
        ("POST", f"{dataset}/assetSources/managed/datature/default/assetIngestionSessions", api.announce({})),
    ):
        answer = await api(method, path, document, headers=headers)
        assert (answer.status, answer.message) == (403, "The key is read-only")
    visitor = await visit(fresh_service, key=key)
    assert (await visitor.post("/gallery/datasets", {"name": "no"})).status == 403
    assert (await visitor.post("/gallery/logout", {})).status == 303
    asked = {"spec": {"filenames": ["a.png"]}}
    assert (await api("POST", f"{dataset}/assets:lookup", asked, headers=headers)).status == 200
    assert (await api("GET", dataset)).status == 200


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_url_signed_before_a_rotation_is_valid_until_it_expires(
    start_service: StartService, connect: Connect, tmp_path: Any, capsys: pytest.CaptureFixture[str], at_once: bool
) -> None:
    service = start_service()
    api = await connect(service)
    dataset = await api.create_dataset()
    path = next(one for one in make_samples(tmp_path / "pictures") if one.suffix == ".png")
    await api.ingest(dataset, {path.name: path.read_bytes()})

    async def url() -> str:
        (asset,) = await api.assets(dataset, contents="y")
        return str(asset["contents"]["asset"]["url"])

    before = await url()
    store = IdentityFile(Folder(service._local.data).identity)
    old = store.read().signing_key
    run(capsys, service, "rotate", *(["--now"] if at_once else []))
    assert store.read().signing_key != old
    running = service._local._running
    assert running is not None
    async with asyncio.timeout(20):
        while running._app[CONTEXT].signer.key.hex() == old:
            await asyncio.sleep(0.05)
    assert (await api.raw("GET", before)).status == (403 if at_once else 200)
    assert (await api.raw("GET", await url())).status == 200
    service.clock.advance(3700)
    assert (await api.raw("GET", before)).status == 403
