"""Drive the published client through everything that it can do with assets, and print what happened, one fact a line.

Runs under the interpreter that has ``vi-sdk``, where ``vi`` is that package and not this project's. Its code is used as
published; only two of its constants are made smaller, the size from which it uploads in parts and its poll interval.

    published_client.py PICTURES LARGE SAVE
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
import urllib.request
from pathlib import Path

# The client prints its progress on stdout, where the facts go.
facts = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import vi  # noqa: E402
from vi.api.resources import waiter  # noqa: E402
from vi.api.resources.datasets.assets import consts, multipart  # noqa: E402
from vi.api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion, SortOrder  # noqa: E402
from vi.api.types import PaginationParams  # noqa: E402

PICTURES, LARGE, SAVE = (Path(argument) for argument in sys.argv[1:4])
consts.MULTIPART_THRESHOLD_BYTES = 4 << 20
waiter.RESOURCE_WAITER_POLL_INTERVAL_SECONDS = 0.2

client = vi.Client()
steps = []


def step(function):
    steps.append(function)
    return function


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def outcome(function, *args, **kwargs):
    """Return the kind of error that a call raises, as the client names it."""
    try:
        function(*args, **kwargs)
    except vi.ViError as error:
        return {"error": type(error).__name__, "code": str(error.error_code.value), "message": error.message}
    return {"error": None}


def everything(dataset_id, **options):
    return client.assets.list(dataset_id, pagination=PaginationParams(page_size=1000), **options).items


def upload(dataset_id, paths, **options):
    result = client.assets.upload(dataset_id, paths=paths, show_progress=False, **options)
    return {
        "total": result.total_files,
        "succeeded": result.total_succeeded,
        "failed": result.total_failed,
        "failed_files": result.failed_files,
        "sessions": result.session_ids,
    }


@step
def organization(state):
    found = client.organizations.get()
    pages = [item.organization_id for item in client.organizations.list().items]
    return {"id": found.organization_id, "name": found.name, "listed": pages}


@step
def create(state):
    dataset = client.datasets.create(name="Street signs", description="From the published client")
    state["dataset"] = dataset.dataset_id
    return {
        "id": dataset.dataset_id,
        "name": dataset.name,
        "type": str(dataset.type.value),
        "assets": dataset.statistic.asset_total,
    }


@step
def upload_folder(state):
    return upload(state["dataset"], str(PICTURES))


@step
def after_upload(state):
    dataset = client.datasets.get(state["dataset"])
    return {"assets": dataset.statistic.asset_total, "count": client.assets.count(state["dataset"])}


@step
def list_all(state):
    state["assets"] = {asset.filename: asset for asset in everything(state["dataset"])}
    return {
        name: {
            "size": asset.metadata.file_size,
            "mime": asset.metadata.mime_type,
            "kind": asset.kind,
            "width": asset.metadata.width,
            "frames": asset.metadata.frames,
            "sha256": asset.metadata.hash.contents,
            "dataset": asset.dataset_id,
            "organization": asset.organization_id,
        }
        for name, asset in state["assets"].items()
    }


@step
def list_sorted(state):
    def sizes(order):
        criterion = AssetSortCriterion(criterion=SortCriterion.METADATA_FILE_SIZE, order=order)
        return [asset.metadata.file_size for asset in everything(state["dataset"], sort_by=criterion)]

    by_name = AssetSortCriterion(criterion=SortCriterion.FILENAME, order=SortOrder.DESC)
    return {
        "ascending": sizes(SortOrder.ASC),
        "descending": sizes(SortOrder.DESC),
        "names": [asset.filename for asset in everything(state["dataset"], sort_by=by_name)],
        "default": len(client.assets.list(state["dataset"]).items),
        "more": bool(client.assets.list(state["dataset"]).next_page),
    }


@step
def list_filtered(state):
    png, loud = '{"metadata.mimeType": "image/png"}', '{"mimeType": "IMAGE/PNG"}'
    return {
        "listed": len(everything(state["dataset"], filter_criteria=png)),
        "counted": client.assets.count(state["dataset"], filter_criteria=png),
        "strict": client.assets.count(state["dataset"], filter_criteria=loud, strict_query=True),
        "tolerant": client.assets.count(state["dataset"], filter_criteria=loud, strict_query=False),
        "query": client.assets.count(state["dataset"], metadata_query='custom_field == "value"'),
        "colon": client.assets.count(state["dataset"], metadata_query="camera_type:aerial"),
        "malformed": outcome(client.assets.count, state["dataset"], filter_criteria="{'status': 'error'}"),
    }


@step
def get(state):
    name = next(name for name in sorted(state["assets"]) if " " in name and name.endswith(".jpg"))
    asset_id = state["assets"][name].asset_id
    asset = client.assets.get(state["dataset"], asset_id, contents=True)
    plain = client.assets.get(state["dataset"], asset_id)
    return {
        "name": asset.filename,
        "same": asset.asset_id == asset_id,
        "sha256": hashlib.sha256(fetch(asset.contents.asset.url)).hexdigest(),
        "thumbnail": fetch(asset.contents.thumbnail.url)[:3].hex(),
        "plain": plain.contents is None,
        "missing": outcome(client.assets.get, state["dataset"], "nosuchasset"),
    }


@step
def download(state):
    result = client.assets.download(state["dataset"], save_dir=SAVE / "all", show_progress=False)
    return {"count": result.count, "folder": str(SAVE / "all" / state["dataset"])}


@step
def rename(state):
    # The client writes a name into the path as it is, so "#" and "%" cannot be renamed by name.
    first, second, third = [name for name in sorted(state["assets"]) if name.startswith("aerial")][:3]
    by_id = client.assets.rename(state["dataset"], "renamed by id.png", asset_id=state["assets"][first].asset_id)
    by_name = client.assets.rename(state["dataset"], "renamed-by-name.png", filename=second)
    return {
        "by_id": [by_id["filename"], by_id["assetId"] == state["assets"][first].asset_id],
        "by_name": [by_name["filename"], by_name["assetId"] == state["assets"][second].asset_id],
        "names": sorted(asset.filename for asset in everything(state["dataset"])),
        "gone": [first, second],
        "taken": outcome(client.assets.rename, state["dataset"], third, filename="renamed-by-name.png"),
        "missing": outcome(client.assets.rename, state["dataset"], "x.png", filename="no such file.png"),
    }


@step
def delete(state):
    name = next(name for name in sorted(state["assets"]) if name.startswith("street"))
    asset_id = state["assets"][name].asset_id
    deleted = client.assets.delete(state["dataset"], asset_id)
    return {
        "id": deleted.id == asset_id,
        "deleted": deleted.deleted,
        "name": name,
        "left": [asset.filename for asset in everything(state["dataset"])],
        "total": client.datasets.get(state["dataset"]).statistic.asset_total,
        "again": outcome(client.assets.delete, state["dataset"], asset_id),
    }


@step
def upload_and_wait(state):
    dataset = client.datasets.create(name="Waiting")
    path = sorted(PICTURES.glob("*.jpg"))[0]
    started = client.assets.upload(dataset.dataset_id, paths=[str(path)], wait_until_done=False, show_progress=False)
    session = client.assets.wait_until_done(dataset.dataset_id, started.session_ids[0])
    state["waiting"] = dataset.dataset_id
    return {
        "same": session.asset_ingestion_session_id == started.session_ids[0],
        "counts": [session.status.progressCount.succeeded, session.status.progressCount.total],
        "conditions": {
            str(getattr(c.condition, "value", c.condition)): c.status.value for c in session.status.conditions
        },
        "missing": outcome(client.assets.wait_until_done, dataset.dataset_id, "nosuchsession"),
    }


@step
def overwrite(state):
    [before] = everything(state["waiting"])
    other = sorted(PICTURES.glob("*.jpg"))[1]
    retention = {}
    for mode in ("RemoveLinkedResource", "KeepLinkedResource"):
        result = client.assets.upload(
            state["waiting"],
            assets_bytes=[(before.filename, other.read_bytes())],
            on_asset_overwritten=mode,
            show_progress=False,
        )
        retention[mode] = result.sessions[0].spec.onAssetOverwritten.value
    [after] = everything(state["waiting"])
    return {
        "same": after.asset_id == before.asset_id,
        "sha256": [after.metadata.hash.contents, hashlib.sha256(other.read_bytes()).hexdigest()],
        "retention": retention,
    }


@step
def in_parts(state):
    asked = []
    part_url = multipart.MultipartUploader._get_part_url

    def counted(self, upload_id, number):
        asked.append((self._filename, number))
        return part_url(self, upload_id, number)

    multipart.MultipartUploader._get_part_url = counted
    dataset = client.datasets.create(name="Large files").dataset_id
    result = upload(dataset, str(LARGE))
    client.assets.download(dataset, save_dir=SAVE / "large", show_progress=False)
    found = {asset.filename: [asset.kind, asset.metadata.file_size] for asset in everything(dataset)}
    parts = {name: sorted(number for file, number in asked if file == name) for name in found}
    return {"result": result, "found": found, "parts": parts, "folder": str(SAVE / "large" / dataset)}


@step
def broken(state):
    dataset = client.datasets.create(name="Broken").dataset_id
    good = sorted(PICTURES.glob("*.jpg"))[0].read_bytes()
    mixed = [("good.jpg", good), ("cut.jpg", good[: len(good) // 2])]
    kept = client.assets.upload(dataset, assets_bytes=mixed, failure_mode="FailAfterAll", show_progress=False)
    return {
        "counts": [kept.total_succeeded, kept.total_failed],
        "failed": kept.failed_files,
        "left": [asset.filename for asset in everything(dataset)],
        "one": outcome(client.assets.upload, dataset, assets_bytes=mixed[1:], show_progress=False),
    }


@step
def delete_many(state):
    dataset = state["dataset"]
    before = client.assets.count(dataset)
    jpeg = client.assets.count(dataset, filter_criteria='{"metadata.mimeType": "image/jpeg"}')
    session = client.datasets.bulk_delete_assets(dataset, filter_criteria='{"metadata.mimeType": "image/jpeg"}')
    between = [asset.metadata.mime_type for asset in everything(dataset)]
    query = client.datasets.bulk_delete_assets(dataset, metadata_query="camera_type:aerial", strict_query=True)
    same = client.assets.count(dataset)
    client.datasets.bulk_delete_assets(dataset)
    listed = client.datasets.list_bulk_asset_deletion_sessions(dataset)
    return {
        "before": before,
        "jpeg": jpeg,
        "between": [len(between), "image/jpeg" in between],
        "conditions": [condition.status.value for condition in session.status.conditions],
        "spec": [query.spec.metadata_query, query.spec.strict_query],
        "same": same,
        "after": client.assets.count(dataset),
        "sessions": len(listed.items),
        "malformed": outcome(client.datasets.bulk_delete_assets, dataset, filter_criteria="{'a': 1}"),
    }


@step
def list_datasets(state):
    for number in range(4):
        client.datasets.create(name=f"Extra {number}")
    pages = [[dataset.name for dataset in page.items] for page in client.datasets.list(PaginationParams(page_size=3))]
    simple = [item["name"] for item in client.datasets.list_simple(PaginationParams(page_size=3)).all_items()]
    return {"pages": pages, "simple": simple, "all": [d.name for d in client.datasets.list().all_items()]}


@step
def update(state):
    spec = {"name": "Road signs", "description": "new", "tags": {"red": 1}}
    changed = client.datasets.update(state["dataset"], spec=spec, metadata={"team": "north"})
    read = client.datasets.get(state["dataset"])
    return {
        "changed": [changed.name, changed.description, changed.tags],
        "read": [read.name, read.description, read.tags],
    }


@step
def delete_dataset(state):
    deleted = client.datasets.delete(state["dataset"])
    return {
        "conditions": [condition.status.value for condition in deleted.status.conditions],
        "operation": client.datasets.get_deletion_operation(state["dataset"]).kind,
        "get": outcome(client.datasets.get, state["dataset"]),
        "listed": "Road signs" in [dataset.name for dataset in client.datasets.list().all_items()],
    }


@step
def refused(state):
    wrong = vi.Client(secret_key="dtvi_" + "0" * 98, organization_id=client.organizations.get().organization_id)
    other = vi.Client(organization_id="another-organization")
    return {
        "key": outcome(wrong.datasets.list),
        "organization": outcome(other.datasets.list),
        "name": outcome(client.datasets.create, name=" "),
    }


def main():
    state = {}
    for function in steps:
        try:
            fact = function(state)
        except Exception:
            fact = {"failed": traceback.format_exc()}
        print(json.dumps({function.__name__: fact}), file=facts, flush=True)


main()
