"""Row A11: whatever is fed to a reader of foreign input, it answers or refuses in the words that it promises."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.protocol_documents import document
from vi import ViError, _redact, _wire, _wire_fast
from vi._media import FILMS_PLAYED, PICTURES_SHOWN, may_be_inline, sniff
from vi._retry import read_retry_after
from vi._sockets import nearness
from vi._transfer import dictated
from vi._transfer.names import STRICT, local_path
from vi._transfer.outcomes import TransferFailed
from vi._transfer.signed import signed_transfer
from vi.api.resources.datasets.assets.plans import TransferPlan
from vi.api.resources.datasets.assets.responses import Asset, AssetIngestionSession
from vi.api.resources.datasets.responses import Dataset
from vi.errors import from_response
from vi.server.http.api_errors import ApiError
from vi.server.http.names import check_metadata
from vi.server.inspection.frames import FrameReader, Verdict, frame, read_answer
from vi.server.store.query import parse_filter
from vi.server.store.query_grammar import QueryError, parse_metadata_query

EXAMPLES = int(os.environ.get("VI_FUZZ_EXAMPLES", "40"))
TEXT = st.text(max_size=200) | st.sampled_from(
    ["dtvi_", "http://a@b?c", "\0", "\ud800", "\r\n", "..", "con", "127.1", "-1", "1e999"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> Any:
    """Return a document of the protocol with some of its fields replaced."""
    found = document(name)
    for _ in range(draw(st.integers(1, 3))):
        place = found
        while True:
            keys = [key for key in place if isinstance(place, dict)]
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(JSON)
            break
    return found


def plan(text: str, folder: Path) -> None:
    path = folder / "plan.jsonl"
    path.write_text(text, "utf-8", errors="replace")
    TransferPlan.load(path)


ANSWER = st.fixed_dictionaries(
    dict.fromkeys(("error", "message", "width", "height", "frames", "picture", "number"), JSON)
)
MEASURED = Verdict(None, None, 17, 1, "0" * 64, "image/png")


def answers(stream: bytes) -> None:
    for message, blob in FrameReader().feed(stream):
        read_answer(message, blob, MEASURED)


READERS: dict[str, tuple[Any, Callable[[Any], object], tuple[type[Exception], ...]]] = {
    "redaction": (TEXT, _redact.redact, ()),
    "error answer": (JSON, lambda body: json.dumps(from_response(400, body).to_dict()), ()),
    "asset": (damaged("Asset"), lambda d: _wire.structure(d, Asset), (_wire.WireError,)),
    "dataset": (damaged("Dataset"), lambda d: _wire.structure(d, Dataset), (_wire.WireError,)),
    "session": (damaged("AssetIngestionSession"), lambda d: _wire.structure(d, AssetIngestionSession), (_wire.WireError,)),
    "page": (st.binary(max_size=300), lambda body: _wire_fast.read_page(body, Asset), ()),
    "items": (st.lists(damaged("Asset") | JSON, max_size=3), lambda d: _wire.structure_items(d, Asset), ()),
    "signed url": (TEXT, lambda url: signed_transfer(url, None, "PUT", 0, endpoint="https://a"), (TransferFailed,)),
    "signed headers": (JSON, dictated.headers, (dictated.DictatedError,)),
    "reported headers": (JSON, dictated.reported_headers, (dictated.DictatedError,)),
    "method": (JSON, lambda given: dictated.method(given, dictated.UPLOAD_METHODS), (dictated.DictatedError,)),
    "part count": (JSON, lambda given: dictated.part_count(given, 1000), (dictated.DictatedError,)),
    "address": (TEXT, nearness, ()),
    "retry-after": (TEXT, lambda text: read_retry_after({"Retry-After": text, "Date": text}), ()),
    "file name": (TEXT, lambda name: local_path(name, STRICT), ()),
    "first bytes": (st.binary(max_size=64), sniff, ()),
    "metadata query": (TEXT, parse_metadata_query, (QueryError,)),
    "filter": (TEXT | JSON.map(lambda value: json.dumps(value)), parse_filter, (QueryError,)),
    "decoder's answer": (JSON | ANSWER, lambda d: read_answer(d, b"RIFF", MEASURED), (ValueError, KeyError, TypeError)),
    "decoder's frames": (
        st.lists(st.binary(max_size=40) | (JSON | ANSWER).map(frame), max_size=4).map(b"".join),
        answers,
        (ValueError, KeyError, TypeError),
    ),
    "metadata": (st.dictionaries(TEXT, JSON, max_size=5), lambda given: check_metadata(given, "f"), (ApiError,)),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_A11_a_reader_answers_or_refuses_in_its_own_words(name: str) -> None:
    inputs, read, refusals = READERS[name]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def feed(value: Any) -> None:
        try:
            read(value)
        except refusals:
            return

    feed()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(JSON.map(json.dumps) | TEXT, max_size=4))
def test_A11_a_plan_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    try:
        plan("\n".join(lines), tmp_path_factory.getbasetemp())
    except ViError:
        return


@pytest.mark.parametrize(
    "mime", ["text/html", "image/svg+xml", "application/pdf", "image/png\r\nX: y", "IMAGE/PNG", "", "text/xml"]
)
def test_A11_what_a_browser_would_run_is_never_inline(mime: str) -> None:
    assert not may_be_inline(mime)
    assert all(map(may_be_inline, PICTURES_SHOWN + FILMS_PLAYED))
