"""Who a service is that several processes are: its identity in a row of the database, and the folder of its bytes.

The row also has a word that is in a file of the folder, and where the store is, so that bytes are never looked for in
another one. A process of the next release may have written more there, which stays.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import attrs
import sqlalchemy as sa

from .._disk import write_private
from ..errors import ViConfigurationError
from .config import Folder, ServiceConfig
from .disk.own import read_own
from .identity import Identity, new_identity, read_identity
from .store import locks
from .store.postgres import PostgresDatabase
from .store.schema import service
from .stored_at import IN_FOLDER, check_endpoint

_FOLDER = "folder"
_STORE = "store"
_OWN = frozenset(one.name for one in attrs.fields(Identity))
"""What the row has of the identity."""
_WORD = "service"


class IdentityRow:
    """The identity in the database. Calls block."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._seen: Identity | None = None

    def open(self, folder: Folder, config: ServiceConfig, now: int) -> Identity:
        """Return the identity, made at the first start; raises `ViConfigurationError` for a folder of another."""
        # An older release kept it in the folder.
        own = read_identity(folder.identity) if folder.identity.exists() else None
        self._seen = self._database.write_blocking(lambda connection: _open(connection, folder, own, config, now))
        return self._seen

    def read(self) -> Identity:
        """Return the identity; raises `ViConfigurationError` when there is none."""
        found = self._database.read_blocking(_document)
        if found is None:
            raise ViConfigurationError("No service has used this database.", suggestion="Serve a folder with it first.")
        self._seen = _identity(found)
        return self._seen

    def change(self, work: Callable[[Identity], Identity]) -> Identity:
        """Replace the identity by what *work* makes of it; no other change happens in between."""
        self.read()
        self._seen = self._database.write_blocking(lambda connection: _change(connection, work))
        return self._seen

    def newer(self) -> Identity | None:
        """Return the identity if it is another than the one last read."""
        before = self._seen
        found = self.read()
        return None if found == before else found

    def check_store(self, place: str, endpoint: str, *, keep: bool = False) -> None:
        """Raise `ViConfigurationError` if the bytes are in another store; *keep* notes this one if none is noted.

        A start that fails has noted none, so that the next one may name another.
        """
        self._database.write_blocking(lambda connection: _note_store(connection, place, endpoint, keep))

    def store(self) -> str:
        """Return where the bytes are."""
        return str((self._database.read_blocking(_document) or {}).get(_STORE, IN_FOLDER))

    def set_store(self, place: str, endpoint: str) -> None:
        """Note where the bytes are from now on."""

        def note(connection: sa.Connection) -> None:
            locks.lock_word(connection, _WORD)
            document = {**(_document(connection) or {}), _STORE: place}
            connection.execute(service.update().values(identity=document, store_endpoint=endpoint))

        self._database.write_blocking(note)


def _document(connection: sa.Connection) -> dict[str, Any] | None:
    found: Any = connection.execute(sa.select(service.c.identity)).scalar()
    return found if found is None else dict(found)


def _identity(document: dict[str, Any]) -> Identity:
    document = {name: value for name, value in document.items() if name in _OWN}
    try:
        return Identity.from_document(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ViConfigurationError("The database holds no identity of this service.") from error


def _change(connection: sa.Connection, work: Callable[[Identity], Identity]) -> Identity:
    locks.lock_word(connection, _WORD)
    before = _document(connection) or {}
    changed = work(_identity(before))
    beside = {name: value for name, value in before.items() if name not in _OWN}
    connection.execute(service.update().values(identity={**changed.document(), **beside}))
    return changed


def _open(connection: sa.Connection, folder: Folder, own: Identity | None, config: ServiceConfig, now: int) -> Identity:
    locks.lock_word(connection, _WORD)
    before, place = _document(connection) or {}, _place(config)
    if len(before) > 1:
        identity = _identity(before)
        _check(identity.organization_id, config.organization_id, "its start names")
        _check_store(before.get(_STORE, place), place)
        if config.store is not None and _marked(folder) is None and not _has_bytes(folder):
            # The bytes are in no folder, so that each process may have one of its own.
            write_private(folder.elsewhere, json.dumps(before.get(_FOLDER)).encode())
        _check_folder(folder, before.get(_FOLDER))
        return identity
    if before and own is None:
        raise ViConfigurationError(
            "The database was made with another folder.", suggestion="Serve that folder once with this release."
        )
    identity = own or new_identity(config, now)
    _check(identity.organization_id, config.organization_id, "its start names")
    _check(before.get("organization_id", identity.organization_id), identity.organization_id, "the folder has")
    document = {**identity.document(), _FOLDER: _mark(folder)}
    if before:
        connection.execute(service.update().values(identity=document))
    else:
        connection.execute(service.insert().values(one=1, identity=document))
    return identity


def _check(organization_id: str, wanted: str | None, who: str) -> None:
    if wanted not in (None, organization_id):
        raise ViConfigurationError(
            f"The database belongs to organization {organization_id}, {who} {wanted}.",
            suggestion="Name the database of this organization, or another folder.",
        )


def _place(config: ServiceConfig) -> str:
    if config.store is None:
        return IN_FOLDER
    from .s3.address import StoreAddress

    return str(StoreAddress.of(config))


def _check_store(there: str, place: str) -> None:
    if there != place:
        raise ViConfigurationError(
            f"The bytes of this database are in {there}, not in {place}.",
            suggestion="Leave out --store and VI_STORE."
            if there == IN_FOLDER
            else "Name that by --store or VI_STORE, or after a move: vi-sdk server set-store",
        )


def _note_store(connection: sa.Connection, place: str, endpoint: str, keep: bool) -> None:
    locks.lock_word(connection, _WORD)
    document = _document(connection) or {}
    there = connection.execute(sa.select(service.c.store_endpoint)).scalar()
    _check_store(document.get(_STORE, place), place)
    if there is not None:
        check_endpoint("this database", place, there, endpoint)
    elif keep:
        connection.execute(service.update().values(identity={**document, _STORE: place}, store_endpoint=endpoint))


def _check_folder(folder: Folder, word: Any) -> None:
    if _marked(folder) != word:
        raise ViConfigurationError(
            f"The bytes of this database are not in {folder.root}.",
            suggestion="Give the folder that the database was made with as --data; is it mounted?",
            path=str(folder.root),
        )


def _marked(folder: Folder) -> str | None:
    try:
        found = json.loads(read_own(folder.elsewhere) or b"null")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        raise ViConfigurationError(f"{folder.elsewhere} is damaged.", suggestion="Restore it from a backup.") from None
    return found if isinstance(found, str) else None


def _mark(folder: Folder) -> str:
    """Return the word of the folder, written before the row is: whoever reads the row finds it there."""
    word = _marked(folder)
    if word is not None and _has_bytes(folder):
        raise ViConfigurationError(
            f"The bytes in {folder.root} are those of another database.",
            suggestion="Name that one by --database, or give a new folder.",
            path=str(folder.root),
        )
    if word is None:
        word = secrets.token_hex(8)
        write_private(folder.elsewhere, json.dumps(word).encode())
    return word


def _has_bytes(folder: Folder) -> bool:
    objects = folder.bytes / "objects"
    return objects.is_dir() and any(objects.iterdir())
