"""Organization documents (protocol section 6; a "workspace" on the wire)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from .... import _wire
from ...._show.sheet import Sheet
from ...display import Listed
from ...document import Document


@attrs.define
class Organization(Document, Listed):
    """An organization; its datasets are listed by ``client.datasets``."""

    organization_id: str = _wire.field(wire="workspaceId")
    name: str = ""
    kind: str = ""
    last_access: int | None = None
    datasets: list[str] = attrs.Factory(list)
    billing: dict[str, Any] = attrs.Factory(dict)
    users: dict[str, Any] = attrs.Factory(dict)
    metadata: dict[str, Any] = attrs.Factory(dict)
    features: dict[str, Any] = attrs.Factory(dict)
    lock_status: dict[str, Any] = attrs.Factory(dict)
    self_link: str = ""
    etag: str = ""

    _noun: ClassVar[str] = "organization"
    _heads: ClassVar[Sequence[str]] = ("Name", "Organization")

    def _cells(self) -> Sequence[str]:
        return self.name, self.organization_id

    def _sheet(self) -> Sheet:
        return Sheet(facts=[("Organization", self.organization_id), ("Name", self.name)])
