"""Wrong calls, and what the sync client says to each: the reason in words of Python, in a traceback of three frames."""

from __future__ import annotations

import fnmatch
import inspect
import operator
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import _samples
from vi.api.resources.datasets.assets.resource import Assets
from vi.api.resources.datasets.resource import Datasets

WRONG: tuple[tuple[str, str, str], ...] = (
    ("c.assets.upload()", "TypeError", "Assets.upload(): missing a required argument: 'dataset_id'"),
    ("c.assets.upload(D)", "TypeError", "Assets.upload(): missing a required argument: 'paths'"),
    (
        'c.assets.upload(D, "images", pathss=1)',
        "TypeError",
        "Assets.upload(): got an unexpected keyword argument 'pathss'; did you mean 'paths'?",
    ),
    (
        'c.assets.upload(D, "images", skip_exsiting=True)',
        "TypeError",
        "Assets.upload(): got an unexpected keyword argument 'skip_exsiting'; did you mean 'skip_existing'?",
    ),
    (
        'c.assets.upload(D, "missing")',
        "ViPathError",
        "No such file or folder: missing. Check the spelling; relative paths are looked up in *",
    ),
    (
        'c.assets.upload(D, ["missing", "also missing"])',
        "ViPathError",
        "No such file or folder: missing, also missing. Check the spelling; relative paths are looked up in *",
    ),
    (
        'c.assets.upload(D, "empty")',
        "ViInvalidParameterError",
        "No images or videos in empty. Give an image, a video, or a folder that contains some.",
    ),
    (
        "c.assets.upload(D, [])",
        "ViInvalidParameterError",
        "No images or videos in what was given ([]). Give an image, a video, or a folder that contains some.",
    ),
    (
        "c.assets.upload(D, None)",
        "ViInvalidParameterError",
        "paths must be a path, a list of paths, (filename, bytes) or an open binary file, got NoneType.",
    ),
    (
        "c.assets.upload(D, 5)",
        "ViInvalidParameterError",
        "paths must be a path, a list of paths, (filename, bytes) or an open binary file, got int.",
    ),
    (
        'c.assets.upload(D, "tree")',
        "ViInvalidParameterError",
        "A name would be used more than once:\n  1.png: tree?a?1.png and tree?b?1.png.\nKeep folders in the names with names='relative', or pass a function as names.",
    ),
    (
        'c.assets.upload(D, "images", failure_mode="FailNever")',
        "ViInvalidParameterError",
        "failure_mode must be one of 'FailAfterOne', 'FailAfterAll', got 'FailNever'.",
    ),
    (
        'c.assets.upload(D, "images", failure_mode=3)',
        "ViInvalidParameterError",
        "failure_mode must be one of 'FailAfterOne', 'FailAfterAll', got 3.",
    ),
    (
        'c.assets.upload(D, "images", on_asset_overwritten="Keep")',
        "ViInvalidParameterError",
        "on_asset_overwritten must be one of 'RemoveLinkedResource', 'KeepLinkedResource', got 'Keep'.",
    ),
    (
        'c.assets.upload(D, "images", names="flat")',
        "ViInvalidParameterError",
        "names must be 'basename', 'relative' or a function of the path, got 'flat'.",
    ),
    (
        'c.assets.upload(D, "images", detect="magic")',
        "ViInvalidParameterError",
        "detect must be 'extension' or 'content', got 'magic'.",
    ),
    ('c.assets.upload(D, "images", timeout=0)', "ViInvalidParameterError", "timeout must be seconds above 0, got 0."),
    (
        'c.assets.upload(D, "images", timeout="5")',
        "ViInvalidParameterError",
        "timeout must be seconds above 0, got '5'.",
    ),
    (
        'c.assets.upload(D, "images", max_concurrency=0)',
        "ViInvalidParameterError",
        "max_concurrency must be an integer above 0, got 0.",
    ),
    (
        'c.assets.upload(D, "images", max_concurrency="8")',
        "ViInvalidParameterError",
        "max_concurrency must be an integer above 0, got '8'.",
    ),
    (
        'c.assets.upload(D, "images", include=5)',
        "ViInvalidParameterError",
        "include must be a pattern or a list of patterns, got int.",
    ),
    (
        'c.assets.upload(D, "images", on_progress=5)',
        "ViInvalidParameterError",
        "on_progress must be a function of a TransferProgress, got int.",
    ),
    (
        'c.assets.upload(D, "images", custom_metadata=5)',
        "ViInvalidParameterError",
        "custom_metadata must be a mapping, a function or a table, got int.",
    ),
    (
        'c.assets.upload(D, "images", custom_metadata={"nope.png": {"a": 1}})',
        "ViInvalidParameterError",
        "custom_metadata names files that are not being uploaded (1): 'nope.png'. Correct the names, or ignore them with on_unmatched='ignore'.",
    ),
    (
        'c.assets.upload("", "images")',
        "ViInvalidParameterError",
        "dataset_id must be 1 to 255 characters of A-Z a-z 0-9 - _, got ''.",
    ),
    (
        'c.assets.upload(None, "images")',
        "ViInvalidParameterError",
        "dataset_id must be 1 to 255 characters of A-Z a-z 0-9 - _, got None.",
    ),
    (
        'c.assets.upload("a b", "images")',
        "ViInvalidParameterError",
        "dataset_id must be 1 to 255 characters of A-Z a-z 0-9 - _, got 'a b'.",
    ),
    (
        'c.assets.upload("nope", "images")',
        "ViNotFoundError",
        "Dataset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    (
        'c.assets.upload(D, "bad.png")',
        "ViUploadError",
        "bad.png is named .png, but its contents are not an image: save it again. 0 of 1 files were stored. Make the same call again to resume; failure_mode='FailAfterAll' tries every file.",
    ),
    (
        'c.assets.upload(D, "note.txt")',
        "ViUploadError",
        "note.txt: files ending in .txt are not supported; convert it to .png, .jpg or another supported type. 0 of 1 files were stored. Make the same call again to resume; failure_mode='FailAfterAll' tries every file.",
    ),
    (
        'c.assets.upload(D, ("x.png", b""))',
        "ViUploadError",
        "x.png is empty (0 bytes): write it again or leave it out. 0 of 1 files were stored. Make the same call again to resume; failure_mode='FailAfterAll' tries every file.",
    ),
    (
        'c.assets.upload(D, ("x.png", "text"))',
        "ViPathError",
        "No such file or folder: x.png, text. Check the spelling; relative paths are looked up in *",
    ),
    ("c.assets.download(D)", "TypeError", "Assets.download(): missing a required argument: 'save_dir'"),
    (
        'c.assets.download(D, "note.txt")',
        "ViDownloadError",
        "note.txt is a file, not a folder. Give another folder that can be written to as save_dir.",
    ),
    (
        'c.assets.download(D, "copy", overwrite=True, limit=0)',
        "ViInvalidParameterError",
        "limit must be an integer above 0, got 0.",
    ),
    (
        'c.assets.download(D, "copy", asset_ids=["a b"])',
        "ViInvalidParameterError",
        "asset_ids must be 1 to 255 characters of A-Z a-z 0-9 - _, got 'a b'.",
    ),
    (
        'c.assets.download(D, "copy", asset_ids="abc")',
        "ViInvalidParameterError",
        "asset_ids must be a list of ids, got str.",
    ),
    (
        'c.assets.download(D, "copy", asset_ids=["a"], filter_criteria={"kind": "Image"})',
        "ViInvalidParameterError",
        "Give asset_ids or a filter, not both.",
    ),
    (
        'c.assets.download(D, "copy", filter_criteria="{bad")',
        "ViValidationError",
        "filter: The filter is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (HTTP 400, request *).",
    ),
    (
        'c.assets.download(D, "copy", metadata_query="camera ==")',
        "ViValidationError",
        "metadataQuery: Column 10: expected a value: text in quotes, a number, true or false, found the end (HTTP 400, request *).",
    ),
    ("c.assets.download(D, 5)", "ViInvalidParameterError", "save_dir must be a path, got 5."),
    (
        'c.assets.sync(D, "missing")',
        "ViPathError",
        "No such folder: missing. Check the spelling; relative paths are looked up in *",
    ),
    (
        'c.assets.sync(D, "note.txt")',
        "ViPathError",
        "note.txt is a file, not a folder. Check the spelling; relative paths are looked up in *",
    ),
    ('c.assets.sync(D, "")', "ViInvalidParameterError", "folder must not be empty."),
    ("c.assets.verify(D, {})", "ViInvalidParameterError", "folder must be a path, got {}."),
    (
        'c.assets.upload(D, "note.txt/1.png")',
        "ViPathError",
        "No such file or folder: note.txt/1.png. Check the spelling; relative paths are looked up in *",
    ),
    ('c.assets.upload(D, "")', "ViInvalidParameterError", "A path must not be empty."),
    ('c.assets.upload(D, "a\\0b")', "ViInvalidParameterError", "A path holds a NUL character: 'a\\x00b'."),
    (
        'c.assets.upload(D, "images", on_progress=asynchronous)',
        "ViInvalidParameterError",
        "on_progress must be a plain function: an async one would not be awaited.",
    ),
    ('c.assets.count(D, metadata_query="")', "ViInvalidParameterError", "metadata_query must not be empty."),
    (
        "c.assets.count(D, filter_criteria=[])",
        "ViInvalidParameterError",
        "filter_criteria must be a mapping or JSON text, got [].",
    ),
    ('c.assets.count(D, filter_criteria="")', "ViInvalidParameterError", "filter_criteria must not be empty."),
    ("c.assets.stream(D, assets=5)", "ViInvalidParameterError", "assets must be assets, got int."),
    (
        'c.datasets.create("x", description=float("nan"))',
        "ViInvalidParameterError",
        "description must be text, got nan.",
    ),
    ("c.datasets.create('x', tags=[])", "ViInvalidParameterError", "tags must map text to int, got []."),
    (
        "c.datasets.create('x', metadata={'a': '\\udc80'})",
        "ViInvalidParameterError",
        "metadata is not valid Unicode: '\\udc80'.",
    ),
    ('c.assets.sync(D, "images", "left")', "ViInvalidParameterError", "direction must be 'up' or 'down', got 'left'."),
    ('c.assets.sync(D, "images", max_delete=-1)', "ViInvalidParameterError", "max_delete must be 0 or more, got -1."),
    (
        'c.assets.sync(D, "empty", delete=True)',
        "ViOperationError",
        "Nothing is deleted: the folder empty contains no images or videos, so all 1 of the other side would be deleted.",
    ),
    (
        'c.assets.verify(D, "missing")',
        "ViPathError",
        "No such folder: missing. Check the spelling; relative paths are looked up in *",
    ),
    (
        'c.assets.get(D, "nope")',
        "ViNotFoundError",
        "Asset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    (
        'c.assets.get(D, "")',
        "ViInvalidParameterError",
        "asset_id must be 1 to 255 characters of A-Z a-z 0-9 - _, got ''.",
    ),
    ("c.assets.get(D)", "ViInvalidParameterError", "get needs either asset_id or filename."),
    (
        'c.assets.list("nope")',
        "ViNotFoundError",
        "Dataset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    ('c.assets.list(D, sort_by="size")', "ViInvalidParameterError", "sort_by must be an AssetSortCriterion, got str."),
    (
        'c.assets.list(D, filter_criteria={"colour": "red"})',
        "ViValidationError",
        "filter: The filter names an unknown path 'colour'; known are filename, kind, owner, metadata.insertedBy, metadata.annotations.total and 24 more (HTTP 400, request *).",
    ),
    (
        'c.assets.list(D, metadata_query="((")',
        "ViValidationError",
        "metadataQuery: Column 3: expected a key, found the end (HTTP 400, request *).",
    ),
    (
        "c.assets.count(D, metadata_query=5)",
        "ViInvalidParameterError",
        "metadata_query must be text that is not empty, got 5.",
    ),
    ('c.assets.rename(D, "")', "ViInvalidParameterError", "new_name must not be empty."),
    ('c.assets.rename(D, "x.png")', "ViInvalidParameterError", "rename needs either asset_id or filename."),
    (
        'c.assets.delete(D, "nope")',
        "ViNotFoundError",
        "Asset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    (
        "c.assets.delete_many(D)",
        "ViInvalidParameterError",
        "delete_many needs a selection: asset_ids, a filter or query, or all=True.",
    ),
    (
        'c.assets.delete_many(D, asset_ids=["a"], all=True)',
        "ViInvalidParameterError",
        "Give exactly one of asset_ids, a filter or query, and all=True.",
    ),
    (
        'c.assets.wait_until_done(D, "nope")',
        "ViNotFoundError",
        "Ingestion session nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    (
        'c.assets.cancel(D, "nope")',
        "ViNotFoundError",
        "Ingestion session nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    ("c.datasets.create()", "TypeError", "Datasets.create(): missing a required argument: 'name'"),
    ('c.datasets.create(name="")', "ViInvalidParameterError", "name must not be empty."),
    (
        'c.datasets.create(name="x", dataset_type="boxes")',
        "ViInvalidParameterError",
        "dataset_type must be one of 'phrase-grounding', 'vqa', 'freeform', got 'boxes'.",
    ),
    (
        'c.datasets.get("nope")',
        "ViNotFoundError",
        "Dataset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    (
        'c.datasets.get("")',
        "ViInvalidParameterError",
        "dataset_id must be 1 to 255 characters of A-Z a-z 0-9 - _, got ''.",
    ),
    (
        'c.datasets.delete("nope")',
        "ViNotFoundError",
        "Dataset nope not found (HTTP 404, request *). List valid ids with client.datasets.list() and client.assets.list(dataset_id).",
    ),
    ('c.datasets.list("x")', "ViInvalidParameterError", "pagination must be a PaginationParams, got str."),
    (
        'c.organizations.get("nope")',
        "ViPermissionError",
        "The key may not use this organization (HTTP 403, request *). Check that the organization id belongs to this key.",
    ),
    (
        "vi.Client(timeouts=3)",
        "ViInvalidParameterError",
        "timeouts must be a vi.Timeouts, such as Timeouts(request=30), got int.",
    ),
    (
        "vi.Client(limits=5)",
        "ViInvalidParameterError",
        "limits must be a vi.TransferLimits, such as TransferLimits(max_concurrency=8), got int.",
    ),
    ("vi.Client(secret_key=5)", "ViInvalidParameterError", "secret_key must be text, got int."),
    (
        'vi.Client(secret_key="short", organization_id="o")',
        "ViConfigurationError",
        "The secret key from the argument is malformed: expected 'dtvi_' and 103 characters in all of A-Z a-z 0-9 - _, got 5 characters without that prefix. Copy the whole key again; Client.local() needs none.",
    ),
    (
        'vi.Client(retries="many")',
        "ViConfigurationError",
        "No secret key was found. Set DATATURE_VI_SECRET_KEY, pass secret_key=, or use Client.local() for the local service.",
    ),
    (
        'vi.Client(endpoint="ftp://x")',
        "ViConfigurationError",
        "No secret key was found. Set DATATURE_VI_SECRET_KEY, pass secret_key=, or use Client.local() for the local service.",
    ),
    (
        'vi.Client(config_file="missing.toml")',
        "ViConfigurationError",
        "The settings file missing.toml cannot be read: No such file or directory. Create it with vi-sdk login, or name another with config_file=.",
    ),
    (
        'vi.Client(secret_key="")',
        "ViConfigurationError",
        "secret_key must not be empty. Leave it out for the environment or the settings file.",
    ),
    (
        'vi.Client(endpoint="")',
        "ViConfigurationError",
        "endpoint must not be empty. Leave it out for the environment or the settings file.",
    ),
    (
        'vi.Client(organization_id=" ")',
        "ViConfigurationError",
        "organization_id must not be empty. Leave it out for the environment or the settings file.",
    ),
    (
        'vi.Client(profile="")',
        "ViConfigurationError",
        "profile must not be empty. Leave it out for the settings file.",
    ),
    (
        "vi.TransferLimits(max_concurrency=0)",
        "ViInvalidParameterError",
        "max_concurrency must be an integer above 0, got 0.",
    ),
    ("vi.RetryPolicy(max_attempts=0)", "ViInvalidParameterError", "max_attempts must be an integer above 0, got 0."),
)
"""A call, the class of its error, and the text; ``c`` is a client, ``D`` a dataset, ``*`` differs from run to run."""

LONGEST = 260
"""With the id of a request, which the command line leaves out."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the calls name, where no settings are."""
    for name in [name for name in os.environ if name.startswith("DATATURE_VI_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):  # of Windows
        monkeypatch.setenv(name, str(tmp_path / "settings"))
    for name in ("images", "tree/a", "tree/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(_samples.encode(1, ".png", (16, 12)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_text("text")
    (tmp_path / "note.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("call", "kind", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_call_is_told_why(
    call: str, kind: str, message: str, client: vi.Client, dataset: str, place: Path
) -> None:
    if "delete=True" in call:
        client.assets.upload(dataset, place / "images", show_progress=False)
    names: dict[str, Any] = {"vi": vi, "c": client, "D": dataset, "asynchronous": asynchronous}
    with pytest.raises(Exception) as raised:
        eval(call, names)
    error = raised.value
    assert type(error).__name__ == kind
    text = str(error)
    assert fnmatch.fnmatchcase(text, message.replace("[", "[[]")), text
    assert len(text.replace(str(place), "")) <= LONGEST
    if call.startswith("c.") and isinstance(error, vi.ViError) and "list(" not in call and "stream(" not in call:
        frames = traceback.extract_tb(error.__traceback__)
        # This test, the text of the call, and the two of the sync method.
        assert [frame.name for frame in frames][1:] == ["<module>", "call", "_run"]


async def asynchronous(progress: object) -> None:
    """Stand for a function that would have to be awaited."""


GIVEN: dict[str, Any] = {
    "asset_ingestion_session_id": "s",
    "folder": "images",
    "name": "n",
    "new_name": "n",
    "paths": "images",
    "save_dir": "copy",
    "table": {"1.png": {"k": 1}},
}
"""A value for each parameter without a default."""


def parameters() -> Iterator[tuple[str, inspect.Parameter]]:
    """Yield each parameter of each method of the assets and datasets."""
    for resource, cls in (("assets", Assets), ("datasets", Datasets)):
        for name in dir(cls):
            if not name.startswith("_") and callable(method := getattr(cls, name)):
                for parameter in [*inspect.signature(method).parameters.values()][1:]:
                    yield f"{resource}.{name}", parameter


def give(client: vi.Client, dataset: str, method: str, parameter: str, value: object) -> None:
    """Call a method with *value* for a parameter and something good for what it needs beside it."""
    call = operator.attrgetter(method)(client)
    needed = inspect.signature(call).parameters.values()
    given = {one.name: GIVEN.get(one.name) for one in needed if one.default is one.empty}
    if "dataset_id" in given:
        given["dataset_id"] = dataset
    if method == "assets.apply":
        given["plan"] = client.assets.sync(dataset, "images", dry_run=True).plan
    made = call(**{**given, parameter: value})
    if hasattr(made, "__enter__") and not isinstance(made, vi.Asset):
        with made:
            pass


SWITCHES = [(method, one.name) for method, one in parameters() if isinstance(one.default, bool)]


@pytest.mark.parametrize(("method", "switch"), SWITCHES, ids=[".".join(row) for row in SWITCHES])
def test_a_switch_is_true_or_false(method: str, switch: str, client: vi.Client, dataset: str, place: Path) -> None:
    """The text "no" is true for Python: as *delete* or *all* it would delete."""
    with pytest.raises(vi.ViInvalidParameterError, match=f"^{switch} must be True or False, got 'no'"):
        give(client, dataset, method, switch, "no")


def test_there_are_switches_to_try() -> None:
    assert {"delete", "all", "overwrite", "dry_run", "wait_until_done"} <= {switch for _, switch in SWITCHES}


PLAIN = [
    (method, one.name)
    for method, one in parameters()
    if one.name not in ("include", "exclude", "names", "filename", "description", "name", "new_name")
]


@pytest.mark.parametrize("value", [object(), "long" * 1250], ids=["object", "long"])
@pytest.mark.parametrize("method", sorted({method for method, _ in PLAIN}))
def test_no_argument_of_another_kind_breaks_out(
    method: str, value: object, client: vi.Client, dataset: str, place: Path
) -> None:
    """Whatever is given, the error is ours, and short."""
    for parameter in [name for one, name in PLAIN if one == method]:
        error: vi.ViError | None = None
        try:
            give(client, dataset, method, parameter, value)
        except vi.ViError as raised:
            error = raised
        assert error is None or len(str(error).replace(str(place), "")) <= LONGEST, (parameter, str(error))
