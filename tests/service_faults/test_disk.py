"""Each operation on the service's disk fails once: by death, by loss of power, by EIO, by ENOSPC (rows P3 and P4)."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.service_faults.conftest import Served, Stage
from tests.service_faults.disk import DEADLY, DIED
from tests.service_faults.scenario import PART_BYTES, Client, listed, run

FAULTS = ("die", "power", "eio", "enospc")
STEP = 97
STRIPES = 8


def check_answers(client: Client, dataset: str, expected: dict[str, bytes]) -> None:
    """The dataset holds exactly *expected*, byte by byte, and its counters say so."""
    found = {asset["filename"]: asset for asset in listed(client, dataset, contents="y")}
    assert set(found) == set(expected)
    for name, asset in found.items():
        body = client.get(asset["contents"]["asset"]["url"]).body
        assert body == expected[name], name
        assert asset["metadata"]["hash"]["contents"] == hashlib.sha256(body).hexdigest()
        assert client.get(asset["contents"]["thumbnail"]["url"]).body[:3] in (b"\xff\xd8\xff", b"RIF")
    shown = client.api("GET", dataset).document["statistic"]
    assert shown["assetTotal"] == len(expected)
    items = client.api("GET", f"{client.organization}/datasets").document["items"]
    assert [f"{client.organization}/datasets/{item['datasetId']}" for item in items] == [dataset]


def check_folder(data: Path, expected: dict[str, bytes]) -> None:
    """The database is sound, every object has its asset, and nothing else lies about."""
    with closing(sqlite3.connect(data / "vi.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        rows = dict(connection.execute("select blob, size from asset").fetchall())
        sums = "select sum(asset_total), sum(byte_total) from dataset where deleted is null"
        (total, size) = connection.execute(sums).fetchone()
        assert connection.execute("select count(*) from garbage").fetchone() == (0,)
        assert connection.execute("select count(*) from ingest_item where blob is not null").fetchone() == (0,)
    assert (total, size) == (len(expected), sum(map(len, expected.values())))
    stored = data / "bytes"
    objects = {path.name: path.stat().st_size for path in (stored / "objects").rglob("*") if path.is_file()}
    thumbnails = {name.removesuffix(".thumbnail") for name in objects if name.endswith(".thumbnail")}
    assert {name: size for name, size in objects.items() if not name.endswith(".thumbnail")} == rows
    assert thumbnails <= set(rows)
    assert list((stored / "staging").iterdir()) == []
    assert list((stored / "parts").iterdir()) == []
    assert {path.name for path in data.iterdir()} - {"vi.db-wal", "vi.db-shm", "ballast"} == {
        ".gitignore", "bytes", "identity.json", "service.lock", "vi.db"
    }  # fmt: skip


def fail_once(stage: Stage, folder: Path, fault: str, number: int) -> str | None:
    """Run the scenario with operation *number* failing; returns what that was, None when there are not so many."""
    folder.mkdir()
    served = Served(stage, folder, fault, number, part_bytes=PART_BYTES)
    client = Client(served.revive)
    try:
        dataset, expected = run(client)
        assert served.starts == (2 if fault in DEADLY and served.fired else 1) or served.died_starting
        check_answers(client, dataset, expected)
        unharmed = served.fired is None
        ended = served.stop()
        assert ended == (DIED if fault in DEADLY and unharmed and served.fired else 0)
        served.starts = 0
        check_answers(client, dataset, expected)
        assert served.stop() == 0
        check_folder(served.data, expected)
        if fault == "enospc":
            assert 500 not in client.seen
    except Exception as error:
        where = f"{fault} at operation {number} ({served.fired})"
        raise AssertionError(f"{where}: {error!r}\n{served.log[-4000:]}") from error
    return served.fired


# A prime number of operations apart, so that the four faults meet different ones.
@pytest.mark.parametrize(("fault", "first"), [("die", 5), ("power", 23), ("eio", 47), ("enospc", 71)])
def test_a_failing_operation_loses_nothing(stage: Stage, tmp_path: Path, fault: str, first: int) -> None:
    for number in range(first, 400, STEP):
        assert fail_once(stage, tmp_path / str(number), fault, number), number


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stripe", range(STRIPES))
@pytest.mark.parametrize("fault", FAULTS)
def test_every_operation_fails_once(stage: Stage, tmp_path: Path, fault: str, stripe: int) -> None:
    number = stripe + 1
    while fail_once(stage, tmp_path / "run", fault, number):
        shutil.rmtree(tmp_path / "run")
        number += STRIPES
    assert number > 300, "the scenario has come to do less"
