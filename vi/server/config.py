"""What may be set on the local service, with the limits that keep one client from exhausting it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

MIB = 1 << 20
LONGEST_SECONDS = 7 * 24 * 3600
"""How long a signed address of an S3 store may live at most; stores set this limit."""
IN_WORKER = "VI_INSPECTION_WORKER"
"""Set in the environment of every process that looks at images: no service starts there."""


@attrs.frozen(kw_only=True)
class ServiceConfig:
    """Settings of the local service; sizes in bytes, times in seconds unless the name says otherwise."""

    organization_id: str | None = None
    """Id of the organization made on first start; a UUID when None. Later starts must name the same or none."""
    organization_name: str = "Local"
    upload_url_seconds: float = 900
    download_url_seconds: float = 3600
    part_bytes: int = 16 * MIB
    """Size of a multipart part, kept while it gives at most 10,000 parts."""
    quota_bytes: int | None = None
    """Bytes that the assets of the organization and the files of open sessions may take; others end with ENOQUOTA."""
    sessions_per_minute: float | None = None
    requests_per_second: float | None = None
    """API requests, not storage transfers; beyond either rate the answer is 429 with Retry-After."""
    max_files_per_session: int = 10_000
    max_name_characters: int = 1024
    max_json_bytes: int = 16 * MIB
    max_connections: int = 1000
    header_seconds: float = 60
    """How long a connection may take to complete the head of a request, and stay idle between two."""
    body_seconds: float = 30
    """How long a request body may make no progress, and an answer not be taken."""
    body_floor: int = 1024
    """Bytes per second that a body must average once `body_seconds` have passed."""
    shutdown_seconds: float = 3
    drain_seconds: float = 0
    """How long ``vi-sdk serve`` still answers after SIGTERM, while ``/healthz/ready`` answers 503."""
    access_log: bool = False
    """Log each request to the logger ``vi.server.access`` at level INFO, as a line of JSON."""
    metrics: bool = False
    """Answer ``/metrics`` for Prometheus (extra ``metrics``), to requests with a key of the service."""
    database: str | None = attrs.field(default=None, repr=False)
    """Address of a PostgreSQL database for the metadata (extra ``distributed``); None: SQLite in the folder."""
    store: str | None = None
    """``s3://BUCKET/PREFIX`` for the bytes (extra ``distributed``), with the usual AWS keys; None: the folder."""
    store_endpoint: str | None = None
    """Address of an S3 store other than AWS."""
    store_public_url: str | None = None
    """Address at which clients reach the store, where it is not the one that the service uses."""
    uploads: Literal["through", "direct"] = "through"
    """Whether clients send bytes through the service, or to the *store*, at signed addresses."""
    downloads: Literal["redirect", "direct", "through"] | None = None
    """With *store*: whether clients fetch bytes from there, by a redirect of the service or at signed addresses in
    listings, or through the service; None: ``direct`` if *uploads* are, else ``redirect``."""
    sweep_seconds: float = 1
    """How often expired sessions are looked for."""
    inspection_workers: int | None = None
    public_url: str | None = None
    """Origin to write into signed URLs, when the service is reached under another address than it listens on. Its host
    name is accepted."""
    tls_cert: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    """PEM file with a certificate, and those between it and its root: the service then speaks https and no http."""
    tls_key: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    """PEM file with the certificate's key, when it is not in the same file."""
    allowed_hosts: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    """Host names accepted beside localhost, the address listened on and that of *public_url*."""

    @property
    def downloading(self) -> str:
        """How clients fetch bytes."""
        if self.store is None:
            return "through"
        return self.downloads or ("direct" if self.uploads == "direct" else "redirect")

    @property
    def scheme(self) -> str:
        """The scheme that the service speaks."""
        return "http" if self.tls_cert is None else "https"


@attrs.frozen
class Folder:
    """Where things are in the service's folder."""

    root: Path = attrs.field(converter=Path)

    @property
    def lock(self) -> Path:
        """Names the address of the running service and is locked while it runs."""
        return self.root / "service.lock"

    @property
    def identity(self) -> Path:
        """The organization and its keys."""
        return self.root / "identity.json"

    @property
    def elsewhere(self) -> Path:
        """Says that the rows are in a database that is named at each start."""
        return self.root / "database-elsewhere"

    @property
    def store_named(self) -> Path:
        """Says in which bucket the bytes are."""
        return self.root / "bytes-elsewhere"

    @property
    def database(self) -> Path:
        """Everything but bytes."""
        return self.root / "vi.db"

    @property
    def bytes(self) -> Path:
        """Stored objects."""
        return self.root / "bytes"
