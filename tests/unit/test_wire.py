"""Reading and writing the protocol's documents, and what is made of documents that are not as promised."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.protocol_documents import NAMES, document
from vi import _wire
from vi._wire import WireError, structure, unstructure
from vi.api.pagination import BadItem
from vi.api.resources.base import read_page
from vi.api.resources.datasets.assets.calls import AssetCalls
from vi.api.resources.datasets.assets.responses import (
    Asset,
    AssetForUpload,
    AssetIngestionError,
    AssetIngestionEventError,
    AssetIngestionEventOther,
    AssetIngestionEventProgress,
    AssetIngestionSession,
    AssetMetadata,
    Contents,
    FailureMode,
    ResourceRetentionMode,
    UploadedAssetMetadata,
)
from vi.api.resources.datasets.responses import BulkAssetDeletionSession, Dataset, DeletedDataset
from vi.api.resources.datasets.types import DatasetType
from vi.api.resources.organizations.responses import Organization
from vi.api.resources.shared import ConditionStatus, ResourceCondition, ResourceMetadata
from vi.errors import ViNotFoundError, ViOperationError, from_response

MODELS: dict[str, type] = {
    "Asset": Asset,
    "AssetIngestionEventError": AssetIngestionEventError,
    "AssetIngestionEventProgress": AssetIngestionEventProgress,
    "AssetIngestionSession": AssetIngestionSession,
    "BulkAssetDeletionSession": BulkAssetDeletionSession,
    "Contents": Contents,
    "Dataset": Dataset,
    "DeletedDataset": DeletedDataset,
    "Organization": Organization,
    "ResourceCondition": ResourceCondition,
    "ResourceMetadata": ResourceMetadata,
}
READ_OTHERWISE = {
    "Pagination": "test_a_page_envelope_is_read",
    "ErrorBody": "test_an_error_body_is_read",
    "Count": "test_a_count_is_read",
    "SessionCreateRequest": "test_an_announcement_is_written_as_the_protocol_has_it",
    # Written, or read field by field, where they are used; the requests are seen on the wire by test_requests.
    "BulkDeleteRequest": "tests.test_requests",
    "DatasetCreateRequest": "tests.test_requests",
    "MultipartCreateRequest": "tests.test_requests",
    "MultipartUpload": "tests.test_requests",
    "PartCompletionRequest": "tests.test_requests",
    "PartSignedUrl": "tests.test_requests",
    "RenameRequest": "tests.test_requests",
}
UNREAD = {"Dataset": {"deleteOp"}, "AssetIngestionSession": {"kind"}}
"""Fields of the protocol that our models leave out: nothing is done with them."""


def test_every_document_of_the_protocol_is_read_somewhere() -> None:
    assert set(NAMES) == set(MODELS) | set(READ_OTHERWISE)


@pytest.mark.parametrize("name", MODELS)
def test_a_document_is_read_whole(name: str) -> None:
    """Every field arrives under its Python name, and writing it again gives the same document."""
    given_document = document(name)
    read = structure(given_document, MODELS[name])
    again = unstructure(read)
    for field, value in given_document.items():
        if field in UNREAD.get(name, ()):
            continue
        if field == "datasetId":
            value = "ds1"
        assert _plain(again[field]) == _plain(value), field


def _plain(value: Any) -> Any:
    """Drop what stands for "absent", at any depth: absent and null mean the same."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def test_an_asset_has_the_values_of_its_document() -> None:
    asset = structure(document("Asset"), Asset)
    assert (asset.asset_id, asset.dataset_id, asset.organization_id) == ("a1", "ds1", "acme")
    assert asset.metadata.custom_metadata == {"camera_type": "aerial", "height_m": 12.5, "night": False}
    assert asset.metadata.dimensions.depth is None
    assert asset.metadata.hash.algorithm == "sha256"
    assert asset.metadata.created_at == dt.datetime(2025, 10, 9, 8, 53, 20, tzinfo=dt.UTC)
    assert asset.contents is not None
    assert asset.contents.asset is not None
    assert asset.contents.asset.headers == {}
    assert asset.contents.thumbnail is None


