"""What tests run in other processes: it must be importable there by name."""

from __future__ import annotations

import os
from typing import Any

import vi


def names(client: vi.Client, dataset: str) -> list[str]:
    """The names of a dataset, listed by a client that came from another process."""
    with client:
        return sorted(asset.filename for asset in client.assets.list(dataset).all_items())


def answer(queue: Any, client: vi.Client, dataset: str) -> None:
    """Put what `names` finds into *queue*."""
    queue.put((os.getpid(), names(client, dataset)))


def key_of(client: vi.Client) -> str:
    """The key that a client has where it was loaded."""
    return client.settings.secret_key


def read_all(fs: Any, paths: list[str]) -> dict[str, bytes]:
    """Read files of a file system that came from another process."""
    found: dict[str, bytes] = fs.cat(paths)
    return found
