"""The folder: its lock, a crash at any moment, migrations, and the process that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

import vi
from tests.support.systems import TERMINATED, needs_signals
from vi._optional import requirement
from vi._samples import make_samples
from vi.errors import ViConfigurationError
from vi.server import LocalService, ServiceConfig, ServiceRunningError, open_service, serve
from vi.server.store import migrations, schema

pytestmark = pytest.mark.anyio

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(vi.__file__).parents[1])}
SERVE = (sys.executable, "-m", "vi.server", "--port")


@attrs.frozen
class Process:
    """``python -m vi.server`` on a folder, known by its environment file alone."""

    running: subprocess.Popen[str]
    line: str
    url: str
    secret_key: str = attrs.field(repr=False)
    organization_id: str

    def kill(self) -> None:
        self.running.kill()
        self.running.wait(20)


StartProcess = Callable[..., Process]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    started: list[subprocess.Popen[str]] = []

    def start(*, port: int = 0) -> Process:
        file = tmp_path / "client.env"
        file.unlink(missing_ok=True)
        command = (*SERVE, str(port), "--data", str(tmp_path / "data"), "--env-file", str(file))
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        started.append(running)
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, "the service ended before it listened"
        values = dict(text.split("=", 1) for text in file.read_text().splitlines())
        return Process(
            running,
            line,
            values["DATATURE_VI_API_ENDPOINT"],
            values["DATATURE_VI_SECRET_KEY"],
            values["DATATURE_VI_ORGANIZATION_ID"],
        )

    yield start
    for running in started:
        running.kill()
        running.wait(20)
        assert running.stdout is not None
        running.stdout.close()


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_exit_code_0(start_process: StartProcess, tmp_path: Path, number: int) -> None:
    process = start_process()
    assert process.url in process.line
    assert str(tmp_path / "client.env") in process.line, "it says where the key is"
    assert process.secret_key not in process.line
    assert stat.S_IMODE((tmp_path / "client.env").stat().st_mode) == 0o600
    assert len((tmp_path / "client.env").read_text().splitlines()) == 3
    process.running.send_signal(number)
    assert process.running.wait(10) == 0
    assert process.running.stdout is not None
    assert process.running.stdout.read() == ""


async def test_the_key_and_organization_stay_the_same(start_process: StartProcess, connect: Any) -> None:
    first = start_process()
    path = await (await connect(first)).create_dataset("kept")
    first.running.terminate()
    assert first.running.wait(10) == TERMINATED
    second = start_process()
    assert (second.secret_key, second.organization_id) == (first.secret_key, first.organization_id)
    assert (await (await connect(second))("GET", path)).document["name"] == "kept"


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ViConfigurationError, match=f"Port {port} .* in use"):
            await serve(tmp_path / "data", port=port)
        command = (*SERVE, str(port), "--data", str(tmp_path / "other"))
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=ENVIRONMENT)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    async with await serve(tmp_path / "data"):  # the failed start left no lock
        pass


async def test_what_was_acknowledged_survives_kills_at_any_moment(
    start_process: StartProcess, connect: Any, picture: Any, tmp_path: Path
) -> None:
    process = start_process()
    port = int(process.url.rpartition(":")[2])
    api = await connect(process)
    path = await api.create_dataset()
    files = {f"{number:03}.png": picture(number) for number in range(160)}
    session = await api.open_session(path, files)
    left = {upload["metadata"]["filename"]: upload for upload in session["status"]["assets"]}
    chance = random.Random(7)
    for stop_at in (120, 60, 20):
        await _send_until(api, left, files, stop_at + chance.randrange(15), process)
        process = start_process(port=port)
        api = await connect(process)
    acknowledged = set(files) - set(left)
    assert 100 < len(acknowledged) < 160
    await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] >= len(acknowledged))
    assert acknowledged <= {asset["filename"] for asset in await api.assets(path)}
    for name, upload in left.items():
        assert (await api.put(upload, files[name])).status == 200
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 160, "succeeded": 160, "errored": 0}
    assert await api.total(path) == 160
    for asset in (await api.assets(path, contents="y"))[::20]:
        assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == files[asset["filename"]]
    process.running.terminate()
    assert process.running.wait(20) == TERMINATED
    check_folder(tmp_path / "data", 160)


async def _send_until(api: Any, left: dict[str, Any], files: dict[str, bytes], stop_at: int, process: Process) -> None:
    """Send files, sixteen at a time, and kill the service when *stop_at* are left."""
    uploads = iter(list(left.items()))

    async def send() -> None:
        for name, upload in uploads:
            assert (await api.put(upload, files[name])).status == 200
            del left[name]
            if len(left) == stop_at:
                process.kill()

    with contextlib.suppress(aiohttp.ClientError):
        for outcome in await asyncio.gather(*(send() for _ in range(16)), return_exceptions=True):
            if outcome is not None:
                raise outcome


def check_folder(data: Path, assets: int) -> None:
    """Every asset has its bytes, every object its asset, and nothing else lies about."""
    with closing(sqlite3.connect(data / "vi.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = connection.execute("select blob, size from asset").fetchall()
        assert connection.execute("select count(*) from garbage").fetchone() == (0,)
    objects = {path.name: path.stat().st_size for path in (data / "bytes" / "objects").rglob("*") if path.is_file()}
    assert len(rows) == assets
    assert {name: size for name, size in objects.items() if not name.endswith(".thumbnail")} == dict(rows)
    assert list((data / "bytes" / "staging").iterdir()) == []
    assert list((data / "bytes" / "parts").iterdir()) == []


async def test_files_that_had_arrived_are_ingested_after_a_kill(
    start_process: StartProcess, connect: Any, picture: Any, tmp_path: Path
) -> None:
    process = start_process()
    api = await connect(process)
    path = await api.create_dataset()
    files = {f"{number:03}.png": picture(number, width=400, height=300) for number in range(60)}
    session = await api.open_session(path, files)
    await api.put_all(session, files)
    process.kill()
    api = await connect(start_process())
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 60, "succeeded": 60, "errored": 0}
    check_folder(tmp_path / "data", 60)


@pytest.fixture
def stopped(start_service: Any) -> Iterator[Callable[[Any], sqlite3.Connection]]:
    """Stops a service and opens its database."""
    opened: list[sqlite3.Connection] = []

    def stop(service: Any) -> sqlite3.Connection:
        service.stop()
        opened.append(sqlite3.connect(service.data / "vi.db", isolation_level=None))
        return opened[-1]

    yield stop
    for connection in opened:
        connection.close()


@pytest.mark.sqlite
async def test_a_multipart_upload_resumes_after_a_restart(
    start_service: Any, stopped: Any, connect: Any, picture: Any
) -> None:
    service = start_service(part_bytes=1000)
    api = await connect(service)
    path = await api.create_dataset()
    data = picture(1, width=40, height=30, format="BMP")
    file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    session = await api.open_session(path, {}, assets=[file])
    spec = {"ingestionId": session["ingestionId"], "filename": "a.bmp", "sizeBytes": len(data)}
    uploads = path + "/assetSources/managed/datature/default/multipartUploads"
    upload = (await api("POST", uploads, {"spec": spec})).document
    count = upload["status"]["partCount"]
    step = len(data) // count
    for number in range(1, count + 1):
        signed = (await api("POST", f"{upload['selfLink']}/parts/{number}", {})).document
        body = data[(number - 1) * step : None if number == count else number * step]
        answer = await api.raw("PUT", signed["url"], body, signed["headers"])
        etag = {"responseHeaders": {"ETag": answer.headers["ETag"]}}
        assert (await api("POST", f"{upload['selfLink']}/parts/{number}/completion", etag)).status == 200
    # As if it had died between completion and the end of joining.
    stopped(service).execute("update multipart_upload set state = 'completing'")
    api = await connect(start_service())
    assert (await api.ended(session))["status"]["progressCount"]["succeeded"] == 1
    (asset,) = await api.assets(path, contents="y")
    assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == data
    api.service.stop()
    check_folder(service.data, 1)


@pytest.mark.sqlite
async def test_what_a_crash_left_lying_is_swept(start_service: Any, stopped: Any, connect: Any, picture: Any) -> None:
    service = start_service()
    api = await connect(service)
    path = await api.create_dataset()
    await api.ingest(path, {"a.png": picture(1)})
    connection = stopped(service)
    root = service.data / "bytes"
    (folder,) = (root / "objects").iterdir()
    (folder / f"{folder.name}-00112233445566778899").write_bytes(b"written, never committed")
    (folder / f"{folder.name}-99887766554433221100").write_bytes(b"dropped, never removed")
    connection.execute("insert into garbage values (?)", (f"{folder.name}-99887766554433221100",))
    (folder / f"{folder.name}-11223344556677889900.thumbnail").write_bytes(b"of an object that is gone")
    (root / "staging" / "half").write_bytes(b"half")
    (root / "parts" / "nobodys").mkdir()
    (root / "parts" / "nobodys" / "1.x").write_bytes(b"part")
    start_service().stop()
    check_folder(service.data, 1)


@pytest.mark.sqlite
async def test_deletions_go_on_after_a_restart(start_service: Any, stopped: Any, connect: Any, picture: Any) -> None:
    service = start_service()
    api = await connect(service)
    bulk, whole = await api.create_dataset(), await api.create_dataset()
    for path in (bulk, whole):
        await api.ingest(path, {"a.png": picture(1), "b.png": picture(2, width=99)})
    spec = {"filter": '{"width": 5000}', "metadataQuery": None, "ruleQuery": None, "strictQuery": None}
    deletion = (await api("POST", bulk + "/deleteManyAssetsSessions", {"spec": spec})).document
    connection = stopped(service)
    wanted = '{"filter": "{\\"width\\": 99}", "metadataQuery": null, "ruleQuery": null, "strictQuery": null}'
    connection.execute("update bulk_deletion set finished = null, spec = ?", (wanted,))
    connection.execute("update dataset set deleted = 1 where id = ?", (whole.rpartition("_")[2],))
    api = await connect(start_service())
    async with asyncio.timeout(10):
        for address in (deletion["selfLink"], whole + "/deleteOperation"):
            while (await api("GET", address)).document["status"]["conditions"][0]["status"] != "Reached":
                await asyncio.sleep(0.01)
    assert [asset["filename"] for asset in await api.assets(bulk)] == ["a.png"]
    api.service.stop()
    check_folder(service.data, 1)


async def test_a_folder_is_served_once_and_joined_by_others(tmp_path: Path) -> None:
    async with await serve(tmp_path / "data") as first:
        assert first.owned
        assert first.secret_key not in repr(first)
        with pytest.raises(ServiceRunningError) as raised:
            await serve(tmp_path / "data")
        assert raised.value.url == first.url
        joined = await open_service(tmp_path / "data")
        assert (joined.url, joined.owned) == (first.url, False)
        assert (joined.secret_key, joined.organization_id) == (first.secret_key, first.organization_id)
        await joined.aclose()
        async with aiohttp.ClientSession() as session, session.get(first.url) as answer:
            assert answer.status == 200
    async with await open_service(tmp_path / "data") as second:
        assert second.owned
        assert second.secret_key == first.secret_key
    await second.aclose()


async def test_a_service_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    first = await serve(tmp_path / "data")
    opening = asyncio.create_task(open_service(tmp_path / "data"))
    await first.aclose()
    service = await opening
    if not service.owned:  # it had joined before the end
        service = await open_service(tmp_path / "data")
    assert service.owned
    await service.aclose()


async def test_many_opening_at_once_agree_on_one(tmp_path: Path) -> None:
    services = await asyncio.gather(*(open_service(tmp_path / "data") for _ in range(5)))
    assert len({service.url for service in services}) == 1
    assert sorted(service.owned for service in services) == [False] * 4 + [True]
    for service in sorted(services, key=lambda service: service.owned):
        await service.aclose()


async def test_a_lock_of_a_killed_service_is_taken_over(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process()
    joined = await open_service(tmp_path / "data")
    assert (joined.url, joined.owned) == (process.url, False)
    process.kill()
    async with await open_service(tmp_path / "data") as service:
        assert service.owned
        assert service.secret_key == process.secret_key


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_does_not_hold_the_folder(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys
from vi.server import serve
async def main():
    service = await serve(sys.argv[1])
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print("forked", flush=True)
    os._exit(0)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        assert parent.wait(10) == 0
        async with await serve(tmp_path / "data") as service:
            assert service.owned


async def test_ending_leaves_no_task_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with await serve(tmp_path / "data") as service, aiohttp.request("GET", service.url) as answer:
        assert answer.status == 200
    assert asyncio.all_tasks() <= before


async def test_a_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ViConfigurationError) as raised:
        await open_service(tmp_path / "data")
    assert f"pip install {requirement('local')}" in str(raised.value)
    assert not (tmp_path / "data").exists()


async def test_a_folder_keeps_its_organization(tmp_path: Path) -> None:
    async with await serve(tmp_path / "data", config=ServiceConfig(organization_id="acme")) as service:
        assert service.organization_id == "acme"
    with pytest.raises(ViConfigurationError, match="belongs to organization acme"):
        await serve(tmp_path / "data", config=ServiceConfig(organization_id="other"))
    with pytest.raises(ViConfigurationError, match="organization id"):
        await serve(tmp_path / "new", config=ServiceConfig(organization_id="a/b"))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"organization_id": 1}'])
async def test_a_damaged_identity_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "identity.json").write_text(content)
    with pytest.raises(ViConfigurationError, match=r"identity\.json"):
        await serve(tmp_path / "data")


NEEDED_BY_OTHERS = """
import asyncio, sys
from vi.server import serve

