"""Syncs a folder in a process of its own and prints how many bytes of which files it opened and read.

Arguments: what to do, dataset, folder, and a mark that all files of interest have in their paths.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import vi

read: dict[str, int] = {}
_of: dict[int, str] = {}
_open, _read, _preadv, _close = os.open, os.read, getattr(os, "preadv", None), os.close


def counted_open(path: Any, *args: Any, **kwargs: Any) -> int:
    descriptor = _open(path, *args, **kwargs)
    if sys.argv[4] in os.fspath(path):
        _of[descriptor] = os.fspath(path)
        read.setdefault(_of[descriptor], 0)
    return descriptor


def counted_read(descriptor: int, count: int) -> bytes:
    data = _read(descriptor, count)
    if descriptor in _of:
        read[_of[descriptor]] += len(data)
    return data


def counted_preadv(descriptor: int, *args: Any) -> int:
    assert _preadv is not None
    count = _preadv(descriptor, *args)
    if descriptor in _of:
        read[_of[descriptor]] += count
    return count


def counted_close(descriptor: int) -> None:
    _of.pop(descriptor, None)
    _close(descriptor)


os.open, os.read, os.close = counted_open, counted_read, counted_close
if _preadv is not None:
    os.preadv = counted_preadv


def read_by_all() -> int:
    """Bytes that this process has read from files by any call, where the system tells (Linux)."""
    told = Path("/proc/self/io")
    return int(told.read_text().split()[1]) if told.exists() else 0


what, dataset, folder = sys.argv[1:4]
with vi.Client() as client:
    client.assets  # noqa: B018 - modules are read only now
    before = read_by_all()
    options: dict[str, Any] = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    if what == "skip":
        done: Any = client.assets.upload(dataset, folder, skip_existing=True, show_progress=False)
    elif what == "verify":
        done = client.assets.verify(dataset, folder, **options)
    else:
        done = client.assets.sync(dataset, folder, what, show_progress=False, **options)
everything = read_by_all() - before
print(json.dumps({"read": read, "everything": everything, "summary": done.summary(), "ok": getattr(done, "ok", True)}))
