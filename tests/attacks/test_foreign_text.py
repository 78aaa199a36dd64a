"""Rows A1 and A2: what a service writes is bounded before it is looked at, and no secret comes back in it."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.costs import AT_MOST, growth
from vi import ViServerError, _checksums, _redact, _wire, _wire_fast
from vi._media import sniff
from vi._retry import read_retry_after
from vi._show import html
from vi._sockets import nearness
from vi._transfer.names import STRICT, local_path
from vi._transfer.outcomes import TransferFailed
from vi._transfer.record import FileFailure
from vi._transfer.signed import signed_transfer
from vi.api.resources.datasets.assets.metadata.csv_files import Cell, read_cells
from vi.api.resources.datasets.assets.responses import Asset
from vi.errors import ViError, from_response
from vi.server.store.query import parse_filter
from vi.server.store.query_grammar import parse_metadata_query

REPEATED = [
    "http://", "https://a", "http://a@", "http://?", "http://a?)", "http:", "x-", "x-signature", "signature=", "sig=&", "sig%3d",
    "x-amz-credential", "credential=a ", "dtvi_", "dtvi_abcd ", "bearer ", "bearer\t", "basic a", "bearer", " ", "a", "@", "?", "=",
    "&x-", "'", "\x1b[2J", "\ud800", "a" * 15 + "-", "https://a/%2F",
]  # fmt: skip


def quietly(call: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return *call* with its refusals left out: they are answers too, and must come as soon."""

    def tried(value: Any) -> None:
        with contextlib.suppress(ValueError, ViError, TransferFailed, RecursionError):
            call(value)

    return tried


@pytest.fixture
def held() -> Any:
    """Hold a key and a signature, and forget both afterwards."""
    keys, signatures = dict(_redact._keys), dict(_redact._signatures)
    _redact.hold_key("dtvi_" + "K3y" * 32 + "ab")
    _redact.hold_signatures("X-Expires=17600&X-Goog-Signature=5161n47ur3" + "0f" * 40 + "&x=1")
    yield
    for mine, before in ((_redact._keys, keys), (_redact._signatures, signatures)):
        mine.clear()
        mine.update(before)


@pytest.mark.parametrize("piece", REPEATED)
def test_A1_twice_the_text_costs_at_most_two_and_a_half_times_as_much(piece: str, held: None) -> None:
    assert growth(_redact.redact, lambda size: piece * size) <= AT_MOST


@pytest.mark.parametrize("head", ["http://", "x-", "bearer ", "sig=", "https://a@"])
@pytest.mark.parametrize("piece", ["a", ":", "/", "x-", " ", "?", "@"])
def test_A1_one_beginning_with_a_long_rest_is_linear_too(head: str, piece: str) -> None:
    assert growth(_redact.redact, lambda size: head + piece * size) <= AT_MOST


def _asset(size: int) -> dict[str, Any]:
    return {
        "kind": "Image",
        "filename": "x" * size,
        "metadata": {"customMetadata": dict.fromkeys(map(str, range(size)), "v")},
    }


def _digests(text: str) -> None:
    _checksums.from_repr_digest(text)
    _checksums.from_goog_hash("crc32c=" + text)


def _cells(text: str) -> None:
    for _, cells in read_cells(text, ",", "f.csv", "metadata"):
        for cell in cells:
            cell.typed()


