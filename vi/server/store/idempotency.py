"""Idempotency keys: the first answer to each is kept for a day (protocol section 16)."""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from ..http.api_errors import ApiError
from . import locks
from .schema import idempotency

KEPT_MS = 24 * 3600 * 1000


@attrs.frozen
class Claim:
    """A key as a client sent it: *scope* is organization, path and key, *digest* that of the body."""

    scope: str
    digest: str


@attrs.frozen
class Made:
    """What a creating request made: its id, and the answer if it cannot be rebuilt from the rows."""

    reference: str
    body: str | None = None


def find(connection: sa.Connection, claim: Claim | None, now: int) -> Made | None:
    """Return what the same request made before; raises 422 if the key was used with another body."""
    if claim is None:
        return None
    locks.lock_word(connection, claim.scope)
    row = connection.execute(sa.select(idempotency).where(idempotency.c.scope == claim.scope)).one_or_none()
    if row is None:
        return None
    if row.created + KEPT_MS <= now:
        connection.execute(idempotency.delete().where(idempotency.c.scope == claim.scope))
        return None
    if row.digest != claim.digest:
        raise ApiError(422, "The Idempotency-Key was used with another request body")
    return Made(row.reference, row.body)


def keep(connection: sa.Connection, claim: Claim | None, made: Made, now: int) -> None:
    """Record what a request made, in the same transaction."""
    if claim is not None:
        connection.execute(
            idempotency.insert().values(
                scope=claim.scope, digest=claim.digest, reference=made.reference, body=made.body, created=now
            )
        )


def forget(connection: sa.Connection, now: int) -> None:
    """Remove keys that are older than a day."""
    connection.execute(idempotency.delete().where(idempotency.c.created <= now - KEPT_MS))
