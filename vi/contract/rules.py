"""The one list of checks: what the contract says, what a difference means for users, and which feature it touches.

Sections are those of the wire contract. Both the command and the tests of the local service walk this list.
"""

from __future__ import annotations

import attrs

from .report import Meaning


@attrs.frozen
class Rule:
    """One check. *writes* marks those that need a dataset of their own, *slow* one that waits for a URL to expire."""

    section: str
    says: str
    means: Meaning
    feature: str
    writes: bool = False
    slow: bool = False


def _write(section: str, says: str, means: Meaning, feature: str) -> Rule:
    return Rule(section, says, means, feature, writes=True)


RULES: dict[str, Rule] = {
    # Every API answer
    "answer.json": Rule("1.5", "answers are JSON in UTF-8", "risk", "every call"),
    "answer.trace": Rule("4.2", "x-cloud-trace-context on API answers", "harmless", "request ids in errors"),
    "answer.date": Rule("16", "a Date on every answer", "handled", "judging the life of signed URLs"),
    "answer.clock": Rule("16", "the Date within 60 s of this machine's clock", "handled", "signed URLs"),
    "answer.tls": Rule("1.1", "https, except on this machine", "risk", "privacy of the key"),
    "answer.round_trip": Rule("1.7", "time of one small request", "", ""),
    "answer.retry_after": Rule("4.5", "a readable Retry-After on 429 and 503", "handled", "pauses between retries"),
    # Organizations and datasets
    "organization.document": Rule("6.1", "an organization document", "handled", "organizations.get"),
    "organization.list": Rule("6.2", "a page of organization documents", "handled", "organizations.list"),
    "dataset.list": Rule("7.2", "a page of dataset documents", "handled", "datasets.list"),
    "dataset.page_size": Rule("8.1", "at most as many items as asked for", "handled", "paging"),
    "dataset.document": Rule("7.1", "a dataset document", "handled", "datasets.get"),
    "dataset.id": Rule("2.1", "datasetId written as {org}_{dataset} or short", "risk", "every call about a dataset"),
    "dataset.simple": Rule("7.2", "a page of ids and names", "harmless", "none"),
    # Assets
    "asset.list": Rule("8.1", "a page of asset documents", "handled", "assets.list"),
    "asset.page_size": Rule("8.1", "at most as many items as asked for", "handled", "paging"),
    "asset.next_page": Rule("3.5", "nextPage leads to other items, never to itself", "risk", "listing, download, sync"),
    "asset.stable": Rule("8.1", "the same order when asked twice", "risk", "listing, download, sync"),
    "asset.sort_filename": Rule("8.1", "sortBy=filename sorts by name", "handled", "sort_by"),
    "asset.sort_descending": Rule("8.1", "o=d turns the order around", "handled", "sort_by"),
    "asset.sort_size": Rule("8.1", "sortBy=metadata.fileSize sorts by size", "handled", "sort_by"),
    "asset.document": Rule("8.4", "an asset document", "handled", "assets.get"),
    "asset.id": Rule("2", "ids of letters, digits, _ and -", "risk", "every call about an asset"),
    "asset.count": Rule("8.6", "the count of a dataset equals its assetTotal", "handled", "assets.count"),
    "asset.contents": Rule("8.1", "contents=y gives a signed URL for each asset", "risk", "download, open, stream"),
    "asset.no_contents": Rule("8.1", "no signed URL unless asked for", "harmless", "none"),
    "session.list": Rule("9.7", "a page of sessions", "harmless", "none"),
    "bulk_deletion.list": Rule("7.6", "a page of bulk deletions", "harmless", "none"),
    # Refusals
    "refuse.key": Rule("1.3", "401 for an unknown key", "risk", "authentication errors"),
    "refuse.organization": Rule("1.3", "403 for another organization", "handled", "permission errors"),
    "refuse.unknown_asset": Rule("8.4", "404 for an asset that does not exist", "risk", "assets.get, missing_ok"),
    "refuse.unknown_dataset": Rule("7.2", "404 for a dataset that does not exist", "risk", "datasets.get"),
    "refuse.page_token": Rule("8.1", "400 for an unknown page token", "handled", "paging"),
    "refuse.filter": Rule("8.2", "400 for a malformed filter", "risk", "filters, bulk deletion"),
    "refuse.document": Rule("4.1", "an error document with a message", "handled", "error messages"),
    # Signed downloads
    "download.url": Rule("3.4", "an absolute URL, https where the service is", "risk", "download"),
    "download.name": Rule("11", "the last path segment is the encoded file name", "harmless", "other clients"),
    "download.life": Rule("11", "a URL lives for at least a minute", "risk", "download"),
    "download.status": Rule("11", "200 with Content-Length", "risk", "download"),
    "download.rate": Rule("11", "bytes a second of one small download", "", ""),
    "download.size": Rule("11", "as many bytes as metadata.fileSize", "risk", "download"),
    "download.encoding": Rule("11", "no Content-Encoding on stored bytes", "handled", "download"),
    "download.etag": Rule("11", "an ETag", "handled", "resuming a download"),
    "download.ranges": Rule("11", "Accept-Ranges: bytes", "handled", "large downloads"),
    "download.checksum": Rule("11", "x-goog-hash or Repr-Digest", "handled", "verification without metadata.hash"),
    "download.hash": Rule("8.3", "bytes that match metadata.hash", "risk", "verification"),
    "download.part": Rule("11", "206 with Content-Range for a range", "risk", "large downloads, open"),
    "download.bad_part": Rule("11", "416 for a range beyond the end", "handled", "large downloads"),
    "download.if_match": Rule("11", "412 when If-Match names another ETag", "risk", "large downloads"),
    "download.signature": Rule("11", "400, 401 or 403 for a changed signature", "risk", "privacy of the data"),
    # With --write
    "write.dataset": _write("7.3", "201 with a dataset document", "risk", "datasets.create"),
    "write.idempotency": _write("16", "the same Idempotency-Key gets the first answer", "handled", "retried creations"),
    "write.update": _write("7.4", "a new description is kept", "handled", "datasets.update"),
    "write.session": _write("9.2", "201 with a session and a URL for each file", "risk", "upload"),
    "write.session_life": _write("9.5", "an upload URL lives for at least a minute", "risk", "upload"),
    "write.put": _write("9.4", "2xx for the bytes", "risk", "upload"),
    "write.put_checksum": _write("16", "x-goog-hash of what was stored", "handled", "damage on the way is seen late"),
    "write.settled": _write("9.5", "every good file ingested, counts that add up", "risk", "upload"),
    "write.formats": _write("12", "each documented format is ingested", "risk", "upload"),
    "write.refused": _write("9.5", "files that are not whole images end with codes in Error events", "risk", "upload"),
    "write.empty_session": _write("9.2", "400 for a session without files", "harmless", "none"),
    "write.metadata": _write("9.2", "custom metadata comes back with its types", "risk", "custom_metadata"),
    "write.multipart": _write("10", "a file sent in parts is ingested", "risk", "files sent in parts"),
    "write.multipart_document": _write("10.1", "a multipart document", "handled", "files sent in parts"),
    "write.part_document": _write("10.3", "a part document", "handled", "files sent in parts"),
    "write.overwrite_remove": _write("9.2", "the same name again keeps one asset", "risk", "overwriting"),
    "write.overwrite_keep": _write("9.2", "KeepLinkedResource is accepted", "risk", "on_asset_overwritten"),
    "write.cancel": _write("9.6", "a cancelled session fails and its URL is refused", "handled", "cancelling"),
    "write.rename": _write("8.7", "a new name by id", "risk", "assets.rename"),
    "write.rename_by_name": _write("8.7", "a new name by the current one", "risk", "assets.rename"),
    "write.rename_conflict": _write("8.7", "409 for a name that exists", "handled", "assets.rename"),
    "write.count": _write("8.6", "the count of a query", "risk", "assets.count"),
    "write.query": _write("8.2", "both spellings of a metadata query find the same", "handled", "metadata_query"),
    "write.filter": _write("8.2", "a filter by a field of the document", "handled", "filter_criteria"),
    "write.delete": _write("8.5", "2xx with an empty body, then 404", "risk", "assets.delete"),
    "write.delete_several": _write("8.5", "several at once; 404 for one that is gone", "handled", "assets.delete_many"),
    "write.delete_many": _write("7.6", "a bulk deletion ends and leaves the others", "risk", "assets.delete_many"),
    "write.delete_dataset": _write("7.5", "a deletion document, then 404", "risk", "datasets.delete"),
    "write.expired": Rule("9.4", "an expired URL is refused", "risk", "expired URLs", writes=True, slow=True),
}
