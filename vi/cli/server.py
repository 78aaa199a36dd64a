"""``server``: the keys of a local service, whether or not it runs, and the database of one that has PostgreSQL."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .._show.console import complain, say
from .._show.text import aligned
from .._show.writer import columns_of
from . import exits, options
from .output import when

if TYPE_CHECKING:
    from ..server.identity import Identity, IdentityStore
    from ..server.store.postgres import PostgresDatabase

HELD = "A running service follows within a second or two."


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "server", "look after a local service")
    keys = options.add_group(group, "keys", "make, list and revoke keys, and rotate the key that signs URLs")
    add = options.add_verb(
        keys, "add", "make a key of the API, and print it once", "  vi-sdk server keys add ci --read-only\n"
    )
    add.add_argument("name", metavar="NAME", help="what the key is called, in the access log too")
    add.add_argument("--read-only", action="store_true", help="let the key read and change nothing")
    add.set_defaults(run=_add)
    shown = options.add_verb(keys, "list", "list the keys of the API", "  vi-sdk server keys list\n")
    shown.set_defaults(run=_list)
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
    for verb in (add, shown, revoke, rotate):
        verb.add_argument(
            "--data", default="./vi-data", metavar="DIR", help="folder of the service (default: %(default)s)"
        )
        options.add_database(verb, "PostgreSQL database of the service, if it has one (or VI_DATABASE)")
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
        description="Show the revision of a PostgreSQL database, and check that its counters equal its rows: exit code 1 "
        "if one does not. The service may run.",
    )
    check.set_defaults(run=_check)
    for verb in (migrate, check):
        options.add_database(verb, "PostgreSQL database of the service (or VI_DATABASE, which hides a password)")


@contextlib.contextmanager
def _store(given: argparse.Namespace) -> Iterator[IdentityStore]:
    from ..server.config import Folder
    from ..server.identity import IdentityFile

    if given.database is not None:
        from ..server.shared_identity import IdentityRow

        with _database(given) as database:
            yield IdentityRow(database)
        return
    folder = Folder(Path(given.data))
    if folder.elsewhere.exists():
        raise exits.WrongUseError(f"The keys of {given.data} are in its database: give it as --database URL")
    if not folder.identity.exists():
        raise exits.WrongUseError(f"{given.data} is not the folder of a service: give it as --data DIR")
    yield IdentityFile(folder.identity)


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
        complain("\n".join(wrong))
        return exits.FAILED
    say("All counters equal their rows.")
    return exits.DONE


def _add(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    texts: list[str] = []

    def work(identity: Identity) -> Identity:
        changed, text = identity.with_key(given.name, read_only=given.read_only, now=wall_clock())
        texts.append(text)
        return changed

    with _store(given) as store:
        store.change(work)
    say(texts[0])
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
