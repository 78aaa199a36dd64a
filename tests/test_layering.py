"""Imports point one way wherever they are, no module imports itself or is too long; read from the source by `ast`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

PACKAGE = Path(__file__).parent.parent / "vi"

FOUNDATION = (
    "_version", "_kernel", "codes", "errors", "config", "_events", "_redact", "_media", "_checksums", "_wire", "_schema", "_wire_fast", "_routes", "_retry", "_pacing", "_attempts", "_ranges", "_lock", "_paths", "_disk", "_event_loop", "_signals", "_memory", "_secret", "_optional", "_closing", "_checks", "_interpreter"
)  # fmt: skip
LAYERS: dict[str, int] = {
    **dict.fromkeys(FOUNDATION, 0),
    **dict.fromkeys(("_sockets", "_proxies", "_connections", "_running", "_http", "_transfer"), 1),
    "_show": 2,  # knows sheets and progress, never a document of the API
    # Resources are async and sync in one file, so the twin of a method is as deep as they are.
    **dict.fromkeys(("api", "_loop_thread"), 3),
    **dict.fromkeys(("client", "transfers"), 4),
    "_samples": 0,
    "profiles": 1,
    "_directories": 4,
    "_stream_state": 4,
    **dict.fromkeys(
        (
            "cli",
            "__main__",
            "fastapi",
            "testing",
            "rows",
            "otel",
            "contract",
            "filesystem",
            "torch",
            "runs",
            "_pyinstaller",
        ),
        5,
    ),
}
"""Which layer a top-level module is in; it may import its own and those below."""

ASSETS = "api.resources.datasets.assets"
ROOMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "_transfer": (
        ("threads", "outcomes", "dictated"),
        ("sources", "signed", "byte_ranges", "minimum_rate", "files"),
        ("record", "bodies", "remote_folders"),
        ("storage", "journals", "discovery", "document_folders"),
        ("preparation", "upload"),
        ("download",),
        ("streaming", "memory"),
    ),
    # What makes up an operation never knows its owner.
    ASSETS: (
        ("types", "packing"),
        ("plans", "polling"),
        ("responses", "metadata"),
        ("run_plans",),
        ("results", "calls", "arguments"),
        ("remote_index", "deletion", "metadata_changes"),
        ("upload", "download"),
        ("reading",),
        ("transfers",),
        ("sync",),
        ("run_reports",),
        ("folders",),
        ("resource",),
    ),
    "server": (
        ("config", "log", "asked"),
        ("http", "disk"),
        ("objects",),
        ("s3",),
        ("inspection",),
        ("identity",),
        ("store", "contents"),
        ("documents", "turns", "removal", "middleware", "sweeping"),
        ("ingestion",),
        ("shared_ingestion", "shared_identity", "identifiers", "receiving"),
        ("housekeeping",),
        ("parts",),
        ("context",),
        ("serving",),
        ("handlers",),
        ("gallery",),
        ("app",),
        ("running",),
        ("lifecycle",),
        ("following",),
        ("command",),
    ),
}
"""The rooms of a package, the lowest first: a room knows those below it, and none beside it."""

LONGEST = 520
"""Lines of a module, at most."""

BESIDE = ("server",)
"""Not a layer: what it may import is said one by one, and so is who may import it."""

SERVER_MAY = (
    "codes", "errors", "_ranges", "_paths", "_disk", "_wire", "_schema", "_version", "_routes", "_checksums", "_media", "_redact", "_lock", "_optional", "_interpreter",
    "_event_loop", "_signals", "_memory", "config", "_closing"
)  # fmt: skip
UNITS = "vi._show.units"
"""How sizes and counts are written, in the gallery too."""
MODELS = ("types", "responses", "shared")
MAY_USE_SERVER = ("client", "cli", "__main__", "testing", "fastapi", "_pyinstaller")
MAY_PRINT = ("_show", "cli", "__main__")

THIRD_PARTY = {
    "aiohttp": ("_sockets", "_connections", "_http", "_transfer", "server", "testing"),
    "yarl": ("_proxies", "_connections", "_http", "_transfer", "server", "testing", "cli"),
    "cattrs": ("_wire",),
    "crcmod": ("_checksums",),
    "fastcrc": ("_checksums",),
    "msgspec": ("_wire_fast",),
    "tqdm": ("_show",),
    "IPython": ("_show",),
    "PIL": ("server", "_samples", "_transfer", "torch"),
    "pathspec": ("_transfer",),
    "upath": ("_transfer",),
    "fsspec": ("_transfer", "filesystem"),
    "torch": ("torch",),
    "opentelemetry": ("otel",),
    "pandas": ("rows",),
    "pyarrow": ("rows", "torch", "api"),
    "pi_heif": ("server",),
    "sqlalchemy": ("server",),
    "alembic": ("server",),
    "psycopg": ("server",),
    "aiobotocore": ("server",),
    "botocore": ("server",),
    "fastapi": ("fastapi",),
}
"""Which top-level modules of ours may import a library that should not spread."""


@attrs.frozen
class Import:
    """One import: the module that does it, what it names (dotted), and where."""

    by: str
    of: str
    line: int
    for_types: bool


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every module below *package*, dotted without the package's own name."""
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package).with_suffix("")
        if "versions" in relative.parts:
            continue  # migrations are loaded by Alembic, never imported
        parts = [part for part in relative.parts if part != "__init__"]
        yield ".".join(parts), ast.parse(path.read_text("utf-8"), str(path))


