"""The seals of a run: what its folder tells workers to do is done only if somebody with their key has written it.

Anyone who can write to the folder of a run could make a worker send, replace or delete any of its files. So the head,
the shards and the lists of deletions carry an HMAC by the secret key of the organization, over their names too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import attrs

_CONTEXT = b"vi-run 1"


@attrs.frozen
class Author:
    """Whose plan it is."""

    organization_id: str
    secret_key: str = attrs.field(repr=False)


@attrs.frozen
class Sealed:
    """A document called *name*, by the digest of what it says, and the seal that was *given* in it."""

    name: str
    digest: bytes
    given: object = attrs.field(repr=False)

    def by(self, key: str) -> bool:
        """Tell whether somebody who has the secret *key* has written it."""
        made = seal(key, self.name, self.digest)
        given = self.given.encode("utf-8", "replace") if isinstance(self.given, str) else b""
        return bool(made) and hmac.compare_digest(given, made.encode())


def seal(key: str, name: str, digest: bytes) -> str:
    """Return the seal of a document called *name*; empty without a key."""
    if not key:
        return ""
    return hmac.new(key.encode(), b"\0".join((_CONTEXT, name.encode(), digest)), hashlib.sha256).hexdigest()


def digest_of(run_id: str, lines: Iterable[str]) -> bytes:
    """Return the digest of the *lines* of a document of a run."""
    made = hashlib.sha256()
    for line in (run_id, *lines):
        made.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return made.digest()
