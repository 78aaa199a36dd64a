"""Serving a folder until a signal ends it: what ``python -m vi serve`` does."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from .._disk import write_private
from .._event_loop import loop_factory
from .._paths import as_path
from ..config import is_loopback
from ..errors import ViConfigurationError
from .config import ServiceConfig
from .inspection.walls import hide_memory
from .lifecycle import LocalService, serve


def run(
    data: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8787,
    env_file: str | os.PathLike[str] | None = None,
    ready: Callable[[LocalService, str | None], None] = lambda service, warning: None,
    *,
    config: ServiceConfig | None = None,
) -> int:
    """Serve *data* until SIGTERM or Ctrl+C and return the exit code.

    Once the service is ready, *env_file* gets the three settings of a client, and *ready* is called, with a warning if
    the service is open to the network. This process holds the key: from now on no other of the
    same user reads its memory or environment, where the system can prevent it.
    """
    hide_memory()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(data, host, port, env_file, ready, config))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return loop_factory()
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _run(
    data: str | os.PathLike[str],
    host: str,
    port: int,
    env_file: str | os.PathLike[str] | None,
    ready: Callable[[LocalService, str | None], None],
    config: ServiceConfig | None,
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)  # the one that a program can send to one that it has started
    for number in numbers:
        try:
            loop.add_signal_handler(number, ended.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    starting = asyncio.ensure_future(serve(data, host=host, port=port, config=config))
    stopping = asyncio.ensure_future(ended.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).aclose()
        return
    stopping.cancel()
    async with await starting as service:
        if env_file is not None:
            _write_settings(as_path(env_file, "env_file"), service)
        warning = None
        if not is_loopback(urlsplit(service.url).hostname) or _is_everywhere(host):
            warning = (
                f"Warning: {host or 'every address'} is open to the network, and key and data travel unencrypted. "
                "Use it behind a proxy with TLS (--public-url, --allowed-host)."
            )
        ready(service, warning)
        await ended.wait()


def _is_everywhere(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(socket.gethostbyname(host) if ":" not in host else host).is_unspecified
    except (OSError, ValueError):
        return False


def _write_settings(path: Path, service: LocalService) -> None:
    try:
        write_private(path, settings(service).encode())
    except OSError as error:
        raise ViConfigurationError(f"{path} cannot be written: {error.strerror}.", path=str(path)) from error


def settings(service: LocalService) -> str:
    """Return the settings of a client of *service* as lines that a shell can read."""
    values = {
        "DATATURE_VI_API_ENDPOINT": service.url,
        "DATATURE_VI_SECRET_KEY": service.secret_key,
        "DATATURE_VI_ORGANIZATION_ID": service.organization_id,
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
