"""What people see: progress and summaries. The only module that prints; progress goes to stderr, ``info()`` to stdout."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._transfer.progress import Listener, TransferProgress
from .errors import ViInvalidParameterError

if TYPE_CHECKING:
    from .api.resources.datasets.assets.responses import Asset
    from .api.resources.datasets.responses import Dataset

PROGRESS_VARIABLE = "VI_PROGRESS"
LINE_SECONDS = 10.0


def progress_listeners(operation: str, show: bool, on_progress: Listener | None) -> list[Listener]:
    """Return who is told of progress: the caller's function, or else a bar on a terminal and lines elsewhere."""
    if on_progress is not None:
        if not callable(on_progress):
            raise ViInvalidParameterError(
                f"on_progress must be a function of a TransferProgress, got {type(on_progress).__name__}.",
                parameter="on_progress",
            )
        return [on_progress]
    if not show or os.environ.get(PROGRESS_VARIABLE, "").lower() in ("0", "false", "no"):
        return []
    stream = sys.stderr
    if stream is None:
        return []
    return [Bar(operation)] if stream.isatty() else [Lines()]


class Bar:
    """A tqdm bar over files, with bytes and failures beside it."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._bar: Any = None

    def __call__(self, progress: TransferProgress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.files_total, desc=self._operation, unit=" files", file=sys.stderr, dynamic_ncols=True
            )
        self._bar.total = progress.files_total
        self._bar.n = progress.files_done
        failed = f", {progress.files_failed} failed" if progress.files_failed else ""
        self._bar.set_postfix_str(f"{progress.bytes_done / 1e6:.1f} MB{failed}", refresh=False)
        self._bar.refresh()
        if progress.finished:
            self._bar.close()


class Lines:
    """A plain line every ten seconds and at the end, for logs; nothing for what is over sooner."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS
        self._told = False

    def __call__(self, progress: TransferProgress) -> None:
        now = time.monotonic()
        if now < self._next and not (progress.finished and self._told):
            return
        self._next = now + LINE_SECONDS
        self._told = True
        total = f" of {progress.files_total}" if progress.files_total is not None else ""
        failed = f", {progress.files_failed} failed" if progress.files_failed else ""
        print(
            f"{progress.operation}: {progress.files_done}{total} files{failed}, {progress.bytes_done / 1e6:.1f} MB, "
            f"{progress.seconds:.0f} s",
            file=sys.stderr,
        )


def say(text: str) -> None:
    """Print data to stdout."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print anything else to stderr."""
    print(_printable(text, keep="\n"), file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), *(line(row) for row in rows)])


def print_asset(asset: Asset) -> None:
    """Print an asset's summary."""
    metadata = asset.metadata
    rows = [
        ("Asset", asset.asset_id),
        ("Filename", asset.filename),
        ("Dataset", asset.dataset_id),
        ("Kind", f"{asset.kind} ({metadata.mime_type})"),
        ("Size", f"{metadata.file_size} bytes"),
        ("Dimensions", f"{metadata.width} x {metadata.height} pixels, {metadata.frames} frame(s)"),
        ("Status", f"{metadata.status} ({metadata.upload_status})"),
        ("Visibility", metadata.visibility),
        ("Annotations", str(metadata.annotations.total)),
        ("Hash", f"{metadata.hash.algorithm} {metadata.hash.contents}".strip()),
        ("Created", _when(metadata.created_at)),
        ("Updated", _when(metadata.updated_at)),
    ]
    rows += [(f"  {key}", str(value)) for key, value in metadata.custom_metadata.items()]
    _print_rows(rows)


def print_dataset(dataset: Dataset) -> None:
    """Print a dataset's summary."""
    _print_rows(
        [
            ("Dataset", dataset.dataset_id),
            ("Name", dataset.name),
            ("Organization", dataset.organization_id),
            ("Type", str(dataset.type)),
            ("Description", dataset.description or ""),
            ("Assets", str(dataset.statistic.asset_total)),
            ("Annotations", str(dataset.statistic.annotation_total)),
            ("Created", _when(dataset.created_at)),
        ]
    )


def _when(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if value is not None else ""


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {_printable(value)}")


def _printable(text: str, keep: str = "") -> str:
    """Keep control characters of hostile names off the terminal."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
