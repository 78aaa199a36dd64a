"""The examples of the product documentation run as printed, and with ``await`` in the async client.

Only the printed ids are put in place of real ones. The async form is made from the same text by adding ``await`` and
``async for`` where a call goes to the service, so the two cannot differ otherwise.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import attrs
import pytest

import vi
from tests.support.documented_examples import EXAMPLES
from vi import _samples
from vi.api.resources.datasets.assets.types import AssetCustomMetadata

CALLS = [name for name in EXAMPLES if not name.startswith("import ")]


class Awaited(ast.NodeTransformer):
    """Puts ``await`` before every call of ``client.assets``, and ``async`` before a loop over a listing."""

    def visit_For(self, node: ast.For) -> ast.AST:
        if _is_call(node.iter, "list"):
            node.body = [self.visit(statement) for statement in node.body]
            return ast.copy_location(ast.AsyncFor(**{name: getattr(node, name) for name in node._fields}), node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return ast.copy_location(ast.Await(node), node) if _is_call(node) else node


def _is_call(node: ast.AST, method: str = r"\w+") -> bool:
    return isinstance(node, ast.Call) and re.fullmatch(rf"client\.assets\.{method}", ast.unparse(node.func)) is not None


@attrs.define
class Scene:
    """A dataset as the documentation supposes it, the files it names, and what an example did."""

    folder: Path
    dataset_id: str
    ids: dict[str, str]
    client: vi.Client
    out: str = ""
    scope: dict[str, Any] = attrs.Factory(dict)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def put(self, text: str) -> str:
        """Put the real ids into an example, and nothing else."""
        for printed, real in self.ids.items():
            text = text.replace(f'"{printed}"', f'"{real}"')
        return text

    @property
    def names(self) -> list[str]:
        """What the dataset holds now, sorted."""
        return sorted(asset.filename for asset in self.client.assets.list(self.dataset_id).all_items())


STORED = ["a street.jpg", "aerial.tiff", "crossing.webp", "stop sign.png"]


def stored(name: str) -> bytes:
    """The bytes of an asset that the dataset holds from the beginning."""
    number = STORED.index(name)
    return _samples.encode(number, Path(name).suffix, (40 + number, 30))


@pytest.fixture
def scene(client: vi.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The files that the examples name in the working folder, and four assets in the dataset."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["image.jpg", "image1.jpg", "image2.png", "image3.webp"]):
        Path(name).write_bytes(_samples.encode(number, Path(name).suffix, (16, 12)))
    _samples.make_samples("images", count=5, seed=2, size=(20, 10))
    _samples.make_samples("large_folder", count=9, seed=3, size=(20, 10))
    content = [(name, stored(name)) for name in STORED]
    metadata = {"crossing.webp": {"custom_field": "value"}, "aerial.tiff": {"custom_field": "other"}}
    result = client.assets.upload(dataset, content, custom_metadata=metadata)
    assets = {asset.filename: asset.asset_id for asset in client.assets.list(dataset).all_items()}
    return Scene(
        tmp_path,
        dataset,
        {
            "dataset_abc123": dataset,
            "asset_xyz789": assets["stop sign.png"],
            "asset_1": assets["a street.jpg"],
            "asset_2": assets["crossing.webp"],
            "asset_3": assets["aerial.tiff"],
            "session_id": result.session_ids[0],
        },
        client,
    )


Run = Callable[[Scene, str], None]


def run_sync(scene: Scene, text: str) -> None:
    scene.scope["client"] = scene.client
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(scene.put(text), "<example>", "exec"), scene.scope)
    scene.out = out.getvalue()


def run_async(scene: Scene, text: str) -> None:
    settings = scene.client.settings
    tree = ast.fix_missing_locations(Awaited().visit(ast.parse(scene.put(text))))
    code = compile(tree, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def run() -> None:
        async with vi.AsyncClient(settings.secret_key, settings.organization_id, settings.endpoint) as client:
            scene.scope["client"] = client
            done = types.FunctionType(code, scene.scope)()
            if asyncio.iscoroutine(done):
                await done

    with contextlib.redirect_stdout(io.StringIO()) as out:
        asyncio.run(run())
    scene.out = out.getvalue()


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


# What each example must have printed and done.


def sizes(scene: Scene) -> None:
    assert sorted(scene.lines) == [f"{name}: {40 + number}x30" for number, name in enumerate(STORED)]


def sorted_names(scene: Scene) -> None:
    assert scene.lines == STORED


def urls(scene: Scene) -> None:
    found = dict(line.split(": ", 1) for line in scene.lines)
    assert sorted(found) == STORED
    assert urlopen(found["a street.jpg"]).read() == stored("a street.jpg")


def one_by_metadata(scene: Scene) -> None:
    assert scene.out == ""
    assert [asset.filename for asset in scene.scope["assets"].items] == ["crossing.webp"]


def name_and_size(scene: Scene) -> None:
    size = len(stored("stop sign.png"))
    assert scene.lines == ["Filename: stop sign.png", f"Size: {size} bytes"]


def url_and_expiry(scene: Scene) -> None:
    url, expiry = scene.lines
    assert urlopen(url.removeprefix("Download URL: ")).read() == stored("stop sign.png")
    assert int(expiry.removeprefix("Expires: ")) > 1_700_000_000_000


def summary(scene: Scene) -> None:
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in scene.lines if re.search(r"\s{2,}\S", line))
    assert rows["Asset"] == scene.ids["asset_xyz789"]
    assert rows["Filename"] == "stop sign.png"
    assert rows["Dataset"] == scene.dataset_id
    assert rows["Dimensions"] == "43 x 30 pixels, 1 frame"


def one_uploaded(scene: Scene) -> None:
    assert scene.lines == ["Uploaded: 1"]
    assert scene.names == sorted([*STORED, "image.jpg"])


def folder_uploaded(scene: Scene) -> None:
    assert scene.lines[:2] == ["✓ Uploaded: 5", "✗ Failed: 0"]
    assert re.fullmatch(r"5 files uploaded in \d+\.\d s \(\d+ files/s, .*/s\)", scene.lines[2])
    assert len(scene.lines) == 3
    assert scene.names == sorted([*STORED, *(path.name for path in Path("images").iterdir())])


def list_uploaded(scene: Scene) -> None:
    assert scene.out == ""
    assert scene.scope["result"].total_succeeded == 3
    assert scene.names == sorted([*STORED, "image1.jpg", "image2.png", "image3.webp"])


def uploaded_without_error(scene: Scene) -> None:
    assert scene.lines == ["✓ Uploaded: 5", "✗ Failed: 0"]


def sessions_named(scene: Scene) -> None:
    ids = scene.scope["result"].session_ids
    assert scene.lines == [f"Session IDs: {ids}"]
    for session_id in ids:
        session = scene.client.assets.wait_until_done(scene.dataset_id, session_id)
        assert session.status.progressCount.succeeded == 9
    assert len(scene.names) == 13


def downloaded(scene: Scene) -> None:
    assert scene.out == ""
    assert sorted(path.name for path in Path("assets").iterdir()) == STORED
    assert Path("assets", "stop sign.png").read_bytes() == stored("stop sign.png")


def downloaded_to(scene: Scene) -> None:
    assert scene.lines == ["Downloaded to: assets"]
    assert Path("assets", "aerial.tiff").read_bytes() == stored("aerial.tiff")


def one_deleted(scene: Scene) -> None:
    assert scene.out == ""
    assert (scene.scope["deleted"].id, scene.scope["deleted"].deleted) == (scene.ids["asset_xyz789"], True)
    assert scene.names == STORED[:3]


def three_deleted(scene: Scene) -> None:
    assert scene.lines == [f"Deleted: {scene.ids[name]}" for name in ("asset_1", "asset_2", "asset_3")]
    assert scene.names == ["stop sign.png"]


def counts(scene: Scene) -> None:
    assert scene.lines == ["Succeeded: 4", "Failed: 0"]


def sessions_counted(scene: Scene) -> None:
    (session_id,) = scene.scope["result"].session_ids
    assert scene.lines == [f"Session {session_id}: 5 succeeded"]


EXPECTED: dict[str, Callable[[Scene], None]] = {
    "basic listing": sizes,
    "pagination and sorting": sorted_names,
    "listing with URLs": urls,
    "metadata query": one_by_metadata,
    "basic get": name_and_size,
    "get with URL": url_and_expiry,
    "info": summary,
    "upload one file": one_uploaded,
    "upload a folder": folder_uploaded,
    "upload a list": list_uploaded,
    "upload with error handling": uploaded_without_error,
    "upload without waiting": sessions_named,
    "basic download": downloaded,
    "download with progress and overwrite": downloaded_to,
    "delete one asset": one_deleted,
    "delete several assets": three_deleted,
    "wait for a session": counts,
    "wait after an upload": sessions_counted,
}


@pytest.mark.parametrize("name", CALLS)
def test_an_example_does_and_prints_what_it_says(name: str, scene: Scene, run: Run) -> None:
    run(scene, EXAMPLES[name])
    EXPECTED[name](scene)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in CALLS])
def test_an_import_gives_the_name_it_is_for(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(EXAMPLES[name], scope)
    assert name.removeprefix("import ") in scope


def test_the_printed_alias() -> None:
    scope: dict[str, Any] = {}
    exec("AssetCustomMetadata = dict[str, str | int | float | bool]", scope)
    assert scope["AssetCustomMetadata"] == AssetCustomMetadata


# The other ways through the example with error handling: a file too large, and a file that is refused.


def test_a_file_too_large_takes_its_own_branch(scene: Scene, run: Run) -> None:
    with Path("images", "huge.png").open("wb") as file:
        file.truncate((256 << 20) + 1)
    run(scene, EXAMPLES["upload with error handling"])
    (line,) = scene.lines
    assert re.fullmatch(r"File too large: .*huge\.png has 268435457 bytes; the limit is 268435456\.", line)
    assert scene.names == STORED


def test_a_failed_upload_takes_its_branch(scene: Scene, run: Run) -> None:
    Path("images", "broken.png").write_bytes(b"no picture")
    run(scene, EXAMPLES["upload with error handling"])
    (line,) = scene.lines
    assert re.match(r"Upload failed: .*broken\.png is named .png, but its contents are not an image", line)


def test_failed_files_are_looped_over(scene: Scene, run: Run) -> None:
    """The same example with the mode that returns the result: the loop prints the paths as they were given."""
    Path("images", "broken.png").write_bytes(b"no picture")
    text = EXAMPLES["upload with error handling"].replace(
        "wait_until_done=True", 'wait_until_done=True, failure_mode="FailAfterAll"'
    )
    run(scene, text)
    assert scene.lines == ["✓ Uploaded: 5", "✗ Failed: 1", "Failed files:", " - ./images/broken.png"]


def test_the_examples_of_the_documentation_are_all_here() -> None:
    assert list(EXPECTED) == CALLS
    assert len(CALLS) == 18
    methods = {
        node.func.attr
        for text in EXAMPLES.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_call(node)
    }
    assert methods == {"list", "get", "upload", "download", "delete", "wait_until_done"}