async def start():
    async with await serve(sys.argv[1]):
        print([name for name in sys.modules if name.startswith((
            "psycopg", "alembic", "sqlalchemy.dialects.postgresql", "vi.server.store.postgres", "vi.server.store.claims",
            "vi.server.shared", "vi.server.housekeeping",
        ))])

asyncio.run(start())
"""


async def test_a_service_of_a_folder_imports_nothing_of_several_processes(tmp_path: Path) -> None:
    command = (sys.executable, "-c", NEEDED_BY_OTHERS, str(tmp_path / "data"))
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=ENVIRONMENT)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def differences(path: Path) -> list[Any]:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, schema.metadata))


def tables(path: Path) -> dict[str, set[str]]:
    """The columns, keys and indexes of a database, in SQLite's own words."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        return {
            name: {str(row) for row in connection.execute(f"pragma table_xinfo({name})")}
            | {str(row[1:]) for row in connection.execute(f"pragma index_list({name})")}
            for name in names
        }


async def test_migrations_and_a_new_database_come_to_the_same(tmp_path: Path) -> None:
    migrations.upgrade(tmp_path / "migrated.db")
    assert differences(tmp_path / "migrated.db") == []
    async with await serve(tmp_path / "data"):
        pass
    assert differences(tmp_path / "data" / "vi.db") == []
    new, migrated = tables(tmp_path / "data" / "vi.db"), tables(tmp_path / "migrated.db")
    assert set(new) == set(migrated)
    for name in set(new) - {"sqlite_sequence"}:
        assert new[name] == migrated[name], name
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [(migrations.HEAD,)]


