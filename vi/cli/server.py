"""``server``: the keys of a local service, whether or not it runs."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from .._show.console import complain, say
from .._show.text import aligned
from . import exits, options

if TYPE_CHECKING:
    from ..server.identity import Identity, IdentityFile

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


def _store(given: argparse.Namespace) -> IdentityFile:
    from ..server.config import Folder
    from ..server.identity import IdentityFile

    path = Folder(Path(given.data)).identity
    if not path.exists():
        raise exits.WrongUseError(f"{given.data} is not the folder of a service: give it as --data DIR")
    return IdentityFile(path)


def _add(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    texts: list[str] = []

    def work(identity: Identity) -> Identity:
        changed, text = identity.with_key(given.name, read_only=given.read_only, now=wall_clock())
        texts.append(text)
        return changed

    _store(given).change(work)
    say(texts[0])
    complain(f"The key is not shown again. {HELD}")
    return exits.DONE


def _list(given: argparse.Namespace) -> int:
    rows = [("NAME", "ACCESS", "CREATED")]
    for key in _store(given).read().all_keys():
        made = dt.datetime.fromtimestamp(key.created / 1000, dt.UTC)
        rows.append((key.name, "read-only" if key.read_only else "full", f"{made:%Y-%m-%d %H:%M}"))
    say("\n".join(aligned(rows, left={0, 1, 2})))
    return exits.DONE


def _revoke(given: argparse.Namespace) -> int:
    _store(given).change(lambda identity: identity.without_key(given.name))
    complain(f"The key {given.name} is revoked. {HELD}")
    return exits.DONE


def _rotate(given: argparse.Namespace) -> int:
    from ..server.lifecycle import wall_clock

    _store(given).change(lambda identity: identity.rotated(wall_clock(), at_once=given.now))
    complain(f"URLs are signed with a new key. {HELD}")
    return exits.DONE
