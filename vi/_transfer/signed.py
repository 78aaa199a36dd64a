"""A signed URL and what the service demands with it, checked before either is used (protocol sections 3.4 and 9.4).

A signed URL is used exactly as given: aiohttp would normalise its query and break the signature.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs
from yarl import URL

from .._connections import exact_url, origin_of
from .._redact import hold_signatures
from ..codes import FileCode
from . import dictated
from .outcomes import TransferFailed


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
        target = exact_url(url)
        scheme, host, user = target.scheme, target.host, "@" in target.raw_authority
    except (ValueError, TypeError, AttributeError):
        raise TransferFailed(FileCode.EBADURL, "The service gave a transfer URL that cannot be read.") from None
    if scheme not in ("http", "https") or not host:
        raise TransferFailed(
            FileCode.EBADURL, f"The service gave a transfer URL of scheme {scheme or 'none'!r}, refused."
        )
    if scheme == "http" and endpoint.startswith("https:"):
        raise TransferFailed(
            FileCode.EBADURL, "The service uses https, but gave an unencrypted transfer URL, which is refused."
        )
    if user:
        raise TransferFailed(FileCode.EBADURL, "The service gave a transfer URL with credentials, which is refused.")
    try:
        demanded = dictated.headers(headers)
    except dictated.DictatedError as problem:
        raise TransferFailed(FileCode.EBADURL, f"The service demands {problem}, which is refused.") from None
    hold_signatures(target.raw_query_string)
    return SignedTransfer(target, demanded, method, expires, origin_of(target))


def known_origins(endpoint: str, upload: SignedTransfer | None) -> frozenset[str]:
    """Return where a session has its storage: the service itself, and where the whole file would go."""
    own = origin_of(URL(endpoint))
    return frozenset((own,) if upload is None else (own, upload.origin))