def test_a_session_has_the_values_of_its_document() -> None:
    session = structure(document("AssetIngestionSession"), AssetIngestionSession)
    assert session.spec.failureMode is FailureMode.FAIL_AFTER_ONE
    assert session.status.progressCount is session.status.progress_count
    assert session.status.conditions[0].status is ConditionStatus.WAITING
    assert not session.status.finished
    assert session.status.assets is not None
    assert isinstance(session.status.assets[0], AssetForUpload)
    assert session.status.assets[0].metadata.crc32c == -486108541
    assert session.status.assets[1].metadata.crc32c is None


def test_an_announcement_is_written_as_the_protocol_has_it() -> None:
    announced = document("SessionCreateRequest")["spec"]["assets"]
    read = [structure(item, UploadedAssetMetadata) for item in announced]
    assert [unstructure(item) for item in read] == announced


def test_a_page_envelope_is_read() -> None:
    page = read_page(document("Pagination"), Asset, "/x")
    assert (page.items, page.next_page, page.prev_page) == ([], "eyJvIjoxMH0", None)


def test_an_error_body_is_read() -> None:
    error = from_response(404, document("ErrorBody"))
    assert isinstance(error, ViNotFoundError)
    assert (error.message, error.error_code) == ("Dataset acme_ds9 not found", "ResourceNotFound")


def count_of(answer: Any) -> int:
    async def document(*_: Any, **__: Any) -> Any:
        return answer

    http = SimpleNamespace(settings=SimpleNamespace(organization_id="org"), document=document)
    return asyncio.run(AssetCalls(cast("Any", http), "ds").count({}))


@pytest.mark.parametrize("answer", [document("Count"), 42])
def test_a_count_is_read(answer: Any) -> None:
    assert count_of(answer) == 42


@pytest.mark.parametrize("answer", [{}, {"count": None}, {"count": "42"}, {"count": True}, [], "42", 4.5, None])
def test_what_is_no_count_is_refused(answer: Any) -> None:
    with pytest.raises(ViOperationError, match="count: expected an integer"):
        count_of(answer)


