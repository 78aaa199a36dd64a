"""`client.organizations`: the organization of the key."""

from __future__ import annotations

from typing import Final

from .... import _routes
from ...blocking import Blocking, blocking, blocking_pages
from ...pagination import Listing
from ...types import PaginationParams
from ..base import Resource, check_text
from .responses import Organization


class AsyncOrganizations(Resource):
    """Organizations that the key may see."""

    def list(self, pagination: PaginationParams | None = None) -> Listing[Organization]:
        """List the organizations: await it for one page, iterate for every page.

        Args:
            pagination: Page size (at most 1000) and token. Default: pages of 10, or of 1000 when iterating.

        Returns:
            A `Listing`; the sync form a `PaginatedResponse`.
        """
        return self._list(_routes.ORGANIZATIONS, Organization, pagination)

    async def get(self, organization_id: str | None = None) -> Organization:
        """Return an organization.

        Args:
            organization_id: Id of the organization. Default: that of the client.

        Returns:
            The organization.

        Raises:
            ViPermissionError: The key may not see this organization.
            ViNotFoundError: The organization does not exist.
        """
        own = organization_id is None
        organization = self._organization_id if own else check_text(organization_id, "organization_id")
        path = _routes.fill(_routes.ORGANIZATION, org=organization)
        return await self._http.request("GET", path, Organization)


class Organizations(Blocking[AsyncOrganizations]):
    """Organizations that the key may see."""

    list: Final = blocking_pages(AsyncOrganizations.list)
    get: Final = blocking(AsyncOrganizations.get)
