"""Signed URLs of the storage side: an HMAC over method, path, expiry, size and content type, checked in constant time.

The path is signed in one canonical spelling, so a client that escapes a name in another way still matches. A header
that was signed and is missing, or differs, makes another signature (protocol section 9.4).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

import attrs

from .api_errors import ApiError

_NUMBER = re.compile(r"[0-9]{1,19}")


@attrs.frozen
class Signer:
    """Makes and checks signatures with one key; times are milliseconds since 1970 UTC."""

    key: bytes = attrs.field(repr=False)

    def sign(self, method: str, path: str, expiry: int, *, size: int | None = None, content_type: str = "") -> str:
        """Return *path* with its signed query."""
        query = f"X-Expires={expiry}" if size is None else f"X-Expires={expiry}&X-Size={size}"
        digest = self._digest(method, path, str(expiry), "" if size is None else str(size), content_type)
        return f"{path}?{query}&X-Signature={digest}"

    def check(
        self, method: str, path: str, query: Mapping[str, str], now: int, *, content_type: str = ""
    ) -> int | None:
        """Return the size that was signed; raises 403 for another signature and for one past its expiry."""
        expires, size = query.get("X-Expires", ""), query.get("X-Size")
        expected = self._digest(method, path, expires, size or "", content_type)
        given = query.get("X-Signature", "")
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
            raise ApiError(403, "The signature does not match the request")
        if not _NUMBER.fullmatch(expires) or not (size is None or _NUMBER.fullmatch(size)):
            raise ApiError(403, "The signature does not match the request")
        if int(expires) <= now:
            raise ApiError(403, "The signed URL has expired")
        return None if size is None else int(size)

    def token(self, binding: str, payload: bytes) -> str:
        """Return a short tag that ties *payload* to *binding*."""
        return hmac.digest(self.key, binding.encode("utf-8", "surrogatepass") + b"\0" + payload, "sha256").hex()[:24]

    def _digest(self, *fields: str) -> str:
        # Each with its length: what was signed as one field can never be read as another.
        data = [field.encode("utf-8", "surrogatepass") for field in fields]
        text = b"".join(b"%d:%b" % (len(field), field) for field in data)
        return hmac.digest(self.key, text, "sha256").hex()
