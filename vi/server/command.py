"""Serving a folder until a signal ends it: what ``python -m vi serve`` does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .._disk import write_private
from .._event_loop import loop_factory
from .._memory import reuse_freed_memory
from .._optional import prefer, reject
from .._paths import as_path
from .._signals import ENDING
from ..config import is_loopback
from ..errors import ViConfigurationError
from .config import ServiceConfig
from .http.addresses import is_everywhere, outward_address
from .inspection.walls import hide_memory
from .lifecycle import LocalService, serve, working
from .log import report_unheard


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
    reuse_freed_memory()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(data, host, port, env_file, ready, config))
    return 0


def run_worker(
    data: str | os.PathLike[str], config: ServiceConfig, ready: Callable[[Path], None] = lambda folder: None
) -> int:
    """Look at the files that the services of *data* receive until SIGTERM or Ctrl+C, and return the exit code."""
    hide_memory()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_work(data, config, ready))
    return 0


async def _work(data: str | os.PathLike[str], config: ServiceConfig, ready: Callable[[Path], None]) -> None:
    asyncio.get_running_loop().set_exception_handler(report_unheard)
    ended = _signalled()
    async with working(data, config) as folder:
        ready(folder)
        await ended.wait()


def _signalled() -> asyncio.Event:
    """Return what the signals that end this process set."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING:
        try:
            loop.add_signal_handler(number, ended.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    return ended


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    uvloop: Any = prefer("uvloop")
    if uvloop is None:
        return loop_factory()

    def new_event_loop() -> asyncio.AbstractEventLoop:
        try:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        except Exception as error:  # noqa: BLE001 - of a release that was not made for this Python
            reject("uvloop", f"cannot be used ({type(error).__name__})")
            return (loop_factory() or asyncio.new_event_loop)()
        return loop

    return new_event_loop


async def _run(
    data: str | os.PathLike[str],
    host: str,
    port: int,
    env_file: str | os.PathLike[str] | None,
    ready: Callable[[LocalService, str | None], None],
    config: ServiceConfig | None,
) -> None:
    asyncio.get_running_loop().set_exception_handler(report_unheard)
    ended = _signalled()
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
        ready(service, _warning(service, host, config or ServiceConfig()))
        await ended.wait()
        ended.clear()  # a second signal ends the wait
        await service.drain(ended)


def _warning(service: LocalService, host: str, config: ServiceConfig) -> str | None:
    """Return what to say of a service that others can reach: by which address, and whether they can listen in."""
    at = urlsplit(service.url)
    everywhere = is_everywhere(host)
    if is_loopback(at.hostname) and not everywhere:
        return None
    address = outward_address() if everywhere else None
    reached = service.url if address is None else f"{at.scheme}://{address}:{at.port}"
    if config.tls_cert is not None:
        return f"Warning: the service is open to the network, at {reached}: anyone with the key can use it."
    return (
        f"Warning: the service is open to the network, at {reached}; key and data travel unencrypted. "
        "Use --tls-cert, or a proxy with TLS (--public-url)."
    )


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
