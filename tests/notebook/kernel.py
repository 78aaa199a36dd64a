"""A kernel in a process of its own, and what its cells come to."""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@attrs.define
class Outcome:
    """What a cell came to: its messages as they came, and the name of the error that ended it."""

    messages: list[dict[str, Any]] = attrs.Factory(list)
    error: str | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The contents of the messages of one kind."""
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def printed(self, name: str) -> str:
        """What was written to stdout or stderr."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)

    @property
    def result(self) -> dict[str, str]:
        """The value of the last expression, by MIME type."""
        (content,) = self.of("execute_result")
        data: dict[str, str] = content["data"]
        return data

    @property
    def text(self) -> str:
        return self.result["text/plain"]


class Kernel:
    """A running kernel; what a cell sends is kept."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._manager = KernelManager(kernel_name="python3", connection_file=str(folder / "kernel.json"))
        self._manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )
        self.log = folder / "kernel.log"
        with self.log.open("w") as log:
            self._manager.start_kernel(
                cwd=str(folder),
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "IPYTHONDIR": str(folder / ".ipython"),
                    "VI_CACHE_DIR": str(folder / "cache"),
                    **environment,
                },
                stdout=log,
                stderr=log,
            )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)
        self.everything = ""

    def start(self, code: str) -> str:
        """Begin a cell and return the id of the request."""
        return str(self._client.execute(code))

    def finish(self, request: str) -> Outcome:
        """Wait for the end of a cell."""
        outcome = Outcome()
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=max(0.1, ends - time.monotonic()))
            except queue.Empty:
                raise AssertionError("the cell did not end") from None
            if message["parent_header"].get("msg_id") != request:
                continue
            outcome.messages.append(message)
            self.everything += f"{message['content']}\n"
            if message["msg_type"] == "error":
                outcome.error = message["content"]["ename"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return outcome

    def run(self, code: str) -> Outcome:
        """Run a cell."""
        return self.finish(self.start(code))

    def interrupt(self) -> None:
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def stop(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[Kernel]:
    """Start a kernel that finds a service in its environment."""
    kernel = Kernel(folder, environment)
    try:
        yield kernel
    finally:
        kernel.stop()
