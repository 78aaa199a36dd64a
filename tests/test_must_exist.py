"""Every promised name, one test a row and form, against assets that were really uploaded."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import io
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.support.promised_names import PROMISES, Promise
from tests.support.promised_values import VALUES, corrupt_png, corrupt_session, is_a, one_bad, owner, written_type
from tests.support.promised_world import NAME, World, async_world, sync_world, terminal
from vi import _media, _wire
from vi.api.pagination import PaginatedResponse
from vi.api.resources.datasets.assets import responses as r
from vi.api.resources.datasets.assets import types as t
from vi.api.resources.datasets.assets.resource import Assets, AsyncAssets
from vi.api.resources.datasets.assets.results import AssetDownloadResult, AssetUploadResult
from vi.api.types import PaginationParams

Check = Callable[[World], Any]

KINDS = {
    "module", "attribute", "exception", "method", "parameter", "class", "property", "behaviour", "enum", "enum value",
    "alias", "format", "extension",
}  # fmt: skip


@pytest.fixture(scope="module", params=[sync_world, async_world], ids=["sync", "async"])
def world(
    request: pytest.FixtureRequest, service: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with request.param(service, pictures, tmp_path_factory.mktemp("world")) as world:
        yield world


def test_the_list_is_whole() -> None:
    assert [promise.number for promise in PROMISES] == list(range(1, 193))
    assert {promise.kind for promise in PROMISES} == KINDS
    assert [p.name for p in PROMISES if p.kind == "property" and p.name not in VALUES] == []
    assert [p.name for p in PROMISES if p.kind == "parameter" and p.name not in PARAMETERS] == []


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.number}-{promise.name}")
def test_promise(promise: Promise, world: World) -> None:
    {
        "property": check_property,
        "parameter": check_parameter,
        "class": check_class,
        "exception": check_exception,
        "enum": check_enum,
        "enum value": check_value,
        "format": check_format,
        "extension": check_extension,
        "module": check_module,
    }.get(promise.kind, check_other)(promise, world)


# Properties: of the type that the list writes, and with the true value.


def check_property(promise: Promise, w: World) -> None:
    cls, _, name = promise.name.partition(".")
    value = getattr(owner(w, cls), name)
    if cls != "PaginatedResponse":
        assert is_a(value, written_type(promise.detail)), f"{value!r} is not {promise.detail}"
        assert type(owner(w, cls)).__name__ == cls
    assert VALUES[promise.name](value, w), value


# Parameters: as written in the signature, and with the effect that they name.


def copy_to(w: World, **arguments: Any) -> AssetDownloadResult:
    folder = w.folder / f"copy-{len(list(w.folder.iterdir()))}"
    return w.call("download", **{"save_dir": folder, "show_progress": False, **arguments})


def overwrites(w: World) -> bool:
    """A local file with other content is kept, or replaced when that is asked for."""
    folder = copy_to(w).save_dir
    (folder / NAME).write_bytes(b"mine")
    kept = w.call("download", save_dir=folder, show_progress=False)
    assert (kept.total_conflicts, (folder / NAME).read_bytes()) == (1, b"mine")
    w.call("download", save_dir=folder, show_progress=False, overwrite=True)
    return (folder / NAME).read_bytes() == w.originals[NAME]


def shows_progress(w: World) -> bool:
    with terminal() as shown:
        copy_to(w, show_progress=False)
        assert shown.getvalue() == ""
        copy_to(w, show_progress=True)
    return "download" in shown.getvalue() and "14" in shown.getvalue()


def waits(w: World) -> bool:
    """Without waiting the session is told, and may be waited for later."""
    dataset = w.fresh_dataset()
    result = w.upload_bytes({"a.png": w.originals[NAME]}, dataset_id=dataset, wait_until_done=False)
    session = w.call("wait_until_done", dataset_id=dataset, asset_ingestion_session_id=result.session_ids[0])
    assert session.status.progressCount.succeeded == 1
    waited = w.upload_bytes({"b.png": w.originals[NAME]}, dataset_id=dataset, wait_until_done=True)
    return bool(waited.sessions[0].status.finished)


def takes_paths(w: World) -> bool:
    folder = w.folder / "to-upload"
    folder.mkdir(exist_ok=True)
    files = [folder / "one.png", folder / "two.png"]
    for file in files:
        file.write_bytes(w.originals[NAME])
    counts = [
        w.call("upload", dataset_id=w.fresh_dataset(), paths=paths).total_succeeded
        for paths in (str(files[0]), str(folder), [str(file) for file in files])
    ]
    return counts == [1, 2, 2]


def stops_at_the_first_failure(w: World, mode: Any) -> bool:
    bad = {"bad.png": b"no picture", "cut.png": corrupt_png(w)}
    with pytest.raises(vi.ViUploadError) as raised:
        w.upload_bytes(bad, failure_mode=mode)
    result: AssetUploadResult = raised.value.result
    return (result.total_failed, result.total_cancelled) == (1, 1)


def tries_everything(w: World, mode: Any) -> bool:
    bad = {"bad.png": b"no picture", "cut.png": corrupt_png(w), "good.png": w.originals[NAME]}
    result = w.upload_bytes(bad, failure_mode=mode)
    return (result.total_failed, result.total_succeeded) == (2, 1)


def retains(w: World, mode: Any) -> bool:
    """The mode reaches the service, which says it back; the asset is overwritten either way and keeps its id."""
    dataset = w.fresh_dataset()
    w.upload_bytes({"a.png": w.originals[NAME]}, dataset_id=dataset)
    before = w.call("list", dataset_id=dataset).items[0]
    result = w.upload_bytes({"a.png": w.originals[NAME] + b"\0"}, dataset_id=dataset, on_asset_overwritten=mode)
    after = w.call("list", dataset_id=dataset).items[0]
    assert (before.asset_id, before.metadata.file_size + 1) == (after.asset_id, after.metadata.file_size)
    return result.sessions[0].spec.on_asset_overwritten is r.ResourceRetentionMode(mode)


def deletes(w: World) -> bool:
    dataset = w.fresh_dataset()
    w.upload_bytes({"a.png": w.originals[NAME], "b.png": w.originals[NAME]}, dataset_id=dataset)
    first, second = w.call("list", dataset_id=dataset).items
    deleted = w.call("delete", dataset_id=dataset, asset_id=first.asset_id)
    assert (deleted.id, deleted.asset_id, deleted.deleted) == (first.asset_id, first.asset_id, True)
    with pytest.raises(vi.ViNotFoundError):
        w.call("get", dataset_id=dataset, asset_id=first.asset_id)
    return [a.asset_id for a in w.call("list", dataset_id=dataset).items] == [second.asset_id]


def unknown_dataset(w: World, method: str, **arguments: Any) -> bool:
    """The dataset that is named is the one that is asked."""
    with pytest.raises(vi.ViNotFoundError):
        w.call(method, dataset_id="nosuchdataset", **arguments)
    return True


def sorted_by(w: World, criterion: Any, order: Any = t.SortOrder.ASC) -> list[str]:
    return w.names(sort_by=t.AssetSortCriterion(criterion=criterion, order=order))


PARAMETERS: dict[str, Check] = {
    "list.dataset_id": lambda w: unknown_dataset(w, "list") and w.names() == list(w.names(dataset_id=w.dataset_id)),
    "list.pagination": lambda w: [len(page) for page in w.pages(pagination=PaginationParams(page_size=6))] == [6, 6, 2],
    "list.contents": lambda w: (
        [a.contents is not None for a in w.call("list", contents=True).items] == [True] * 10
        and [a.contents for a in w.page.items] == [None] * 10
    ),
    "list.sort_by": lambda w: sorted_by(w, "filename", "desc") == sorted(w.originals, reverse=True),
    "list.filter_criteria": lambda w: w.names(filter_criteria=f'{{"filename": "{NAME}"}}') == [NAME],
    "list.metadata_query": lambda w: (
        w.names(metadata_query='custom_field == "value"') == [NAME]
        and w.names(metadata_query='custom_field == "other"') == []
    ),
    "get.dataset_id": lambda w: unknown_dataset(w, "get", asset_id=w.asset_id),
    "get.asset_id": lambda w: (
        [w.call("get", asset_id=a.asset_id).filename for a in w.page.items] == [a.filename for a in w.page.items]
    ),
    "get.contents": lambda w: w.asset.contents is not None and w.call("get", asset_id=w.asset_id).contents is None,
    "upload.dataset_id": lambda w: unknown_dataset(w, "upload", paths=("a.png", w.originals[NAME])),
    "upload.paths": takes_paths,
    "upload.wait_until_done": waits,
    "upload.failure_mode": lambda w: (
        stops_at_the_first_failure(w, "FailAfterOne") and tries_everything(w, "FailAfterAll")
    ),
    "upload.on_asset_overwritten": lambda w: retains(w, "RemoveLinkedResource") and retains(w, "KeepLinkedResource"),
    "download.dataset_id": lambda w: unknown_dataset(w, "download", save_dir=w.folder / "none"),
    "download.save_dir": lambda w: (
        copy_to(w, save_dir=str(w.folder / "a")).total_downloaded == 14
        and copy_to(w, save_dir=w.folder / "b").total_downloaded == 14
        and read(w.folder / "a") == read(w.folder / "b") == w.originals
    ),
    "download.overwrite": overwrites,
    "download.show_progress": shows_progress,
    "delete.dataset_id": lambda w: unknown_dataset(w, "delete", asset_id=w.asset_id),
    "delete.asset_id": deletes,
    "wait_until_done.dataset_id": lambda w: unknown_dataset(w, "wait_until_done", asset_ingestion_session_id="s"),
    "wait_until_done.asset_ingestion_session_id": lambda w: (
        w.session.asset_ingestion_session_id == w.upload.session_ids[0]
    ),
    "PaginationParams.page_size": lambda w: len(w.call("list", pagination=PaginationParams(page_size=3))) == 3,
    "AssetSortCriterion.criterion": lambda w: sorted_by(w, t.SortCriterion.FILENAME) == sorted(w.originals),
    "AssetSortCriterion.order": lambda w: sorted_by(w, "filename", t.SortOrder.DESC) == sorted(w.originals)[::-1],
}


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_parameter(promise: Promise, w: World) -> None:
    of, _, name = promise.name.partition(".")
    cls = {"PaginationParams": PaginationParams, "AssetSortCriterion": t.AssetSortCriterion}.get(of)
    parameter = inspect.signature(cls or getattr(type(w.client.assets), of)).parameters[name]
    assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = re.search(r"default (\S+)$", promise.detail)
    if default:
        assert parameter.default == eval(default[1])
        assert type(parameter.default) is type(eval(default[1])) or isinstance(parameter.default, Enum)
    elif cls is None:
        # An asset may be named by its filename= instead; with neither, the call is refused before a request.
        either = promise.name in ("get.asset_id", "delete.asset_id")
        assert parameter.default is (None if either else inspect.Parameter.empty)
    assert PARAMETERS[promise.name](w)


# Everything else.


def check_class(promise: Promise, w: World) -> None:
    name = promise.name.removesuffix("[Asset]")
    if name == "PaginatedResponse":
        assert isinstance(w.page, w.first_page_type)
        assert issubclass(PaginatedResponse[r.Asset].__origin__, w.first_page_type)  # type: ignore[attr-defined]
        assert isinstance(w.page[0], r.Asset)
        return
    module = {"PaginationParams": vi.api.types, "AssetSortCriterion": t}.get(name, r)
    if name in ("AssetUploadResult", "AssetDownloadResult"):
        module = importlib.import_module("vi.api.resources.datasets.assets.results")
    cls = getattr(module, name)
    assert attrs.has(cls)
    if name in ("PaginationParams", "AssetSortCriterion"):
        assert cls() == cls()
    elif name == "DeletedAsset":
        assert deletes(w)
    elif name == "AssetIngestionEventError":
        events = corrupt_session(w).status.events
        assert [type(event) for event in events if event.kind == "Error"] == [cls]
        assert w.session.status.events == [] or all(type(e) is not cls for e in w.session.status.events)
    elif name == "AssetIngestionEventProgress":
        document = {
            "assetIngestionSessionId": "s",
            "status": {"events": [{"kind": "Progress", "tasks": {"a": {"done": 1}}}]},
        }
        assert _wire.structure(document, r.AssetIngestionSession).status.events == [cls(tasks={"a": {"done": 1}})]
    else:
        assert type(owner(w, name)) is cls


def check_exception(promise: Promise, w: World) -> None:
    cls = getattr(vi, promise.name)
    assert issubclass(cls, vi.ViError)
    assert promise.name in vi.__all__
    assert raise_one(cls, w).message


def raise_one(cls: type[vi.ViError], w: World) -> vi.ViError:
    """Make the client raise a real one."""
    if cls is vi.ViFileTooLargeError:
        path = w.folder / "large.png"
        with path.open("wb") as file:
            file.truncate(_media.MAX_IMAGE_BYTES + 1)
        arguments: dict[str, Any] = {"paths": str(path)}
    else:
        arguments = {"paths": ("bad.png", b"no picture")}
    with pytest.raises(vi.ViUploadError) as raised:
        w.call("upload", **arguments)
    assert type(raised.value) is cls
    return raised.value


def check_enum(promise: Promise, w: World) -> None:
    module = t if promise.name in ("SortCriterion", "SortOrder") else r
    cls = getattr(module, promise.name)
    assert issubclass(cls, str)
    assert issubclass(cls, Enum)
    assert {f"{promise.name}.{m}" for m in cls.__members__} == {
        p.name for p in PROMISES if p.kind == "enum value" and p.name.startswith(promise.name + ".")
    }


def in_order(w: World, criterion: Any, key: Callable[[r.Asset], Any]) -> bool:
    names = sorted_by(w, criterion)
    return names == [a.filename for a in sorted(w.assets.values(), key=lambda a: (key(a), a.asset_id))]


def refused(w: World, name: str, content: bytes) -> str:
    """The code with which a file is refused."""
    return str(w.upload_bytes({name: content}, failure_mode="FailAfterAll").failures[0].code)


def code_of_event(code: str) -> Any:
    """A code as it is read from a session's events."""
    event = {"kind": "Error", "files": {"a.png": code}, "corrections": {}, "time": 1}
    session = _wire.structure({"assetIngestionSessionId": "s", "status": {"events": [event]}}, r.AssetIngestionSession)
    return session.status.errors["a.png"]


