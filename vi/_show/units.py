"""What documents and results come to, as rows and lines: the terminal prints them, the notebook draws them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._events import TransferProgress
    from ..api.pagination import Page
    from ..api.resources.datasets.assets.responses import Asset
    from ..api.resources.datasets.responses import Dataset

Rows = list[tuple[str, str]]

LISTING = "A listing that has not been asked for yet: await it for its first page, or iterate it with async for."


def size(number: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def when(moment: dt.datetime | None) -> str:
    """Return a time for people."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment is not None else ""


def pixels(asset: Asset) -> str:
    """Return width and height of an asset."""
    return f"{asset.metadata.width} x {asset.metadata.height}"


def asset_rows(asset: Asset) -> Rows:
    """Return names and values of what an asset is."""
    metadata = asset.metadata
    rows = [
        ("Asset", asset.asset_id),
        ("Filename", asset.filename),
        ("Dataset", asset.dataset_id),
        ("Kind", f"{asset.kind} ({metadata.mime_type})"),
        ("Size", f"{metadata.file_size} bytes"),
        ("Dimensions", f"{pixels(asset)} pixels, {metadata.frames} frame(s)"),
        ("Status", f"{metadata.status} ({metadata.upload_status})"),
        ("Visibility", metadata.visibility),
        ("Annotations", str(metadata.annotations.total)),
        ("Hash", f"{metadata.hash.algorithm} {metadata.hash.contents}".strip()),
        ("Created", when(metadata.created_at)),
        ("Updated", when(metadata.updated_at)),
    ]
    return rows + [(f"  {key}", str(value)) for key, value in metadata.custom_metadata.items()]


def dataset_rows(dataset: Dataset) -> Rows:
    """Return names and values of what a dataset is."""
    return [
        ("Dataset", dataset.dataset_id),
        ("Name", dataset.name),
        ("Organization", dataset.organization_id),
        ("Type", str(dataset.type)),
        ("Description", dataset.description or ""),
        ("Assets", str(dataset.statistic.asset_total)),
        ("Annotations", str(dataset.statistic.annotation_total)),
        ("Created", when(dataset.created_at)),
    ]


def table_of(items: Sequence[object]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the heads of a table and a row for each item of a page."""
    from ..api.resources.datasets.assets.responses import Asset
    from ..api.resources.datasets.responses import Dataset
    from ..api.resources.organizations.responses import Organization

    heads: tuple[str, ...] = ("Item",)
    rows: list[tuple[str, ...]] = []
    for item in items:
        match item:
            case Asset(metadata=facts):
                heads = ("Name", "Size", "Pixels", "Status", "Asset")
                rows.append((item.filename, size(facts.file_size), pixels(item), facts.status, item.asset_id))
            case Dataset(statistic=counts):
                heads = ("Name", "Assets", "Annotations", "Type", "Dataset")
                numbers = str(counts.asset_total), str(counts.annotation_total)
                rows.append((item.name, *numbers, str(item.type), item.dataset_id))
            case Organization():
                heads = ("Name", "Organization")
                rows.append((item.name, item.organization_id))
            case _:
                rows.append((str(item),))
    return heads, rows


def page_notes(page: Page[Any], listed: int) -> list[str]:
    """Return what else is to be known of a page of which *listed* items are shown."""
    count = len(page.items)
    notes = [
        f"{count} item{'s' * (count != 1)}, the first {listed} of them here"
        if count > listed
        else f"{count} item{'s' * (count != 1)}"
    ]
    if page.bad_items:
        notes.append(f"{len(page.bad_items)} could not be read: .bad_items")
    if page.next_page is not None:
        notes.append("more pages follow: iterate, or all_items()")
    return notes


def progress_line(progress: TransferProgress, seconds: float) -> str:
    """Return how far a transfer has come."""
    total = f" of {progress.files_total}" if progress.files_total is not None else ""
    failed = f", {progress.files_failed} failed" if progress.files_failed else ""
    return (
        f"{progress.operation}: {progress.files_done}{total} files{failed}, {progress.bytes_done / 1e6:.1f} MB, "
        f"{seconds:.0f} s"
    )
