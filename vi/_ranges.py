"""What a request asks for: ``Range``, ``If-Range``, ``If-Match``, ``If-None-Match`` (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

_RANGE = re.compile(r"(?i:bytes)=[ \t,]*+([0-9]*+)-([0-9]*+)[ \t,]*+")
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')
_LONGEST = 18
"""Digits of a position beyond any object."""


@attrs.frozen
class Selection:
    """The answer to give: its *status*, and the bytes from *start* up to but excluding *stop* of *size*.

    200 and 206 have these bytes; 304, 412 and 416 have none.
    """

    status: int
    start: int
    stop: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start

    @property
    def content_range(self) -> dict[str, str]:
        """The header that goes with 206 and 416."""
        if self.status == 206:
            return {"Content-Range": f"bytes {self.start}-{self.stop - 1}/{self.size}"}
        return {"Content-Range": f"bytes */{self.size}"} if self.status == 416 else {}


def select(headers: Mapping[str, str], size: int, etag: str | None) -> Selection:
    """Return what *headers*, whose names know no case, ask of an object of *size* bytes with a strong *etag*.

    A range that is not one, several at once, or one of another unit are passed over, as a server may: the whole is
    sent.
    """
    if_match, if_none_match = headers.get("If-Match"), headers.get("If-None-Match")
    if if_match is not None and not _names(if_match, etag, weak=False):
        return Selection(412, 0, 0, size)
    if if_none_match is not None and _names(if_none_match, etag, weak=True):
        return Selection(304, 0, 0, size)
    found = _RANGE.fullmatch(headers.get("Range", ""))
    if found is None or not (found[1] or found[2]) or headers.get("If-Range", etag) != etag:
        return Selection(200, 0, size, size)
    if not found[1]:
        start, stop = max(0, size - _position(found[2])), size
    else:
        start, last = _position(found[1]), _position(found[2]) if found[2] else size - 1
        if found[2] and last < start:
            return Selection(200, 0, size, size)
        stop = min(last + 1, size)
    return Selection(206, start, stop, size) if start < stop else Selection(416, 0, 0, size)


def _position(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _LONGEST else 10**_LONGEST


def _names(tags: str, etag: str | None, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    given = _TAG.findall(tags)
    return etag is not None and (etag in given or (weak and f"W/{etag}" in given))
