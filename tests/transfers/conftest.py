"""A service that notes every request and can hold any of them, and the pictures that tests move."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support import engines
from tests.support.pictures import picture
from tests.support.recorded_service import RecordedService, service, shared_service  # noqa: F401 - fixtures
from vi.server import ServiceConfig

ROOT = Path(__file__).parents[2]

_SENT_BY_STORE = "it damages or cuts what the service sends, and the store sends it"
_SEEN_BY_STORE = "it counts, holds or changes transfers in the service, and they go to the store"
_LARGE_PARTS = "parts of a store have 5 MiB at least"
NOT_IN_STORE = {
    "test_a_read_that_fails_moves_nothing": _SENT_BY_STORE,
    "test_what_lies_behind_a_damage_is_not_given": _SENT_BY_STORE,
    "test_damage_is_an_error": _SENT_BY_STORE,
    "test_transfers_are_told_without_their_urls": _SENT_BY_STORE,
    "test_every_retry_is_told_and_logged_once_with_its_reason[download cut]": _SENT_BY_STORE,
}
"""Tests that a service does not see through whose bytes come from a store."""
NOT_DIRECT = {
    "test_many_files_go_in_several_sessions_each_byte_once": _SEEN_BY_STORE,
    "test_the_key_never_goes_to_storage": _SEEN_BY_STORE,
    "test_no_more_transfers_run_at_once_than_allowed": _SEEN_BY_STORE,
    "test_files_that_are_there_already_are_not_fetched_again": _SEEN_BY_STORE,
    "test_an_asset_that_is_deleted_during_the_download_is_reported_and_the_others_arrive": _SEEN_BY_STORE,
    "test_no_name_is_visible_before_its_file_is_whole": _SEEN_BY_STORE,
    "test_a_file_from_the_threshold_on_goes_in_parts_and_ranges": _LARGE_PARTS,
    "test_ranges_after_the_first_are_pinned_to_the_object": _SEEN_BY_STORE,
    "test_parts_are_cut_from_any_source_that_can_be_read_again": _LARGE_PARTS,
    "test_a_file_that_changes_between_its_parts_is_not_stored_and_its_parts_are_dropped": _LARGE_PARTS,
    "test_a_timeout_between_parts_stores_nothing": _SEEN_BY_STORE,
    "test_a_download_that_is_stopped_between_ranges_leaves_nothing": _SEEN_BY_STORE,
    "test_an_object_that_is_replaced_between_ranges_never_becomes_a_mixture": _SEEN_BY_STORE,
    "test_progress_counts_the_parts_of_a_large_file": _LARGE_PARTS,
    "test_a_storage_that_answers_before_it_has_read_a_file_has_not_stored_it": _SEEN_BY_STORE,
    "test_parts_on_a_quick_line_go_through_the_kernel_and_arrive": _SEEN_BY_STORE,
    "test_what_the_kernel_cannot_send_is_read_and_written": _SEEN_BY_STORE,
}
"""Tests that it does not see through whose bytes go straight to the store."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skipped = {"through": NOT_IN_STORE, "direct": NOT_IN_STORE | NOT_DIRECT}.get(engines.CHOSEN, {})
    here = str(Path(__file__).parent)
    for item in items:
        reason = skipped.get(item.name) or skipped.get(getattr(item, "originalname", ""))
        if reason is not None and str(item.path).startswith(here):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RecordedService]]:
    """Starts services with settings of a test's own."""
    running: list[RecordedService] = []

    def start(**settings: Any) -> RecordedService:
        running.append(RecordedService(tmp_path / f"data-{len(running)}", ServiceConfig(**settings)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def client(service: RecordedService) -> Iterator[vi.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def dataset(client: vi.Client, service: RecordedService) -> str:
    """The id of an empty dataset; what it took to make it is not on the list of requests."""
    dataset_id = client.datasets.create(name="test").dataset_id
    service.forget()
    return dataset_id


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes the bytes of small images: one for each seed."""
    return lambda seed=0, side=8: picture(seed, (side, side))


@pytest.fixture
def folder(tmp_path: Path, png: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes folders of images: by number, or by name."""

    def make(count: int = 3, *, name: str = "images", names: list[str] | None = None, seed: int = 0) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, filename in enumerate(names or [f"image-{n:03d}.png" for n in range(count)]):
            path = root / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed * 1000 + number))
        return root

    return make


def content_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below *folder*, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """Reads a folder as name and digest."""
    return content_of


@pytest.fixture
def stored(client: vi.Client) -> Callable[[str], dict[str, str]]:
    """Reads what a dataset holds as name and digest, from the service alone."""

    def read(dataset_id: str) -> dict[str, str]:
        return {a.filename: a.metadata.hash.contents for a in client.assets.list(dataset_id).all_items()}

    return read


@pytest.fixture
def script(tmp_path: Path, service: RecordedService) -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python program that finds the service in its environment, with warnings shown."""

    def start(source: str, *arguments: str, under: str | None = None) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(source)
        command = [sys.executable, str(path), *arguments]
        if under is not None:
            # The second command keeps the shell from handing its process over to the first.
            command = [under, "-c", f"{shlex.join(command)}; exit $?"]
        environment = {**os.environ, **service.environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        return subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start