PARSERS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "error with details": (lambda d: from_response(400, d), lambda n: {"message": "http://" * n, "details": {"x": "x-" * n}}),
    "error with many details": (lambda d: from_response(400, d), lambda n: {"details": dict.fromkeys(map(str, range(n)), "x-")}),
    "error of text": (lambda d: from_response(500, d), lambda n: " " * n + "http://" * n),
    "file failure": (lambda t: FileFailure("p", "f", t, t), lambda n: "http://" * n),
    "notebook text": (html.text, lambda n: "http://" * n),
    "retry-after": (lambda t: read_retry_after({"Retry-After": t}), lambda n: "1" * n),
    "retry-after as a date": (lambda t: read_retry_after({"Retry-After": t, "Date": t}), lambda n: "Mon, " * n),
    "transfer url": (lambda t: signed_transfer(t, None, "PUT", 0, endpoint="http://h"), lambda n: "http://h/?" + "X-Signature=" * n),
    "transfer header": (lambda t: signed_transfer("http://h/", {t: t}, "PUT", 0, endpoint="http://h"), lambda n: "x-goog-" * n),
    "local name": (lambda t: local_path(t, STRICT), lambda n: "con." * n + "\u202e" * n),
    "device name": (lambda t: local_path(t, STRICT), lambda n: "con" + " " * n + "x"),
    "address": (nearness, lambda n: "1." * n + "::" * n),
    "digests": (_digests, lambda n: "sha-256=:" + "QUJD" * n + ":,"),
    "metadata file": (_cells, lambda n: '"a""b",1.5,\r\n' * n),
    "first bytes": (sniff, lambda n: b"\0\0\xff\xffftyp" + b"abcd" * n),
    "document": (lambda d: _wire.structure(d, Asset), _asset),
    "bad items": (lambda d: _wire.structure_items(d, Asset), lambda n: [{"kind": "x"}] * n),
    "page": (lambda b: _wire_fast.read_page(b, Asset), lambda n: b'{"items":[' + b'{"a":1},' * n + b"{}]}"),
    "json": (lambda b: _wire_fast.loads(b, None), lambda n: json.dumps({"a": ["\\u0000" * n]}).encode()),
    "metadata query": (parse_metadata_query, lambda n: 'a == "x" and ' * n),
    "metadata query of text": (parse_metadata_query, lambda n: '"' + "\\" * n),
    "filter": (parse_filter, lambda n: json.dumps({"$and": [{"status": "x"}] * n})),
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_A1_each_reader_of_foreign_input_is_linear(name: str) -> None:
    call, make = PARSERS[name]
    assert growth(quietly(call), make) <= AT_MOST


def test_A2_details_are_bounded_in_depth_in_number_and_in_length() -> None:
    deep: Any = "end"
    for _ in range(900):
        deep = {"a": deep}
    error = from_response(
        400, {"message": "m" * 10_000, "details": {"deep": deep, "wide": ["v" * 5000] * 10_000, "big": 10**4000}}
    )
    text = json.dumps(error.to_dict())
    assert len(text) < 300_000
    assert "more" in text
    assert len(error.message) <= 1000
    assert len(repr(error)) + len(str(error)) < 10_000
    assert pickle.loads(pickle.dumps(error)).details == error.details


@pytest.mark.parametrize("digits", [310, 400, 4000, 5000])
def test_A2_a_number_of_any_length_is_a_bad_value_and_no_crash(digits: int) -> None:
    with pytest.raises(_wire.WireError, match="308 digits"):
        _wire._number(-(10**digits))
    assert isinstance(Cell(f"1{'0' * digits}", False).typed(), str)


def test_A2_every_field_of_an_error_is_redacted_and_cut() -> None:
    key = "dtvi_" + "s3cr3t-" * 14
    error = ViServerError(
        f"said {key}",
        error_code=f"X{key}" + "y" * 5000,
        suggestion=f"try {key}",
        details={key: {key: [key]}},
        request_id=f"{key}" + "z" * 5000,
        path=f"/p/{key}",
    )
    failure = FileFailure("p", "f", f"E{key}" + "q" * 5000, f"said {key}")
    shown = json.dumps(error.to_dict()) + str(error) + repr(error) + repr(failure)
    assert "s3cr3t" not in shown
    assert len(error.error_code) <= 200
    assert len(error.request_id or "") <= 200
    assert len(failure.code) <= 200


def test_A2_the_very_key_and_signature_that_are_held_are_hidden_in_any_shape(held: None) -> None:
    body, signature = "K3y" * 32 + "ab", "5161n47ur3" + "0f" * 40
    for text in (
        body, f"your key: <{body}>", f"{{'sig': '{signature}'}}", f"/{signature}/", f"x{body}x", f"x{signature}x",
        f"{signature}dtvi_{body}", f"{signature}{signature}", f"{signature[:20]}{signature}",
    ):  # fmt: skip
        error = from_response(403, {"message": text, "code": text, "details": {text: text}}, request_id=text)
        shown = json.dumps(error.to_dict()) + repr(error) + str(error)
        assert body not in shown
        assert signature not in shown


def test_A2_what_is_held_is_bounded(held: None) -> None:
    for number in range(20_000):
        _redact.hold_signatures(f"sig={number:032d}")
    assert len(_redact._signatures) <= 8192
    assert "19999" not in _redact.redact(f"{19_999:032d}")
