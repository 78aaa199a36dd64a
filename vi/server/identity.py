"""The organization of a service, who may call it, and what its URLs are signed with.

One document holds all of it, in a file that only the owner reads. An `IdentityStore` is where the document is kept;
`Keys` is what a running service goes by, and follows the document as it changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
import uuid
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import attrs

from .._disk import warn_of_others, write_private
from .._lock import try_lock
from ..errors import ViConfigurationError
from .config import ServiceConfig
from .disk.own import open_own, read_own
from .http.signing import RetiredKey, Signer

KEY_PREFIX = "dtvi_"
OWNER = "owner"
"""The name of the key that is made with the folder; the only one that is kept in readable form, for local clients."""
_KEY_CHARACTERS = 98
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LONGEST_MS = 7 * 24 * 3600 * 1000
"""How long a retired signing key is kept at most; a running service stops accepting it as soon as its URLs are over."""
_LOCK_SECONDS = 5.0


@attrs.frozen
class AccessKey:
    """A key of the API by its SHA-256 digest: the text itself is shown once, when the key is made."""

    name: str
    digest: str = attrs.field(repr=False)
    read_only: bool
    created: int


@attrs.frozen
class Identity:
    """Who the service is, and its keys; the repr hides them. Times are milliseconds since 1970 UTC."""

    organization_id: str
    name: str
    user_id: str
    created: int
    secret_key: str = attrs.field(repr=False)
    signing_key: str = attrs.field(repr=False)
    keys: tuple[AccessKey, ...] = ()
    retired: tuple[RetiredKey, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Identity:
        """Read what `document` has made; raises ValueError, TypeError or AttributeError for anything else."""
        keys = tuple(AccessKey(**one) for one in document.pop("keys", ()))
        retired = tuple(RetiredKey(bytes.fromhex(one["key"]), int(one["since"])) for one in document.pop("retired", ()))
        bytes.fromhex(document["signing_key"])
        return cls(**document, keys=keys, retired=retired)

    def document(self) -> dict[str, Any]:
        """Return the identity as JSON values."""
        document = attrs.asdict(self, filter=lambda attribute, _: attribute.name not in ("keys", "retired"))
        if self.keys:
            document["keys"] = [attrs.asdict(one) for one in self.keys]
        if self.retired:
            document["retired"] = [{"key": one.key.hex(), "since": one.since} for one in self.retired]
        return document

    def all_keys(self) -> tuple[AccessKey, ...]:
        """Return every key of the API, the owner's first."""
        return (AccessKey(OWNER, _digest(self.secret_key), read_only=False, created=self.created), *self.keys)

    def with_key(self, name: str, *, read_only: bool, now: int) -> tuple[Identity, str]:
        """Return the identity with one key more, and the text of that key."""
        if not _NAME.fullmatch(name):
            raise ViConfigurationError(
                f"A key cannot be named {name!r}.",
                suggestion="Use 1 to 64 of the letters A-Z and a-z, digits, and . _ - between them.",
            )
        if any(name == one.name for one in self.all_keys()):
            raise ViConfigurationError(
                f"There is a key named {name} already.", suggestion="Revoke it, or choose another."
            )
        text = issue_key()
        made = AccessKey(name, _digest(text), read_only, now)
        return attrs.evolve(self, keys=(*self.keys, made)), text

    def with_other_key(self, name: str, now: int) -> tuple[Identity, str]:
        """Return the identity with another key of the same name and access, and the text of that key."""
        text = issue_key()
        if name == OWNER:
            return attrs.evolve(self, secret_key=text), text
        self._require(name)
        keys = [AccessKey(name, _digest(text), one.read_only, now) if one.name == name else one for one in self.keys]
        return attrs.evolve(self, keys=tuple(keys)), text

    def without_key(self, name: str) -> Identity:
        """Return the identity without a key."""
        if name == OWNER:
            raise ViConfigurationError(
                f"The key {OWNER} cannot be revoked: local clients find the service by it.",
                suggestion=f"If somebody else knows it: vi-sdk server keys replace {OWNER}",
            )
        self._require(name)
        return attrs.evolve(self, keys=tuple(one for one in self.keys if one.name != name))

    def _require(self, name: str) -> None:
        if all(name != one.name for one in self.keys):
            raise ViConfigurationError(f"There is no key named {name}.", suggestion="See: vi-sdk server keys list")

    def rotated(self, now: int, *, at_once: bool = False) -> Identity:
        """Return the identity with a new signing key; the old one still checks its URLs, unless *at_once*."""
        old = RetiredKey(bytes.fromhex(self.signing_key), now)
        kept = tuple(one for one in (old, *self.retired) if now - one.since < _LONGEST_MS)
        return attrs.evolve(self, signing_key=secrets.token_hex(32), retired=() if at_once else kept)


