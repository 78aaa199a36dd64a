"""Calls of one bucket, by aiobotocore. What the store answers is classified here, and nowhere else.

An object that is missing is `FileNotFoundError`, a store that is full `OSError` (ENOSPC), and everything else
`StoreUnavailableError`: a store that fails, refuses or does not answer says nothing about the request of a client. Each
call is tried three times before that. Neither messages of the store nor addresses are repeated, which may hold
signatures.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import aiohttp
import attrs
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from ... import _checksums
from ...errors import ViConfigurationError
from ..objects import StoreUnavailableError
from .address import StoreAddress, endpoint_of
from .answers import AnswerError, BoundedSession, field, in_time
from .presigning import Presigner

_ATTEMPTS = 3
_CONNECT_SECONDS = 5
_READ_SECONDS = 60
_PATIENCE = 10.0
"""Seconds for which a call is made again while the store cannot be reached or fails."""
_PAUSE = 0.25
_CONNECTIONS = 64
_DELETED_AT_ONCE = 1000
_COPIED_AT_ONCE = 8
_REPEATED = 10
"""How many versions of a part are looked at."""
_ON_A_PAGE = 1000
_MOST_PAGES = 2000
"""Pages of a listing that is kept: a session has far fewer, and a store may never say that it was all."""
_MOST_FOLDERS = 100_000
"""Pages of the folders of all sessions, which are not kept."""
_ENDLESS = "a listing without an end"
_EXAMPLE = "example"
_NO_OBJECT = frozenset(
    {"NoSuchKey", "NotFound", "404", "PreconditionFailed", "412", "NoSuchUpload", "InvalidPart", "InvalidPartOrder"}
)
"""That which was asked for is not there, or not any more."""
_UNREADABLE = (AnswerError, ResponseParserError, ValueError, TypeError, KeyError)
"""What is raised where an answer is read that is none of S3."""
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"})
_CODE = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_LINK_SECONDS = 300
"""How long a download address lives: a client follows the redirect at once, and clocks may differ a little."""


@attrs.frozen
class Listed:
    """An object as a listing shows it; *size* in bytes."""

    key: str
    size: int
    etag: str
    changed: float
    """When it was stored, in seconds since 1970 UTC, by the clock of the store."""


class Bucket:
    """A bucket that was found to be there; keys are below its prefix."""

    def __init__(
        self, address: StoreAddress, endpoint: str, client: Any, public: Any, credentials: Any, parts: AsyncExitStack
    ) -> None:
        self.endpoint: str = endpoint
        """Where the store is that is used, also if the AWS settings say so; empty for AWS."""
        self._address = address
        self._client = client
        self._public = public
        self._credentials = credentials
        self._parts = parts

    @classmethod
    async def open(cls, address: StoreAddress) -> Bucket:
        """Connect; raises `ViConfigurationError` when the bucket is missing or refuses the service."""
        session = get_session()
        region = session.get_config_variable("region") or "us-east-1"
        settings = AioConfig(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # Sums are given by the service, as headers; trailers are not understood by every store.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            http_session_cls=BoundedSession,
            s3={"addressing_style": "path" if address.endpoint else "auto"},
        )
        async with AsyncExitStack() as parts:

            async def connect(endpoint: str | None, config: AioConfig = settings) -> Any:
                return await parts.enter_async_context(
                    session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)
                )

            client = await connect(address.endpoint)
            used = str(client.meta.endpoint_url)
            if address.endpoint is None:
                of_aws = await connect(None, settings.merge(AioConfig(ignore_configured_endpoint_urls=True)))
                used = "" if used == of_aws.meta.endpoint_url else used
            public = client if address.public is None else await connect(address.public)
            try:
                await client.head_bucket(Bucket=address.bucket)
            except NoCredentialsError:
                raise ViConfigurationError(
                    f"There are no keys for the store {address}.",
                    suggestion="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
                ) from None
            except (BotoCoreError, ClientError, aiohttp.ClientError, OSError, *_UNREADABLE) as error:
                raise _cannot_open(address, error) from None
            credentials = await session.get_credentials()
            return cls(address, endpoint_of(used) if used else "", client, public, credentials, parts.pop_all())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._parts.aclose()

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": self._address.prefix + key}

    async def put(self, key: str, data: bytes, crc32c: int, mime: str = "application/octet-stream") -> None:
        """Store an object; bytes that were changed on the way are refused by a store that knows the sum."""
        sum_ = _checksums.to_base64(crc32c)
        await self._call("put_object", **self._place(key), Body=data, ChecksumCRC32C=sum_, ContentType=mime)

    async def copy(self, source: str, key: str, etag: str) -> None:
        """Store an object that is what *source* is; raises `FileNotFoundError` when it has another *etag* by now."""
        await self._call("copy_object", **self._place(key), CopySource=self._place(source), CopySourceIfMatch=etag)

    async def size(self, key: str) -> int:
        """Return the bytes of an object; raises `FileNotFoundError`."""
        return field(await self._call("head_object", **self._place(key)), "ContentLength", int)

    async def put_pieces(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Store an object of several *pieces*; each but the last has at least 5 MiB."""
        async with self._in_parts(key, ChecksumAlgorithm="CRC32C") as (place, done):
            async for piece in pieces:
                crc = await asyncio.to_thread(_checksums.crc32c, piece)
                sum_ = _checksums.to_base64(crc)
                number = len(done) + 1
                answer = await self._call("upload_part", **place, PartNumber=number, Body=piece, ChecksumCRC32C=sum_)
                done.append({"PartNumber": number, "ETag": field(answer, "ETag", str), "ChecksumCRC32C": sum_})

    async def join(self, key: str, sources: Sequence[str]) -> None:
        """Store an object that consists of others, inside the store; each but the last has at least 5 MiB."""
        places = asyncio.Semaphore(_COPIED_AT_ONCE)
        async with self._in_parts(key) as (place, done):

            async def copy(number: int, source: str) -> dict[str, Any]:
                async with places:
                    answer = await self._call(
                        "upload_part_copy", **place, PartNumber=number, CopySource=self._place(source)
                    )
                return {"PartNumber": number, "ETag": field(answer.get("CopyPartResult"), "ETag", str)}

            try:
                async with asyncio.TaskGroup() as group:
                    copies = [group.create_task(copy(number, source)) for number, source in enumerate(sources, 1)]
            except* Exception as errors:  # noqa: BLE001 - raised again
                raise errors.exceptions[0] from None
            done += [one.result() for one in copies]

    @contextlib.asynccontextmanager
    async def _in_parts(self, key: str, **settings: Any) -> AsyncIterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        begun = await self._call("create_multipart_upload", **self._place(key), **settings)
        place = {**self._place(key), "UploadId": field(begun, "UploadId", str)}
        done: list[dict[str, Any]] = []
        try:
            yield place, done
            await self._call("complete_multipart_upload", **place, MultipartUpload={"Parts": done})
        except BaseException:
            with contextlib.suppress(StoreUnavailableError, OSError):
                await asyncio.shield(self._call("abort_multipart_upload", **place))
            raise

    async def begin(self, key: str, mime: str) -> str:
        """Begin an object whose parts clients send, and return the id that the store gives it."""
        begun = await self._call("create_multipart_upload", **self._place(key), ContentType=mime)
        return field(begun, "UploadId", str)

    async def part(self, key: str, upload: str, number: int) -> list[tuple[str, int]]:
        """Return ETag and bytes of what was sent as a part: the store may also name what was sent before."""
        place = {**self._place(key), "UploadId": upload}
        answer = await self._call("list_parts", **place, PartNumberMarker=number - 1, MaxParts=_REPEATED)
        sent = [one for one in answer.get("Parts", ()) if field(one, "PartNumber", int) == number]
        return [(field(one, "ETag", str), field(one, "Size", int)) for one in sent]

    async def complete(self, key: str, upload: str, parts: Sequence[tuple[int, str]]) -> None:
        """Make an object of parts, each a number and an ETag; raises `FileNotFoundError` when they are not there."""
        done = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        place = {**self._place(key), "UploadId": upload}
        await self._call("complete_multipart_upload", **place, MultipartUpload={"Parts": done})

    async def abort_all(self, below: str) -> None:
        """Abort what was begun and not completed, where keys begin with *below*."""
        place = {"Bucket": self._address.bucket, "Prefix": self._address.prefix + below}
        more: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = await self._call("list_multipart_uploads", **place, **more)
            for one in page.get("Uploads", ()):
                key = field(one, "Key", str)
                if not key.startswith(place["Prefix"]):
                    continue  # of somebody else: not every store looks at the prefix
                with contextlib.suppress(FileNotFoundError):
                    abort = {"Bucket": self._address.bucket, "Key": key, "UploadId": field(one, "UploadId", str)}
                    await self._call("abort_multipart_upload", **abort)
            if not page.get("IsTruncated"):
                return
            following = {
                "KeyMarker": page.get("NextKeyMarker", ""),
                "UploadIdMarker": page.get("NextUploadIdMarker", ""),
            }
            more = _onward(more, following)
        raise StoreUnavailableError(_ENDLESS)

    async def read(self, key: str, most: int) -> bytes:
        """Return an object of at most *most* bytes; raises `FileNotFoundError`."""
        return b"".join([piece async for piece in self.pieces(key, most)])

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return a stretch of an object; raises `FileNotFoundError`."""
        return b"".join([piece async for piece in self.pieces(key, length, start)])

    async def pieces(self, key: str, most: int, start: int | None = None) -> AsyncIterator[bytes]:
        """Yield an object as it comes, or *most* bytes of it from *start* on; raises `FileNotFoundError`.

        Raises `TooLongError` after *most* bytes when the store sends more.
        """
        span = {} if start is None else {"Range": f"bytes={start}-{start + most - 1}"}
        answer = await self._call("get_object", **self._place(key), **span)
        try:
            body = answer["Body"]
            async with body:  # in older releases it gives the response below it, which has no `iter_chunks`
                async for piece in in_time(body.iter_chunks(1 << 20), most):
                    yield piece[:most]
                    if len(piece) > most:
                        raise TooLongError("more bytes than the object has")
                    most -= len(piece)
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(type(error).__name__) from None

    async def listed(self, below: str, most: int | None = None) -> list[Listed]:
        """Return the objects whose keys begin with *below*, or the first *most* of them."""
        found: list[Listed] = []
        at_once = {} if most is None else {"MaxKeys": most}
        async for page in self._pages(below, _MOST_PAGES, **at_once):
            found += self._read_listing(page, below)
            if most is not None and len(found) >= most:
                return found[:most]
        return found

    def _read_listing(self, page: Any, below: str) -> list[Listed]:
        """Read a page, but for keys that were not asked for: what is listed may be removed."""
        prefix = self._address.prefix
        if len(page.get("Contents", ())) > _ON_A_PAGE:
            raise StoreUnavailableError("a page of a listing that is too long")
        found = []
        for one in page.get("Contents", ()):
            if (key := field(one, "Key", str)).startswith(prefix + below):
                changed = field(one, "LastModified", datetime)
                size, etag = field(one, "Size", int), field(one, "ETag", str)
                found.append(Listed(key.removeprefix(prefix), size, etag, changed.timestamp()))
        return found

    async def folders(self, below: str) -> AsyncIterator[list[str]]:
        """Yield, some at once, the texts between *below* and the next slash of keys that have one."""
        start = self._address.prefix + below
        async for page in self._pages(below, _MOST_FOLDERS, Delimiter="/"):
            found = [field(one, "Prefix", str) for one in page.get("CommonPrefixes", ())]
            yield [prefix.removeprefix(start).rstrip("/") for prefix in found]

    async def _pages(self, below: str, most: int, **settings: Any) -> AsyncIterator[Any]:
        place = {"Bucket": self._address.bucket, "Prefix": self._address.prefix + below}
        more: dict[str, str] = {}
        for _ in range(most):
            page = await self._call("list_objects_v2", **place, **settings, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = _onward(more, {"ContinuationToken": page.get("NextContinuationToken", "")})
        raise StoreUnavailableError(_ENDLESS)

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are missing are no error."""
        for at in range(0, len(keys), _DELETED_AT_ONCE):
            doomed = [{"Key": self._address.prefix + key} for key in keys[at : at + _DELETED_AT_ONCE]]
            answer = await self._call(
                "delete_objects", Bucket=self._address.bucket, Delete={"Objects": doomed, "Quiet": True}
            )
            failed = [_shown(one.get("Code", "")) for one in answer.get("Errors", ())]
            if refused := [code for code in failed if code not in _NO_OBJECT]:
                raise StoreUnavailableError(refused[0])

    async def link(self, key: str, mime: str, method: str) -> str:
        """Return a signed address of an object for *method*, GET or HEAD, which the store answers with type *mime*."""
        operation = "head_object" if method == "HEAD" else "get_object"
        return await self._signed(operation, key, ResponseContentType=mime)

    async def presigner(self) -> Presigner:
        """Return what signs many addresses at once, for one answer."""
        example = await self._signed("get_object", _EXAMPLE)
        try:
            keys = await self._credentials.get_frozen_credentials()
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise StoreUnavailableError(type(error).__name__) from None
        return Presigner(example, _EXAMPLE, keys.access_key, keys.secret_key, keys.token)

    async def _signed(self, operation: str, key: str, **more: str) -> str:
        try:
            url = await self._public.generate_presigned_url(operation, {**self._place(key), **more}, _LINK_SECONDS)
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise StoreUnavailableError(type(error).__name__) from None
        return str(url)

    async def _call(self, operation: str, **values: Any) -> Any:
        ends = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            try:
                return await self._call_once(operation, **values)
            except _StoreAwayError:
                if asyncio.get_running_loop().time() >= ends:
                    raise
            await asyncio.sleep(_PAUSE)

    async def _call_once(self, operation: str, **values: Any) -> Any:
        try:
            return await getattr(self._client, operation)(**values)
        except ClientError as error:
            raise _translated(error) from None
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _StoreAwayError(type(error).__name__) from None
        except _UNREADABLE as error:
            raise StoreUnavailableError(type(error).__name__) from None


