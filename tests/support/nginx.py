"""An nginx of the tests' own, with the configuration of the docs."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from .ports import free_ports

DOCUMENTED = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"
_START_SECONDS = 30
_MAIN = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    log_format statuses '$status $request_method $uri';
    access_log {folder}/access.log statuses;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


class Nginx:
    """A running balancer of services at *ports* of loopback."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self.url = url

    @classmethod
    @contextlib.contextmanager
    def started(cls, ports: Sequence[int]) -> Iterator[Self]:
        """Start it and end it; skips the test where it is not installed."""
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            pytest.skip("nginx is not installed")
        (port,) = free_ports(1)
        text = DOCUMENTED.read_text("utf-8")
        text, servers = re.subn(
            r"(    server serve-\d:8787 (.*);\n)+",
            lambda found: "".join(f"server 127.0.0.1:{p} {found[2]};\n" for p in ports),
            text,
        )
        text, listens = re.subn("listen 8080;", f"listen 127.0.0.1:{port};", text)
        assert (servers, listens) == (1, 1)
        with tempfile.TemporaryDirectory(prefix="vi-nginx-") as made:
            folder = Path(made)
            config = folder / "nginx.conf"
            config.write_text(_MAIN.format(folder=folder, server=text), "utf-8")
            folder.chmod(0o711)  # its workers are another user where tests are root
            process = subprocess.Popen([program, "-p", made, "-c", str(config), "-e", str(folder / "error.log")])
            try:
                deadline = time.monotonic() + _START_SECONDS
                while not _listens(port):
                    assert process.poll() is None, (folder / "error.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                yield cls(folder, f"http://127.0.0.1:{port}")
            finally:
                process.terminate()
                process.wait(30)

    def failures(self) -> Counter[str]:
        """Return how often clients got which status of 400 and above."""
        lines = (self._folder / "access.log").read_text("utf-8").splitlines()
        return Counter(line.split()[0] for line in lines if line.startswith(("4", "5")))


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
