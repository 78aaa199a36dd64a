"""What services of the tests keep rows and bytes in: SQLite and their folder, or what ``VI_TEST_ENGINE`` names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from tests.support.cluster import open_engine
from tests.support.ports import free_ports
from tests.support.postgres import Postgres
from tests.support.seaweed import Seaweed
from tests.support.store_front import serve_fronted
from vi.server import ServiceConfig
from vi.testing import service

CHOSEN = os.environ.get("VI_TEST_ENGINE", "")
"""``through`` or ``direct``: PostgreSQL and an S3 store, with that way of uploads; empty: SQLite and a folder."""

_LOCAL = "`Client.local` is the embedded service: it has no other engine"
_ANYWHERE = {
    "test_local_clients.py": _LOCAL,
    "test_a_local_client_brings_its_service_joins_it_and_finds_its_data_again": _LOCAL,
    "test_a_client_of_a_local_service_joins_it": _LOCAL,
    "test_an_async_client_of_a_local_service_joins_it": _LOCAL,
    "test_this_machine_is_reached_without_the_proxy": _LOCAL,
}
_DIRECT = {
    "test_api_and_storage_go_through_the_proxy": "its proxy leads to the service, and the store has another address",
}
NOT_RUN: dict[str, dict[str, str]] = {"through": _ANYWHERE, "direct": _ANYWHERE | _DIRECT}
"""Modules and tests that do not run on the other engines, by the way of uploads, and why not: all that there are."""


class Engines:
    """Gives each folder of a service a database and a place in the store, with a front before it."""

    def __init__(self, postgres: Postgres, seaweed: Seaweed) -> None:
        self._postgres = postgres
        self._seaweed = seaweed
        self._known: dict[Path, dict[str, Any]] = {}

    def settings(self, data: Path) -> dict[str, Any]:
        """Return the settings of a service of this folder, equal at each start."""
        if data not in self._known:
            self._known[data] = {
                "database": self._postgres.create(), "uploads": CHOSEN, **self._seaweed.create(),
                "store_public_url": f"http://127.0.0.1:{free_ports(1)[0]}",
            }  # fmt: skip
        return self._known[data]

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Let every service that a test starts in this process have them, unless its test says otherwise."""
        serve = service.serve

        def served(data: Path, *, config: ServiceConfig | None = None, **more: Any) -> Any:
            config = config or ServiceConfig()
            if config.database is not None or config.store is not None:
                return serve(data, config=config, **more)
            return serve_fronted(serve, data, config=attrs.evolve(config, **self.settings(Path(data))), **more)

        with mock.patch.object(service, "serve", served):
            yield


def reason_not_to_run(module: str, test: str) -> str | None:
    """Return why a test does not run on what ``VI_TEST_ENGINE`` names; None if it does."""
    listed = NOT_RUN.get(CHOSEN, {})
    return listed.get(module) or listed.get(test)


chosen: Engines | None = None
"""What ``VI_TEST_ENGINE`` names, while tests run."""


def settings(data: Path) -> dict[str, Any]:
    """Return the settings of a service of this folder that a test starts as a process of its own."""
    return {} if chosen is None else chosen.settings(data)


def open_rows(data: Path) -> Any:
    """Return an engine of SQLAlchemy for the rows of the service of this folder."""
    import sqlalchemy as sa

    found = settings(data)
    return (
        open_engine(found["database"])
        if found
        else sa.create_engine(f"sqlite:///{data / 'vi.db'}", poolclass=sa.NullPool)
    )


def environment(data: Path) -> dict[str, str]:
    """Return the same for the command line."""
    found = settings(data)
    if not found:
        return {}
    return {
        "VI_DATABASE": found["database"],
        "VI_STORE": found["store"],
        "VI_UPLOADS": found["uploads"],
        "AWS_ENDPOINT_URL_S3": found["store_endpoint"],
    }
