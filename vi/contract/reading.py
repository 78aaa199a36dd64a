"""The read-only checks: organizations, datasets, assets, refusals, signed downloads."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from .. import _routes
from .._checksums import crc32c, to_base64
from .._retry import read_date
from .._transfer.signed import SignedTransfer
from ..config import is_loopback
from . import shapes
from .probe import MOST_BYTES, Probe, Reply, dig, said

PAGE = "2"
CLOCK_SECONDS = 60.0
LEAST_LIFE = 60.0
UNKNOWN_ID = "contract0check0nothing"
UNKNOWN_KEY = "dtvi_" + "0" * 98

_ASSETS = "GET {ds}/assets"
_NEEDS_ASSETS = "the dataset has no assets; check a dataset that has some, or use --write"


class Reading:
    """Walks what can be read, for one dataset."""

    def __init__(self, probe: Probe, dataset_id: str | None) -> None:
        self.probe = probe
        self.dataset_id = dataset_id
        self._was_read = False
        self.ahead: float | None = None
        """Seconds by which the service's clock is ahead of ours, once an answer has told."""

    async def walk(self, *, with_dataset: bool) -> None:
        """Compare every readable answer with the contract; those about assets only *with_dataset*."""
        await self._organization()
        await self._datasets()
        await self._refusals()
        if with_dataset and self.dataset_id is not None:
            await self.of_dataset(self.dataset_id)

    async def of_dataset(self, dataset_id: str) -> None:
        """Compare a dataset, its listings and one of its downloads with the contract; one dataset for each run."""
        if self._was_read:
            return
        self._was_read = True
        dataset = await self._dataset(dataset_id)
        items = await self._assets(dataset_id)
        await self._count(dataset_id, dataset)
        await self._lists(dataset_id)
        await self._asset(dataset_id, items)

    async def _organization(self) -> None:
        probe, asked = self.probe, "GET /workspaces/{org}"
        reply = await probe.api("GET", _routes.ORGANIZATION)
        usable = reply.ok and reply.document is not None
        probe.hold("answer.json", asked, usable, "JSON" if usable else said(reply))
        trace = reply.headers.get("x-cloud-trace-context", "")
        probe.hold("answer.trace", asked, bool(trace.split("/")[0]), "present" if trace else "absent")
        self._clock(asked, reply)
        https = urlsplit(probe.endpoint).scheme == "https"
        near = is_loopback(urlsplit(probe.endpoint).hostname)
        probe.hold("answer.tls", asked, https or near, "https" if https else "http")
        again = await probe.api("GET", _routes.ORGANIZATION)
        probe.row("answer.round_trip", asked, f"{again.seconds * 1000:.0f} ms", "measured")
        probe.compare("organization.document", asked, reply, shapes.ORGANIZATION)
        listed = await probe.api("GET", _routes.ORGANIZATIONS, params={"s": PAGE})
        probe.compare("organization.list", "GET /workspaces", listed, shapes.page_of(shapes.ORGANIZATION))

    def _clock(self, asked: str, reply: Reply) -> None:
        date = read_date(reply.headers.get("date", ""))
        self.probe.hold("answer.date", asked, date is not None, "present" if date else "absent")
        if date is None:
            self.probe.skip("answer.clock", "the service states no Date")
            return
        self.ahead = date.timestamp() - time.time()
        off = f"{abs(self.ahead):.0f} s {'ahead' if self.ahead > 0 else 'behind'}"
        self.probe.hold("answer.clock", asked, abs(self.ahead) <= CLOCK_SECONDS, off)

    async def _datasets(self) -> None:
        probe, asked = self.probe, "GET /workspaces/{org}/datasets"
        reply = await probe.api("GET", _routes.DATASETS, params={"s": PAGE})
        probe.compare("dataset.list", asked, reply, shapes.page_of(shapes.DATASET))
        items = reply.items()
        probe.hold("dataset.page_size", f"{asked}?s={PAGE}", len(items) <= int(PAGE), f"{len(items)} items")
        simple = await probe.api("GET", _routes.SIMPLE_DATASETS, params={"s": PAGE})
        probe.compare(
            "dataset.simple", "GET /workspaces/{org}/simpleDatasets", simple, shapes.page_of(shapes.SIMPLE_DATASET)
        )
        if self.dataset_id is None and items:
            found = dig(items[0], "datasetId")
            self.dataset_id = _routes.short(probe.organization, found) if isinstance(found, str) else None

    async def _refusals(self) -> None:
        probe = self.probe
        asked = "GET /workspaces/{org}"
        foreign = await probe.api("GET", _routes.ORGANIZATION, headers={"Authorization": f"Bearer {UNKNOWN_KEY}"})
        probe.hold("refuse.key", f"{asked} with an unknown key", foreign.status == 401, said(foreign))
        other = await probe.api("GET", _routes.ORGANIZATION, headers={"Organization-Id": UNKNOWN_ID})
        probe.hold("refuse.organization", f"{asked} as another organization", other.status == 403, said(other))
        dataset = await probe.api("GET", _routes.DATASET, {"dataset": self._composite(UNKNOWN_ID)})
        probe.hold("refuse.unknown_dataset", "GET {ds} of no dataset", dataset.status == 404, said(dataset))

    async def _dataset(self, dataset_id: str) -> Reply:
        probe, asked = self.probe, "GET {ds}"
        reply = await probe.api("GET", _routes.DATASET, {"dataset": self._composite(dataset_id)})
        probe.compare("dataset.document", asked, reply, shapes.DATASET)
        told = reply.text("datasetId")
        form = "composite" if told == self._composite(dataset_id) else "short" if told == dataset_id else "another"
        probe.hold("dataset.id", asked, form != "another", f"{form} form")
        return reply

    async def _assets(self, dataset_id: str) -> list[Any]:
        probe = self.probe
        reply = await self._page(dataset_id)
        probe.compare("asset.list", f"{_ASSETS}?s={PAGE}", reply, shapes.page_of(shapes.ASSET))
        items = reply.items()
        probe.hold("asset.page_size", f"{_ASSETS}?s={PAGE}", len(items) <= int(PAGE), f"{len(items)} items")
        ids = [dig(one, "assetId") for one in items]
        if ids:
            bad = sum(not _routes.is_identifier(one) for one in ids)
            probe.hold("asset.id", _ASSETS, not bad, f"{bad} of {len(ids)} of another form")
        else:
            probe.skip("asset.id", _NEEDS_ASSETS)
        shown = any(dig(one, "contents", "asset", "url") for one in items)
        probe.hold("asset.no_contents", _ASSETS, not shown, "URLs" if shown else "none")
        await self._order(dataset_id, ids, reply)
        return items

    async def _order(self, dataset_id: str, ids: list[Any], reply: Reply) -> None:
        probe = self.probe
        token = reply.text("nextPage")
        again = await self._page(dataset_id)
        same = [dig(one, "assetId") for one in again.items()] == ids
        probe.hold("asset.stable", f"{_ASSETS} twice", same, "the same order" if same else "another order")
        if token:
            following = await self._page(dataset_id, p=token)
            repeated = {dig(one, "assetId") for one in following.items()} & set(ids)
            good = following.ok and not repeated and following.text("nextPage") != token
            came = "other items" if good else f"{said(following)}, {len(repeated)} repeated"
            probe.hold("asset.next_page", f"{_ASSETS}?p=(nextPage)", good, came)
        else:
            probe.skip("asset.next_page", "the dataset has a single page")
        for rule, params, read in _ORDERS:
            found = [read(one) for one in (await self._page(dataset_id, s="20", **params)).items()]
            known = [one for one in found if one is not None]
            good = len(known) == len(found) and known == sorted(known, reverse="o" in params)
            query = "&".join(f"{name}={value}" for name, value in params.items())
            if found:
                probe.hold(rule, f"{_ASSETS}?{query}", good, "sorted" if good else "not sorted")
            else:
                probe.skip(rule, _NEEDS_ASSETS)

    async def _count(self, dataset_id: str, dataset: Reply) -> None:
        asked = "GET {ds}/assets:count"
        reply = await self.probe.api(
            "GET", _routes.ASSET_COUNT, {"dataset": self._composite(dataset_id)}, params={"strictQuery": "n"}
        )
        counted = reply.document if isinstance(reply.document, int) else dig(reply.document, "count")
        total = dig(dataset.document, "statistic", "assetTotal")
        good = isinstance(counted, int) and counted == total
        self.probe.hold("asset.count", asked, good, "equal" if good else f"{said(reply)}, not equal")

    async def _lists(self, dataset_id: str) -> None:
        probe, composite = self.probe, self._composite(dataset_id)
        for params, rule, asked in (
            ({"p": UNKNOWN_ID}, "refuse.page_token", f"{_ASSETS}?p=(unknown)"),
            ({"filter": "{"}, "refuse.filter", f"{_ASSETS}?filter={{"),
        ):
            reply = await probe.api("GET", _routes.ASSETS, {"dataset": composite}, params=params)
            probe.hold(rule, asked, reply.status in (400, 422), said(reply))
        asked = "GET {ds}/assets/{asset} of no asset"
        missing = await probe.api("GET", _routes.ASSET, {"dataset": composite, "asset": UNKNOWN_ID})
        probe.hold("refuse.unknown_asset", asked, missing.status == 404, said(missing))
        probe.describe("refuse.document", asked, shapes.differences(missing.document, shapes.ERROR))
        sessions = await probe.api(
            "GET", _routes.SESSIONS, {"dataset": composite, **_routes.MANAGED_SOURCE}, params={"s": PAGE}
        )
        probe.compare("session.list", "GET {src}/assetIngestionSessions", sessions, shapes.page_of(shapes.SESSION))
        deletions = await probe.api("GET", _routes.BULK_DELETIONS, {"dataset": composite}, params={"s": PAGE})
        asked = "GET {ds}/deleteManyAssetsSessions"
        probe.compare("bulk_deletion.list", asked, deletions, shapes.page_of(shapes.BULK_DELETION))

    async def _asset(self, dataset_id: str, items: list[Any]) -> None:
        probe = self.probe
        if not items:
            for rule in ("asset.document", "asset.contents", *_DOWNLOAD_RULES):
                probe.skip(rule, _NEEDS_ASSETS)
            return
        asset_id = str(dig(items[0], "assetId"))
        asked = "GET {ds}/assets/{asset}"
        reply = await probe.api("GET", _routes.ASSET, {"dataset": self._composite(dataset_id), "asset": asset_id})
        probe.compare("asset.document", asked, reply, shapes.ASSET)
        listed = (await self._page(dataset_id, contents="y")).items()
        with_url = [one for one in listed if isinstance(dig(one, "contents", "asset", "url"), str)]
        asked = f"{_ASSETS}?contents=y"
        probe.hold("asset.contents", asked, len(with_url) == len(listed) > 0, f"{len(with_url)} of {len(listed)}")
        small = [one for one in with_url if _size(one) <= MOST_BYTES]
        if small:
            await Download(self, min(small, key=_size)).walk()
        else:
            for rule in _DOWNLOAD_RULES:
                probe.skip(rule, "no asset of the first page has a signed URL and at most 64 MiB")

    async def _page(self, dataset_id: str, **params: str) -> Reply:
        return await self.probe.api(
            "GET", _routes.ASSETS, {"dataset": self._composite(dataset_id)}, params={"s": PAGE, **params}
        )

    def _composite(self, dataset_id: str) -> str:
        return _routes.composite(self.probe.organization, dataset_id)

    def life(self, contents: Any) -> float | None:
        """Return the seconds for which a signed URL is still valid, by the service's clock."""
        expiry = dig(contents, "expiry")
        return expiry / 1000 - time.time() - (self.ahead or 0.0) if isinstance(expiry, int) else None


