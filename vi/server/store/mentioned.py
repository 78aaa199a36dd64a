"""Which stored objects have a row: the others are what a crash left."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from . import sessions
from .schema import asset

_AT_ONCE = 1000


def mentioned(connection: sa.Connection, blobs: Sequence[str]) -> set[str]:
    """Return those of *blobs* that are an asset or wait to become one."""
    if not blobs:
        return set()
    found = sessions.mentioned(connection, blobs)
    for at in range(0, len(blobs), _AT_ONCE):
        found.update(
            connection.execute(sa.select(asset.c.blob).where(asset.c.blob.in_(blobs[at : at + _AT_ONCE]))).scalars()
        )
    return found