def imports(name: str, tree: ast.Module, package: Path) -> Iterator[Import]:
    """The imports of a module, those inside functions too; ours begin with ``vi.``."""
    is_package = (package / Path(*name.split(".")) / "__init__.py").is_file() if name else True
    here = ["vi", *name.split(".")] if name else ["vi"]
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (1 if is_package else 0)
            base = [] if not node.level else here[: len(here) - up] if up else here
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = package.joinpath(*stem.split(".")[1:], alias.name)
                is_module = stem.startswith("vi") and (deeper.is_dir() or deeper.with_suffix(".py").is_file())
                yield Import(name, f"{stem}.{alias.name}" if is_module else stem, node.lineno, id(node) in typing_only)


def top(dotted: str) -> str:
    """The top-level module of ours that a dotted name is in; empty for the package itself."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "vi" and len(parts) > 1 else "" if parts[0] == "vi" else parts[0]


def violations(package: Path) -> list[str]:
    """Everything that goes against the layers, in words."""
    found = []
    for name, tree in modules(package):
        own = name.split(".")[0]
        found += [f"vi.{name}: in no layer"] if own and own not in LAYERS and own not in BESIDE else []
        for item in imports(name, tree, package):
            problem = _problem(own, item) or _problem_of_rooms(name, item)
            if problem:
                found.append(f"vi.{name}:{item.line}: imports {item.of}: {problem}")
        if own not in MAY_PRINT:
            found += [f"vi.{name}:{line}: prints" for line in prints(tree)]
    return found


def _problem(own: str, item: Import) -> str | None:
    if item.of.split(".")[0] != "vi":
        allowed = THIRD_PARTY.get(item.of.split(".")[0])
        return None if allowed is None or own in allowed or item.for_types else f"only for {', '.join(allowed)}"
    target = top(item.of)
    if target == own:
        return None
    if target == "":
        return None if LAYERS.get(own) == max(LAYERS.values()) else "the package hands out what is in it, and is above"
    if target == "server":
        return None if own in MAY_USE_SERVER else "the service is not for the client's parts"
    if own == "server":
        is_model = target == "api" and item.of.split(".")[-1] in MODELS
        return None if target in SERVER_MAY or is_model or item.of == UNITS else "the service must not know the client"
    if target == "_samples":
        return None if own in ("cli", "testing", "contract", "__main__") else "samples are for demo and tests"
    if own == "":
        return None  # the package hands out every layer
    return None if LAYERS.get(target, -1) <= LAYERS.get(own, -1) else "that is a higher layer"


def _problem_of_rooms(name: str, item: Import) -> str | None:
    for package, floors in ROOMS.items():
        own, target = _room(f"vi.{name}", package), _room(item.of, package)
        heights = {room: height for height, rooms in enumerate(floors) for room in rooms}
        if own != target and own in heights and target in heights and heights[target] >= heights[own]:
            return f"{target} is not below {own}"
    return None


def _room(dotted: str, package: str) -> str:
    prefix = f"vi.{package}."
    return dotted.removeprefix(prefix).split(".")[0] if dotted.startswith(prefix) else ""


def too_long(package: Path) -> list[str]:
    """The modules that hold more than one can read at once."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sorted(package.rglob("*.py"))}
    return [f"{path.relative_to(package)}: {length} lines" for path, length in lengths.items() if length > LONGEST]


