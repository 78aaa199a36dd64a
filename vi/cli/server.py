"""``server``: the keys of a local service, whether or not it runs, its PostgreSQL database, and where its bytes are."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .._show.console import complain, say
from .._show.text import aligned, printable
from .._show.writer import columns_of
from . import exits, options, service_options
from .output import when

if TYPE_CHECKING:
    from ..server.config import Folder, ServiceConfig
    from ..server.identity import Identity, IdentityStore
    from ..server.moved_store import Compared
    from ..server.store.postgres import PostgresDatabase

HELD = "A running service follows within a second or two."


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "server", "look after a local service")
    keys = options.add_group(group, "keys", "make, list, replace and revoke keys, and rotate the key that signs URLs")
    add = options.add_verb(
        keys, "add", "make a key of the API, and print it once", "  vi-sdk server keys add ci --read-only\n"
    )
    add.add_argument("name", metavar="NAME", help="what the key is called, in the access log too")
    add.add_argument("--read-only", action="store_true", help="let the key read and change nothing")
    add.set_defaults(run=_add)
    shown = options.add_verb(keys, "list", "list the keys of the API", "  vi-sdk server keys list\n")
    shown.set_defaults(run=_list)
    replace = options.add_verb(
        keys,
        "replace",
        "end a key of the API, and print another of the same name once",
        "  vi-sdk server keys replace owner\n",
        description="End a key of the API, and print another with the same name and access once. Programs that use the "
        f"old one, also by vi.Client.local, must be started again. {HELD}",
    )
    replace.add_argument("name", metavar="NAME", help="what the key is called; owner is that of the folder")
    replace.set_defaults(run=_replace)
    revoke = options.add_verb(
        keys, "revoke", "end a key of the API", "  vi-sdk server keys add ci\n  vi-sdk server keys revoke ci\n"
    )
    revoke.add_argument("name", metavar="NAME", help="what the key is called")
    revoke.set_defaults(run=_revoke)
    rotate = options.add_verb(
        keys,
        "rotate",
        "sign URLs with a new key",
        "  vi-sdk server keys rotate\n",
        description=f"Sign URLs with a new key. URLs that were signed before stay valid until they expire. {HELD}",
    )
    rotate.add_argument(
        "--now", action="store_true", help="end the URLs that were signed before, because the key is known"
    )
    rotate.set_defaults(run=_rotate)
    set_store = options.add_verb(
        group,
        "set-store",
        "serve bytes from another S3 bucket, where they were copied to",
        "  vi-sdk server set-store --database $VI_DATABASE --store s3://restored/team\n",
        description="Serve the bytes of a service from another S3 bucket or endpoint, where they were copied to. The "
        "service must not run. Exit code 1 if objects are missing there: then nothing changes.",
    )
    set_store.add_argument(
        "--incomplete", action="store_true", help="change it although objects are missing, which are lost then"
    )
    set_store.set_defaults(run=_set_store)
    for verb in (add, shown, replace, revoke, rotate, set_store):
        verb.add_argument(
            "--data", default="./vi-data", metavar="DIR", help="folder of the service (default: %(default)s)"
        )
        service_options.add_database(verb, "PostgreSQL database of the service, if it has one (or VI_DATABASE)")
    migrate = options.add_verb(
        group,
        "migrate",
        "bring a PostgreSQL database to the tables of this release",
        "  vi-sdk server migrate --database $VI_DATABASE\n",
        description="Bring a PostgreSQL database to the tables of this release. Services of the last release may run.",
    )
    migrate.set_defaults(run=_migrate)
    check = options.add_verb(
        group,
        "check",
        "check that the counters of a PostgreSQL database equal its rows",
        "  vi-sdk server check --database $VI_DATABASE\n",
        description="Show the revision of a PostgreSQL database, and check that its counters equal its rows, with "
        "--store also that the bucket has the object of each asset: exit code 1 if not. The service may run.",
    )
    check.set_defaults(run=_check)
    for verb in (set_store, check):
        service_options.add_store(verb, "S3 bucket with the bytes, s3://BUCKET/PREFIX (or VI_STORE)")
    for verb in (migrate, check):
        service_options.add_database(
            verb, "PostgreSQL database of the service (or VI_DATABASE, which hides a password)"
        )


@contextlib.contextmanager
def _store(given: argparse.Namespace) -> Iterator[IdentityStore]:
    from ..server.identity import IdentityFile

    if given.database is not None:
        from ..server.shared_identity import IdentityRow

        with _database(given) as database:
            yield IdentityRow(database)
        return
    yield IdentityFile(_folder(given).identity)


def _folder(given: argparse.Namespace) -> Folder:
    from ..server.config import Folder

    folder = Folder(Path(given.data))
    if folder.elsewhere.exists():
        raise exits.WrongUseError(f"The keys of {given.data} are in its database: give it as --database URL")
    if not folder.identity.exists():
        raise exits.WrongUseError(f"{given.data} is not the folder of a service: give it as --data DIR")
    return folder


@contextlib.contextmanager
def _database(given: argparse.Namespace, *, make: bool = False) -> Iterator[PostgresDatabase]:
    if given.database is None:
        raise exits.WrongUseError("No database is named: give --database URL, or set VI_DATABASE")
    from ..server.store.postgres import PostgresDatabase

    database = PostgresDatabase.open_blocking(given.database, make=make, upgrade=make)
    try:
        yield database
    finally:
        database.close_blocking()


def _migrate(given: argparse.Namespace) -> int:
    from ..server.store import migrations

    with _database(given, make=True) as database:
        say(f"The database is at revision {database.read_blocking(migrations.revision)}.")
    return exits.DONE


def _check(given: argparse.Namespace) -> int:
    from ..server.store import counters, migrations

    with _database(given) as database:
        found = database.read_blocking(migrations.revision)
        wrong = database.read_blocking(counters.wrong)
    say(f"The database is at revision {found}.")
    if wrong:
        complain("\n".join(map(printable, wrong)))
    else:
        say("All counters equal their rows.")
    lost = False
    if given.store is not None:
        _require_store()
        import asyncio

        from ..server.moved_store import compare_store

        lost = _tell(asyncio.run(compare_store(_config(given))), given)
    return exits.FAILED if wrong or lost else exits.DONE


def _require_store() -> None:
    from .._optional import require

    require("aiobotocore", "A service with --store")


def _config(given: argparse.Namespace) -> ServiceConfig:
    from ..server.config import ServiceConfig

    return ServiceConfig(database=given.database, store=given.store, store_endpoint=given.store_endpoint)


def _tell(compared: Compared, given: argparse.Namespace) -> bool:
    """Say how the rows compare with the bucket, and return whether objects are missing."""
    if not compared.assets:
        say("There are no assets yet.")
        return False
    if not compared.missing:
        say(f"The objects of all {compared.assets} assets are in {given.store}.")
        return False
    lines = [f"{compared.missing} of {compared.assets} assets have no object of their size in {given.store}:"]
    lines += [f"  {one}" for one in compared.shown]
    if compared.missing > len(compared.shown):
        lines.append(f"  and {compared.missing - len(compared.shown)} more")
    complain("\n".join(map(printable, lines)))
    return True


def _set_store(given: argparse.Namespace) -> int:
    if given.store is None:
        raise exits.WrongUseError("No bucket is named: give --store s3://BUCKET/PREFIX, or set VI_STORE")
    if given.database is None:
        _folder(given)
    _require_store()
    import asyncio

    from ..server.moved_store import set_store

    compared = asyncio.run(set_store(Path(given.data), _config(given), incomplete=given.incomplete))
    if _tell(compared, given) and not given.incomplete:
        complain("Nothing is changed. Copy what is missing, or add --incomplete.")
        return exits.FAILED
    say(f"The bytes of the service are in {given.store} from now on.")
    return exits.DONE


def _add(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    return _new_key(given, lambda identity: identity.with_key(given.name, read_only=given.read_only, now=wall_clock()))


def _replace(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    return _new_key(given, lambda identity: identity.with_other_key(given.name, wall_clock()))


def _new_key(given: argparse.Namespace, make: Callable[[Identity], tuple[Identity, str]]) -> int:
    texts: list[str] = []

    def work(identity: Identity) -> Identity:
        changed, text = make(identity)
        texts.append(text)
        return changed

    with _store(given) as store:
        store.change(work)
    say(texts[-1])
    complain(f"The key is not shown again. {HELD}")
    return exits.DONE


def _list(given: argparse.Namespace) -> int:
    rows = [("NAME", "ACCESS", "CREATED (UTC)")]
    with _store(given) as store:
        identity = store.read()
    for key in identity.all_keys():
        made = dt.datetime.fromtimestamp(key.created / 1000, dt.UTC)
        rows.append((key.name, "read-only" if key.read_only else "full", when(made)))
    say("\n".join(aligned(rows, left={0, 1, 2}, columns=columns_of(sys.stdout))))
    return exits.DONE


def _revoke(given: argparse.Namespace) -> int:
    with _store(given) as store:
        store.change(lambda identity: identity.without_key(given.name))
    complain(f"The key {given.name} is revoked. {HELD}")
    return exits.DONE


def _rotate(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    with _store(given) as store:
        store.change(lambda identity: identity.rotated(wall_clock(), at_once=given.now))
    complain(f"URLs are signed with a new key. {HELD}")
    return exits.DONE
