"""What `import vi` gives, and what it leaves alone."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi

ROOT = Path(__file__).parent.parent

HEAVY = ["aiohttp", "PIL", "alembic", "anyio", "asyncio", "cattrs", "pi_heif", "sqlalchemy", "tqdm"]

PROBE = """
import json, sys, threading
opened, events = [], []

def hook(event, args):
    if event == "open":
        opened.append(str(args[0]))
    elif event in ("os.mkdir", "socket.__new__", "subprocess.Popen"):
        events.append(event)

sys.addaudithook(hook)
import {module}
print(json.dumps({{
    "modules": sorted(sys.modules), "opened": opened, "events": events,
    "threads": [thread.name for thread in threading.enumerate()],
}}))
"""


def imported(module: str, folder: Path) -> dict[str, Any]:
    """What importing *module* does, in an interpreter that has done nothing else."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_all_names_exist_and_are_sorted() -> None:
    assert [name for name in vi.__all__ if not hasattr(vi, name)] == []
    assert sorted(vi.__all__) == vi.__all__
    assert set(vi.__all__) <= set(dir(vi))


def test_every_error_of_the_tree_is_exported() -> None:
    def tree(cls: type) -> set[str]:
        return {cls.__name__}.union(*(tree(sub) for sub in cls.__subclasses__() if sub.__module__ == "vi.errors"))

    assert tree(vi.ViError) - set(vi.__all__) == set()


def test_star_import_gives_exactly_all() -> None:
    scope: dict[str, Any] = {}
    exec("from vi import *", scope)
    assert set(scope) - {"__builtins__"} == set(vi.__all__)


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    modules = set(dir(vi)) - set(vi.__all__)
    assert modules == {"errors", *vi._MODULES}
    assert {"annotations", "importlib", "TYPE_CHECKING", "Any"}.isdisjoint(dir(vi))


@pytest.mark.parametrize("name", sorted(set(vi._MODULES) - {"fastapi", "otel"}))
def test_modules_are_there_without_an_import_of_their_own(name: str) -> None:
    code = f"import vi; assert vi.{name}.__name__ == 'vi.{name}'"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_type_checkers_see_the_names_that_are_loaded_late() -> None:
    (block,) = [node for node in ast.parse((ROOT / "vi" / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    seen = {
        alias.name: "." * node.level + (node.module or "")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {**vi._LAZY, **dict.fromkeys(vi._MODULES, ".")}


class Scope(dict[str, Any]):
    """The names of a module, and those that it imports for type checkers only."""

    def __missing__(self, name: str) -> Any:
        ours = (getattr(module, name, None) for key, module in list(sys.modules.items()) if key.startswith("vi."))
        return getattr(builtins, name, None) or next((found for found in ours if isinstance(found, type)), Any)


def named_by(cls: type) -> Iterator[type]:
    """The classes of ours in the signatures of a class's public methods, and in its public attributes."""
    annotated: list[tuple[dict[str, Any], Any]] = [
        (vars(sys.modules[base.__module__]), inspect.get_annotations(base))
        for base in cls.__mro__
        if base.__module__.startswith("vi.")
    ]
    for name, member in inspect.getmembers_static(cls):
        if isinstance(member, classmethod) and cls not in (vi.AsyncClient, vi.Client):
            continue  # makes a result out of what only we have
        function = inspect.unwrap(member.fget if isinstance(member, property) else member)
        if not name.startswith("_") and inspect.isfunction(function):
            annotated.append((function.__globals__, inspect.get_annotations(function)))
    for scope, hints in annotated:
        for name, hint in hints.items():
            if not name.startswith("_"):
                yield from classes(eval(hint, Scope(scope)) if isinstance(hint, str) else hint)


def classes(hint: Any) -> Iterator[type]:
    """The classes of ours within a type."""
    if isinstance(hint, type) and not typing.get_args(hint):
        if hint.__module__.startswith("vi."):
            yield hint
    else:
        for part in (typing.get_origin(hint), *typing.get_args(hint)):
            if part is not None:
                for one in part if isinstance(part, list) else [part]:
                    yield from classes(one)


DOCUMENTED_MODULES = (".pagination", ".types", ".responses")
EXPORTED = [value for name in vi.__all__ if isinstance(value := getattr(vi, name), type)]


@pytest.mark.parametrize("cls", EXPORTED, ids=lambda cls: cls.__name__)
def test_what_a_public_signature_names_can_be_imported_from_vi(cls: type) -> None:
    """Choices of words are exported as well; errors have a module that is documented."""
    missing = {found.__qualname__ for found in named_by(cls) if getattr(vi, found.__name__, None) is not found}
    assert missing == set()


def test_the_walk_finds_what_it_should() -> None:
    assert {vi.AssetUploadResult, vi.FailureMode} <= set(named_by(vi.AsyncAssets))
    assert {vi.FileFailure, vi.SkippedFile} <= set(named_by(vi.AssetUploadResult))
    assert vi.Page in set(named_by(vi.Listing))


def test_the_reference_documents_public_modules_only() -> None:
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    documented = re.findall(r"^\.\. (auto\w+):: (\S+)", pages, re.MULTILINE)
    assert len(documented) > 30
    assert [name for _, name in documented if re.search(r"\._", name)] == []
    # Single classes go by the name that users import; only the documented deep paths stand as modules.
    deep = [(kind, name) for kind, name in documented if name.startswith("vi.api.")]
    assert [name for kind, name in deep if kind != "automodule" or not name.endswith(DOCUMENTED_MODULES)] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="AsnycClient"):
        vi.AsnycClient  # noqa: B018


def test_package_says_that_it_is_typed() -> None:
    assert (Path(vi.__file__).parent / "py.typed").is_file()


def test_importing_vi_loads_no_transport_and_does_nothing(tmp_path: Path) -> None:
    found = imported("vi", tmp_path)
    assert [name for name in HEAVY if name in found["modules"]] == []
    assert [path for path in found["opened"] if not path.endswith((".py", ".pyc", ".cfg", ".so", ".pth"))] == []
    assert found["events"] == []
    assert found["threads"] == ["MainThread"]
    assert list(tmp_path.iterdir()) == []


def test_the_probe_would_notice(tmp_path: Path) -> None:
    """The same check of a module that does all of it."""
    (tmp_path / "loud.py").write_text(
        "import socket, threading, anyio\n"
        "socket.socket().close()\n"
        "open('made.txt', 'w').close()\n"
        "threading.Thread(target=threading.Event().wait, name='loud', daemon=True).start()\n"
    )
    found = imported("loud", tmp_path)
    assert "anyio" in found["modules"]
    assert "made.txt" in found["opened"]
    assert "loud" in found["threads"]
    assert "socket.__new__" in found["events"]


ASSETS = "vi.api.resources.datasets.assets"


@pytest.mark.parametrize("module", ["vi.client", f"{ASSETS}.responses"])
def test_client_and_models_load_nothing_of_the_service(module: str, tmp_path: Path) -> None:
    found = imported(module, tmp_path)
    assert [
        name for name in ("PIL", "alembic", "pi_heif", "sqlalchemy", "vi.server", "tqdm") if name in found["modules"]
    ] == []
    assert found["threads"] == ["MainThread"]


def test_assets_load_nothing_that_only_some_calls_need(tmp_path: Path) -> None:
    found = imported(f"{ASSETS}.resource", tmp_path)
    unneeded = ("concurrent.futures.thread", "difflib", "importlib.metadata", "importlib.resources", "zipfile")
    assert [name for name in unneeded if name in found["modules"]] == []
