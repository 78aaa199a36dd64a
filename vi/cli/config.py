"""``config``: the settings file, the settings in use, and the profiles; never a key."""

from __future__ import annotations

import argparse
from typing import Any

from .._paths import as_path
from .._redact import redact
from .._show.console import complain, say
from .._show.text import printable
from . import exits, options
from .account import source_of
from .output import Columns, fields_of, show_document, show_items, show_rows

COLUMNS = Columns(
    ("PROFILE", "ORGANIZATION", "SERVICE", "KEY", "IN USE"),
    lambda profile: (
        profile.name,
        profile.organization_id or "",
        redact(profile.endpoint or ""),
        "stored" if profile.has_key else "",
        "yes" if profile.selected else "",
    ),
    lambda profile: str(profile.name),
    document=fields_of,
)


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "config", "show the settings file, the settings in use, and the profiles")

    parser = options.add_verb(group, "path", "print the path of the settings file", "  vi-sdk config path\n")
    parser.set_defaults(run=path)

    parser = options.add_verb(
        group, "show", "show the settings in use and where each came from, without the key", "  vi-sdk config show\n"
    )
    options.finish(parser, show, ids=None)

    parser = options.add_verb(group, "profiles", "list the profiles, without keys", "  vi-sdk config profiles\n")
    parser.add_argument("--config", metavar="FILE", help="settings file to use")
    options.finish(parser, profiles, ids="names only", connects=False)


def path(given: argparse.Namespace) -> int:
    """Print where the settings file is, or would be."""
    from ..config import default_config_path

    file = default_config_path()
    if file is None:
        complain("There is no home folder, so there is no settings file; VI_CONFIG can name one.")
        return exits.MISSING
    say(printable(str(file)))
    return exits.DONE


def show(given: argparse.Namespace) -> int:
    """Show the settings; what is missing is said, not an error."""
    from ..config import DEFAULT_ENDPOINT, default_config_path, find_settings

    found = find_settings(
        organization_id=given.organization, endpoint=given.endpoint, config_file=given.config, profile=given.profile
    )
    file = as_path(given.config, "--config") if given.config else default_config_path()
    there = file is not None and file.exists()
    settings: dict[str, dict[str, Any]] = {}
    for name, setting in found.items():
        found_value = setting.value or (DEFAULT_ENDPOINT if name == "endpoint" else None)
        value = redact(found_value) if found_value is not None else None
        shown: Any = setting.value is not None if name == "secret_key" else value
        settings[name] = {"value": shown, "source": source_of(name, setting.source)}
    if given.json:
        show_document({"file": str(file) if file else None, "file_exists": there, **settings})
        return exits.DONE
    rows = [("File", f"{file or 'none: there is no home folder'}{'' if there or not file else ' (not there)'}")]
    for name, label in (("endpoint", "Service"), ("organization_id", "Organization"), ("secret_key", "Key")):
        value = settings[name]["value"]
        word = value if isinstance(value, str) else "set" if value else "not set"
        rows.append((label, f"{word}, from {settings[name]['source']}" if value else word))
    show_rows(rows)
    return exits.DONE


def profiles(given: argparse.Namespace) -> int:
    """List the profiles of the settings file."""
    from ..profiles import list_profiles

    show_items(given, list_profiles(given.config), COLUMNS, none="There are no profiles; vi-sdk login makes one.")
    if given.config and not as_path(given.config, "--config").exists():
        complain(printable(f"{given.config} is not there."))
        return exits.MISSING
    return exits.DONE
