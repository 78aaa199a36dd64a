"""The profiles of a settings file: listing them without secrets, and saving one.

A saved profile replaces the three settings of its table and nothing else: comments, order and other tables stay. The
new text must read back as the old document with that one change, or nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ._disk import write_private
from ._optional import require
from ._paths import as_path
from ._redact import brief
from ._secret import ENVIRON, secret
from .config import CONFIG_VARIABLE, PROFILE_VARIABLE, Settings, default_config_path, load_settings, read_document
from .errors import ViConfigurationError, ViInvalidParameterError

_FIELDS = ("secret_key", "organization_id", "endpoint")


@attrs.frozen
class Profile:
    """A profile of a settings file. *selected* is the one that is used when none is named."""

    name: str
    organization_id: str | None
    endpoint: str | None
    has_key: bool
    selected: bool


def list_profiles(
    config_file: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] = ENVIRON
) -> list[Profile]:
    """List the profiles of the settings file; an empty list without a file."""
    path = _path(config_file, environ)
    if path is None or not path.is_file():
        return []
    document = read_document(path)
    selected = environ.get(PROFILE_VARIABLE) or document.get("profile") or "default"
    found = {name: table for name, table in _table(document, "profiles").items() if isinstance(table, dict)}
    if any(name in document for name in _FIELDS):
        found["default"] = {**found.get("default", {}), **document}
    return [
        Profile(
            name, _text(table, "organization_id"), _text(table, "endpoint"), "secret_key" in table, name == selected
        )
        for name, table in sorted(found.items())
    ]


def save_profile(
    secret_key: str,
    organization_id: str,
    endpoint: str,
    *,
    profile: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = ENVIRON,
) -> Path:
    """Save settings under *profile*, by default the one that is used without a name, and return the file's path.

    The file is replaced in one step and readable by its owner alone.
    """
    secret_key = secret(secret_key)
    settings = load_settings(secret_key, organization_id, endpoint, environ={})
    path = _path(config_file, environ)
    if path is None:
        raise ViConfigurationError(
            "There is no home folder to save the settings in.",
            suggestion=f"Name a file: {CONFIG_VARIABLE}, config_file= or --config.",
        )
    if path.suffix == ".json":
        raise ViConfigurationError(f"{path} has the published client's JSON format; profiles are saved as TOML.")
    path = path.resolve()
    document = read_document(path) if path.exists() else {}
    name = profile or environ.get(PROFILE_VARIABLE) or document.get("profile") or "default"
    if not isinstance(name, str) or not name.isprintable():
        raise ViInvalidParameterError(
            f"A profile's name must be printable text, got {brief(name)}.", parameter="profile"
        )
    at_top = name == "default" and any(field in document for field in _FIELDS)
    text = path.read_text("utf-8-sig") if path.exists() else ""
    changed = _with_values(text, None if at_top else name, _values(settings))
    _check(changed, document, None if at_top else name, _values(settings), path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, changed.encode())
    except OSError as error:
        raise ViConfigurationError(f"{path} cannot be written: {error.strerror}.", path=str(path)) from None
    return path


def _values(settings: Settings) -> dict[str, str]:
    return {field: getattr(settings, field) for field in _FIELDS}


def _with_values(text: str, profile: str | None, values: dict[str, str]) -> str:
    tomlkit: Any = require("tomlkit", "Saving a profile")  # here: nothing else needs it
    document = tomlkit.parse(text)
    table: Any = document
    if profile is not None:
        if "profiles" not in document:
            document.add("profiles", tomlkit.table(is_super_table=True))
        profiles: Any = document["profiles"]
        if isinstance(profiles, dict) and profile not in profiles:
            inline = isinstance(profiles, tomlkit.items.InlineTable)
            profiles[profile] = tomlkit.inline_table() if inline else tomlkit.table()
        table = profiles[profile] if isinstance(profiles, dict) else None
    if isinstance(table, dict):  # otherwise the check says so
        table.update(values)
    return str(tomlkit.dumps(document))


def _check(changed: str, document: dict[str, Any], profile: str | None, values: dict[str, str], path: Path) -> None:
    if profile is None:
        expected = {**document, **values}
    else:
        tables = _table(document, "profiles")
        expected = {**document, "profiles": {**tables, profile: {**_table(tables, profile), **values}}}
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(changed) == expected:
            return
    raise ViConfigurationError(f"{path} cannot be edited safely.", suggestion="Edit it by hand.", path=str(path))


def _path(config_file: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path | None:
    if config_file is None:
        return default_config_path(environ)
    return as_path(config_file, "config_file", ViConfigurationError)


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    return value if isinstance(value, str) else None
