"""Keyset pagination: a page begins after a row, not after a count, so page 1,000 costs the same as page 1.

A token holds the key values of a row and is signed together with the parameters of the listing. Tokens of another
listing or service, and forged ones, are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from ..http.api_errors import invalid
from ..http.signing import Signer

DEFAULT_SIZE = 10
MAX_SIZE = 1000
_MAX_TOKEN = 8192


@attrs.frozen
class Position:
    """The row after which, or before which, a page begins."""

    values: list[Any]
    backward: bool = False


@attrs.frozen
class Page:
    """Rows of a page, and the positions of the pages beside it."""

    rows: Sequence[sa.Row[Any]]
    next: Position | None
    previous: Position | None


@attrs.frozen
class Listing:
    """Which page was asked for; *binding* names the listing that a token belongs to."""

    binding: str
    size: int
    position: Position | None
    signer: Signer

    def read(
        self, connection: sa.Connection, statement: sa.Select[Any], keys: Sequence[sa.Column[Any]], *, descending: bool
    ) -> Page:
        """Run *statement* for this page; it must select *keys*, which are unique together."""
        position = self.position
        backward = position is not None and position.backward
        falling = descending != backward
        if position is not None:
            here: Any = keys[0] if len(keys) == 1 else sa.tuple_(*keys)
            there: Any = position.values[0] if len(keys) == 1 else sa.tuple_(*position.values)
            statement = statement.where(here < there if falling else here > there)
        order = [key.desc() if falling else key.asc() for key in keys]
        rows = connection.execute(statement.order_by(*order).limit(self.size + 1)).all()
        more = len(rows) > self.size
        rows = rows[: self.size]
        if backward:
            rows = rows[::-1]
        if not rows:
            return Page(rows, None, None)
        first, last = ([row._mapping[key] for key in keys] for row in (rows[0], rows[-1]))
        return Page(
            rows,
            Position(last) if more or backward else None,
            Position(first, backward=True) if (more if backward else position is not None) else None,
        )

    def envelope(self, items: list[Any], page: Page) -> dict[str, Any]:
        """Return the page document around *items*."""
        return {"items": items, "nextPage": self.token(page.next), "prevPage": self.token(page.previous)}

    def text(self, items: Iterable[str], page: Page) -> str:
        """Return the page document around *items* that are JSON text already."""
        after, before = json.dumps(self.token(page.next)), json.dumps(self.token(page.previous))
        return f'{{"items":[{",".join(items)}],"nextPage":{after},"prevPage":{before}}}'

    def token(self, position: Position | None) -> str | None:
        """Return *position* as a page token."""
        if position is None:
            return None
        payload = json.dumps([int(position.backward), *position.values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(payload).decode().rstrip("=") + "." + self.signer.token(self.binding, payload)


def listing(binding: str, size: str | None, token: str | None, signer: Signer, keys: int) -> Listing:
    """Read the page parameters of a request whose listing is sorted by *keys* columns."""
    return Listing(binding, _size(size), _position(binding, token, signer, keys), signer)


def after(
    connection: sa.Connection,
    statement: sa.Select[Any],
    keys: Sequence[sa.Column[Any]],
    count: int,
    total: int,
    *,
    descending: bool,
) -> Position | None:
    """Return the position after the first *count* of *total* rows, None before the first.

    Reads keys only, from an index and from the nearer end: half of 100,000 take a millisecond.
    """
    count = min(count, total)
    if count <= 0:
        return None
    from_the_end = count > total // 2
    falling = descending != from_the_end
    order = [key.desc() if falling else key.asc() for key in keys]
    found = statement.with_only_columns(*keys).order_by(*order)
    row = connection.execute(found.limit(1).offset(total - count if from_the_end else count - 1)).first()
    return None if row is None else Position(list(row))


def rank(
    connection: sa.Connection,
    statement: sa.Select[Any],
    keys: Sequence[sa.Column[Any]],
    values: Sequence[Any],
    *,
    descending: bool,
) -> int:
    """Return how many rows come before the one with the key *values*."""
    here: Any = keys[0] if len(keys) == 1 else sa.tuple_(*keys)
    there: Any = values[0] if len(keys) == 1 else sa.tuple_(*values)
    before = statement.where(here > there if descending else here < there)
    return int(connection.execute(before.with_only_columns(sa.func.count())).scalar_one())


def _size(text: str | None) -> int:
    if text is None or text == "":
        return DEFAULT_SIZE
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise invalid("s must be an integer of at least 1", "s")
    return MAX_SIZE if len(text) > 6 else min(int(text), MAX_SIZE)


def _position(binding: str, token: str | None, signer: Signer, keys: int) -> Position | None:
    if not token:
        return None
    refusal = invalid("p is not a page token of this listing", "p")
    encoded, dot, signature = token.partition(".")
    if not dot or len(token) > _MAX_TOKEN or not token.isascii():
        raise refusal
    try:
        payload = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise refusal from None
    if not signer.knows(signature, binding, payload):
        raise refusal
    backward, *values = json.loads(payload)
    if len(values) != keys:
        raise refusal
    return Position(values, bool(backward))
