"""What every handler shares: one object, under one typed key of the application."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import attrs
from aiohttp import web

from .config import ServiceConfig
from .contents import Contents
from .disk.room import Room
from .documents import Documents
from .http.api_errors import ApiError
from .http.signing import Signer
from .identifiers import Identifiers
from .identity import Identity, Keys
from .ingestion import Ingestion
from .objects import ObjectStore
from .removal import Removal
from .store.idempotency import Claim
from .store.metadata import Metadata

Clock = Callable[[], int]

_MAX_KEY = 255


@attrs.define
class Drain:
    """Whether the service is about to end: it still answers, and wants no new connections."""

    began: bool = False


@attrs.frozen
class Context:
    """The parts of a running service. *clock* gives milliseconds since 1970 UTC."""

    config: ServiceConfig
    identity: Identity
    database: Metadata
    blobs: ObjectStore
    room: Room
    keys: Keys
    clock: Clock
    new_id: Identifiers
    documents: Documents
    contents: Contents
    ingestion: Ingestion
    removal: Removal
    is_shared: bool
    """Whether other processes work on the same rows and bytes."""
    origin: Callable[[web.BaseRequest], str]
    """The scheme, host and port to write into signed URLs of an answer."""
    drain: Drain = attrs.field(factory=Drain)

    @property
    def signer(self) -> Signer:
        """What signs URLs and page tokens."""
        return self.keys.signer

    @property
    def organization_id(self) -> str:
        """The organization's id."""
        return self.identity.organization_id

    def dataset_name(self, request: web.Request) -> str:
        """Return the dataset id of a path as it came."""
        return request.match_info["dataset"]

    def claim(self, request: web.Request, body: bytes) -> Claim | None:
        """Return what the request's idempotency key stands for."""
        key = request.headers.get("Idempotency-Key")
        if not key:
            return None
        if len(key) > _MAX_KEY:
            raise ApiError(400, "Idempotency-Key must be at most 255 characters")
        scope = hashlib.sha256(f"{self.organization_id}\n{request.path}\n{key}".encode("utf-8", "surrogatepass"))
        return Claim(scope.hexdigest(), hashlib.sha256(body).hexdigest())

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects that a commit has dropped."""
        await self.removal.remove(blobs)


CONTEXT = web.AppKey("context", Context)