def _onward(before: dict[str, str], following: dict[str, str]) -> dict[str, str]:
    """Return where the next page of a listing begins; raises `StoreUnavailableError` when it is the same page."""
    if following == before:
        raise StoreUnavailableError(_ENDLESS)
    return following


class TooLongError(StoreUnavailableError):
    """The store has sent more than was asked for."""


class _StoreAwayError(StoreUnavailableError):
    """The store does not answer, or says that it fails at the moment."""


def _code(error: ClientError) -> str:
    return _shown(error.response.get("Error", {}).get("Code", ""))


def _shown(code: object) -> str:
    code = str(code)
    return (
        code if _CODE.fullmatch(code) else "unknown"
    )  # a code goes into the log, and a store could write anything there


def _translated(error: ClientError) -> Exception:
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _NO_OBJECT:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if code in _FULL or status == 507:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return (_StoreAwayError if status is not None and status >= 500 else StoreUnavailableError)(code)


def _cannot_open(address: StoreAddress, error: Exception) -> ViConfigurationError:
    code = _code(error) if isinstance(error, ClientError) else type(error).__name__
    if code in ("404", "NoSuchBucket"):
        return ViConfigurationError(f"There is no bucket {address.bucket}.", suggestion="Make it, then start again.")
    if code in ("401", "403", "AccessDenied"):
        return ViConfigurationError(
            f"The bucket {address.bucket} refuses the service ({code}).",
            suggestion="The keys must be allowed to list the bucket, and to read, write and delete its objects.",
        )
    return ViConfigurationError(
        f"The store {address} cannot be reached ({code}).",
        suggestion="Check --store-endpoint (or AWS_ENDPOINT_URL_S3), the region (AWS_REGION) and the keys.",
    )
