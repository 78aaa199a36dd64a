"""Options of several commands that say where a service has its rows and bytes; the environment can give each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable


def add_address(parser: argparse.ArgumentParser, option: str, variable: str, text: str) -> None:
    """Add an option with an address that the environment can set as well."""
    parser.add_argument(option, metavar="URL", default=os.environ.get(variable) or None, help=text)


def add_database(parser: argparse.ArgumentParser, text: str) -> None:
    """Add which PostgreSQL database holds the metadata; the environment hides a password from other users."""
    add_address(parser, "--database", "VI_DATABASE", text)


def add_store(
    parser: argparse.ArgumentParser,
    text: str = "keep bytes in this S3 bucket, s3://BUCKET/PREFIX, not in the folder (or VI_STORE)",
) -> None:
    """Add where a service keeps bytes, if not in its folder."""
    add_address(parser, "--store", "VI_STORE", text)
    endpoint = "address of an S3 store other than AWS (or VI_STORE_ENDPOINT)"
    add_address(parser, "--store-endpoint", "VI_STORE_ENDPOINT", endpoint)


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Add whether clients and the store exchange bytes directly."""
    parser.add_argument(
        "--uploads",
        type=_one_of("through", "direct"),
        default=os.environ.get("VI_UPLOADS") or "through",
        metavar="WAY",
        help="with --store: let clients send bytes through the service, or direct to the store (or VI_UPLOADS; "
        "default: through)",
    )
    parser.add_argument(
        "--downloads",
        type=_one_of("redirect", "direct", "through"),
        default=os.environ.get("VI_DOWNLOADS") or None,
        metavar="WAY",
        help="with --store: let clients fetch bytes by a redirect to the store, direct from it, or through the service "
        "(or VI_DOWNLOADS; default: direct with --uploads direct, else redirect)",
    )


def _one_of(*allowed: str) -> Callable[[str], str]:
    """Return a reader of one of several words; unlike ``choices`` it reads what the environment says too."""

    def read(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"must be {' or '.join(allowed)}, not {text[:40]!r}")
        return text

    return read
