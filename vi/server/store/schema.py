"""The tables. Times are milliseconds since 1970 UTC, sizes bytes, ``*_seq`` the key of the row that owns this one.

A session's files go to the narrow ``ingest_item`` in one insert; ``asset`` is written as they arrive. Counts that are
shown are columns, updated in the transaction that changes what they count.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata: sa.MetaData = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _seq() -> sa.Column[int]:
    # SQLite increments only INTEGER automatically, PostgreSQL needs the range of BIGINT. The tables say autoincrement
    # beside it, because a reused number would put a new row before an old page token.
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def _big(name: str, *, default: int | None = None, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger, nullable=nullable, server_default=None if default is None else sa.text(str(default))
    )


TEXT: sa.types.TypeEngine[str] = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text in the order of its bytes on both engines, whatever the collation of the database."""


class Json(sa.types.TypeDecorator[Any]):
    """JSON, on PostgreSQL the type that can be indexed; the dialect is imported only where it is used."""

    impl: Any = sa.JSON
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(sa.JSON(none_as_null=True))


def _text(name: str, *, unique: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable, unique=unique)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, Json(none_as_null=True), nullable=nullable)


IN_ONE_CASE = "in_one_case"
"""Key in the info of a column: the indexed column of the same table that holds its text case-folded."""


def folded(name: str) -> str:
    """Return a file name as `asset.name_folded` has it."""
    return name.casefold()


def _folded_name(context: Any) -> str:
    return folded(context.get_current_parameters()["filename"])


dataset: sa.Table = sa.Table(
    "dataset",
    metadata,
    _seq(),
    _text("id", unique=True),
    _text("organization_id"),
    _text("name"),
    _text("type"),
    _text("description"),
    _json("tags"),
    _json("attributes"),
    _big("created"),
    _big("updated"),
    _big("generation", default=1),
    _big("asset_total", default=0),
    _big("byte_total", default=0),
    _big("annotation_total", default=0),
    _big("asset_annotated", default=0),
    _big("deleted", nullable=True),
    _big("purged", nullable=True),
    sa.Index(None, "organization_id", "seq"),
    sqlite_autoincrement=True,
)

asset: sa.Table = sa.Table(
    "asset",
    metadata,
    _seq(),
    _text("id", unique=True),
    _big("dataset_seq"),
    sa.Column("filename", TEXT, nullable=False, info={IN_ONE_CASE: "name_folded"}),
    _text("kind"),
    _text("mime"),
    _text("status"),
    _text("source"),
    _big("size"),
    _big("crc32c"),
    _text("sha256"),
    _text("blob"),
    sa.Column("has_thumbnail", sa.Boolean, nullable=False),
    _big("width"),
    _big("height"),
    _big("frames"),
    _json("custom_metadata"),
    _json("annotation_tags"),
    _big("annotation_total", default=0),
    _big("created"),
    _big("updated"),
    _big("contents_updated"),
    _big("generation", default=1),
    sa.Column("name_folded", TEXT, nullable=False, server_default=sa.text("''"), default=_folded_name),
    sa.Index(None, "dataset_seq", "seq"),
    sa.Index(None, "dataset_seq", "id"),
    sa.Index(None, "dataset_seq", "filename", unique=True),
    sa.Index(None, "dataset_seq", "name_folded"),
    sa.Index(None, "dataset_seq", "contents_updated", "id"),
    sa.Index(None, "dataset_seq", "size", "id"),
    sqlite_autoincrement=True,
)

ingestion_session: sa.Table = sa.Table(
    "ingestion_session",
    metadata,
    _seq(),
    _text("id", unique=True),
    _text("ingestion_id", unique=True),
    _big("dataset_seq"),
    _text("source_class"),
    _text("source_provider"),
    _text("source_id"),
    _text("failure_mode"),
    _text("retention"),
    _big("total"),
    _big("succeeded", default=0),
    _big("errored", default=0),
    _text("state"),
    _text("reason", nullable=True),
    _big("created"),
    _big("updated"),
    _big("finished", nullable=True),
    _big("expiry"),
    _big("generation", default=1),
    _text("upload", nullable=True),
    _text("origin", nullable=True),
    _big("watched", nullable=True),
    sa.Index(None, "dataset_seq", "seq"),
    sa.Index(None, "dataset_seq", "upload"),
    sa.Index(None, "state"),
    sqlite_autoincrement=True,
)

