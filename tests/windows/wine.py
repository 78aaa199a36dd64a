"""A plugin of pytest for a Windows Python under wine: it skips what fails through wine's own fault, with the reason.

This is the one list of it, and what this wine can do is asked of it: a later one runs more. A test that no Windows
system can run is marked where it stands.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
from pathlib import Path

import pytest


def version() -> tuple[int, ...]:
    tell = ctypes.WinDLL("ntdll").wine_get_version
    tell.restype = ctypes.c_char_p
    return tuple(map(int, re.findall(rb"\d+", tell())))


def has(library: str) -> bool:
    try:
        ctypes.WinDLL(library)
    except OSError:
        return False
    return True


def tells_long_paths() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, *["x" * 100] * 3)
        path.mkdir(parents=True)
        try:
            path.resolve(strict=True)
        except OSError:
            return False
    return True


NOT_COLLECTED: dict[str, str] = {}
SKIPPED = {
    "test_an_image_is_uploaded_and_settled_in_four_requests_at_most": "a decoder takes long to start, so there are more polls",
}
"""Ends of node ids, and why."""

if not has("bcryptprimitives.dll"):
    needs = "the library of {} needs bcryptprimitives.dll, which this wine has not"
    NOT_COLLECTED |= {
        "tests/unit/test_documents.py": needs.format("pydantic"),
        "tests/transfers/test_fastapi_example.py": needs.format("pydantic"),
        "tests/integrations/test_fastapi.py": needs.format("pydantic"),
        "tests/sync/test_watch.py": needs.format("watchfiles"),
        "tests/sync/test_watch_outages.py": needs.format("watchfiles"),
        "tests/service/test_openapi.py": needs.format("jsonschema"),
    }
    SKIPPED["tests/cli/test_doctor.py::test_no_settings"] = needs.format("fastcrc")

if version() < (10,):
    pools = [
        "test_a_pool_runs_methods_of_a_client[spawn]",
        "test_a_client_of_a_local_service_joins_it",
        *[f"test_an_example_runs[plan {verb}]" for verb in ("split", "run", "status", "finish")],
        "test_tasks_of_an_array_carry_out_a_run",
        "test_a_killed_process_loses_nothing_and_sends_nothing_twice",
    ]
    SKIPPED |= dict.fromkeys(pools, "a ProcessPoolExecutor never answers before wine 10, whatever it runs")

if not tells_long_paths():
    long = [
        "test_no_name_leads_out_of_the_folder[long]",
        "test_rounds_of_odd_names_are_no_ops[300-this]",
        "test_saved_plans_of_odd_names_do_what_they_say_on_every_disk[this]",
    ]
    SKIPPED |= dict.fromkeys(long, "the real path of one above 260 characters ends in error 234")

ROOT = Path(__file__).parents[2]


left_out: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Leave out files that are named on the command line too, for which pytest asks no plugin."""
    given = [Path(one.partition("::")[0]) for one in config.args]
    left_out[:] = [path for path in NOT_COLLECTED if any(map(Path(path).is_relative_to, given))]
    config.args[:] = [one for one in config.args if Path(one).as_posix() not in NOT_COLLECTED]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return collection_path.relative_to(ROOT).as_posix() in NOT_COLLECTED or None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for path in left_out:
        terminalreporter.write_line(f"SKIPPED {path}: wine: {NOT_COLLECTED[path]}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for end, reason in SKIPPED.items():
            if item.nodeid.partition("[")[0].endswith(end) or item.nodeid.endswith(end):
                item.add_marker(pytest.mark.skip(reason=f"wine: {reason}"))
