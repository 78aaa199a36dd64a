"""The assets that a listing, a count or a bulk deletion selects (protocol section 8.2)."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa

from ..http.api_errors import invalid
from ..identity import Identity
from . import assets, query
from .schema import asset


@attrs.frozen
class Selection:
    """A filter as it was requested."""

    filter: Any = None
    metadata_query: str | None = None
    rule_query: str | None = None
    strict_query: bool = False

    def condition(self, identity: Identity, dataset_id: str) -> sa.ColumnElement[bool] | None:
        """Return it as a condition on the asset table, None when it selects everything; raises 400."""
        if self.rule_query:
            raise invalid("ruleQuery is not supported", "ruleQuery")
        columns = assets.columns(identity, dataset_id)
        conditions = []
        if self.filter not in (None, ""):
            conditions.append(self._compile("filter", columns))
        if self.metadata_query not in (None, ""):
            conditions.append(self._compile("metadataQuery", columns))
        return sa.and_(*conditions) if conditions else None

    def _compile(self, name: str, columns: Any) -> sa.ColumnElement[bool]:
        strict = self.strict_query
        try:
            parsed: Any
            if name == "filter":
                parsed = query.parse_filter(self.filter)
            else:
                parsed = query.parse_metadata_query(self.metadata_query or "")
            return query.to_sql(parsed, columns, asset.c.custom_metadata, strict=strict)
        except query.QueryError as error:
            raise invalid(f"{name}: {error}", name) from None


def of_spec(identity: Identity, dataset_id: str, spec: dict[str, Any]) -> sa.ColumnElement[bool] | None:
    """Return the condition of a bulk deletion's stored spec."""
    return Selection(spec["filter"], spec["metadataQuery"], spec["ruleQuery"], bool(spec["strictQuery"])).condition(
        identity, dataset_id
    )
