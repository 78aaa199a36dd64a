"""Custom metadata: by name, for all files, or by a function of the path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi

Read = Callable[[str], dict[str, dict[str, Any]]]


@pytest.fixture
def metadata(client: vi.Client) -> Read:
    """Reads what the assets of a dataset carry, by name."""
    return lambda dataset: {a.filename: a.metadata.custom_metadata for a in client.assets.list(dataset).all_items()}


EVERYTHING = {"text": "straße", "number": 7, "decimal": 12.5, "yes": True, "no": False, "empty": "", "negative": -1}


def test_one_mapping_is_for_every_file(client: vi.Client, dataset: str, folder: Any, metadata: Read) -> None:
    client.assets.upload(dataset, folder(3), custom_metadata=EVERYTHING)
    found = metadata(dataset)
    assert list(found.values()) == [EVERYTHING] * 3
    assert {type(value) for value in found["image-000.png"].values()} == {str, int, float, bool}


def test_a_mapping_of_mappings_is_by_remote_name(client: vi.Client, dataset: str, folder: Any, metadata: Read) -> None:
    images = folder(names=["a/1.png", "2.png", "3.png"])
    client.assets.upload(
        dataset, images, names="relative", custom_metadata={"a/1.png": {"split": "train"}, "3.png": {}}
    )
    assert metadata(dataset) == {"a/1.png": {"split": "train"}, "2.png": {}, "3.png": {}}


def test_a_function_is_given_the_path_and_may_give_nothing(
    client: vi.Client, dataset: str, folder: Any, metadata: Read
) -> None:
    images = folder(names=["train/1.png", "val/2.png", "3.png"])

    def split(path: Path) -> dict[str, str | int] | None:
        assert path.is_file()
        return None if path.parent == images else {"split": path.parent.name}

    client.assets.upload(dataset, images, custom_metadata=split)
    assert metadata(dataset) == {"1.png": {"split": "train"}, "2.png": {"split": "val"}, "3.png": {}}


def test_metadata_can_be_asked_for_afterwards(client: vi.Client, dataset: str, folder: Any) -> None:
    client.assets.upload(dataset, folder(4), custom_metadata={"image-002.png": {"camera_type": "Aerial"}})
    assert client.assets.count(dataset, metadata_query='camera_type == "aerial"') == 1
    assert client.assets.count(dataset, metadata_query="camera_type:aerial") == 1
    assert client.assets.count(dataset, metadata_query='camera_type == "aerial"', strict_query=True) == 0
    (asset,) = client.assets.list(dataset, metadata_query='camera_type == "Aerial"', strict_query=True).items
    assert asset.filename == "image-002.png"


def test_what_is_missing_is_left_out(client: vi.Client, dataset: str, folder: Any, metadata: Read) -> None:
    client.assets.upload(dataset, folder(1), custom_metadata={"a": None, "b": float("nan"), "c": 1})
    assert metadata(dataset) == {"image-000.png": {"c": 1}}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"image-000.png": {"key": b"1"}}, "key"),
        ({"image-000.png": {"key": [1]}}, "key"),
        ({"image-000.png": {"key": float("inf")}}, "inf"),
        ({"image-000.png": {5: "value"}}, "5"),
        ({"image-000.png": "value", "image-001.png": {}}, "image-000.png"),
        ({"key": ["a"]}, "key"),
        ({"typo.png": {"a": 1}}, "typo.png"),
        ("text", "text"),
        (5, "int"),
    ],
    ids=["bytes", "list", "infinity", "key", "mixed", "flat list", "unknown name", "text", "number"],
)
def test_bad_metadata_is_refused_before_a_request(
    client: vi.Client, service: Any, dataset: str, folder: Any, given: Any, word: str
) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        client.assets.upload(dataset, folder(2), custom_metadata=given)
    assert raised.value.parameter == "custom_metadata"
    assert word in str(raised.value)
    assert service.requests() == []


@pytest.mark.parametrize("bad", [{"key": []}, "text", {"key": "\udcff"}], ids=["list", "text", "surrogate"])
def test_a_function_that_gives_bad_metadata_stops_the_upload_and_nothing_is_stored(
    client: vi.Client, service: Any, dataset: str, folder: Any, bad: Any, stored: Any
) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match=r"image-001\.png"):
        client.assets.upload(dataset, folder(2), custom_metadata=lambda path: bad if "001" in path.name else {})
    assert service.requests("PUT") == []
    assert stored(dataset) == {}