class TestTolerance:
    @pytest.mark.parametrize("name", MODELS)
    def test_unknown_fields_are_ignored_at_any_depth(self, name: str) -> None:
        def strew(value: Any, cls: Any) -> Any:
            """Put a field that nobody knows into every object that has a class."""
            if attrs.has(cls) and isinstance(value, dict):
                attrs.resolve_types(cls)
                types = {_wire.wire_name(a): a.type for a in attrs.fields(cls)}
                return {"fromTheFuture": [1], **{k: strew(v, types.get(k)) for k, v in value.items()}}
            return value

        plain = document(name)
        assert structure(strew(plain, MODELS[name]), MODELS[name]) == structure(plain, MODELS[name])

    @pytest.mark.parametrize("name", MODELS)
    def test_every_optional_field_may_be_absent_or_null(self, name: str) -> None:
        cls = MODELS[name]
        for attribute in attrs.fields(cls):
            wire = _wire.wire_name(attribute)
            if attribute.default is attrs.NOTHING or wire not in document(name):
                continue
            absent, null = document(name), document(name)
            del absent[wire]
            null[wire] = None
            assert structure(absent, cls) == structure(null, cls)

    def test_an_asset_needs_only_its_ids(self) -> None:
        asset = structure({"assetId": "a1", "datasetId": "ds1"}, Asset)
        assert asset.metadata == AssetMetadata()
        assert (asset.filename, asset.contents) == ("", None)

    def test_defaults_are_not_shared(self) -> None:
        one, two = (structure({"assetId": "a1", "datasetId": "ds1"}, Asset) for _ in range(2))
        one.metadata.custom_metadata["x"] = 1
        one.metadata.cohorts.append("x")
        assert (two.metadata.custom_metadata, two.metadata.cohorts) == ({}, [])

    @pytest.mark.parametrize(
        ("path", "unknown"),
        [
            ("spec.failureMode", "FailAfterTen"),
            ("spec.onAssetOverwritten", "AskLinkedResources"),
            ("status.conditions.0.status", "Postponed"),
            ("status.conditions.0.condition", "Paused"),
        ],
    )
    def test_unknown_words_stay_text(self, path: str, unknown: str) -> None:
        changed = document("AssetIngestionSession")
        read = structure(_set(changed, path, unknown), AssetIngestionSession)
        found = _get(unstructure(read), path)
        assert (found, type(found)) == (unknown, str)

    def test_unknown_dataset_type_stays_text(self) -> None:
        assert structure({**document("Dataset"), "type": "freeform"}, Dataset).type is DatasetType.FREEFORM
        assert structure({**document("Dataset"), "type": "depth"}, Dataset).type == "depth"

    def test_unknown_codes_and_events_are_kept(self) -> None:
        changed = document("AssetIngestionSession")
        changed["status"]["events"] = [
            {"kind": "Error", "files": {"a.png": "EOLDMETA", "b.png": "ECORRUPT"}, "corrections": {}, "time": 1},
            {"kind": "Progress", "tasks": {"ingest": {"total": 2, "done": 1}}},
            {"kind": "Notice", "text": "from the future"},
        ]
        events = structure(changed, AssetIngestionSession).status.events
        assert [type(event) for event in events] == [
            AssetIngestionEventError,
            AssetIngestionEventProgress,
            AssetIngestionEventOther,
        ]
        assert isinstance(events[0], AssetIngestionEventError)
        assert events[0].files == {"a.png": "EOLDMETA", "b.png": AssetIngestionError.ECORRUPT}
        assert type(events[0].files["a.png"]) is str
        assert type(events[0].files["b.png"]) is AssetIngestionError

    @pytest.mark.parametrize("word", ["KeepLinkedResource", "KeepLinkedResources"])
    def test_both_spellings_of_keep_are_read(self, word: str) -> None:
        changed = _set(document("AssetIngestionSession"), "spec.onAssetOverwritten", word)
        kept = structure(changed, AssetIngestionSession).spec.on_asset_overwritten
        assert kept is ResourceRetentionMode.KEEP_LINKED_RESOURCES

    def test_keep_is_sent_in_the_singular(self) -> None:
        assert str(ResourceRetentionMode.KEEP_LINKED_RESOURCES) == "KeepLinkedResource"

    @pytest.mark.parametrize(
        ("sent", "read"), [("acme_ds1", "ds1"), ("ds1", "ds1"), ("acme_dataset_abc", "dataset_abc")]
    )
    def test_only_the_prefix_of_the_own_organization_is_cut(self, sent: str, read: str) -> None:
        assert structure({**document("Asset"), "datasetId": sent}, Asset).dataset_id == read

    def test_the_prefix_of_another_organization_stays(self) -> None:
        assert structure({**document("Asset"), "datasetId": "other_ds1"}, Asset).dataset_id == "other_ds1"

    def test_a_whole_number_with_a_fraction_is_an_integer(self) -> None:
        read = structure(_set(document("Asset"), "metadata.width", 24.0), Asset).metadata.width
        assert (read, type(read)) == (24, int)

    def test_numbers_keep_their_type_in_custom_metadata(self) -> None:
        values = {"a": 1, "b": 1.0, "c": True, "d": "1"}
        read = structure(_set(document("Asset"), "metadata.customMetadata", values), Asset).metadata.custom_metadata
        assert [type(value) for value in read.values()] == [int, float, bool, str]