ENUM_VALUES: dict[str, Check] = {
    "SortCriterion.DEFAULT": lambda w: sorted_by(w, t.SortCriterion.DEFAULT) == w.names(),
    "SortCriterion.ASSET_ID": lambda w: in_order(w, t.SortCriterion.ASSET_ID, lambda a: a.asset_id),
    "SortCriterion.FILENAME": lambda w: in_order(w, t.SortCriterion.FILENAME, lambda a: a.filename),
    "SortCriterion.LAST_MODIFIED_CONTENTS": lambda w: in_order(
        w, t.SortCriterion.LAST_MODIFIED_CONTENTS, lambda a: a.metadata.contents_last_updated
    ),
    "SortCriterion.METADATA_FILE_SIZE": lambda w: in_order(
        w, t.SortCriterion.METADATA_FILE_SIZE, lambda a: a.metadata.file_size
    ),
    "SortOrder.ASC": lambda w: sorted_by(w, "filename", t.SortOrder.ASC) == sorted(w.originals),
    "SortOrder.DESC": lambda w: sorted_by(w, "filename", t.SortOrder.DESC) == sorted(w.originals, reverse=True),
    "FailureMode.FAIL_AFTER_ONE": lambda w: stops_at_the_first_failure(w, r.FailureMode.FAIL_AFTER_ONE),
    "FailureMode.FAIL_AFTER_ALL": lambda w: tries_everything(w, r.FailureMode.FAIL_AFTER_ALL),
    "ResourceRetentionMode.REMOVE_LINKED_RESOURCE": lambda w: retains(
        w, r.ResourceRetentionMode.REMOVE_LINKED_RESOURCE
    ),
    "ResourceRetentionMode.KEEP_LINKED_RESOURCES": lambda w: retains(w, r.ResourceRetentionMode.KEEP_LINKED_RESOURCES),
    "AssetIngestionError.EBADMIME": lambda w: refused(w, "a.png", b"no picture") == "EBADMIME",
    "AssetIngestionError.EBADSIZE": lambda w: refused(w, "a.png", b"") == "EBADSIZE",
    "AssetIngestionError.ECORRUPT": lambda w: refused(w, "a.png", corrupt_png(w)) == "ECORRUPT",
}


