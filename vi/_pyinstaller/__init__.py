"""What PyInstaller asks for: modules that are loaded by name, data files, and the first lines of a program."""

from __future__ import annotations

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Return where the hooks are; PyInstaller finds this function by its entry point."""
    return [str(Path(__file__).parent)]
