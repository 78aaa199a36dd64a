"""Read by PyInstaller for each program that imports vi."""

from __future__ import annotations

import importlib.util

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

from vi._optional import LIBRARIES, USES

# What a program itself uses of these, it imports itself; they are large.
_LARGE = {"torch", "torchvision", "pandas", "pyarrow", "fastapi", "starlette", "python_multipart", "opentelemetry"}
_NEED = {"vi.torch": "torch", "vi.fastapi": "fastapi", "vi.otel": "opentelemetry", "vi.filesystem": "fsspec"}
_NEVER = ("vi._pyinstaller", "vi.testing", "vi.server.store.migrations.")


def _is_wanted(name: str) -> bool:
    needed = _NEED.get(name)
    return not name.startswith(_NEVER) and (needed is None or (needed not in _LARGE and _is_there(needed)))


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _root(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


hiddenimports = [
    *collect_submodules("vi", filter=_is_wanted),
    *(one.module for one in LIBRARIES if one.module not in _LARGE),
    *(name.partition(":")[0] for names in USES.values() for name in names.split() if _root(name) not in _LARGE),
    "crcmod.crcmod",
    "psycopg_binary",
]
hiddenimports = [name for name in dict.fromkeys(hiddenimports) if _is_there(_root(name))]
# Alembic runs the files of the migrations, so it needs them as files.
datas = [*collect_data_files("vi", include_py_files=False), *copy_metadata("vi-async-sdk")]
datas += collect_data_files("vi.server.store.migrations", include_py_files=True)
