"""Which bucket holds the bytes, and by which addresses the service and its clients reach it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs

from ..._optional import require
from ...errors import ViConfigurationError
from ..config import ServiceConfig

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", re.ASCII)


@attrs.frozen
class StoreAddress:
    """A place in a bucket; *endpoint* is None for AWS, *public* is what clients use where that is another address."""

    bucket: str
    prefix: str
    endpoint: str | None
    public: str | None

    @classmethod
    def of(cls, config: ServiceConfig) -> StoreAddress:
        """Read the settings; raises `ViConfigurationError` for what names no bucket, or without the library."""
        require("aiobotocore", "A service with --store")
        given = config.store or ""
        scheme, _, rest = given.partition("://")
        bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        shown = given.rpartition("@")[2][:80]  # some write the keys of the store before it
        if scheme != "s3" or not _BUCKET.fullmatch(bucket) or not (prefix == "" or _PREFIX.fullmatch(prefix)):
            raise ViConfigurationError(
                f"--store must be s3://BUCKET or s3://BUCKET/PREFIX, got {shown!r}.",
                suggestion="Buckets have lower-case names of 3 to 63 characters; a prefix has letters, digits, . _ - and /",
            )
        return cls(
            bucket,
            f"{prefix}/" if prefix else "",
            _origin(config.store_endpoint, "--store-endpoint"),
            _origin(config.store_public_url, "--store-public-url"),
        )

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def endpoint_of(url: str) -> str:
    """Return the address of a store in one spelling."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path.rstrip('/')}"


def _origin(given: str | None, option: str) -> str | None:
    if not given:
        return None
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ViConfigurationError(
            f"{option} must be an address such as https://s3.example.com.",
            suggestion="The keys of the store come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or an AWS profile.",
        )
    return given.rstrip("/")
