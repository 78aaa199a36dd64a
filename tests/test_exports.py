"""What `import vi` gives, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
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


@pytest.mark.parametrize("module", ["vi.client", "vi.api.resources.datasets.assets.responses"])
def test_client_and_models_load_nothing_of_the_service(module: str, tmp_path: Path) -> None:
    found = imported(module, tmp_path)
    assert [
        name for name in ("PIL", "alembic", "pi_heif", "sqlalchemy", "vi.server", "tqdm") if name in found["modules"]
    ] == []
    assert found["threads"] == ["MainThread"]
