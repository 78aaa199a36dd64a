"""Torch is too large to be installed where types are checked."""

from typing import Any

def __getattr__(name: str) -> Any: ...
