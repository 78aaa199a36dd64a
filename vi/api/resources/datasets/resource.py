"""`client.datasets`: create, find, change and delete datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .... import _routes
from ....errors import ViInvalidParameterError
from ...blocking import Blocking, blocking, blocking_pages
from ...pagination import Listing
from ...types import PaginationParams
from ..base import Resource, check_mapping, check_text, check_unicode
from ..shared import choose
from .responses import Dataset, DeletedDataset
from .types import DatasetType


class AsyncDatasets(Resource):
    """Datasets of the organization."""

    def list(self, pagination: PaginationParams | None = None) -> Listing[Dataset]:
        """List the datasets: await it for one page, iterate for every page.

        Nothing is requested before that. The sync form requests the first page at once.

        Args:
            pagination: Page size (at most 1000) and token. Default: pages of 10, or of 1000 when iterating.

        Returns:
            A `Listing`; the sync form a `PaginatedResponse`.
        """
        return self._list(self._path(_routes.DATASETS), Dataset, pagination)

    async def get(self, dataset_id: str) -> Dataset:
        """Return a dataset.

        Args:
            dataset_id: Id of the dataset.

        Returns:
            The dataset.

        Raises:
            ViNotFoundError: The dataset does not exist.
        """
        return await self._http.request("GET", self._path(_routes.DATASET, dataset_id=dataset_id), Dataset)

    async def create(
        self,
        name: str,
        dataset_type: DatasetType | str = DatasetType.PHRASE_GROUNDING,
        description: str = "",
        tags: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Create a dataset.

        A request whose response was lost is retried only if the service can recognise the repetition; otherwise the
        error says that the outcome is unknown.

        Args:
            name: Name of the dataset; several datasets may have the same.
            dataset_type: What its annotations are, such as ``"phrase-grounding"``; see `DatasetType`.
            description: Text for people.
            tags: Tags, each with an integer.
            metadata: Attributes: text by name.

        Returns:
            The new dataset.

        Raises:
            ViInvalidParameterError: An argument is invalid.
        """
        body: dict[str, Any] = {
            "name": check_text(name, "name"),
            "owner": self._organization_id,
            "description": check_unicode(description, "description"),
            "type": str(choose(DatasetType, dataset_type, "dataset_type")),
            "content": "Image",
            "localization": "Datature/Multi",
            "dataLocalization": "Datature/Multi",
            "status": 0,
            "tags": check_mapping({} if tags is None else tags, "tags", int),
        }
        if metadata is not None:
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
        """Change the given fields of a dataset, and leave the others.

        Args:
            dataset_id: Id of the dataset.
            name: New name.
            description: New description.
            tags: New tags; they replace the old ones.
            metadata: Attributes to set; the others are kept.

        Returns:
            The changed dataset.

        Raises:
            ViInvalidParameterError: No field is given, or an argument is invalid.
            ViNotFoundError: The dataset does not exist.
        """
        body: dict[str, Any] = {}
        if name is not None:
            body["name"] = check_text(name, "name")
        if description is not None:
            body["description"] = check_unicode(description, "description")
        if tags is not None:
            body["tags"] = check_mapping(tags, "tags", int)
        if metadata is not None:
            body["metadata"] = {"attributes": check_mapping(metadata, "metadata", str)}
        if not body:
            raise ViInvalidParameterError("update needs at least one of name, description, tags, metadata.")
        path = self._path(_routes.DATASET, dataset_id=dataset_id)
        return await self._http.request("PATCH", path, Dataset, body=body, idempotent=True)

    async def delete(self, dataset_id: str) -> DeletedDataset:
        """Delete a dataset and all its assets, permanently.

        Args:
            dataset_id: Id of the dataset.

        Returns:
            The id of the deleted dataset.

        Raises:
            ViNotFoundError: The dataset does not exist.
        """
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