def check_value(promise: Promise, w: World) -> None:
    name, _, member_name = promise.name.partition(".")
    member = getattr(getattr(t if hasattr(t, name) else r, name), member_name)
    quoted = re.search(r'string "(\w+)"', promise.detail)
    if quoted:
        assert member == quoted[1]
    if name == "AssetIngestionError":
        assert member == member_name
        assert code_of_event(member_name) is member
    else:
        assert promise.name in ENUM_VALUES
    assert ENUM_VALUES.get(promise.name, lambda w: True)(w)


def check_module(promise: Promise, w: World) -> None:
    module = importlib.import_module(promise.name)
    assert module.__name__ == promise.name
    assert module.__doc__
    if promise.name == "vi":
        scope: dict[str, Any] = {}
        exec("from vi import ViUploadError, ViFileTooLargeError", scope)
        assert scope["ViUploadError"] is vi.ViUploadError


def returned_by(w: World, method: str) -> Any:
    return {
        "list": w.page,
        "get": w.asset,
        "upload": w.upload,
        "download": w.download,
        "wait_until_done": w.session,
        "delete": r.DeletedAsset("a"),
    }[method]


def check_other(promise: Promise, w: World) -> None:
    if promise.name == "client.assets":
        assert type(w.client.assets) in (Assets, AsyncAssets)
    elif promise.name.endswith(".message"):
        assert isinstance(raise_one(getattr(vi, promise.name.split(".")[0]), w).message, str)
    elif promise.name == "Asset.info()":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert w.asset.info() is None
        for shown in (NAME, w.asset_id, "32 x 24", "image/png", f"{len(w.originals[NAME]):,} bytes"):
            assert shown in out.getvalue()
    elif promise.name == "AssetUploadResult.summary()":
        assert w.upload.summary().startswith("14 files uploaded")
        assert "bad.png is named .png" in one_bad(w).summary()
        assert "[EBADMIME]" in one_bad(w).summary()
    elif promise.kind == "method":
        method = promise.name.removeprefix("client.assets.").removesuffix("(...)")
        if method == "delete":
            assert deletes(w)
        expected = promise.detail.split(";")[0].removeprefix("returns ").removesuffix("[Asset]")
        found = type(returned_by(w, method))
        assert expected in (found.__name__, "PaginatedResponse" if found is w.first_page_type else "")
        if method == "download":
            assert f"{w.download}" == str(w.save_dir)
    elif promise.kind == "behaviour":
        pages = w.pages()
        assert [type(page.items) for page in pages] == [list]
        assert sorted(asset.filename for asset in pages[0].items) == sorted(w.originals)
    elif promise.name == "AssetCustomMetadata":
        assert t.AssetCustomMetadata == dict[str, str | int | float | bool]
        assert is_a(w.asset.metadata.custom_metadata, t.AssetCustomMetadata)
    elif promise.name == "AssetIngestionEvent":
        assert r.AssetIngestionEvent == r.AssetIngestionEventError | r.AssetIngestionEventProgress
    else:
        pytest.fail(f"nothing checks {promise}")


