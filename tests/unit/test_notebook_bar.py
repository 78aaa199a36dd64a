"""The bar of a notebook, with a stand-in for IPython's display; tests/notebook has the real one."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest

from vi._events import TransferProgress
from vi._show import notebook as _notebook
from vi._show import progress as _progress
from vi._show import ticks

pytestmark = pytest.mark.anyio


class Display:
    """Keeps what was drawn; *drawn* has a place for each display, with its states."""

    def __init__(self) -> None:
        self.drawn: list[list[dict[str, str]]] = []
        self.changed = asyncio.Event()

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        states = [bundle]
        self.drawn.append(states)

        def update(bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            states.append(bundle)
            self.changed.set()

        return types.SimpleNamespace(update=update)

    @property
    def texts(self) -> list[str]:
        (states,) = self.drawn
        return [state["text/plain"] for state in states]


@pytest.fixture
async def kernel(monkeypatch: pytest.MonkeyPatch) -> Display:
    shown = Display()
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=shown.display))
    return shown


def progress(done: int, seconds: float, *, finished: bool = False) -> TransferProgress:
    return TransferProgress("upload", "sending", 9, done, 0, 9_000_000, done * 1_000_000, seconds, finished)


async def test_one_display_is_drawn_again_a_few_times_a_second(kernel: Display) -> None:
    (bar,) = _progress.progress_listeners(True, None)
    for event in (
        progress(0, 0.0),
        progress(1, 0.1),
        progress(2, 0.3),
        progress(3, 0.4),
        progress(9, 0.45, finished=True),
    ):
        bar(event)
    assert kernel.texts == [
        "upload: sent 0/9 files, 0 B of 8.6 MiB, 0 s",
        "upload: sent 2/9 files, 1.9 MiB of 8.6 MiB, 0 s",
        "upload: sent 9/9 files, 8.6 MiB, 0 s",
    ]
    assert all("<progress" in state["text/html"] for state in kernel.drawn[0])


async def test_the_time_advances_when_nothing_moves_and_stops_at_the_end(
    kernel: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "TICK_SECONDS", 0.02)
    (bar,) = _progress.progress_listeners(True, None)
    bar(progress(0, 7.0))
    await asyncio.wait_for(kernel.changed.wait(), 10)
    bar(progress(9, 7.1, finished=True))
    count = len(kernel.texts)
    await asyncio.sleep(0.1)
    assert len(kernel.texts) == count
    assert kernel.texts[1] == "upload: sent 0/9 files, 0 B of 8.6 MiB, nothing sent for 7 s, 7 s"


async def test_a_transfer_that_ends_at_once_is_drawn_once(kernel: Display) -> None:
    (bar,) = _progress.progress_listeners(True, None)
    bar(progress(9, 0.0, finished=True))
    assert kernel.texts == ["upload: sent 9/9 files, 8.6 MiB, 0 s"]


@pytest.mark.parametrize("how", ["argument", "variable", "callback"])
async def test_the_loop_is_woken_also_where_no_bar_is_wanted(
    kernel: Display, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Or the stop button would not be heard (ipykernel issue 881)."""
    monkeypatch.setattr(ticks, "TICK_SECONDS", 0.01)
    if how == "variable":
        monkeypatch.setenv("VI_PROGRESS", "0")
    heard: list[TransferProgress] = []
    bar, *others = _progress.progress_listeners(how != "argument", heard.append if how == "callback" else None)
    assert isinstance(bar, _notebook.NotebookBar)
    assert len(others) == (how == "callback")
    bar(progress(0, 0.0))
    first = bar._timer
    while bar._timer is first:
        await asyncio.sleep(0.005)
    last = bar._timer
    assert last is not None
    bar(progress(9, 0.1, finished=True))
    assert last.cancelled()
    assert kernel.drawn == []


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace()], ids=["no shell", "a shell in a terminal"])
async def test_without_a_kernel_there_is_no_such_bar(
    kernel: Display, monkeypatch: pytest.MonkeyPatch, shell: Any
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    (listener,) = _progress.progress_listeners(True, None)
    assert not isinstance(listener, _notebook.NotebookBar)
