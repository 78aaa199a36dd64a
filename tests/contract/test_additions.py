"""A service that has grown: unknown fields, values, events and conditions everywhere change nothing documented."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.contract.differences import ASSET, ASSETS, DATASET, DATASETS, ORGANIZATION, PARTS, SESSION, SESSIONS
from tests.contract.different import Difference, DifferentService, Passing
from vi import _samples
from vi.contract import shapes
from vi.contract.shapes import Document, ListOf, MapOf, Shape, Word
from vi.testing import TestedService

DOCUMENTS: tuple[tuple[str, str, Shape], ...] = (
    ("GET", "/workspaces", shapes.page_of(shapes.ORGANIZATION)),
    ("GET", ORGANIZATION, shapes.ORGANIZATION),
    ("GET", DATASETS, shapes.page_of(shapes.DATASET)),
    ("POST", DATASETS, shapes.DATASET),
    ("GET|PATCH", DATASET, shapes.DATASET),
    ("DELETE", DATASET, shapes.DELETED_DATASET),
    ("GET", ASSETS, shapes.page_of(shapes.ASSET)),
    ("GET", ASSET, shapes.ASSET),
    ("GET", rf"{DATASET}/assets:count", shapes.COUNT),
    ("POST", SESSIONS, shapes.SESSION),
    ("GET", SESSION, shapes.SESSION),
    ("POST", PARTS, shapes.MULTIPART),
    ("POST", rf"{PARTS}/[^/]+/parts/[0-9]+", shapes.PART),
    ("POST", rf"{DATASET}/deleteManyAssetsSessions", shapes.BULK_DELETION),
    ("GET", rf"{DATASET}/deleteManyAssetsSessions/[^/]+", shapes.BULK_DELETION),
)
# What a client has to understand to do its work; every other word may be a new one.
UNDERSTOOD = (shapes.CONDITION, shapes.EVENT, shapes.PART)
ADDED: tuple[Any, ...] = (None, 1, 2.5, "new", True, [], {"deep": [{"er": 1}]}, "é\u202e", 2**70)


def grown(value: Any, shape: Shape, rng: random.Random, *, words: bool = True) -> Any:
    """Return *value* with additions wherever its shape allows some."""
    match shape:
        case Document(fields) if isinstance(value, dict):
            words = words and shape not in UNDERSTOOD
            new = {
                name: grown(one, fields[name].shape, rng, words=words and not fields[name].needed)
                if name in fields
                else one
                for name, one in value.items()
            }
            for number in range(rng.randrange(3)):
                new[f"addition{rng.randrange(1000)}x{number}"] = rng.choice(ADDED)
            order = list(new.items())
            rng.shuffle(order)
            return dict(order)
        case ListOf(item) if isinstance(value, list):
            new_items = [grown(one, item, rng, words=words) for one in value]
            if item is shapes.EVENT:
                new_items.insert(0, {"kind": "Notice", "text": "something new", "time": 1})
            if item is shapes.CONDITION:
                new_items.append({"condition": "Audited", "status": "Reached", "lastTransitionTime": 1})
            return new_items
        case MapOf(item) if isinstance(value, dict):
            return {name: grown(one, item, rng, words=words) for name, one in value.items()}
        case Word() if words and isinstance(value, str) and rng.random() < 0.5:
            return f"{value}Beyond"
    return value


@pytest.fixture(params=range(5))
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[vi.Client]:
    """A client of a service with additions drawn from a seed."""
    rng = random.Random(request.param)

    def grow(passing: Passing) -> None:
        if passing.status >= 300 or not passing.body:
            return
        for method, path, shape in DOCUMENTS:
            if re.fullmatch(method, passing.method) and re.fullmatch(path, passing.path):
                passing.body = json.dumps(grown(json.loads(passing.body), shape, rng)).encode()
        passing.headers["X-Something-New"] = "yes"

    changes = [Difference("", method, r"/.*", grow) for method in ("GET", "POST", "PATCH", "DELETE")]
    service = TestedService.start(tmp_path / "data")
    proxy = DifferentService(service.url, changes)
    limits = vi.TransferLimits(multipart_threshold=1 << 20)
    with vi.Client(service.secret_key, service.organization_id, proxy.url, allow_http=True, limits=limits) as one:
        yield one
    proxy.stop()
    service.stop()


def test_everything_documented_works_and_nothing_is_lost(client: vi.Client, tmp_path: Path) -> None:
    pictures = _samples.make_samples(tmp_path / "images", count=14, size=(32, 24))
    (tmp_path / "images" / "large.bmp").write_bytes(_samples.encode(5, ".bmp", (900, 700)))
    total = len(pictures) + 1
    dataset_id = client.datasets.create(name="grown").dataset_id
    assert [one.name for one in client.datasets.list().items] == ["grown"]
    metadata = {"camera": "north", "height": 2, "ratio": 0.5, "night": False}
    result = client.assets.upload(
        dataset_id, str(tmp_path / "images"), custom_metadata=lambda _: metadata, show_progress=False
    )
    assert (result.total_succeeded, result.total_failed) == (total, 0)
    assert client.assets.count(dataset_id) == total
    listed = list(client.assets.list(dataset_id, contents=True).all_items())
    assert len(listed) == total
    assert all(dict(one.metadata.custom_metadata) == metadata for one in listed)
    assert client.assets.get(dataset_id, listed[0].asset_id).filename == listed[0].filename
    downloaded = client.assets.download(dataset_id, save_dir=str(tmp_path / "copy"), show_progress=False)
    assert downloaded.failures == []
    assert client.assets.verify(dataset_id, str(tmp_path / "copy")).ok
    again = client.assets.sync(dataset_id, str(tmp_path / "copy"), show_progress=False)
    assert again.ok
    assert client.assets.count(dataset_id) == total
    for session_id in result.session_ids:
        assert client.assets.wait_until_done(dataset_id, session_id).status.progressCount.errored == 0
    client.assets.rename(dataset_id, "renamed.png", asset_id=listed[0].asset_id)
    client.assets.delete(dataset_id, listed[0].asset_id)
    client.assets.delete_many(dataset_id, metadata_query='camera == "north"')
    assert client.assets.count(dataset_id) == 0
    client.datasets.delete(dataset_id)
    assert list(client.datasets.list().items) == []
