"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:

    op.create_table(
        "asset",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset_seq", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("has_thumbnail", sa.Boolean(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("custom_metadata", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("annotation_tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("annotation_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("contents_updated", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_asset")),
        sa.UniqueConstraint("id", name=op.f("uq_asset_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_asset_dataset_seq_contents_updated_id"),
        "asset",
        ["dataset_seq", "contents_updated", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_asset_dataset_seq_filename"), "asset", ["dataset_seq", "filename"], unique=True)
    op.create_index(op.f("ix_asset_dataset_seq_id"), "asset", ["dataset_seq", "id"], unique=False)
    op.create_index(op.f("ix_asset_dataset_seq_seq"), "asset", ["dataset_seq", "seq"], unique=False)
    op.create_index(op.f("ix_asset_dataset_seq_size_id"), "asset", ["dataset_seq", "size", "id"], unique=False)
    op.create_table(
        "bulk_deletion",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("dataset_seq", sa.BigInteger(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("through_seq", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bulk_deletion")),
        sa.UniqueConstraint("id", name=op.f("uq_bulk_deletion_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_bulk_deletion_dataset_seq_seq"), "bulk_deletion", ["dataset_seq", "seq"], unique=False)
    op.create_table(
        "dataset",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("attributes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("asset_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("byte_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("annotation_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("asset_annotated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
        sa.Column("purged", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_dataset")),
        sa.UniqueConstraint("id", name=op.f("uq_dataset_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_dataset_organization_id_seq"), "dataset", ["organization_id", "seq"], unique=False)
    op.create_table(
        "garbage",
        sa.Column("blob", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_garbage")),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created"), "idempotency", ["created"], unique=False)
    op.create_table(
        "ingest_item",
        sa.Column("session_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=True),
        sa.Column("custom_metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.Column("stored_size", sa.BigInteger(), nullable=True),
        sa.Column("stored_crc", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("settled", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("session_seq", "idx", name=op.f("pk_ingest_item")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_ingest_item_error",
        "ingest_item",
        ["session_seq"],
        unique=False,
        sqlite_where=sa.text("error IS NOT NULL"),
        postgresql_where=sa.text("error IS NOT NULL"),
    )
    op.create_table(
        "ingestion_session",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ingestion_id", sa.Text(), nullable=False),
        sa.Column("dataset_seq", sa.BigInteger(), nullable=False),
        sa.Column("source_class", sa.Text(), nullable=False),
        sa.Column("source_provider", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("failure_mode", sa.Text(), nullable=False),
        sa.Column("retention", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errored", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("expiry", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ingestion_session")),
        sa.UniqueConstraint("id", name=op.f("uq_ingestion_session_id")),
        sa.UniqueConstraint("ingestion_id", name=op.f("uq_ingestion_session_ingestion_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_ingestion_session_dataset_seq_seq"), "ingestion_session", ["dataset_seq", "seq"], unique=False
    )
    op.create_index(op.f("ix_ingestion_session_state"), "ingestion_session", ["state"], unique=False)
    op.create_table(
        "multipart_part",
        sa.Column("upload_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("crc32c", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("completed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("upload_seq", "number", name=op.f("pk_multipart_part")),
    )
    op.create_table(
        "multipart_upload",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_seq", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("part_count", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expiry", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_multipart_upload")),
        sa.UniqueConstraint("id", name=op.f("uq_multipart_upload_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_multipart_upload_session_seq_state"), "multipart_upload", ["session_seq", "state"], unique=False
    )
    op.create_index(op.f("ix_multipart_upload_state"), "multipart_upload", ["state"], unique=False)
