"""Signed URLs of the storage side: an HMAC over method, path, expiry, size and content type, checked in constant time.

The path is signed in one canonical spelling, so a client that escapes a name in another way still matches. A header
that was signed and is missing, or differs, makes another signature (protocol section 9.4).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator, Mapping

import attrs

from .api_errors import ApiError

_NUMBER = re.compile(r"[0-9]{1,19}")


_SLACK_MS = 60_000
"""A process signs with a key a little longer than another has replaced it: it has not seen that yet."""


@attrs.frozen
class RetiredKey:
    """A signing key that was replaced at *since*; times are milliseconds since 1970 UTC."""

    key: bytes = attrs.field(repr=False)
    since: int


@attrs.define
class Signer:
    """Makes signatures with one key, and checks them with those before it too until their URLs are over.

    Times are milliseconds since 1970 UTC; no URL is valid for longer than *lifetime*.
    """

    key: bytes = attrs.field(repr=False)
    retired: tuple[RetiredKey, ...] = attrs.field(default=(), repr=False)
    lifetime: int = 3600_000

    def use(self, key: bytes, retired: tuple[RetiredKey, ...]) -> None:
        """Sign with *key* from now on."""
        self.key, self.retired = key, retired

    def _keys(self, expiry: int) -> Iterator[bytes]:
        """Yield the keys by which a URL with this *expiry* may have been signed."""
        yield self.key
        for one in self.retired:
            if expiry <= one.since + self.lifetime + _SLACK_MS:
                yield one.key

    def signing(self, method: str, expiry: int) -> Callable[[str], str]:
        """Return a `sign` for many paths."""
        begun, rest = hmac.new(self.key, _signed(method), "sha256"), _signed(str(expiry), "", "")
        query = f"?X-Expires={expiry}&X-Signature="

        def sign(path: str) -> str:
            digest = begun.copy()
            digest.update(_signed(path) + rest)
            return f"{path}{query}{digest.hexdigest()}"

        return sign

    def sign(self, method: str, path: str, expiry: int, *, size: int | None = None, content_type: str = "") -> str:
        """Return *path* with its signed query."""
        query = f"X-Expires={expiry}" if size is None else f"X-Expires={expiry}&X-Size={size}"
        digest = _digest(self.key, method, path, str(expiry), "" if size is None else str(size), content_type)
        return f"{path}?{query}&X-Signature={digest}"

    def check(
        self, method: str, path: str, query: Mapping[str, str], now: int, *, content_type: str = ""
    ) -> int | None:
        """Return the size that was signed; raises 403 for another signature and for one past its expiry."""
        expires, size = query.get("X-Expires", ""), query.get("X-Size")
        given = query.get("X-Signature", "").encode("utf-8", "surrogatepass")
        if not _NUMBER.fullmatch(expires) or not (size is None or _NUMBER.fullmatch(size)):
            raise ApiError(403, "The signature does not match the request")
        for key in self._keys(int(expires)):
            expected = _digest(key, method, path, expires, size or "", content_type)
            if hmac.compare_digest(expected.encode(), given):
                break
        else:
            raise ApiError(403, "The signature does not match the request")
        if int(expires) <= now:
            raise ApiError(403, "The signed URL has expired")
        return None if size is None else int(size)

    def token(self, binding: str, payload: bytes) -> str:
        """Return a short tag that ties *payload* to *binding*."""
        return _token(self.key, binding, payload)

    def knows(self, token: str, binding: str, payload: bytes) -> bool:
        """Tell whether *token* was made by `token`, with the current key or a retired one."""
        keys = (self.key, *(one.key for one in self.retired))
        return any(hmac.compare_digest(_token(key, binding, payload), token) for key in keys)


def _token(key: bytes, binding: str, payload: bytes) -> str:
    return hmac.digest(key, binding.encode("utf-8", "surrogatepass") + b"\0" + payload, "sha256").hex()[:24]


def _digest(key: bytes, *fields: str) -> str:
    return hmac.digest(key, _signed(*fields), "sha256").hex()


def _signed(*fields: str) -> bytes:
    # Each with its length: what was signed as one field can never be read as another.
    data = [field.encode("utf-8", "surrogatepass") for field in fields]
    return b"".join([b"%d:%b" % (len(field), field) for field in data])
