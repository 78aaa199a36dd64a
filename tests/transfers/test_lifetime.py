"""Clients in scripts, threads, running loops and forked children; how they end, and how transfers are stopped."""

from __future__ import annotations

from typing import Any

import pytest

FORKED = """
import os, sys, time, vi

with vi.Client() as client:
    dataset = client.datasets.create(name="before the fork").dataset_id
    child = os.fork()
    if child == 0:
        assert client.datasets.get(dataset).name == "before the fork"
        client.close()
        {leave}
    assert os.waitpid(child, 0)[1] == 0
    began = time.monotonic()
    for _ in range(3):
        client.datasets.get(dataset)
    print(time.monotonic() - began < 5)
"""


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"], ids=["at once", "by the interpreter"])
def test_a_forked_child_opens_connections_of_its_own_and_leaves_the_parents_alone(script: Any, leave: str) -> None:
    process = script(FORKED.format(leave=leave))
    out, err = process.communicate(timeout=40)
    assert (process.returncode, out, err) == (0, "True\n", "")