ingest_item: sa.Table = sa.Table(
    "ingest_item",
    metadata,
    sa.Column("session_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    _text("filename"),
    _text("kind"),
    _text("mime"),
    _big("size"),
    _big("crc32c", nullable=True),
    _json("custom_metadata", nullable=True),
    sa.Column("state", sa.SmallInteger, nullable=False),
    _text("blob", nullable=True),
    _big("stored_size", nullable=True),
    _big("stored_crc", nullable=True),
    _text("error", nullable=True),
    _big("settled", nullable=True),
    _text("reason", nullable=True),
    _big("claimed", nullable=True),
    sa.Column("tries", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
    _big("arriving", nullable=True),
    sqlite_with_rowid=False,
)
# That of PostgreSQL is in `query_postgres`: naming it here would import what few services need.
sa.Index("ix_ingest_item_error", ingest_item.c.session_seq, sqlite_where=ingest_item.c.error.is_not(None)).ddl_if(
    dialect="sqlite"
)

multipart_upload: sa.Table = sa.Table(
    "multipart_upload",
    metadata,
    _seq(),
    _text("id", unique=True),
    _big("session_seq"),
    sa.Column("idx", sa.Integer, nullable=False),
    _text("filename"),
    _text("content_type", nullable=True),
    _big("size"),
    _big("part_count"),
    _text("state"),
    _big("expiry"),
    _big("created"),
    _big("updated"),
    _big("claimed", nullable=True),
    _text("begun", nullable=True),
    sa.Index(None, "session_seq", "state"),
    sa.Index(None, "state"),
    sqlite_autoincrement=True,
)

multipart_part: sa.Table = sa.Table(
    "multipart_part",
    metadata,
    sa.Column("upload_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("file"),
    _text("etag"),
    _big("crc32c"),
    _big("size"),
    sa.Column("completed", sa.Boolean, nullable=False),
)

bulk_deletion: sa.Table = sa.Table(
    "bulk_deletion",
    metadata,
    _seq(),
    _text("id", unique=True),
    _big("dataset_seq"),
    _json("spec"),
    _big("through_seq"),
    _big("created"),
    _big("updated"),
    _big("finished", nullable=True),
    _text("reason", nullable=True),
    sa.Index(None, "dataset_seq", "seq"),
    sqlite_autoincrement=True,
)

garbage: sa.Table = sa.Table("garbage", metadata, sa.Column("blob", TEXT, primary_key=True))

idempotency: sa.Table = sa.Table(
    "idempotency",
    metadata,
    sa.Column("scope", TEXT, primary_key=True),
    _text("digest"),
    _text("reference"),
    _text("body", nullable=True),
    _big("created"),
    sa.Index(None, "created"),
)

service: sa.Table = sa.Table(
    "service",
    metadata,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    _json("identity"),
    _text("store_endpoint", nullable=True),
)
"""One row: the identity of a service of several processes, and at which address its S3 store is; '' is AWS, NULL is not
yet known. The identity of a folder is in a file."""

visitor: sa.Table = sa.Table(
    "visitor",
    metadata,
    sa.Column("digest", TEXT, primary_key=True),
    _big("seen"),
    _text("access", nullable=True),
    sa.Index(None, "seen"),
)
"""Browsers that are logged in to the gallery of such a service."""


class ItemState:
    """The progress of a file of a session."""

    WAITING = 0
    ARRIVED = 1
    DONE = 2
    ERRORED = 3
    REFUSED = 4
    """Refused when the session was created: it never had a URL."""


class SessionState:
    """The progress of a session."""

    OPEN = "open"
    FINISHED = "finished"
    FAILED = "failed"


class UploadState:
    """The progress of a multipart upload."""

    OPEN = "open"
    COMPLETING = "completing"
    DONE = "done"
    ABORTED = "aborted"
