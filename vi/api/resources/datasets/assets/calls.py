"""Each request about the assets of one dataset, written once.

What makes up an operation (an upload, a sync, a bulk deletion) asks the service through this, never through its owner.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any

from ..... import _routes, _wire
from ....._http import Http
from ....._transfer.names import name_problem
from .....errors import ViOperationError
from ....pagination import Page
from ....types import MAX_PAGE_SIZE, PaginationParams
from ...base import check_id, list_documents, read_envelope, read_page
from ..responses import BulkAssetDeletionSession
from .responses import Asset, AssetIngestionSession, MetadataChanges

PAGE = MAX_PAGE_SIZE
WITH_CONTENTS = {"contents": "y"}


class AssetCalls:
    """The requests about one dataset's assets; `ViInvalidParameterError` for what cannot be the id of one."""

    def __init__(self, http: Http, dataset_id: str) -> None:
        self.http = http
        self.dataset_id: str = check_id(dataset_id, "dataset_id")
        """As it was given, short or composite."""
        organization = http.settings.organization_id or ""
        dataset = _routes.composite(organization, dataset_id)
        self._values = {"org": organization, "dataset": dataset, **_routes.MANAGED_SOURCE}

    @property
    def endpoint(self) -> str:
        """The address of the service."""
        return self.http.settings.endpoint

    @property
    def organization_id(self) -> str:
        """The organization of the key."""
        return self._values["org"]

    def are_of(self, dataset_id: str) -> bool:
        """Tell whether *dataset_id*, short or composite, names the same dataset."""
        return _routes.composite(self._values["org"], dataset_id) == self._values["dataset"]

    def path(self, template: str, **values: str) -> str:
        """Fill a route below the dataset."""
        return _routes.fill(template, **self._values, **values)

    async def dataset(self) -> Any:
        """Return the document of the dataset; `ViNotFoundError` if there is none."""
        return await self.http.document("GET", self.path(_routes.DATASET))

    def pages(self, params: Mapping[str, str], limit: int | None = None) -> AsyncGenerator[Page[Any], None]:
        """List the documents of assets page by page; *limit* is how many are wanted at most."""
        size = PAGE if limit is None else min(PAGE, limit)
        return list_documents(self.http, self.path(_routes.ASSETS), PaginationParams(page_size=size), params).pages()

    async def asset(self, asset_id: str, *, contents: bool = False) -> Asset:
        """Return an asset, with signed URLs if *contents*."""
        params = WITH_CONTENTS if contents else None
        return await self.http.request("GET", self._asset_path(asset_id), Asset, params=params)

    async def named(self, filename: str, *, contents: bool) -> list[Asset]:
        """Return the assets that the service finds for a filename, with signed URLs if *contents*."""
        path = self.path(_routes.ASSETS)
        query = {**_exactly(filename), "s": "10", **(WITH_CONTENTS if contents else {})}
        page = await self.http.page(path, Asset, query, lambda document: read_page(document, Asset, path))
        return page.items

    async def contents(self, asset_id: str) -> Any:
        """Return the document of an asset with its signed URLs, as it is."""
        return await self.http.document("GET", self._asset_path(asset_id), params=WITH_CONTENTS)

    async def rename(self, new_name: str, asset_id: str | None, filename: str | None) -> Asset:
        """Rename an asset, found by id or else by its name."""
        if asset_id is not None:
            path = self.path(_routes.ASSET_NAME, asset=asset_id)
        else:
            path = self.path(_routes.ASSET_FILE_NAME, filename=filename or "")
        return await self.http.request("POST", path, Asset, body={"filename": new_name})

    async def of_names(self, names: Collection[str], *, contents: bool = False) -> AsyncGenerator[list[Any], None]:
        """Yield the documents of the assets that have exactly these *names*, with signed URLs if *contents*.

        Where the service cannot look names up, the dataset is listed. An item without a name is left in.
        """
        params = WITH_CONTENTS if contents else {}
        if names and not await self._has(_routes.LOOKUP):
            one = _exactly(next(iter(names))) if len(names) == 1 else {}
            async for page in self.pages({**params, **one}):
                yield [item for item in page.items if _name_of(item) is None or _name_of(item) in names]
            return
        path = self.path(_routes.ASSET_LOOKUP)
        asked = (name for name in names if name_problem(name) is None)
        while some := list(itertools.islice(asked, _routes.NAMES_A_LOOKUP)):
            body = {"spec": {"filenames": some, "strictQuery": True}}
            document = await self.http.document("POST", path, params=params or None, body=body, idempotent=True)
            yield read_envelope(document, path)[2]

    async def can_set_metadata(self) -> bool:
        """Tell whether the service changes metadata without the bytes."""
        return await self._has(_routes.SET_METADATA)

    async def _has(self, addition: str) -> bool:
        """Tell whether the service announces an addition, asking for the dataset if no answer has done so."""
        if addition not in self.http.additions:
            await self.dataset()
        return addition in self.http.additions

    async def set_metadata(
        self, updates: Mapping[str, Mapping[str, Any]], remove: Sequence[str], *, dry_run: bool
    ) -> MetadataChanges:
        """Change the metadata of assets by name; to repeat it changes nothing more."""
        assets = [{"filename": name, "customMetadata": update} for name, update in updates.items()]
        body = {"spec": {"assets": assets, "remove": list(remove), "dryRun": dry_run}}
        return await self.http.request(
            "POST", self.path(_routes.ASSET_METADATA), MetadataChanges, body=body, idempotent=True
        )

    async def delete(self, asset_id: str) -> None:
        """Delete an asset."""
        await self.http.document("DELETE", self._asset_path(asset_id))

    async def count(self, params: Mapping[str, str]) -> int:
        """Return how many assets a selection has; the answer is an object or a bare integer (protocol section 8.6)."""
        path = self.path(_routes.ASSET_COUNT)
        document = await self.http.document("GET", path, params=params)
        count = document.get("count") if isinstance(document, dict) else document
        if type(count) is not int:
            raise ViOperationError(f"GET {path}: the answer cannot be read: count: expected an integer.")
        return count

    async def delete_selected(self, spec: Mapping[str, Any]) -> BulkAssetDeletionSession:
        """Begin a bulk deletion (protocol section 7.6)."""
        path = self.path(_routes.BULK_DELETIONS)
        return await self.http.request("POST", path, BulkAssetDeletionSession, body={"spec": spec})

    async def bulk_deletion(self, session_id: str) -> BulkAssetDeletionSession:
        """Return how far a bulk deletion is."""
        path = self.path(_routes.BULK_DELETION, deletion=session_id)
        return await self.http.request("GET", path, BulkAssetDeletionSession)

    async def open_session(self, spec: Mapping[str, Any], upload: str) -> Any:
        """Open an upload session; its document as it is, with a signed URL for each file.

        A service that groups sessions learns to which *upload* this one belongs.
        """
        headers = {_routes.UPLOAD: upload} if _routes.UPLOAD_GROUPS in self.http.additions else None
        return await self.http.document("POST", self.path(_routes.SESSIONS), body={"spec": spec}, headers=headers)

    async def session(self, session_id: str, *, wait: float | None = None) -> AssetIngestionSession:
        """Return an upload session; where `can_wait`, the answer may be held for *wait* seconds until it ends."""
        path = self._session_path(_routes.SESSION, session_id)
        params = None if wait is None else {_routes.WAIT: f"{wait:.3f}"}
        return await self.http.request("GET", path, AssetIngestionSession, params=params)

    @property
    def can_wait(self) -> bool:
        """Whether an answer has shown that the service waits for the end of a session."""
        return _routes.SESSION_WAIT in self.http.additions

    async def cancel_session(self, session_id: str) -> AssetIngestionSession | None:
        """Cancel an upload session; what it is now, without URLs, or None when the answer does not say."""
        path = self._session_path(_routes.SESSION_CANCEL, session_id)
        document = await self.http.document("POST", path, idempotent=True)
        if not isinstance(document, dict):
            return None
        take_signed_urls(document)
        try:
            return _wire.structure(document, AssetIngestionSession)
        except _wire.WireError:
            return None

    def _asset_path(self, asset_id: str) -> str:
        return self.path(_routes.ASSET, asset=asset_id)

    def _session_path(self, template: str, session_id: str) -> str:
        return self.path(template, session=session_id)


def _exactly(filename: str) -> dict[str, str]:
    return {"filter": json.dumps({"filename": filename}), "strictQuery": "y"}


def _name_of(item: Any) -> str | None:
    name = item.get("filename") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def take_signed_urls(session: Any) -> list[Any]:
    """Take the signed URLs out of the document of a session; they are read apart and not kept."""
    try:
        assets = session["status"].pop("assets", None)
    except (KeyError, TypeError, AttributeError):
        return []
    return assets if isinstance(assets, list) else []
