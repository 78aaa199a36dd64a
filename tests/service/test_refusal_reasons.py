"""Why a file was refused, as the service found it: on the wire, in the SDK, the CLI, the gallery and the log."""

from __future__ import annotations

import json
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.pictures import picture
from vi import _wire
from vi.api.resources.datasets.assets import responses
from vi.cli import main

pytestmark = pytest.mark.anyio


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header speaks of so many pixels."""
    data = bytearray(picture())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "huge.png": (claiming(30_000, 20_000), "EBADSIZE", "30000 x 20000 pixels (600,000,000); at most 500,000,000"),
    "cut.png": (picture()[:-20], "ECORRUPT", "IEND"),
}


async def test_the_wire_gives_the_reason_of_every_file(api: Any, dataset_path: str) -> None:
    files = {name: data for name, (data, _, _) in REFUSED.items()}
    files |= {"empty.png": b"", "jpeg.png": b"\xff\xd8\xff" + bytes(100), "text.png": b"text" * 40}
    ended = await api.ingest(dataset_path, {"fine.png": picture(), **files})
    reasons: dict[str, str] = {}
    codes: dict[str, str] = {}
    for event in ended["status"]["events"]:
        if event["kind"] == "Error":
            assert set(event["corrections"]) <= set(event["files"])
            reasons |= event["corrections"]
            codes |= event["files"]
    assert set(reasons) == set(files)
    for name, (_, code, words) in REFUSED.items():
        assert (codes[name], words in reasons[name]) == (code, True), reasons[name]
    assert "empty" in reasons["empty.png"]
    assert (codes["jpeg.png"], "holds jpeg" in reasons["jpeg.png"]) == ("EBADMIME", True)
    assert codes["text.png"] == "EBADMIME", "as the SDK says of it"
    assert _wire.structure(ended, responses.AssetIngestionSession).status.reasons == reasons


async def test_a_session_that_is_made_gives_reasons_too(start_service: Any, connect: Any) -> None:
    api = await connect(start_service(quota_bytes=len(picture()) + 5))
    path = await api.create_dataset()
    session = await api.open_session(path, {"a.png": picture(), "b.png": picture()})
    [event] = [event for event in session["status"]["events"] if event["kind"] == "Error"]
    assert event["files"] == {"b.png": "ENOQUOTA"}
    assert "5 are left" in event["corrections"]["b.png"]


async def test_a_file_that_is_sent_again_loses_its_reason(api: Any, dataset_path: str) -> None:
    cut = REFUSED["cut.png"][0]
    sound = picture() + bytes(len(cut))
    session = await api.open_session(dataset_path, {"a.png": cut, "b.png": picture()})
    uploads = {one["metadata"]["filename"]: one for one in session["status"]["assets"]}
    await api.put(uploads["a.png"], cut)
    refused = await api.until(session, lambda found: found["status"]["progressCount"]["errored"] == 1)
    assert refused["status"]["events"][-1]["corrections"]
    await api.put(uploads["a.png"], sound[: len(cut)])
    await api.put(uploads["b.png"], picture())
    ended = await api.ended(session)
    [event] = [event for event in ended["status"]["events"] if event["kind"] == "Error"]
    assert set(event["corrections"]) == set(event["files"]) == {"a.png"}


async def test_the_gallery_shows_it(api: Any, dataset_path: str, visit: Any) -> None:
    visitor = await visit(api.service)
    session = await api.ingest(dataset_path, {"huge.png": REFUSED["huge.png"][0]})
    dataset_id = dataset_path.rpartition("_")[2]
    address = f"/gallery/datasets/{dataset_id}/sessions/{session['assetIngestionSessionId']}"
    assert REFUSED["huge.png"][2] in (await visitor("GET", address)).body.decode()


def test_the_sdk_tells_it(client: vi.Client, dataset: str) -> None:
    given = [(name, data) for name, (data, _, _) in REFUSED.items()]
    result = client.assets.upload(dataset, given, failure_mode="FailAfterAll")
    told = {failure.filename: failure for failure in result.failures}
    for name, (_, code, words) in REFUSED.items():
        assert told[name].code == code
        assert words in told[name].message
        assert told[name].message.startswith(f"{name}: ")
        assert words in result.summary()
    with pytest.raises(vi.ViUploadError, match="600,000,000"):
        client.assets.upload(dataset, [given[0]])


def test_the_command_line_tells_it(
    service: Any, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "huge.png").write_bytes(REFUSED["huge.png"][0])
    assert main(["assets", "upload", dataset, str(tmp_path), "--json"]) != 0
    written = capsys.readouterr()
    [failure] = json.loads(written.out)["failures"]
    assert REFUSED["huge.png"][2] in failure["message"]


async def test_the_log_has_it(api: Any, dataset_path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vi.server"):
        await api.ingest(dataset_path, {"huge\n.png": REFUSED["huge.png"][0]})
    [line] = [record.getMessage() for record in caplog.records if "was refused" in record.getMessage()]
    assert REFUSED["huge.png"][2] in line
    assert "\n" not in line


def test_what_another_service_writes_there_is_one_plain_line() -> None:
    """The place is documented as free text: secrets, control characters and length are the service's, not ours."""
    key = "dtvi_" + "k" * 98
    event = {
        "kind": "Error",
        "files": {"a.png": "ECORRUPT", "b.png": "ENEWCODE", "c.png": "EBADSIZE", "d.png": "EBADMIME"},
        "corrections": {"a.png": f"\x1b[31mred\r\nline {key}", "c.png": "x" * 10_000, "d.png": " \n", "z": "other"},
        "time": 1,
    }
    session = _wire.structure(
        {"assetIngestionSessionId": "s", "status": {"events": [event]}}, responses.AssetIngestionSession
    )
    found = session.status.reasons
    assert found["a.png"] == "[31mred line dtvi_***."
    assert found["b.png"] == "ENEWCODE."
    assert len(found["c.png"]) < 500
    assert found["d.png"] == "its type is not accepted, or not the one that its name says."
    assert "z" not in found
