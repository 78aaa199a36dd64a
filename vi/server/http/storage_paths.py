"""The paths of the storage side, on the same origin as the API and opened by a signature alone."""

from __future__ import annotations

from ... import _routes

UPLOAD = "/up/{session}/{index}/{filename}"
PART = "/part/{upload}/{number}"
DOWNLOAD = "/dl/{dataset}/{asset}/{filename}"
THUMBNAIL = "/thumbnail/{dataset}/{asset}/{blob}"


def storage_path(template: str, **values: str | int) -> str:
    """Return a storage path in its one canonical spelling."""
    return _routes.fill(template, **values)
