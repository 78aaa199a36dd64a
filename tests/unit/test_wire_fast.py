"""Pages that msgspec reads into our classes: the same objects as the tolerant readers make, or no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.protocol_documents import document
from vi import _wire, _wire_fast
from vi.api.resources.datasets.assets.responses import Asset, AssetHash, AssetIngestionSession, AssetMetadata
from vi.api.resources.datasets.responses import Dataset

pytest.importorskip("msgspec")

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False)
    | st.text(max_size=8)
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


def slowly(body: bytes) -> list[Any] | None:
    """The items of a page, None when one of them cannot be read."""
    page = json.loads(body)
    items, bad = _wire.structure_items(page.get("items") or [], Asset)
    return None if bad else items


def page_of(*items: Any, **fields: Any) -> bytes:
    return json.dumps({"items": items, **fields}).encode()


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place within *value*."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(found for key, item in inner for found in paths(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    return {**value, path[0]: put(value[path[0]], path[1:], new)}


def test_a_page_becomes_objects_of_the_very_classes() -> None:
    body = page_of(document("Asset"), document("Asset"), nextPage="more")
    page = _wire_fast.read_page(body, Asset)
    assert page is not None
    assert (page.next_page, page.prev_page) == ("more", None)
    assert page.items == slowly(body)
    for item in page.items:
        assert (type(item), type(item.metadata), type(item.metadata.hash)) == (Asset, AssetMetadata, AssetHash)


def test_defaults_are_of_the_very_classes_too() -> None:
    body = page_of({"assetId": "a", "datasetId": "o_d", "workspaceId": "o"})
    page = _wire_fast.read_page(body, Asset)
    assert page is not None
    assert page.items == slowly(body)
    assert page.items[0].dataset_id == "d"
    assert type(page.items[0].metadata.generations) is type(Asset("a", "d").metadata.generations)


@given(st.data())
def test_whatever_stands_in_a_document_both_ways_agree(data: st.DataObject) -> None:
    item = document("Asset")
    for path in data.draw(st.lists(st.sampled_from(paths(item)[1:]), max_size=2)):
        try:
            item = put(item, path, data.draw(VALUES))
        except (KeyError, TypeError):  # an earlier change took the place away
            continue
    body = page_of(document("Asset"), item)
    page = _wire_fast.read_page(body, Asset)
    if page is not None:
        assert repr(page.items) == repr(slowly(body))
        assert page.items == slowly(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"items": {}}', b'{"items": [{}]}', b'{"items": [], "nextPage": 1}', b"\xff",
        b'{"items": [NaN]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_good_page_is_left_to_the_tolerant_reader(body: bytes) -> None:
    assert _wire_fast.read_page(body, Asset) is None


def test_a_class_that_msgspec_would_read_otherwise_is_left_alone() -> None:
    assert _wire_fast.read_page(page_of(document("AssetIngestionSession")), AssetIngestionSession) is None


def test_datasets_are_read_alike_either_way() -> None:
    body = page_of(document("Dataset"))
    page = _wire_fast.read_page(body, Dataset)
    assert page is None or page.items == _wire.structure_items(json.loads(body)["items"], Dataset)[0]


@given(VALUES)
def test_json_is_what_the_standard_library_reads(value: Any) -> None:
    body = json.dumps(value).encode()
    assert repr(_wire_fast.loads(body, float)) == repr(json.loads(body))


@pytest.mark.parametrize("body", [b"{", b'{"a": 1,}', b"\xff", b"[1] 2", b""])
def test_what_is_no_json_is_refused_as_the_standard_library_does(body: bytes) -> None:
    with pytest.raises(ValueError) as expected:
        json.loads(body)
    with pytest.raises(type(expected.value)):
        _wire_fast.loads(body, float)


def test_without_msgspec_pages_are_left_to_the_tolerant_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wire_fast, "msgspec", None)
    assert _wire_fast.read_page(page_of(document("Asset")), Asset) is None
    assert _wire_fast.loads(b"[1]", float) == [1]
