"""`client.datasets`: make, find, change and delete datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .... import _routes
from ....errors import ViInvalidParameterError
from ...blocking import Blocking, blocking, blocking_pages
from ...pagination import Listing
from ...types import PaginationParams
from ..base import Resource, check_mapping, check_text
from ..shared import choose
from .responses import Dataset, DeletedDataset
from .types import DatasetType


class AsyncDatasets(Resource):
    """Datasets of the organization."""

    def list(self, pagination: PaginationParams | None = None) -> Listing[Dataset]:
        """List datasets."""
        return self._list(self._path(_routes.DATASETS), Dataset, pagination)

    async def get(self, dataset_id: str) -> Dataset:
        """Return a dataset."""
        return await self._http.request("GET", self._path(_routes.DATASET, dataset_id=dataset_id), Dataset)

    async def create(
        self,
        name: str,
        dataset_type: DatasetType | str = DatasetType.PHRASE_GROUNDING,
        description: str = "",
        tags: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Create a dataset; *metadata* becomes its attributes."""
        body: dict[str, Any] = {
            "name": check_text(name, "name"),
            "owner": self._organization_id,
            "description": description,
            "type": str(choose(DatasetType, dataset_type, "dataset_type")),
            "content": "Image",
            "localization": "Datature/Multi",
            "dataLocalization": "Datature/Multi",
            "status": 0,
            "tags": check_mapping(tags or {}, "tags", int),
        }
        if metadata:
            body["metadata"] = {"attributes": check_mapping(metadata, "metadata", str)}
        return await self._http.request("POST", self._path(_routes.DATASETS), Dataset, body=body)

    async def update(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Change what is given and leave the rest."""
        body: dict[str, Any] = {}
        if name is not None:
            body["name"] = check_text(name, "name")
        if description is not None:
            body["description"] = description
        if tags is not None:
            body["tags"] = check_mapping(tags, "tags", int)
        if metadata is not None:
            body["metadata"] = {"attributes": check_mapping(metadata, "metadata", str)}
        if not body:
            raise ViInvalidParameterError("update needs at least one of name, description, tags, metadata.")
        path = self._path(_routes.DATASET, dataset_id=dataset_id)
        return await self._http.request("PATCH", path, Dataset, body=body, idempotent=True)

    async def delete(self, dataset_id: str) -> DeletedDataset:
        """Delete a dataset with all its assets, for good."""
        path = self._path(_routes.DATASET, dataset_id=dataset_id)
        done = self._path(_routes.DATASET_DELETION, dataset_id=dataset_id)
        return await self._http.request("DELETE", path, DeletedDataset, if_gone=done)


class Datasets(Blocking[AsyncDatasets]):
    """Datasets of the organization."""

    list: Final = blocking_pages(AsyncDatasets.list)
    get: Final = blocking(AsyncDatasets.get)
    create: Final = blocking(AsyncDatasets.create)
    update: Final = blocking(AsyncDatasets.update)
    delete: Final = blocking(AsyncDatasets.delete)
