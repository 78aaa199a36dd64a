"""The checks that write: a dataset of its own, filled, changed and removed again."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from .. import _routes
from .._checksums import crc32c, to_base64, to_signed
from .._media import IMAGE_TYPES
from . import shapes
from .probe import Probe, Reply, dig, said
from .reading import LEAST_LIFE, Reading

PATIENCE = 60.0
FIRST_LOOK, LAST_LOOK = 0.1, 2.0
LONGEST_LIFE = 20 * 60.0
METADATA: dict[str, str | int | float | bool] = {"text": "a", "whole": 7, "decimal": 1.5, "yes": True}

_SESSIONS = "POST {src}/assetIngestionSessions"
_MULTIPART = "POST {src}/multipartUploads"


@attrs.frozen
class Picture:
    """One small file to upload."""

    name: str
    data: bytes
    metadata: Mapping[str, str | int | float | bool] | None = None

    def announced(self) -> dict[str, Any]:
        """Return what a session announces about the file."""
        return {
            "filename": self.name,
            "kind": "Image",
            "mime": IMAGE_TYPES["." + self.name.rsplit(".", 1)[-1]],
            "size": len(self.data),
            "crc32c": to_signed(crc32c(self.data)),
            "customMetadata": dict(self.metadata) if self.metadata else None,
        }


class Writing:
    """Walks what writes, in the dataset *dataset_id*, which this run has made."""

    def __init__(self, probe: Probe, reading: Reading, dataset_id: str, *, slow: bool) -> None:
        self.probe = probe
        self.reading = reading
        self.dataset_id = dataset_id
        self.slow = slow
        self._composite = _routes.composite(probe.organization, dataset_id)

    async def walk(self) -> None:
        """Do each step; one that fails leaves the others possible, and every rule gets its row."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._update,
            self._formats,
            self._overwrite,
            self._multipart,
            self._cancel,
            self._rename,
            self._query,
            self._delete,
            self._expire,
        )
        for step in steps:
            await step()

    async def _update(self) -> None:
        text = "checked by vi-sdk doctor --contract"
        reply = await self._api("PATCH", _routes.DATASET, body={"description": text})
        kept = reply.ok and reply.text("description") == text
        self.probe.hold("write.update", "PATCH {ds}", kept, "kept" if kept else said(reply))

    async def _formats(self) -> None:
        probe = self.probe
        empty = await self._open([])
        asked = f"{_SESSIONS} without files"
        probe.hold("write.empty_session", asked, empty.status in (400, 422), said(empty))
        pictures = [*samples(), Picture("plain.png", png(1), METADATA), *refused()]
        reply = await self._open(pictures)
        if not probe.compare("write.session", _SESSIONS, reply, shapes.SESSION, status=201):
            return
        listed = dig(reply.document, "status", "assets")
        ready = _uploads(reply)
        if len(ready) < len(pictures):
            probe.row("write.session", _SESSIONS, f"{len(ready)} of {len(pictures)} URLs", "differs")
        if not ready:
            return
        lives = [self.reading.life(dig(one, "upload")) for one in listed or []]
        known = [one for one in lives if one is not None]
        good = bool(known) and min(known) >= LEAST_LIFE
        probe.hold("write.session_life", _SESSIONS, good, f"{min(known):.0f} s" if known else "no expiry")
        await self._send(pictures, ready)
        end = await self._settled(reply.text("assetIngestionSessionId"))
        self._judge(pictures, end)
        await self.reading.of_dataset(self.dataset_id)
        asset = await self._asset("plain.png")
        came = dig(asset, "metadata", "customMetadata")
        same = came == METADATA and {key: type(one) for key, one in came.items()} == {
            key: type(one) for key, one in METADATA.items()
        }
        probe.hold("write.metadata", "GET {ds}/assets", same, "equal" if same else "not equal")

    async def _send(self, pictures: Sequence[Picture], uploads: Mapping[str, Any]) -> None:
        probe, asked = self.probe, "PUT (signed upload)"
        refused, stated, right = 0, 0, 0
        for one in pictures:
            transfer = probe.signed(uploads.get(one.name), "PUT")
            reply = await probe.storage(transfer, body=one.data) if transfer else Reply(0, {}, b"", 0.0)
            refused += not reply.ok
            told = reply.headers.get("x-goog-hash", "")
            stated += "crc32c=" in told
            right += f"crc32c={to_base64(crc32c(one.data))}" in told
        probe.hold("write.put", asked, not refused, f"{refused} of {len(pictures)} refused")
        probe.hold("write.put_checksum", asked, stated == right == len(pictures), f"{right} of {len(pictures)} right")

    def _judge(self, pictures: Sequence[Picture], end: Reply) -> None:
        probe, asked = self.probe, "GET {src}/assetIngestionSessions/{session}"
        failed = _failures(end)
        count = dig(end.document, "status", "progressCount")
        total, succeeded, errored = (dig(count, name) for name in ("total", "succeeded", "errored"))
        adds_up = (total, succeeded, errored) == (len(pictures), len(pictures) - len(failed), len(failed))
        came = f"{succeeded} succeeded, {errored} errored" if isinstance(succeeded, int) else said(end)
        probe.hold("write.settled", asked, adds_up and condition(end) == "Reached", came)
        bad = [one.name for one in refused()]
        lost = sorted({one.name.rsplit(".", 1)[-1] for one in pictures if one.name in failed and one.name not in bad})
        tried = {one.name.rsplit(".", 1)[-1] for one in pictures}
        if condition(end) is None:
            probe.skip("write.formats", "the session did not settle")
        else:
            probe.hold(
                "write.formats", asked, not lost, f"refused: {', '.join(lost)}" if lost else f"{len(tried)} kinds"
            )
        codes = [failed.get(name) for name in bad]
        told = ", ".join(probe.safe(code) if code else "no event" for code in codes)
        probe.hold("write.refused", asked, all(isinstance(code, str) for code in codes), told)

    async def _overwrite(self) -> None:
        for rule, keep, seed in (("write.overwrite_remove", False, 2), ("write.overwrite_keep", True, 3)):
            before = await self._count()
            new = Picture("plain.png", png(seed, side=16 + seed), METADATA)
            end = await self._upload([new], keep=keep)
            asset, after = await self._asset("plain.png"), await self._count()
            good = (
                condition(end) == "Reached" and before == after and dig(asset, "metadata", "fileSize") == len(new.data)
            )
            came = "one asset, new bytes" if good else f"{said(end)}, {self.probe.safe(condition(end))}"
            self.probe.hold(rule, f"{_SESSIONS} of an existing name", good, came)

    async def _multipart(self) -> None:
        probe = self.probe
        picture = Picture("parts.png", png(4, side=64))
        session = await self._open([picture])
        created = await self._api(
            "POST",
            _routes.MULTIPART_UPLOADS,
            _routes.MANAGED_SOURCE,
            body={
                "spec": {
                    "ingestionId": session.text("ingestionId"),
                    "filename": picture.name,
                    "contentType": "image/png",
                    "sizeBytes": len(picture.data),
                }
            },
        )
        if not probe.compare("write.multipart_document", _MULTIPART, created, shapes.MULTIPART, status=201):
            return
        upload = created.text("multipartUploadId")
        count = dig(created.document, "status", "partCount")
        sent = isinstance(count, int) and 1 <= count <= len(picture.data)
        size = len(picture.data) // count if sent else 0
        for number in range(1, count + 1 if sent else 1):
            end = number * size if number < count else len(picture.data)
            sent = sent and await self._part(upload, number, picture.data[(number - 1) * size : end])
        values = {**_routes.MANAGED_SOURCE, "upload": upload}
        done = await self._api("POST", _routes.MULTIPART_COMPLETION, values)
        end_reply = await self._settled(session.text("assetIngestionSessionId")) if done.ok else done
        good = sent and done.ok and condition(end_reply) == "Reached"
        probe.hold("write.multipart", _MULTIPART, good, "ingested" if good else said(end_reply))

    async def _part(self, upload: str, number: int, data: bytes) -> bool:
        probe = self.probe
        values = {**_routes.MANAGED_SOURCE, "upload": upload, "part": str(number)}
        asked = "POST {src}/multipartUploads/{upload}/parts/{part}"
        opened = await self._api("POST", _routes.PART, values, body={})
        if number == 1 and not probe.compare("write.part_document", asked, opened, shapes.PART):
            return False
        transfer = probe.signed(opened.document, opened.text("method") or "PUT")
        stored = await probe.storage(transfer, body=data) if transfer else Reply(0, {}, b"", 0.0)
        wanted = dig(opened.document, "responseHeaders")
        names = [one for one in wanted if isinstance(one, str)] if isinstance(wanted, list) else []
        told = {name: stored.headers.get(name.lower(), "") for name in names}
        done = await self._api("POST", _routes.PART_COMPLETION, values, body={"responseHeaders": told})
        return stored.ok and done.ok

    async def _cancel(self) -> None:
        picture = Picture("cancelled.png", png(5))
        session = await self._open([picture])
        values = {**_routes.MANAGED_SOURCE, "session": session.text("assetIngestionSessionId")}
        cancelled = await self._api("POST", _routes.SESSION_CANCEL, values)
        end = await self._api("GET", _routes.SESSION, values)
        transfer = self.probe.signed(_uploads(session).get(picture.name), "PUT")
        late = await self.probe.storage(transfer, body=picture.data) if transfer else Reply(0, {}, b"", 0.0)
        good = cancelled.ok and condition(end) == "FailedReach" and late.status >= 400
        came = f"{said(cancelled)}, then {self.probe.safe(condition(end))}, PUT {said(late)}"
        self.probe.hold("write.cancel", "POST {src}/assetIngestionSessions/{session}:cancel", good, came)

    async def _rename(self) -> None:
        probe = self.probe
        asset = dig(await self._asset("plain.png"), "assetId")
        if not isinstance(asset, str):
            return
        asked = "POST {ds}/assets/{asset}/name"
        first = await self._api("POST", _routes.ASSET_NAME, {"asset": asset}, body={"filename": "renamed.png"})
        moved = dig(await self._asset("renamed.png"), "assetId") == asset
        probe.hold("write.rename", asked, first.ok and moved, said(first))
        taken = await self._api("POST", _routes.ASSET_NAME, {"asset": asset}, body={"filename": "parts.png"})
        if await self._asset("parts.png") is None:
            probe.skip("write.rename_conflict", "the file sent in parts is missing")
        else:
            probe.hold("write.rename_conflict", f"{asked} of an existing name", taken.status == 409, said(taken))
        asked = "POST {ds}/assetFiles/{filename}/name"
        second = await self._api(
            "POST", _routes.ASSET_FILE_NAME, {"filename": "renamed.png"}, body={"filename": "plain again.png"}
        )
        moved = dig(await self._asset("plain again.png"), "assetId") == asset
        probe.hold("write.rename_by_name", asked, second.ok and moved, said(second))

    async def _query(self) -> None:
        strict = {"strictQuery": "y"}
        equal = await self._count(metadataQuery='text == "a"', **strict)
        colon = await self._count(metadataQuery="text:a", **strict)
        none = await self._count(metadataQuery='text == "nothing has this"', **strict)
        asked = "GET {ds}/assets:count?metadataQuery=text"
        self.probe.hold("write.count", asked, equal == 1 and none == 0, f"{equal} and {none}")
        self.probe.hold("write.query", asked, equal == colon == 1, f"{equal} and {colon}")
        by_field = await self._count(filter=json.dumps({"filename": "parts.png"}), strictQuery="n")
        self.probe.hold("write.filter", "GET {ds}/assets:count?filter=filename", by_field == 1, f"{by_field}")

    async def _delete(self) -> None:
        probe = self.probe
        asset = dig(await self._asset("parts.png"), "assetId")
        if isinstance(asset, str):
            gone = await self._api("DELETE", _routes.ASSET, {"asset": asset})
            after = await self._api("GET", _routes.ASSET, {"asset": asset})
            good = gone.ok and not gone.body and after.status == 404
            came = f"{said(gone)} with {len(gone.body)} bytes, then {said(after)}"
            probe.hold("write.delete", "DELETE {ds}/assets/{asset}", good, came)
        else:
            probe.skip("write.delete", "the file sent in parts is missing")
        await self._delete_several()
        before = await self._count()
        spec = {"filter": None, "metadataQuery": 'text == "a"', "ruleQuery": None, "strictQuery": True}
        begun = await self._api("POST", _routes.BULK_DELETIONS, body={"spec": spec})
        asked = "POST {ds}/deleteManyAssetsSessions"
        if not probe.compare("write.delete_many", asked, begun, shapes.BULK_DELETION, status=201):
            return
        deletion = begun.text("deleteManyAssetsSessionId")
        await self._watch(lambda: self._api("GET", _routes.BULK_DELETION, {"deletion": deletion}))
        left = await self._count()
        good = isinstance(before, int) and left == before - 1
        probe.hold("write.delete_many", asked, good, "one removed" if good else "another number removed")

    async def _delete_several(self) -> None:
        """Delete several assets at once, each by its id, as `assets.delete_many` does; one of them is gone already."""
        page = await self._api("GET", _routes.ASSETS, params={"s": "100"})
        ids = [dig(one, "assetId") for one in page.items() if str(dig(one, "filename")).startswith("sample")][:3]
        if not ids:
            self.probe.skip("write.delete_several", "no sample was ingested")
            return
        before = await self._count()
        gone = await asyncio.gather(*(self._api("DELETE", _routes.ASSET, {"asset": str(one)}) for one in ids))
        again = await self._api("DELETE", _routes.ASSET, {"asset": str(ids[0])})
        left = await self._count()
        removed = before - left if isinstance(before, int) and isinstance(left, int) else None
        good = all(one.ok for one in gone) and removed == len(ids) and again.status == 404
        came = f"{sum(one.ok for one in gone)} of {len(ids)} deleted, then {said(again)}"
        self.probe.hold("write.delete_several", "DELETE {ds}/assets/{asset}, several at once", good, came)

    async def _expire(self) -> None:
        if not self.slow:
            self.probe.skip("write.expired", "it waits until a URL expires: use --slow")
            return
        picture = Picture("late.png", png(6))
        upload = _uploads(await self._open([picture])).get(picture.name)
        life, transfer = self.reading.life(upload), self.probe.signed(upload, "PUT")
        if life is None or transfer is None or life > LONGEST_LIFE:
            self.probe.skip("write.expired", f"the URL lives longer than {LONGEST_LIFE / 60:.0f} minutes")
            return
        await asyncio.sleep(max(0.0, life) + 2.0)
        late = await self.probe.storage(transfer, body=picture.data)
        self.probe.hold("write.expired", "PUT (expired upload)", late.status in (400, 401, 403, 410), said(late))

    async def _upload(self, pictures: Sequence[Picture], *, keep: bool = False) -> Reply:
        session = await self._open(pictures, keep=keep)
        if not session.ok or not _uploads(session):
            return session
        for one in pictures:
            transfer = self.probe.signed(_uploads(session).get(one.name), "PUT")
            if transfer is not None:
                await self.probe.storage(transfer, body=one.data)
        return await self._settled(session.text("assetIngestionSessionId"))

    async def _open(self, pictures: Sequence[Picture], *, keep: bool = False) -> Reply:
        spec = {
            "kind": "Upload",
            "failureMode": "FailAfterAll",
            "onAssetOverwritten": "KeepLinkedResource" if keep else "RemoveLinkedResource",
            "assets": [one.announced() for one in pictures],
        }
        return await self._api("POST", _routes.SESSIONS, _routes.MANAGED_SOURCE, body={"spec": spec})

    async def _settled(self, session: str) -> Reply:
        values = {**_routes.MANAGED_SOURCE, "session": session or "none"}
        return await self._watch(lambda: self._api("GET", _routes.SESSION, values))

    async def _watch(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Ask until the operation has finished, failed, or taken too long."""
        deadline, pause = time.monotonic() + PATIENCE, FIRST_LOOK
        while True:
            reply = await ask()
            if not reply.ok or condition(reply) in ("Reached", "FailedReach") or time.monotonic() > deadline:
                return reply
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_LOOK)

    async def _count(self, **params: str) -> int | None:
        reply = await self._api("GET", _routes.ASSET_COUNT, params={"strictQuery": "n", **params})
        found = reply.document if isinstance(reply.document, int) else dig(reply.document, "count")
        return found if isinstance(found, int) else None

    async def _asset(self, name: str) -> Any:
        reply = await self._api("GET", _routes.ASSETS, params={"s": "100"})
        return next((one for one in reply.items() if dig(one, "filename") == name), None)

    async def _api(
        self,
        method: str,
        template: str,
        values: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else None
        return await self.probe.api(
            method, template, {**(values or {}), "dataset": self._composite}, params=params, body=body, headers=headers
        )


def condition(reply: Reply) -> str | None:
    """Return how an operation ended, ``Waiting`` while it has not; None where the document does not say."""
    listed = dig(reply.document, "status", "conditions")
    found = {dig(one, "condition"): dig(one, "status") for one in listed} if isinstance(listed, list) else {}
    if "FailedReach" in found.values():
        return "FailedReach"
    ended = found.get("Finished")
    return ended if isinstance(ended, str) else None


def _uploads(session: Reply) -> dict[str, Any]:
    listed = dig(session.document, "status", "assets")
    return {str(dig(one, "metadata", "filename")): dig(one, "upload") for one in listed or [] if dig(one, "upload")}


def _failures(session: Reply) -> dict[str, Any]:
    found: dict[str, Any] = {}
    events = dig(session.document, "status", "events")
    for event in events if isinstance(events, list) else []:
        files = dig(event, "files")
        found.update(files if isinstance(files, dict) else {})
    return found


def refused() -> list[Picture]:
    """Return the files that must end with a code: text, a truncated image, and one without its pixels."""
    whole = png(9, side=48)
    return [
        Picture("not-an-image.png", b"plain text\n" * 20),
        Picture("cut-short.png", whole[: len(whole) // 2]),
        Picture("without-pixels.png", whole[:33] + whole[-12:]),
    ]


def samples() -> list[Picture]:
    """Return a small picture of each documented extension; PNG only where Pillow is not installed."""
    try:
        from .._samples import EXTENSIONS, encode

        return [Picture(f"sample{one}", encode(number, one, (32, 24))) for number, one in enumerate(EXTENSIONS)]
    except ImportError:
        return [Picture("sample.png", png(0))]


def png(seed: int, side: int = 16) -> bytes:
    """Return a small PNG, written without a library."""
    shade = bytes((seed * 40 + at * 7) & 255 for at in range(side * 3))
    rows = b"".join(b"\0" + shade[at:] + shade[:at] for at in range(side))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
