"""Documents, pages and results as HTML for notebooks: functions of what an object holds, without any request.

Everything shown is escaped, keys and the queries of URLs are cut out, and pictures are inside the text: a saved
notebook shows the same and gives nothing away. Styles are inline, since notebooks drop anything else of a stranger.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import Any

from .._events import TransferProgress
from .._media import sniff
from .._redact import limited
from .._transfer.record import FileFailure
from ..api.pagination import Listing, Page
from ..api.resources.datasets.assets.plans import TransferPlan
from ..api.resources.datasets.assets.responses import Asset
from ..api.resources.datasets.assets.results import AssetDownloadResult, AssetUploadResult
from ..api.resources.datasets.assets.sync.comparison import VerifyResult
from ..api.resources.datasets.assets.sync.run import SyncResult
from ..api.resources.datasets.responses import Dataset
from . import units as _summaries
from .console import printable
from .units import Rows

LISTED = 60
FAILURES = 20
LONGEST = 300
HINT = "list(..., thumbnails=True) shows pictures"
PICTURE_BYTES = 1 << 20
"""How many bytes of pictures one display may hold; a notebook saves them with it."""

_PICTURES = {"gif": "image/gif", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_CELL = "padding:0.15em 0.8em;text-align:left;vertical-align:top"
_FAINT = "opacity:0.65"
_CARD = "display:inline-block;width:132px;margin:4px;vertical-align:top;font-size:0.85em"
_FRAME = "width:128px;height:128px;border:1px solid rgba(128,128,128,0.4);border-radius:4px;box-sizing:border-box"
_NAME = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def text(value: object) -> str:
    """Return anything as text that is safe inside an element or an attribute."""
    words = printable(limited(str(value), LONGEST))
    return html.escape(words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}...")


@singledispatch
def shown(thing: object) -> str:
    """Return *thing* as HTML."""
    return f"<pre>{text(repr(thing))}</pre>"


@shown.register(Page)
def _(page: Page[Any]) -> str:
    items = page.items[:LISTED]
    hint = ""
    if any(isinstance(item, Asset) and item.thumbnail is not None for item in items):
        body = _grid([item for item in items if isinstance(item, Asset)])
    else:
        body = _table(*_summaries.table_of(items)) if items else ""
        hint = _line(HINT, _FAINT) if any(isinstance(item, Asset) for item in items) else ""
    return _block(body, *(_line(note, _FAINT) for note in _summaries.page_notes(page, LISTED)), hint)


@shown.register(Listing)
def _(_: Listing[Any]) -> str:
    return _block(_line(_summaries.LISTING))


@shown.register
def _(asset: Asset) -> str:
    picture = _picture(asset, PICTURE_BYTES)
    return _block(picture or "", _pairs(_summaries.asset_rows(asset)))


@shown.register
def _(dataset: Dataset) -> str:
    return _block(_pairs(_summaries.dataset_rows(dataset)))


@shown.register
def _(result: AssetUploadResult) -> str:
    if result.plan is not None:
        return _block(_line("Nothing was sent."), shown(result.plan))
    return _report(
        result.summary(),
        [
            ("Stored", result.total_succeeded),
            ("Already there", result.total_existing),
            ("Failed", result.total_failed),
            ("Cancelled", result.total_cancelled),
            ("Skipped", result.total_skipped),
        ],
        [
            *_failures(result.failures),
            *((reason, "skipped", f"{n} files") for reason, n in result.skip_reasons.items()),
        ],
        len(result.failures) - FAILURES,
    )


@shown.register
def _(result: AssetDownloadResult) -> str:
    if result.plan is not None:
        return _block(_line("Nothing was fetched."), shown(result.plan))
    problems = [*result.failures, *result.conflicts]
    return _report(
        result.summary(),
        [
            ("Downloaded", result.total_downloaded),
            ("Already there", result.total_existing),
            ("Kept, with other content", result.total_conflicts),
            ("Failed", result.total_failed),
            ("Cancelled", result.total_cancelled),
            ("Saved under another name", len(result.renamed)),
        ],
        _failures(problems),
        len(problems) - FAILURES,
    )


@shown.register
def _(result: VerifyResult) -> str:
    kinds = (
        (result.different, "differs"),
        (result.only_local, "missing in the dataset"),
        (result.only_remote, "missing in the folder"),
        (result.uncompared, "not compared"),
    )
    problems = [(name, "", word) for names, word in kinds for name in names]
    problems += [(failure.path, failure.code, failure.message) for failure in result.failures]
    return _report(
        f"The folder and the dataset {'agree' if result.ok else 'differ'}",
        [("The same", result.matching), *((word.capitalize(), len(names)) for names, word in kinds)],
        problems[:FAILURES],
        len(problems) - FAILURES,
    )


@shown.register
def _(plan: TransferPlan) -> str:
    rows = [
        (entry.action.replace("_", " "), entry.filename, _summaries.size(entry.size), entry.reason) for entry in plan
    ]
    body = _table(("To do", "Name", "Size", "Why"), rows[:LISTED]) if rows else ""
    return _block(_line(plan.summary().split("\n", 1)[0]), body, _more(len(rows) - LISTED, ".entries"))


@shown.register
def _(result: SyncResult) -> str:
    kept = [(entry.filename, "left", entry.reason) for entry in result.plan if entry.action == "keep"]
    problems = [*kept, *((failure.filename, failure.code, failure.message) for failure in result.failures)]
    parts = [shown(part) for part in (result.upload, result.download) if part is not None]
    if not (parts or result.deleted or result.failures):
        return shown(result.plan)
    return _block(
        _report(
            "Everything that differs was done" if result.ok else "Not everything that differs was done",
            [("The same before", result.plan.existing), ("Deleted", result.deleted)],
            problems[:FAILURES],
            len(problems) - FAILURES,
        ),
        *parts,
    )


def progress_bar(progress: TransferProgress) -> str:
    """Return how far a transfer has come as a bar with a line of words."""
    total = progress.files_total
    portion = f' value="{progress.files_done}" max="{max(total, 1)}"' if total is not None else ""
    words = text(_summaries.progress_line(progress, progress.seconds))
    return f'<div><progress style="width:16em;vertical-align:middle"{portion}></progress> <span>{words}</span></div>'


def _grid(assets: Sequence[Asset]) -> str:
    left = PICTURE_BYTES
    cards = []
    for asset in assets:
        picture = _picture(asset, left)
        if picture is None:
            picture = (
                f'<div style="{_FRAME};{_FAINT};padding-top:54px;text-align:center">{text(asset.kind or "asset")}</div>'
            )
        else:
            left -= len(asset.thumbnail or b"")
        name, facts = (
            text(asset.filename),
            text(f"{_summaries.pixels(asset)}, {_summaries.size(asset.metadata.file_size)}"),
        )
        cards.append(
            f'<div style="{_CARD}" title="{name}">{picture}<div style="{_NAME}">{name}</div>'
            f'<div style="{_NAME};{_FAINT}">{facts}</div></div>'
        )
    return f"<div>{''.join(cards)}</div>"


def _picture(asset: Asset, room: int) -> str | None:
    """Return the thumbnail within the text, None where there is none that could be shown."""
    data = asset.thumbnail
    kind = _PICTURES.get(sniff(data[:64]) or "") if data else None
    if data is None or kind is None or len(data) > room:
        return None
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{text(asset.filename)}" style="{_FRAME};object-fit:contain">'


def _failures(failures: Iterable[FileFailure]) -> list[tuple[str, str, str]]:
    return [(failure.path, failure.code, failure.message) for failure in list(failures)[:FAILURES]]


def _report(
    summary: str, counts: Sequence[tuple[str, int]], problems: Sequence[tuple[str, str, str]], more: int
) -> str:
    """Return a headline, what there is of each outcome, and by name what did not go as asked."""
    told = [(word, str(count)) for number, (word, count) in enumerate(counts) if count or not number]
    body = _table(("File", "", "Why"), problems) if problems else ""
    return _block(f"<b>{text(summary.split(chr(10), 1)[0])}</b>", _pairs(told), body, _more(more, ".failures"))


def _more(count: int, where: str) -> str:
    return _line(f"and {count} more, in {where}", _FAINT) if count > 0 else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<table><thead>{_row('th', heads)}</thead><tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"


def _pairs(rows: Rows) -> str:
    lines = (
        f'<tr><th style="{_CELL}">{text(name)}</th><td style="{_CELL}">{text(value)}</td></tr>' for name, value in rows
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag} style={chr(34)}{_CELL}{chr(34)}>{text(cell)}</{tag}>' for cell in cells)}</tr>"


def _line(words: str, style: str = "") -> str:
    return f'<div style="{style}">{text(words)}</div>'


def _block(*parts: str) -> str:
    return f"<div>{''.join(parts)}</div>"