WRONG = [
    ("Asset", "assetId", None, "assetId: required field is missing or null"),
    ("Asset", "assetId", 7, "assetId: expected text, got 7"),
    ("Asset", "datasetId", ["ds1"], 'datasetId: expected text, got ["ds1"]'),
    ("Asset", "metadata", [], "metadata: expected an object, got []"),
    ("Asset", "metadata.width", "24", 'metadata.width: expected an integer, got "24"'),
    ("Asset", "metadata.width", 24.5, "metadata.width: expected an integer, got 24.5"),
    ("Asset", "metadata.width", True, "metadata.width: expected an integer, got true"),
    ("Asset", "metadata.cohorts", ["a", 2], "metadata.cohorts[1]: expected text, got 2"),
    ("Asset", "metadata.dimensions.height", {}, "metadata.dimensions.height: expected an integer, got {}"),
    (
        "Asset",
        "metadata.annotations.withTag",
        {"t": "x"},
        'metadata.annotations.withTag.t: expected an integer, got "x"',
    ),
    (
        "Asset",
        "metadata.customMetadata",
        {"k": [1]},
        "metadata.customMetadata.k: expected text, number or boolean, got",
    ),
    (
        "Asset",
        "metadata.customMetadata",
        {"k": None},
        "metadata.customMetadata.k: expected text, number or boolean, got",
    ),
    ("Asset", "contents.asset.url", None, "contents.asset.url: required field is missing or null"),
    ("Asset", "contents.asset.headers", {"A": 1}, "contents.asset.headers.A: expected text, got 1"),
    ("AssetIngestionSession", "status.conditions.1.status", 0, "status.conditions[1].status: expected text, got 0"),
    ("AssetIngestionSession", "status.conditions", {}, "status.conditions: expected a list, got {}"),
    ("AssetIngestionSession", "status.events", [7], "status.events[0]: expected an object, got 7"),
    (
        "AssetIngestionSession",
        "status.events",
        [{"kind": "Error", "files": {"a.png": 4}}],
        "status.events[0].files.a.png: expected text, got 4",
    ),
    (
        "AssetIngestionSession",
        "status.progressCount.total",
        "2",
        'status.progressCount.total: expected an integer, got "2"',
    ),
    ("AssetIngestionSession", "spec.failureMode", 1, "spec.failureMode: expected text, got 1"),
    ("Dataset", "statistic.assetTotal", "many", 'statistic.assetTotal: expected an integer, got "many"'),
    ("Dataset", "isLocked", 0, "isLocked: expected true or false, got 0"),
    ("Dataset", "access.isPublic", "no", 'access.isPublic: expected true or false, got "no"'),
]