class IdentityStore(Protocol):
    """Where the identity is kept. Calls may block."""

    def read(self) -> Identity:
        """Return the identity."""
        ...

    def change(self, work: Callable[[Identity], Identity]) -> Identity:
        """Replace the identity by what *work* makes of it; no other change happens in between."""
        ...

    def newer(self) -> Identity | None:
        """Return the identity if it has changed since this store last returned it; cheap when it has not."""


class IdentityFile:
    """The identity in a file of the data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def read(self) -> Identity:
        """Return the identity; raises `ViConfigurationError` when it is damaged."""
        self._seen = self._version()
        return read_identity(self._path)

    def change(self, work: Callable[[Identity], Identity]) -> Identity:
        """Replace the identity, under a lock of its own: the service may run."""
        with FileIO(open_own(self._path.with_name("identity.lock"), os.O_RDWR | os.O_CREAT), "r+b") as lock:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise ViConfigurationError(f"{self._path} is being changed by another process; try again.")
                time.sleep(0.02)
            changed = work(self.read())
            _write(self._path, changed)
        return changed

    def newer(self) -> Identity | None:
        """Return the identity if the file is another than the one last read."""
        return None if self._version() == self._seen else self.read()

    def _version(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns


class Keys:
    """The keys that a running service goes by."""

    def __init__(self, identity: Identity, config: ServiceConfig) -> None:
        lifetime = int(max(config.upload_url_seconds, config.download_url_seconds) * 1000)
        self.signer: Signer = Signer(bytes.fromhex(identity.signing_key), lifetime=lifetime)
        self.use(identity)

    def use(self, identity: Identity) -> None:
        """Go by *identity* from now on."""
        self._keys = {one.digest: one for one in identity.all_keys()}
        self.signer.use(bytes.fromhex(identity.signing_key), identity.retired)

    def expect(self, identity: Identity, now: int) -> bool:
        """Go by *identity*, but accept its new signing key only, for other processes may not have seen it yet.

        True if that is so and `use` is to follow; the old key signs until then, unless it is no longer accepted.
        """
        old, new = self.signer.key, bytes.fromhex(identity.signing_key)
        self.use(identity)
        if old == new or all(one.key != old for one in identity.retired):
            return False
        self.signer.use(old, (RetiredKey(new, now), *identity.retired))
        return True

    def access(self, text: str) -> AccessKey | None:
        """Return the key whose text is *text*. Digests are looked up, which tells nothing of the keys by its time."""
        return self._keys.get(_digest(text))

    def of_digest(self, digest: str) -> AccessKey | None:
        """Return a key by the digest of its text; None if it has been revoked."""
        return self._keys.get(digest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def issue_key() -> str:
    """Return a new secret key (protocol section 1.4)."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_CHARACTERS)[:_KEY_CHARACTERS]


def read_identity(path: Path) -> Identity:
    """Read the identity at *path*; raises `ViConfigurationError` when it is damaged."""
    try:
        return Identity.from_document(json.loads(read_own(path)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ViConfigurationError(f"{path} is not an identity file of the local service.", path=str(path)) from error


def load_identity(path: Path, config: ServiceConfig, now: int) -> Identity:
    """Return the identity at *path*, made first when there is none."""
    for unfinished in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):  # another program may have it open
            unfinished.unlink()
    if path.exists():
        found = read_identity(path)
        warn_of_others(path)
        if config.organization_id not in (None, found.organization_id):
            raise ViConfigurationError(
                f"The folder belongs to organization {found.organization_id}, not {config.organization_id}.",
                path=str(path),
            )
        return found
    made = new_identity(config, now)
    _write(path, made)
    return made


def new_identity(config: ServiceConfig, now: int) -> Identity:
    """Return the identity of a new organization."""
    if config.organization_id is not None and (not config.organization_id or "/" in config.organization_id):
        raise ViConfigurationError("An organization id must be non-empty text without '/'.")
    return Identity(
        organization_id=config.organization_id or str(uuid.uuid4()),
        name=config.organization_name,
        user_id=f"user-{secrets.token_hex(6)}",
        created=now,
        secret_key=issue_key(),
        signing_key=secrets.token_hex(32),
    )


def _write(path: Path, identity: Identity) -> None:
    write_private(path, json.dumps(identity.document(), indent=1).encode())
