"""Datasets and organizations."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import vi
from vi.api.resources.datasets.types import DatasetType
from vi.api.types import PaginationParams


def test_a_dataset_is_made_found_changed_and_deleted(client: vi.Client) -> None:
    made = client.datasets.create(
        "street signs", "vqa", "of a small town", tags={"stop": 1}, metadata={"team": "north"}
    )
    assert made.type is DatasetType.VQA
    assert made == client.datasets.get(made.dataset_id)
    assert (made.name, made.description, made.tags) == ("street signs", "of a small town", {"stop": 1})
    assert made.created_at is not None
    assert abs(made.created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    changed = client.datasets.update(made.dataset_id, name="signs")
    assert (changed.name, changed.description, changed.tags) == ("signs", "of a small town", {"stop": 1})
    assert client.datasets.update(made.dataset_id, description="", tags={}).description == ""
    deleted = client.datasets.delete(made.dataset_id)
    assert deleted.dataset_id == made.dataset_id
    with pytest.raises(vi.ViNotFoundError, match=made.dataset_id) as raised:
        client.datasets.get(made.dataset_id)
    assert raised.value.request_id


@pytest.mark.anyio
async def test_the_async_client_does_the_same(service: Any) -> None:
    async with service.async_client() as client:
        made = await client.datasets.create("signs")
        assert (await client.datasets.update(made.dataset_id, description="new")).description == "new"
        assert made.dataset_id in {d.dataset_id async for d in client.datasets.list().all_items()}
        await client.datasets.delete(made.dataset_id)
        with pytest.raises(vi.ViNotFoundError):
            await client.datasets.get(made.dataset_id)


def test_ids_are_short_and_accepted_in_both_forms(client: vi.Client, service: Any) -> None:
    made = client.datasets.create("signs")
    assert not made.dataset_id.startswith(service.organization_id)
    assert client.datasets.get(f"{service.organization_id}_{made.dataset_id}") == made


def test_every_dataset_is_listed_once(client: vi.Client) -> None:
    made = {client.datasets.create(f"listed {n}").dataset_id for n in range(7)}
    everything = [dataset.dataset_id for dataset in client.datasets.list().all_items()]
    in_threes = [d.dataset_id for page in client.datasets.list(PaginationParams(3)) for d in page.items]
    assert made <= set(everything)
    assert everything == in_threes
    assert len(set(everything)) == len(everything)


def test_a_deleted_dataset_takes_nothing_and_gives_nothing(
    client: vi.Client, dataset: str, folder: Any, tmp_path: Any
) -> None:
    client.assets.upload(dataset, folder(1))
    client.datasets.delete(dataset)
    for call in (
        lambda: client.assets.upload(dataset, folder(1)),
        lambda: client.assets.download(dataset, tmp_path / "out"),
        lambda: client.assets.list(dataset),
        lambda: client.datasets.delete(dataset),
    ):
        with pytest.raises(vi.ViNotFoundError, match=dataset):
            call()


@pytest.mark.parametrize(
    ("method", "arguments", "parameter"),
    [
        ("create", {"name": ""}, "name"),
        ("create", {"name": "  "}, "name"),
        ("create", {"name": 5}, "name"),
        ("create", {"name": "x", "dataset_type": "other"}, "dataset_type"),
        ("create", {"name": "x", "tags": {"a": "b"}}, "tags"),
        ("create", {"name": "x", "tags": ["a"]}, "tags"),
        ("create", {"name": "x", "metadata": {"a": 5}}, "metadata"),
        ("create", {"name": "\udcff"}, "name"),
        ("update", {"dataset_id": "d1"}, None),
        ("update", {"dataset_id": "d1", "name": ""}, "name"),
        ("get", {"dataset_id": ""}, "dataset_id"),
        ("get", {"dataset_id": "a/b"}, "dataset_id"),
        ("get", {"dataset_id": None}, "dataset_id"),
        ("delete", {"dataset_id": "x" * 300}, "dataset_id"),
        ("list", {"pagination": 5}, "pagination"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_a_request(
    client: vi.Client, service: Any, method: str, arguments: dict[str, Any], parameter: str | None
) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        getattr(client.datasets, method)(**arguments)
    assert raised.value.parameter == parameter
    assert service.requests() == []


def test_the_organization_of_the_key_is_found(client: vi.Client, service: Any, dataset: str) -> None:
    own = client.organizations.get()
    assert own.organization_id == service.organization_id
    assert own.self_link == client.organizations.get(service.organization_id).self_link
    assert [o.organization_id for o in client.organizations.list().items] == [own.organization_id]
    with pytest.raises(vi.ViPermissionError):
        client.organizations.get("another")


def test_info_prints_a_summary(client: vi.Client, dataset: str, png: Any, capsys: Any) -> None:
    client.assets.upload(dataset, [("a\x1b[31mb.png", png())])
    client.datasets.get(dataset).info()
    client.assets.list(dataset).items[0].info()
    out = capsys.readouterr().out
    assert dataset in out
    assert "8 x 8 pixels" in out
    assert "\x1b" not in out
