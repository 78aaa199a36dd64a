"""Whether all pixels of a JPEG are there, which its decoder does not say: it fills in those that are missing.

A JPEG of one scan is handed to the decoder with padding instead of its end marker: without the marker the decoder stops
where the pixels do, and the padding is as much as it looks ahead: of the last eight bytes nothing is known. One of
several scans is read to its last, so its scans must bring every bit of every coefficient, and the last is told by
decoding it with two kinds of bytes behind: if they make a difference, they were taken for pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from .structure import NotWholeError

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = b"\xff\xd9"
_PADDING = b"\xff\x00" * 8
_OTHER_BYTES = bytes(range(254, 0, -1)) * 2
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ONE_BY_ONE = frozenset({0xC0, 0xC1})
_COEFFICIENTS = 64


@attrs.define
class _Parts:
    frame: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = attrs.Factory(dict)
    """Of each component, by its id."""
    restart: int = 0
    scans: int = 0
    known: dict[int, list[int | None]] = attrs.Factory(dict)
    """Of each component, the lowest bit that has come of each coefficient."""
    pixels: tuple[int, int] = (0, 0)
    """Where the data of the last scan are."""
    in_first: int = 0
    """Components of the first scan."""


def to_decode(data: bytes) -> tuple[bytes, bytes | None]:
    """Return what to decode, and what must give the same pixels if all are there; raises `NotWholeError`."""
    parts = _read(data)
    if not parts.scans:
        raise NotWholeError("it ends before its pixels")
    end = parts.pixels[1]
    if parts.frame in _ONE_BY_ONE and parts.in_first == len(parts.sampling):
        _check_restarts(data, parts)
        return data[:end] + _PADDING, None
    if parts.frame in (0xC2, 0xCA):
        missing = [component for component, bits in parts.known.items() if any(bits)]  # 0 is the lowest, None is none
        missing += [component for component, bits in parts.known.items() if None in bits]
    else:
        missing = [component for component in parts.sampling if component not in parts.known]
    if missing:
        raise NotWholeError("scans of it are missing")
    return data[:end] + _END, data[:end] + _OTHER_BYTES + _END


def _read(data: bytes) -> _Parts:
    parts = _Parts()
    for marker, at, end in _segments(data):
        payload = data[at:end]
        if marker in _FRAMES and not parts.frame:
            parts.frame = marker
            parts.size = int.from_bytes(payload[3:5], "big"), int.from_bytes(payload[1:3], "big")
            for start in range(6, 6 + 3 * payload[5], 3):
                parts.sampling[payload[start]] = payload[start + 1] >> 4 or 1, payload[start + 1] & 15 or 1
        elif marker == 0xDD:
            parts.restart = int.from_bytes(payload[:2], "big")
        elif marker == 0xDA:
            _note_scan(parts, payload)
            found = _MARKER.search(data, end)
            parts.pixels = end, found.start() if found else len(data.rstrip(b"\xff"))
    return parts


def _note_scan(parts: _Parts, header: bytes) -> None:
    count = header[0]
    first, last, bits = header[1 + 2 * count : 4 + 2 * count]
    if not parts.scans:
        parts.in_first = count
    parts.scans += 1
    for component in header[1 : 1 + 2 * count : 2]:
        known = parts.known.setdefault(component, [None] * _COEFFICIENTS)
        for coefficient in range(first, min(last, _COEFFICIENTS - 1) + 1):
            known[coefficient] = bits & 15


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of every segment up to the end of the image or of the file."""
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None or (marker := data[found.start() + 1]) == 0xD9:
            return
        at = found.end()
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise NotWholeError("it ends before its pixels" if at + max(length, 2) > len(data) else "it is damaged")
        yield marker, at + 2, at + length
        at += length


def _check_restarts(data: bytes, parts: _Parts) -> None:
    """Count the restart markers, which the decoder makes up where they are missing."""
    if not parts.restart:
        return
    wide = high = 8
    if len(parts.sampling) > 1:
        wide *= max(across for across, _ in parts.sampling.values())
        high *= max(down for _, down in parts.sampling.values())
    units = -(-parts.size[0] // wide) * -(-parts.size[1] // high)
    found = [match.group()[1] & 7 for match in _RESTART.finditer(data, *parts.pixels)]
    wanted = -(-units // parts.restart) - 1
    # Some encoders end with one more.
    if len(found) not in (wanted, wanted + 1) or found != [index % 8 for index in range(len(found))]:
        raise NotWholeError(f"{wanted} restart markers belong into it, {len(found)} are there or out of order")
