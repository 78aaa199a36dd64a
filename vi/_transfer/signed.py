"""A signed URL and what the service demands with it, checked before either is used (protocol sections 3.4 and 9.4).

A signed URL is used exactly as given: aiohttp would normalise its query and break the signature.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import lru_cache

import attrs
from yarl import URL

from .._connections import origin_of
from .._redact import hold_signatures
from .outcomes import TransferFailed

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(r"[\r\n\0]")
_FORBIDDEN_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "organization-id",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@attrs.frozen
class SignedTransfer:
    """A checked signed URL with the headers it demands, and its *origin*.

    *expires* is in seconds since 1970 by the service's clock, 0 when unknown; *came* is when it was taken, by the
    monotonic clock.
    """

    url: URL
    headers: Mapping[str, str]
    method: str
    expires: float
    origin: str
    came: float = attrs.field(factory=time.monotonic, init=False)

    def __repr__(self) -> str:
        return f"SignedTransfer({self.method} {self.url.host})"


def signed_transfer(
    url: str, headers: Mapping[str, str] | None, method: str, expires: float, *, endpoint: str
) -> SignedTransfer:
    """Check what the service dictates before it is used; raises `TransferFailed` naming what was refused."""
    try:
        target = URL(url, encoded=True)
        scheme, host, user = target.scheme, target.host, target.user
    except (ValueError, TypeError):
        raise TransferFailed("EBADURL", "The service gave a transfer URL that cannot be read.") from None
    if scheme not in ("http", "https") or not host:
        raise TransferFailed("EBADURL", f"The service gave a transfer URL of scheme {scheme or 'none'!r}, refused.")
    if scheme == "http" and endpoint.startswith("https:"):
        raise TransferFailed("EBADURL", "The service gave an unencrypted transfer URL although it is https itself.")
    if user is not None:
        raise TransferFailed("EBADURL", "The service gave a transfer URL with credentials in it, refused.")
    if not isinstance(headers or {}, Mapping):
        raise TransferFailed("EBADURL", "The service demands headers that cannot be read.")
    for name, value in (headers or {}).items():
        if not isinstance(value, str) or not _may_be_dictated(name) or _BREAKS.search(value):
            raise TransferFailed("EBADURL", f"The service demands the header {name[:40]!r}, which is refused.")
    hold_signatures(target.raw_query_string)
    return SignedTransfer(target, headers or {}, method, expires, origin_of(target))


@lru_cache(maxsize=256)
def _may_be_dictated(header: str) -> bool:
    return _TOKEN.fullmatch(header) is not None and header.lower() not in _FORBIDDEN_HEADERS