ADDS = re.compile(
    r"ALTER TABLE \w+ ADD COLUMN \w+ [\w ()]+?( DEFAULT \S+ NOT NULL)?|CREATE (TABLE|INDEX|OR REPLACE FUNCTION) .+",
    re.DOTALL,
)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_a_migration_does_to_a_database_leaves_processes_of_the_release_before_at_work(engine: str) -> None:
    scripts = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    # Revision 0004 is the first with which several processes can share a database.
    for script in scripts.walk_revisions("0005", "head"):
        written = io.StringIO()
        context = MigrationContext.configure(dialect_name=engine, opts={"as_sql": True, "output_buffer": written})
        with Operations.context(context):
            script.module.upgrade()
        statements = [one.strip() for one in written.getvalue().split(";\n") if one.strip()]
        assert all(ADDS.fullmatch(one) for one in statements), (script.revision, statements)


async def test_a_folder_that_was_copied_while_it_was_served_is_served(tmp_path: Path) -> None:
    """As docs/operations.md describes it: the rows first, then the rest."""
    pictures = make_samples(tmp_path / "pictures", count=4, size=(30, 20))
    running, copy = tmp_path / "data", tmp_path / "copy"

    def client_of(service: LocalService) -> vi.AsyncClient:
        key, organization = service.secret_key, service.organization_id
        return vi.AsyncClient(secret_key=key, organization_id=organization, endpoint=service.url)

    async with await serve(running) as service, client_of(service) as client:
        dataset = (await client.datasets.create(name="kept")).dataset_id
        await client.assets.upload(dataset, pictures[:3])
        copy.mkdir()
        with closing(sqlite3.connect(running / "vi.db")) as source, closing(sqlite3.connect(copy / "vi.db")) as target:
            source.backup(target)
        await client.assets.upload(dataset, pictures[3])
        shutil.copytree(running, copy, ignore=shutil.ignore_patterns("vi.db*"), dirs_exist_ok=True)
    async with await serve(copy) as service, client_of(service) as client:
        down = await client.assets.download(dataset, tmp_path / "down")
        assert (down.total_downloaded, down.total_failed) == (3, 0)
        assert (await client.assets.upload(dataset, pictures[3])).total_succeeded == 1


