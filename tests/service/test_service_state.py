"""What a service says of itself at its address: whether images can be looked at."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vi.server.inspection import walls

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/json"}
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100)


async def test_a_service_that_can_look_at_images_says_nothing(api: Any, dataset_path: str, picture: Any) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    answer = await api("GET", "/", headers=JSON)
    missing = answer.document["inspection"]["missing"]
    assert missing.keys() == ({"pi_heif"} if find_spec("pi_heif") is None else set())
    assert answer.document == {"inspection": {"reason": None, "missing": missing, "walls": walls.available()}}
    assert (await api("GET", "/", headers={**JSON, "Authorization": None})).status == 401
    assert (await api("GET", "/", headers={**JSON, "Authorization": "Bearer dtvi_" + "0" * 98})).status == 401


@pytest.mark.skipif(sys.platform == "win32", reason="writes a shell script")
async def test_images_that_cannot_be_looked_at_are_refused_and_videos_stored(
    tmp_path: Path, start_service: Any, connect: Any, visit: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\necho '<b>this is another program' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    service = start_service()
    api = await connect(service)
    path = await api.create_dataset()
    files = {"a.png": picture(1), "b.png": picture(2), "c.mp4": MP4}
    document = api.announce(files)
    document["spec"]["assets"][2] |= {"kind": "Video", "mime": "video/mp4"}
    session = (
        await api("POST", path + "/assetSources/managed/datature/default/assetIngestionSessions", document)
    ).document
    await api.put_all(session, files)
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 3, "succeeded": 1, "errored": 2}
    events = [event for event in ended["status"]["events"] if event["kind"] == "Error"]
    reasons = {name: text for event in events for name, text in event["corrections"].items()}
    assert set(reasons) == {"a.png", "b.png"}
    assert all("this is another program" in text for text in reasons.values())
    state = (await api("GET", "/", headers=JSON)).document["inspection"]
    assert "this is another program" in state["reason"]
    page = (await (await visit(service))("GET", "/")).body.decode()
    assert "&lt;b&gt;this is another program" in page