@attrs.frozen
class Download:
    """Walks one signed download."""

    reading: Reading
    asset: Any

    async def walk(self) -> None:
        """Compare the URL and the answers of the storage with the contract."""
        probe, contents = self.reading.probe, dig(self.asset, "contents", "asset")
        transfer = probe.signed(contents, "GET")
        asked = f"{_ASSETS}?contents=y"
        if not probe.hold("download.url", asked, transfer is not None, "usable" if transfer else "refused"):
            for rule in _DOWNLOAD_RULES[1:]:
                probe.skip(rule, "the client refuses the URL")
            return
        assert transfer is not None
        name = dig(self.asset, "filename")
        segment = transfer.url.raw_path.rsplit("/", 1)[-1]
        good = isinstance(name, str) and segment == quote(name, safe="")
        probe.hold("download.name", asked, good, "the encoded name" if good else "another segment")
        life = self.reading.life(contents)
        probe.hold("download.life", asked, life is not None and life >= LEAST_LIFE, "no expiry" if life is None else
                   f"{life:.0f} s")  # fmt: skip
        await self._bytes(transfer)

    async def _bytes(self, transfer: SignedTransfer) -> None:
        probe, asked = self.reading.probe, "GET (signed download)"
        reply = await probe.storage(transfer)
        good = reply.status == 200 and reply.headers.get("content-length", "").isdigit()
        if not probe.hold("download.status", asked, good, said(reply)):
            for rule in _DOWNLOAD_RULES[_DOWNLOAD_RULES.index("download.status") + 1 :]:
                probe.skip(rule, "the bytes did not come")
            return
        probe.row("download.rate", asked, f"{len(reply.body) / max(reply.seconds, 0.001) / 1024:.0f} KiB/s", "measured")
        size = dig(self.asset, "metadata", "fileSize")
        probe.hold("download.size", asked, len(reply.body) == size, "equal" if len(reply.body) == size else "not equal")
        coding = reply.headers.get("content-encoding", "identity").lower()
        probe.hold("download.encoding", asked, coding in ("", "identity"), probe.safe.word(coding))
        etag = reply.headers.get("etag", "")
        probe.hold("download.etag", asked, bool(etag), "present" if etag else "absent")
        ranges = reply.headers.get("accept-ranges", "")
        probe.hold("download.ranges", asked, ranges == "bytes", probe.safe.word(ranges) if ranges else "absent")
        self._digests(asked, reply)
        await self._parts(transfer, len(reply.body), etag)
        tampered = probe.signed(_tampered(dig(self.asset, "contents", "asset")), "GET")
        changed = await probe.storage(tampered) if tampered else None
        refused = changed is None or changed.status in (400, 401, 403, 404)
        came = said(changed) if changed else "refused by the client"
        probe.hold("download.signature", f"{asked} with a changed signature", refused, came)

    def _digests(self, asked: str, reply: Reply) -> None:
        probe = self.reading.probe
        crc = to_base64(crc32c(reply.body))
        sha = base64.b64encode(hashlib.sha256(reply.body).digest()).decode()
        told = [
            (f"crc32c={crc}", reply.headers.get("x-goog-hash", ""), "crc32c="),
            (f"sha-256=:{sha}:", reply.headers.get("repr-digest", ""), "sha-256="),
        ]
        stated = [expected in header for expected, header, kind in told if kind in header]
        came = "absent" if not stated else "equal" if all(stated) else "not equal"
        probe.hold("download.checksum", asked, bool(stated) and all(stated), came)
        algorithm = str(dig(self.asset, "metadata", "hash", "algorithm")).lower().replace("-", "")
        contents = dig(self.asset, "metadata", "hash", "contents")
        if algorithm not in ("sha256", "md5") or not isinstance(contents, str):
            probe.skip("download.hash", "metadata.hash is of another kind than SHA-256 and MD5")
            return
        good = hashlib.new(algorithm, reply.body, usedforsecurity=False).hexdigest() == contents.lower()
        probe.hold("download.hash", asked, good, "equal" if good else "not equal")

    async def _parts(self, transfer: SignedTransfer, size: int, etag: str) -> None:
        probe, asked = self.reading.probe, "GET (signed download)"
        end = min(9, size - 1)
        part = await probe.storage(transfer, headers={"Range": f"bytes=0-{end}"})
        good = part.status == 206 and part.headers.get("content-range") == f"bytes 0-{end}/{size}"
        probe.hold("download.part", f"{asked}, Range: bytes=0-{end}", good and len(part.body) == end + 1, said(part))
        beyond = await probe.storage(transfer, headers={"Range": f"bytes={size}-"})
        probe.hold("download.bad_part", f"{asked}, Range beyond the end", beyond.status == 416, said(beyond))
        if etag:
            other = await probe.storage(transfer, headers={"If-Match": '"contract-check"', "Range": f"bytes=0-{end}"})
            probe.hold("download.if_match", f"{asked}, If-Match of another", other.status == 412, said(other))
        else:
            probe.skip("download.if_match", "storage states no ETag")


