"""A plugin of pytest for a Windows Python under wine: it skips what fails through wine's own fault, with the reason.

This is the one list of it. A test that no Windows system can run is marked where it stands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

NOT_COLLECTED = {
    "tests/unit/test_documents.py": "pydantic's library needs bcryptprimitives.dll, which wine has not",
    "tests/sync/test_watch.py": "the library of watchfiles needs a function that wine has not",
    "tests/sync/test_watch_outages.py": "the library of watchfiles needs a function that wine has not",
    "tests/transfers/test_fastapi_example.py": "pydantic's library needs bcryptprimitives.dll, which wine has not",
}
LONG = "the real path of one above 260 characters ends in error 234"
POOLS = "a ProcessPoolExecutor never answers there, whatever it runs"
SKIPPED: dict[str, str] = {
    "test_a_pool_runs_methods_of_a_client[spawn]": POOLS,
    "test_a_client_of_a_local_service_joins_it": POOLS,
    **{f"test_an_example_runs[plan {verb}]": POOLS for verb in ("split", "run", "status", "finish")},
    "test_tasks_of_an_array_carry_out_a_run": POOLS,
    "test_a_killed_process_loses_nothing_and_sends_nothing_twice": POOLS,
    "test_an_image_is_uploaded_and_settled_in_four_requests_at_most": "a decoder takes seconds to start: more polls",
    "test_no_name_leads_out_of_the_folder[long]": LONG,
    "test_rounds_of_odd_names_are_no_ops[300-this]": LONG,
    "test_saved_plans_of_odd_names_do_what_they_say_on_every_disk[this]": LONG,
}
"""Ends of node ids, and why."""
ROOT = Path(__file__).parents[2]


def pytest_configure(config: pytest.Config) -> None:
    """Leave out files that are named on the command line too, for which pytest asks no plugin."""
    config.args[:] = [given for given in config.args if Path(given).as_posix() not in NOT_COLLECTED]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return collection_path.relative_to(ROOT).as_posix() in NOT_COLLECTED or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for end, reason in SKIPPED.items():
            if item.nodeid.partition("[")[0].endswith(end) or item.nodeid.endswith(end):
                item.add_marker(pytest.mark.skip(reason=f"wine: {reason}"))
