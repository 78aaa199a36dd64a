"""What the journal of a run holds, and what of it the next run does not take on trust."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
import vi.transfers
from tests.support.counting_service import (
    PART_BYTES,
    PARTS,
    CountingService,
    cancelled,
    go_on,
    in_parts,
    journals,
    left_behind,
    stop,
    whole,
)
from tests.support.pictures import tiny
from tests.support.systems import WINDOWS
from vi import _checksums
from vi._transfer.byte_ranges import parts
from vi.api.resources.datasets.assets.upload import resumption


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are said to be acknowledged and never come are not waited for long."""
    monkeypatch.setattr(resumption, "INGESTION_PATIENCE", 0.5)


def append(cache: Path, *lines: dict[str, Any]) -> None:
    (path,) = journals(cache)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, _checksums.crc32c(path.read_bytes())]


def test_files_that_it_says_were_sent_and_the_service_does_not_have_are_sent(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    asyncio.run(cancelled(service, dataset, some, 3, "/up/", limits=vi.TransferLimits(max_concurrency=1)))
    arrived = whole(service)  # the last of them without the client's knowledge
    service.reset()
    left = left_behind(cache)
    missing = sorted(path.name for path in some.glob("*.png") if path.name not in left.sent.keys() | arrived)
    assert len(missing) > 20
    session = next(iter(left.sessions), "s404")
    append(cache, *({"sent": name, "in": "", "id": identity(some / name)} for name in missing[::2]))
    append(cache, *({"sent": name, "in": session, "id": identity(some / name)} for name in missing[1::2]))
    go_on(client, dataset, some, cache)
    assert set(missing) <= whole(service)


def test_a_file_that_does_not_come_in_an_open_session_is_not_waited_for_long(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, impatient: None
) -> None:
    stop(service, dataset, some)
    (session,) = left_behind(cache).sessions
    (some / "late.png").write_bytes(tiny(4321))
    append(cache, {"sent": "late.png", "in": session, "id": identity(some / "late.png")})
    go_on(client, dataset, some, cache)
    assert "late.png" in whole(service)


def test_sessions_that_never_were_are_passed_over(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    append(cache, {"session": "s404"}, {"session": "../../../workspaces"}, {"session": "."}, {"session": 7})
    go_on(client, dataset, some, cache)


def part_count(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "multipart" in line:
            line["parts"] = 7


def wrong_checksum(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "part" in line:
            line["crc"] ^= 1


def unknown_upload(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        for field in ("multipart", "of"):
            if field in line:
                line[field] = "m404"


def too_many_parts(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "multipart" in line:
            line["parts"] = 999_999


@pytest.mark.parametrize("lie", [part_count, wrong_checksum, unknown_upload, too_many_parts])
def test_a_multipart_upload_that_is_not_as_it_says_starts_over(
    service: CountingService,
    client: vi.Client,
    dataset: str,
    cache: Path,
    some: Path,
    lie: Callable[[list[dict[str, Any]]], None],
) -> None:
    stop(service, dataset, some)
    (path,) = journals(cache)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lie(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = go_on(client, dataset, some, cache)
    assert any(put.name.endswith("/1") and put.size <= PART_BYTES for put in service.puts)
    assert not result.failures


def test_parts_that_it_says_are_there_and_the_service_lacks_are_sent(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """Told apart by the checksum of the whole, and by the service's refusal to join them."""
    stop(service, dataset, some)
    (upload,) = left_behind(cache).multiparts.values()
    data = (some / upload.filename).read_bytes()
    append(
        cache,
        *(
            {"part": part.number, "of": upload.upload_id, "crc": _checksums.crc32c(data[part.start : part.end])}
            for part in parts(len(data), PARTS)
        ),
    )
    go_on(client, dataset, some, cache)
    assert in_parts(service)


# Where the journal is


def test_without_a_place_for_it_the_upload_works_and_says_so_once(
    service: CountingService,
    client: vi.Client,
    dataset: str,
    tmp_path: Path,
    some: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, logger="vi"):
        result = client.assets.upload(dataset, some, show_progress=False)
    assert result.total_succeeded == 41
    (record,) = caplog.records
    why = ".+" if WINDOWS else "Not a directory"
    assert re.fullmatch(
        rf"No journal can be kept \({why}\): an interrupted upload will start over", record.getMessage()
    )


def test_it_holds_no_url_and_no_key(service: CountingService, dataset: str, cache: Path, some: Path) -> None:
    stop(service, dataset, some)
    (path,) = journals(cache)
    text = path.read_text()
    assert service.environment["DATATURE_VI_SECRET_KEY"] not in text
    assert "dtvi_" not in text
    assert "Signature" not in text
    head, *lines = text.splitlines()
    assert "://" in head, "the endpoint"
    assert not any("://" in line or "/up/" in line for line in lines)


def test_what_is_unfinished_is_listed_and_can_be_forgotten(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    (found,) = vi.transfers.unfinished()
    assert (found.dataset_id, found.running, found.multipart_uploads) == (dataset, False, 1)
    assert found.files_sent == len(left_behind(cache).sent)
    assert vi.transfers.forget(found.id)
    assert go_on(client, dataset, some, cache).total_existing == 0