def _tampered(contents: Any) -> dict[str, Any]:
    """Return a signed transfer with the last letter or digit of its URL changed."""
    url = contents["url"]
    at = max(index for index, letter in enumerate(url) if letter.isalnum())
    return {**contents, "url": f"{url[:at]}{'0' if url[at] != '0' else '1'}{url[at + 1 :]}"}


def _size(asset: Any) -> int:
    size = dig(asset, "metadata", "fileSize")
    return size if isinstance(size, int) else 1 << 62


def _name(asset: Any) -> str | None:
    name = dig(asset, "filename")
    return name if isinstance(name, str) else None


def _bytes(asset: Any) -> int | None:
    size = dig(asset, "metadata", "fileSize")
    return size if isinstance(size, int) else None


_ORDERS: tuple[tuple[str, dict[str, str], Callable[[Any], Any]], ...] = (
    ("asset.sort_filename", {"sortBy": "filename"}, _name),
    ("asset.sort_descending", {"sortBy": "filename", "o": "d"}, _name),
    ("asset.sort_size", {"sortBy": "metadata.fileSize"}, _bytes),
)
_DOWNLOAD_RULES = (
    "download.url",
    "download.name",
    "download.life",
    "download.status",
    "download.size",
    "download.encoding",
    "download.etag",
    "download.ranges",
    "download.checksum",
    "download.hash",
    "download.part",
    "download.bad_part",
    "download.if_match",
    "download.signature",
)