# Formats and extensions.

MIMES = {
    "JPEG": {"image/jpeg"},
    "PNG": {"image/png"},
    "TIFF": {"image/tiff"},
    "BMP": {"image/bmp"},
    "WebP": {"image/webp"},
    "HEIF": {"image/heif", "image/heic"},
    "AVIF": {"image/avif"},
    "JPEG 2000": {"image/jp2"},
    "GIF": {"image/gif"},
}


def check_extension(promise: Promise, w: World) -> None:
    """Uploaded, listed, ready, of the announced type, with its size known, and downloaded equal."""
    (name,) = (name for name in w.originals if Path(name).suffix == promise.name)
    asset = w.assets[name]
    assert asset.metadata.status == "ready"
    assert asset.metadata.mime_type in MIMES[promise.detail]
    assert asset.metadata.width > 0
    assert asset.metadata.height > 0
    if promise.detail != "HEIF":  # one stored picture of a size of its own
        assert (asset.metadata.width, asset.metadata.height) == (32, 24)
    assert asset.metadata.file_size == len(w.originals[name])
    assert asset.metadata.hash.contents == hashlib.sha256(w.originals[name]).hexdigest()
    assert (w.save_dir / name).read_bytes() == w.originals[name]


def check_format(promise: Promise, w: World) -> None:
    extensions = {p.name for p in PROMISES if p.kind == "extension" and p.detail == promise.name}
    assert f"{len(extensions)} extension(s)" == promise.detail
    found = {Path(a.filename).suffix for a in w.assets.values() if a.metadata.mime_type in MIMES[promise.name]}
    assert found == extensions
    assert {_media.sniff(w.originals[name][:64]) for name in w.originals if Path(name).suffix in extensions} == {
        _media.family_of(mime) for mime in MIMES[promise.name]
    }
