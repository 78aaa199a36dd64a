"""Text that a traceback with locals does not show, and the environment as such text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any


class Secret(str):
    """A secret key: text like any other, but its repr is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'dtvi_***'"


def secret(value: Any) -> Any:
    """Return a text as `Secret`, and anything else as it is."""
    return Secret(value) if isinstance(value, str) else value


def concealed(document: Any) -> Any:
    """Return a document of settings with each ``secret_key`` as `Secret`."""
    if not isinstance(document, dict):
        return document
    return {name: secret(value) if name == "secret_key" else concealed(value) for name, value in document.items()}


class Environment(Mapping[str, str]):
    """The variables of this process, now; the repr names none."""

    def __getitem__(self, name: str) -> str:
        return os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)

    def __repr__(self) -> str:
        return "<the environment>"


ENVIRON = Environment()