async def test_a_database_before_the_first_migration_is_brought_up(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection, connection:
        connection.execute("create table alembic_version (version_num varchar(32) primary key)")
    async with await serve(tmp_path / "data"):
        pass
    assert differences(tmp_path / "data" / "vi.db") == []


async def test_a_database_of_the_first_tables_keeps_its_refused_files(tmp_path: Path) -> None:
    """Files that were refused before reasons were kept have none; the table takes one from now on."""
    (tmp_path / "data").mkdir()
    migrations.upgrade(tmp_path / "data" / "vi.db", "0001")
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection, connection:
        connection.execute(
            "insert into ingest_item (session_seq, idx, filename, kind, mime, size, state, error, settled)"
            " values (1, 0, 'a.png', 'Image', 'image/png', 3, 3, 'ECORRUPT', 5)"
        )
        connection.execute(
            "insert into asset (id, dataset_seq, filename, kind, mime, status, source, size, crc32c, sha256, blob,"
            " has_thumbnail, width, height, frames, custom_metadata, annotation_tags, created, updated,"
            " contents_updated) values ('a', 1, 'STRA\u00dfE.png', 'Image', 'image/png', 'ready', '', 3, 0, '', 'b',"
            " 0, 1, 1, 1, '{}', '{}', 0, 0, 0)"
        )
    async with await serve(tmp_path / "data"):
        pass
    assert differences(tmp_path / "data" / "vi.db") == []
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection:
        assert connection.execute("select error, reason from ingest_item").fetchall() == [("ECORRUPT", None)]
        assert connection.execute("select name_folded from asset").fetchall() == [("strasse.png",)]


@pytest.mark.parametrize(
    "statements",
    [
        ["create table something (else_ text)"],
        ["create table alembic_version (version_num text)", "insert into alembic_version values ('9999')"],
    ],
    ids=["foreign", "newer"],
)
async def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path, statements: list[str]) -> None:
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    with pytest.raises(ViConfigurationError):
        await serve(tmp_path / "data")


def test_a_start_loads_no_migrations(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, vi.server\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "async def main():\n"
        "    async with await vi.server.serve(sys.argv[1]): pass\n"
        "asyncio.run(main())\n"
        "assert 'sqlalchemy' in sys.modules and 'alembic' not in sys.modules\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "data")]
    for _ in range(2):
        ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
        assert (ended.returncode, ended.stderr) == (0, "")


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vi.db").write_bytes(b"something else altogether, and long enough" * 100)
    with pytest.raises(ViConfigurationError, match=r"vi\.db"):
        await serve(tmp_path / "data")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ViConfigurationError, match="file"):
        await serve(tmp_path / "file")


async def test_an_environment_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    command = (*SERVE, "0", "--data", str(tmp_path / "data"), "--env-file", str(tmp_path / "no" / "file"))
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=ENVIRONMENT)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "cannot be written" in ended.stderr


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_other_addresses(tmp_path: Path) -> None:
    for host, begin in (("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")):
        async with await serve(tmp_path / "data", host=host) as service:
            assert service.url.startswith(begin)
            async with aiohttp.request("GET", service.url) as answer:
                assert answer.status == 200
            async with aiohttp.request("GET", service.url, headers={"Host": "evil.example"}) as answer:
                assert answer.status == 403
