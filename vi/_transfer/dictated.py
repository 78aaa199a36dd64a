"""What a service may dictate about a transfer: lists of what is allowed, and nothing else.

A service that is not trusted chooses the address, the method and headers of a transfer, what of the storage's answer is
reported back to it, and into how many parts a file is cut. Every such choice is checked here; the address that a name
leads to is checked when connecting (`vi._sockets.GuardedConnector`), also after a redirect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MAX_PARTS = 10_000
UPLOAD_METHODS = frozenset({"PUT", "POST"})

_HEADER = re.compile(r"(?ia)(?:content|if|x-(?:goog|amz|ms))-[a-z0-9-]{1,100}|cache-control|expires|accept")
_OWN_HEADERS = frozenset({"content-length", "content-range"})
_OF_GATEWAYS = re.compile(r"(?ia)x-goog-(?:authenticated-user|iap)-.*|x-ms-(?:client-principal|token)-?.*")
"""By these, applications behind the gateways of clouds know who asks."""
_REPORTED = re.compile(r"(?ia)etag|(?:content|x-(?:goog|amz|ms))-[a-z0-9-]{1,100}")
_MAX_REPORTED = 32
_MAX_VALUE = 8192
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


class DictatedError(ValueError):
    """Something that a service may not dictate, in words."""


def method(given: object, allowed: frozenset[str]) -> str:
    """Return the method of a transfer, or refuse it."""
    if not isinstance(given, str) or not given.isascii() or given.upper() not in allowed:
        raise DictatedError(f"the method {_shown(given)}")
    return given.upper()


def headers(given: object) -> Mapping[str, str]:
    """Return the headers that a transfer must send, without those that we write ourselves, or refuse them."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DictatedError("headers that cannot be read")
    for name, value in given.items():
        if not isinstance(name, str) or not _may_be_sent(name):
            raise DictatedError(f"the header {_shown(name)}")
        if not isinstance(value, str) or len(value) > _MAX_VALUE or _VALUE.fullmatch(value) is None:
            raise DictatedError(f"the header {_shown(name)} with a value that cannot be sent")
    return given


@lru_cache(maxsize=256)
def _may_be_sent(name: str) -> bool:
    if _HEADER.fullmatch(name) is None or name.lower() in _OWN_HEADERS:
        return False
    return _OF_GATEWAYS.fullmatch(name) is None


def reported_headers(given: object) -> list[str]:
    """Return the names of the storage's headers that are reported back, or refuse them."""
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > _MAX_REPORTED:
        raise DictatedError("to report headers that cannot be read")
    for name in given:
        if not isinstance(name, str) or _REPORTED.fullmatch(name) is None:
            raise DictatedError(f"to report the header {_shown(name)}")
    return given


def reported_body(given: object, origin: str, known: frozenset[str]) -> bool:
    """Tell whether the storage's answer is reported back; only one of an origin in *known* ever is."""
    if given and origin not in known:
        raise DictatedError("to report the body of an answer that is not of the session's own storage")
    return bool(given)


def part_count(given: object, size: int) -> int:
    """Return into how many parts a file of *size* bytes is cut, or refuse the number."""
    if type(given) is not int or not 1 <= given <= min(MAX_PARTS, max(size, 1)):
        raise DictatedError(f"{_shown(given)} parts for a file of {size} bytes; at most {MAX_PARTS} are taken")
    return given


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number of"
    return repr(value[:40]) if isinstance(value, str) else str(value)[:40]
