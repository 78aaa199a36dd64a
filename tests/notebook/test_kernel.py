"""The SDK in the cells of a real kernel: what they show, and what stopping one stops."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.outcomes import check_no_secret
from tests.notebook.kernel import Kernel, Outcome, running
from tests.support.recorded_service import RecordedService

pytestmark = pytest.mark.notebook

SYNC = """
import asyncio, threading, vi
client = vi.Client()
dataset = client.datasets.create(name="x").dataset_id
"""
ASYNC = """
import asyncio, threading, vi
client = vi.AsyncClient()
dataset = (await client.datasets.create(name="x")).dataset_id
"""
FORMS = {
    "sync": (
        SYNC,
        "result = client.assets.upload(dataset, 'images', max_concurrency=1)",
        "client.assets.count(dataset)",
    ),
    "await": (
        ASYNC,
        "result = await client.assets.upload(dataset, 'images', max_concurrency=1)",
        "await client.assets.count(dataset)",
    ),
}
STOPPED = {
    **FORMS,
    "await, no bar": (ASYNC, FORMS["await"][1].replace("max_c", "show_progress=False, max_c"), FORMS["await"][2]),
}
TASKS = {
    "sync": "async def tasks():\n    return len(asyncio.all_tasks())\nclient._loop_thread.run(tasks)",
    "await": "len(asyncio.all_tasks())",
    "await, no bar": "len(asyncio.all_tasks())",
}
CLOSED = {"sync": "client.close()", "await": "await client.aclose()", "await, no bar": "await client.aclose()"}
THREADS = "[t.name for t in threading.enumerate() if t.name.startswith('vi-')]"


@pytest.fixture
def kernel(home: Path, service: RecordedService) -> Iterator[Kernel]:
    with running(home, {**service.environment, "VI_LOG": "debug"}) as kernel:
        yield kernel
        check_no_secret(kernel.everything + kernel.log.read_text(), service.secret_key)


def bars(outcome: Outcome) -> list[str]:
    """The texts of the one bar that a cell may have drawn, as they followed each other."""
    first = outcome.of("display_data")
    assert len(first) <= 1
    drawn = first + outcome.of("update_display_data")
    assert len({content["transient"]["display_id"] for content in drawn}) <= 1
    return [content["data"]["text/plain"] for content in drawn]


@pytest.mark.parametrize("form", FORMS)
def test_a_bar_is_drawn_in_place(kernel: Kernel, service: RecordedService, form: str) -> None:
    begin, upload, count = FORMS[form]
    assert kernel.run(begin).error is None
    outcome = kernel.run(upload)
    assert outcome.error is None
    drawn = bars(outcome)
    assert len(drawn) > 1
    assert drawn[-1].startswith("upload: checked 6/6, sent 6/6 files, ")
    for content in outcome.of("display_data") + outcome.of("update_display_data"):
        assert "<progress" in content["data"]["text/html"]
        assert not re.search(r"[\r\x1b\b]", str(content["data"]))
    assert outcome.printed("stdout") == ""
    assert "upload:" not in outcome.printed("stderr")
    assert kernel.run(count).text == "6"


@pytest.mark.parametrize("form", STOPPED)
def test_stopping_a_cell_stops_the_transfer(kernel: Kernel, service: RecordedService, form: str) -> None:
    begin, upload, count = STOPPED[form]
    assert kernel.run(begin).error is None
    before = kernel.run(TASKS[form]).text
    with service.hold("PUT", "/up/", after=2) as hold:
        cell = kernel.start(upload)
        assert hold.reached.wait(30)
        began = time.monotonic()
        kernel.interrupt()
        outcome = kernel.finish(cell)
        assert time.monotonic() - began < 8
    assert outcome.error in ("KeyboardInterrupt", "CancelledError")
    assert service.requests("POST", ":cancel") == [], "what the service has is left to the next run"
    assert kernel.run(TASKS[form]).text == before
    assert kernel.run(upload).error is None
    assert kernel.run(count).text == "6"
    assert kernel.run(CLOSED[form]).error is None
    assert kernel.run(THREADS).text == "[]"


@pytest.mark.parametrize("quiet", ["show_progress=False", "on_progress=lambda event: None"])
def test_no_bar_where_none_is_wanted(kernel: Kernel, quiet: str) -> None:
    assert kernel.run(SYNC).error is None
    outcome = kernel.run(f"result = client.assets.upload(dataset, 'images', {quiet})")
    assert outcome.error is None
    assert bars(outcome) == []


def test_events_are_iterated_over_in_a_cell(kernel: Kernel) -> None:
    assert kernel.run(ASYNC).error is None
    outcome = kernel.run(
        "async with client.assets.upload_events(dataset, 'images') as events:\n"
        "    seen = [event async for event in events]\n"
        "    result = await events.result()\n"
        "seen[-1].finished, seen[-1].files_done, result.total_succeeded"
    )
    assert outcome.text == "(True, 6, 6)"
    assert bars(outcome) == []


def test_a_display_sends_nothing(kernel: Kernel, service: RecordedService) -> None:
    """Pictures come with the page that asks for them; showing it asks for nothing."""
    assert kernel.run(f"{SYNC}\nresult = client.assets.upload(dataset, 'images', show_progress=False)").error is None
    assert kernel.run("page = client.assets.list(dataset, contents=True, thumbnails=True)").error is None
    service.forget()
    shown = kernel.run("page").result
    assert service.requests() == []
    assert shown["text/html"].count('<img src="data:image/') == 6
    assert "more pages" not in shown["text/plain"]
    assert shown["text/plain"].splitlines()[0].split() == ["Name", "Size", "Pixels", "Status", "Asset"]
    assert kernel.run("[page.items[0]]").text.startswith("[Asset(asset_id=")


def test_the_sync_client_warns_where_it_could_not_be_stopped(kernel: Kernel) -> None:
    """In a plain cell it does not warn, although a notebook's loop is always running."""
    assert "RuntimeWarning" not in kernel.run(SYNC).printed("stderr")
    outcome = kernel.run("await asyncio.sleep(0)\nclient.datasets.list()")
    assert outcome.error is None
    assert "RuntimeWarning: vi.Client cannot be stopped in a cell that awaits" in outcome.printed("stderr")
