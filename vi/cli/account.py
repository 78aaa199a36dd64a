"""``login`` and ``whoami``: whose key is used, with which service, and where that is written."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .._show.console import ask, can_ask, complain, say
from .._show.text import printable
from . import exits, options
from .output import show_document, show_rows


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    parser = options.add_verb(
        verbs,
        "login",
        "check a key with the service and store it",
        """  printenv DATATURE_VI_SECRET_KEY | vi-sdk login --key-stdin --organization "$DATATURE_VI_ORGANIZATION_ID" \\
      --endpoint "$DATATURE_VI_API_ENDPOINT" --profile work
""",
        description="Check a key with the service and store it in the settings file, readable by you alone. "
        "You are prompted for the key. It is not an option, because other users can see command lines.",
    )
    parser.add_argument("--key-stdin", action="store_true", help="read the key from stdin")
    options.add_connection(parser)
    parser.set_defaults(run=login)

    parser = options.add_verb(
        verbs, "whoami", "show the organization, the service, and where each setting came from", "  vi-sdk whoami\n"
    )
    options.finish(parser, whoami, ids="id of the organization only")


def login(given: argparse.Namespace) -> int:
    """Ask, check, then save; nothing is written unless the service accepts the key."""
    import getpass

    import vi
    from vi.profiles import save_profile

    from ..config import DEFAULT_ENDPOINT

    if not given.key_stdin and not can_ask():
        raise exits.WrongUseError("login needs a terminal, or --key-stdin")
    endpoint = given.endpoint or DEFAULT_ENDPOINT
    organization = given.organization
    if organization is None:
        if given.key_stdin:
            raise exits.WrongUseError("login --key-stdin needs --organization")
        if given.endpoint is None:
            endpoint = ask(f"Service [{DEFAULT_ENDPOINT}]: ").strip() or DEFAULT_ENDPOINT
        organization = ask("Organization id: ").strip()
    try:
        key = _key_of_stdin() if given.key_stdin else getpass.getpass("Secret key: ").strip()
    except EOFError:
        key = ""
    if not key or not organization:
        raise exits.WrongUseError(f"no {'organization id' if key else 'key'} was given")
    with vi.Client(key, organization, endpoint) as client:
        name = client.organizations.get().name
    path = save_profile(key, organization, endpoint, profile=given.profile, config_file=given.config)
    complain(printable(f"Logged in to {endpoint} as {name or organization}. The key is in {path}."))
    shadowed = [name for name in variables().values() if os.environ.get(name)]
    if shadowed and not given.profile and not given.config:
        complain(f"The environment comes before the file: {', '.join(shadowed)} set.")
    return exits.DONE


def _key_of_stdin() -> str:
    """Return the first line, whatever a shell of Windows puts around it."""
    if sys.stdin is None:  # closed
        return ""
    try:
        return sys.stdin.readline().strip().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise exits.WrongUseError(f"the key on stdin is not text in {error.encoding}: give it as UTF-8") from None


def whoami(given: argparse.Namespace) -> int:
    """Show who the service takes us for."""
    from ..config import find_settings

    found = find_settings(
        organization_id=given.organization, endpoint=given.endpoint, config_file=given.config, profile=given.profile
    )
    with options.open_client(given) as client:
        organization = client.organizations.get()
        endpoint = client.settings.endpoint
    sources = {name: source_of(name, setting.source) for name, setting in found.items()}
    if given.json:
        show_document(
            {
                "organization_id": organization.organization_id,
                "organization": organization.name,
                "endpoint": endpoint,
                "sources": sources,
            }
        )
    elif given.quiet:
        say(printable(organization.organization_id))
    else:
        show_rows(_rows(organization, endpoint, sources))
    return exits.DONE


def _rows(organization: Any, endpoint: str, sources: dict[str, str]) -> list[tuple[str, str]]:
    return [
        ("Organization", f"{organization.name} ({organization.organization_id})"),
        ("Service", endpoint),
        ("Key from", sources["secret_key"]),
        ("Organization from", sources["organization_id"]),
        ("Service from", sources["endpoint"]),
    ]


def variables() -> dict[str, str]:
    """Return the environment variable of each setting."""
    from .. import config

    return {
        "secret_key": config.KEY_VARIABLE,
        "organization_id": config.ORGANIZATION_VARIABLE,
        "endpoint": config.ENDPOINT_VARIABLE,
    }


def source_of(name: str, source: str) -> str:
    """Name a source as a person would look for it."""
    return f"the environment ({variables()[name]})" if source == "the environment" else source
