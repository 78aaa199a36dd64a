"""Signed addresses of objects, for clients that send to the store and fetch from it (AWS Signature Version 4, query).

A page of a thousand assets has two thousand of them. Signing by botocore takes 80 microseconds each, most of it to take
an address apart that was put together just before and to derive the key of the day again. Tests hold this against it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import parse_qs, quote, urlsplit

from ..config import LONGEST_SECONDS

_NAME = "x-vi-name"
"""A parameter that stores ignore. It ends in the file name after a slash, which is where clients look for one."""
_PORTS = {"http": 80, "https": 443}


class Presigner:
    """Signs addresses of a bucket with the keys and at the time at which it is made; so it is made for each answer.

    *example* is an address of the object *key* as botocore has signed it, which says how objects are addressed: keys
    are below the same prefix.
    """

    def __init__(self, example: str, key: str, access_key: str, secret: str, token: str | None) -> None:
        address, _, query = example.partition("?")
        region = parse_qs(query)["X-Amz-Credential"][0].split("/")[2]
        self._base = address.removesuffix(quote(key))
        parts = urlsplit(self._base)
        self._path = parts.path
        default = parts.port == _PORTS.get(parts.scheme)
        self._host = parts.netloc.removesuffix(f":{parts.port}") if default else parts.netloc
        now = time.gmtime()  # the store compares with its own clock, not with that of the rows
        day, self._moment = time.strftime("%Y%m%d", now), time.strftime("%Y%m%dT%H%M%SZ", now)
        self._scope = f"{day}/{region}/s3/aws4_request"
        self._key = f"AWS4{secret}".encode()
        for word in self._scope.split("/"):
            self._key = hmac.digest(self._key, word.encode(), "sha256")
        self._credential = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={_quoted(f'{access_key}/{self._scope}')}"
        self._token = "" if token is None else f"&X-Amz-Security-Token={_quoted(token)}"

    def upload(self, key: str, seconds: float, headers: Mapping[str, str]) -> str:
        """Return an address for a PUT that has these *headers*; the store refuses one with others."""
        return self._sign("PUT", key, seconds, headers)

    def part(self, key: str, upload: str, number: int, seconds: float, headers: Mapping[str, str]) -> str:
        """Return an address for a part of a multipart upload."""
        return self._sign("PUT", key, seconds, headers, f"&partNumber={number}&uploadId={_quoted(upload)}")

    def download(self, key: str, mime: str, filename: str, seconds: float) -> str:
        """Return an address for a GET that is answered with the type *mime*; it ends in the *filename*."""
        name = _quoted(filename)
        signed = f"&response-content-type={_quoted(mime)}&{_NAME}=%2F{name}"
        url = self._sign("GET", key, seconds, {}, signed)
        return f"{url.replace(f'&{_NAME}=%2F{name}', '', 1)}&{_NAME}=/{name}"

    def picture(self, key: str, seconds: float) -> str:
        """Return an address for a GET of a picture that the service has made."""
        return self._sign("GET", key, seconds, {})

    def _sign(self, method: str, key: str, seconds: float, headers: Mapping[str, str], more: str = "") -> str:
        """Sign; *more* are parameters that sort after those of the signature, as every lower-case name does."""
        signed = {"host": self._host, **{name.lower(): value for name, value in headers.items()}}
        names = ";".join(sorted(signed))
        lives = min(max(1, int(seconds)), LONGEST_SECONDS)
        query = (
            f"{self._credential}&X-Amz-Date={self._moment}&X-Amz-Expires={lives}"
            f"{self._token}&X-Amz-SignedHeaders={names.replace(';', '%3B')}{more}"
        )
        path = quote(key, safe="/-_.~")
        lines = "".join([f"{name}:{signed[name]}\n" for name in sorted(signed)])
        request = f"{method}\n{self._path}{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{self._moment}\n{self._scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return f"{self._base}{path}?{query}&X-Amz-Signature={signature}"


def _quoted(value: str) -> str:
    return quote(value, safe="-_.~")