class TestWrongDocuments:
    @pytest.mark.parametrize(
        ("name", "path", "value", "problem"), WRONG, ids=[f"{n}-{p}-{v!r:.20}" for n, p, v, _ in WRONG]
    )
    def test_the_path_of_the_field_is_named(self, name: str, path: str, value: Any, problem: str) -> None:
        with pytest.raises(WireError) as raised:
            structure(_set(document(name), path, value), MODELS[name])
        assert str(raised.value).startswith(problem)
        assert raised.value.path == problem.split(":")[0]

    @pytest.mark.parametrize("value", [None, [], "x", 7, 7.5, True])
    def test_what_is_no_object_is_refused(self, value: Any) -> None:
        with pytest.raises(WireError, match="expected an object"):
            structure(value, Asset)

    def test_long_values_are_cut_in_the_message(self) -> None:
        with pytest.raises(WireError) as raised:
            structure(_set(document("Asset"), "metadata.width", "x" * 10_000), Asset)
        assert len(str(raised.value)) < 150

    def test_a_bad_item_does_not_lose_its_page(self) -> None:
        good = document("Asset")
        bad = _set(document("Asset"), "metadata.width", "wide")
        page = read_page({"items": [good, bad, good, 7, good], "nextPage": "t"}, Asset, "/x")
        assert [asset.asset_id for asset in page.items] == ["a1", "a1", "a1"]
        assert page.next_page == "t"
        assert page.bad_items == [
            BadItem(1, 'items[1].metadata.width: expected an integer, got "wide"'),
            BadItem(3, "items[3]: expected an object, got 7"),
        ]

    @pytest.mark.parametrize("answer", [None, "x", 7, {"items": 7}, {"items": {"a": 1}}])
    def test_what_is_no_page_is_refused(self, answer: Any) -> None:
        with pytest.raises(ViOperationError, match="items: expected a page"):
            read_page(answer, Asset, "/x")

    @pytest.mark.parametrize("field", ["nextPage", "prevPage"])
    @pytest.mark.parametrize("token", [7, ["t"], {"t": 1}, True])
    def test_a_token_that_is_no_text_is_refused(self, field: str, token: Any) -> None:
        with pytest.raises(ViOperationError, match=f"{field}: expected text"):
            read_page({"items": [], field: token}, Asset, "/x")

    @pytest.mark.parametrize("answer", [{}, {"items": None}, {"items": []}, [], {"nextPage": ""}, {"nextPage": None}])
    def test_an_empty_page_is_empty_however_it_is_said(self, answer: Any) -> None:
        page = read_page(answer, Asset, "/x")
        assert (page.items, page.next_page, page.bad_items) == ([], None, [])

    def test_a_deeply_nested_value_is_a_wire_error(self) -> None:
        """Whatever json can parse can be refused: the depth must not surface as a RecursionError."""
        deep: Any = []
        for _ in range(5000):
            deep = [deep]
        with pytest.raises(WireError, match=r"metadata\.width: .*(nested too deeply|\[{40,}\.\.\.)"):
            structure(_set(document("Asset"), "metadata.width", deep), Asset)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_json_in_any_field_is_read_or_refused(self, value: Any) -> None:
        for name in ("Asset", "AssetIngestionSession"):
            for field in document(name):
                changed = {**document(name), field: value}
                problem = _problem(changed, MODELS[name])
                assert problem is None or problem.path.startswith(field)


class TestTimes:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [(1760000000000, 1760000000.0), (1760000000, 1760000000.0), (1760000000500, 1760000000.5), (0, 0.0)],
    )
    def test_seconds_and_milliseconds_are_told_apart(self, value: int, seconds: float) -> None:
        assert _wire.to_seconds(value) == seconds
        assert _wire.to_datetime(value) == dt.datetime.fromtimestamp(seconds, dt.UTC)

    def test_no_time_is_none(self) -> None:
        assert _wire.to_datetime(None) is None

    @pytest.mark.parametrize("value", [10**18, 10**400, -(10**18), -(10**400)], ids=["far", "absurd", "past", "before"])
    def test_an_absurd_time_breaks_nothing(self, value: int) -> None:
        assert _wire.to_datetime(value) is None
        assert isinstance(_wire.to_seconds(value), float)


class TestClasses:
    def test_users_may_use_our_converter(self) -> None:
        read = _wire.converter().structure(document("Asset"), Asset)
        assert read == structure(document("Asset"), Asset)
        assert json.dumps(_wire.converter().unstructure(read))

    def test_a_class_without_a_wire_form_is_a_programming_error(self) -> None:
        with pytest.raises(TypeError, match="no wire form"):
            _wire.structure_class(Unknown)

    def test_a_keyword_only_field_and_a_renamed_one_are_read(self) -> None:
        assert _wire.structure_class(Renamed)({"theName": "x", "someWord": "on"}) == Renamed("x", some_word=Word.ON)


class Word(StrEnum):
    ON = "on"


@attrs.define
class Unknown:
    value: complex


@attrs.define
class Renamed:
    name: str = _wire.field(wire="theName")
    some_word: Word | str = attrs.field(kw_only=True, default="")


def _problem(value: Any, cls: type) -> WireError | None:
    try:
        structure(value, cls)
    except WireError as error:
        return error
    return None


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.split(".")]


def _get(value: Any, path: str) -> Any:
    for step in _steps(path):
        value = value[step]
    return value


def _set(value: Any, path: str, new: Any) -> Any:
    *way, last = _steps(path)
    inner = value
    for step in way:
        inner = inner[step]
    inner[last] = new
    return value