def prints(tree: ast.Module) -> list[int]:
    """The lines that call ``print``."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def graph(package: Path) -> dict[str, set[str]]:
    """Which module imports which, wherever the import stands: in a function and for types too. "" is the package."""
    known = {name for name, _ in modules(package)}
    edges: dict[str, set[str]] = {}
    for name, tree in modules(package):
        named = (item.of for item in imports(name, tree, package) if item.of.split(".")[0] == "vi")
        edges[name] = ({of.removeprefix("vi").removeprefix(".") for of in named} & known) - {name}
    return edges


def cycles(edges: dict[str, set[str]]) -> list[str]:
    """The circles in a graph, each once by its closing edge."""
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
            return
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            visit(target, [*trail, name])
        done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def test_imports_point_one_way() -> None:
    assert violations(PACKAGE) == []


def test_no_module_leads_to_itself() -> None:
    assert cycles(graph(PACKAGE)) == []


def test_no_module_is_too_long() -> None:
    assert too_long(PACKAGE) == []


PLANTED = {
    "_retry.py": ("from ._http import Http", "that is a higher layer"),
    "_http.py": ("from . import client", "that is a higher layer"),
    "_transfer/byte_ranges.py": ("from ..api.types import PaginationParams", "that is a higher layer"),
    "_transfer/threads/pool.py": ("def f():\n    from ...client import Client", "that is a higher layer"),
    "api/resources/base.py": ("import vi.client", "that is a higher layer"),
    "api/resources/datasets/resource.py": ("from ....server import serve", "not for the client's parts"),
    "server/app.py": ("from .._http import Http", "must not know the client"),
    "server/handlers/assets.py": ("from ...api.resources.base import Resource", "must not know the client"),
    "client.py": ("from ._samples import make_samples", "samples are for demo and tests"),
    "_media.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .client import Client",
        "a higher layer",
    ),
    "_wire.py": ("def f():\n    from .api.types import PaginationParams", "that is a higher layer"),
    "_routes.py": ("def f():\n    import vi", "the package hands out what is in it"),
    "_show/html.py": ("from ..api.resources.datasets.assets.responses import Asset", "that is a higher layer"),
    "_show/text.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..api.pagination import Page",
        "a higher layer",
    ),
    "_transfer/storage.py": ("from .download import fetch", "download is not below storage"),
    "_transfer/sources/local.py": ("def f():\n    from ..record import FileRecord", "record is not below sources"),
    f"{ASSETS.replace('.', '/')}/sync/run.py": ("from ..resource import AsyncAssets", "resource is not below sync"),
    f"{ASSETS.replace('.', '/')}/deletion.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .resource import AsyncAssets",
        "resource is not below deletion",
    ),
    "server/store/assets.py": ("from ..handlers.assets import get", "handlers is not below store"),
    "server/disk/blobs.py": ("from ..store.schema import asset", "store is not below disk"),
    "api/types.py": ("import aiohttp", "only for _sockets, _connections"),
    "errors.py": ("import cattrs.gen", "only for _wire"),
    "config.py": ("def f():\n    print('x')", "prints"),
    "_extra.py": ("", "in no layer"),
}


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_violation_is_found(path: str, tmp_path: Path) -> None:
    package = tmp_path / "vi"
    for name in (*FOUNDATION, "_connections", "_http", "_loop_thread", "_samples", "client"):
        (package / f"{name}.py").parent.mkdir(exist_ok=True)
        (package / f"{name}.py").touch()
    for folder in ("_transfer", "_show", "api", "server", "cli"):
        (package / folder).mkdir()
        (package / folder / "__init__.py").touch()
    assert violations(package) == []
    code, expected = PLANTED[path]
    target = package / path
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in target.relative_to(package).parents:
        (package / parent / "__init__.py").touch()
    target.write_text(code)
    found = violations(package)
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].startswith("vi." + path.removesuffix(".py").replace("/", "."))


def test_a_library_may_be_named_for_types_anywhere(tmp_path: Path) -> None:
    package = tmp_path / "vi"
    package.mkdir()
    (package / "_retry.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import aiohttp\n")
    assert violations(package) == []


PLANTED_CIRCLES = {
    "plain": "from .b import f",
    "in a function": "def g():\n    from .b import f",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import f",
    "of the package": "from vi import f",
}


@pytest.mark.parametrize("closing", PLANTED_CIRCLES.values(), ids=PLANTED_CIRCLES)
def test_a_planted_circle_of_modules_is_found(closing: str, tmp_path: Path) -> None:
    package = tmp_path / "vi"
    package.mkdir()
    (package / "a.py").write_text(closing)
    (package / "b.py").write_text("from .a import g")
    (package / "__init__.py").write_text("from .b import f")
    assert len(cycles(graph(package))) == 1
    (package / "a.py").write_text("")
    assert cycles(graph(package)) == []


def test_a_planted_long_module_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * LONGEST)
    assert too_long(tmp_path) == []
    (tmp_path / "a.py").write_text("x = 1\n" * (LONGEST + 1))
    assert too_long(tmp_path) == [f"a.py: {LONGEST + 1} lines"]


def test_a_planted_circle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a -> b -> c -> a"]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
