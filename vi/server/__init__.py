"""The embedded local service: the whole asset protocol on one folder.

`serve` starts it on a loopback port, `open_service` starts it or joins the one that already serves the folder, `run` is
the blocking form behind ``python -m vi serve``. `freeze_support` is for frozen programs.
"""

from __future__ import annotations

from .command import run, run_worker
from .config import ServiceConfig
from .inspection.frozen import freeze_support
from .lifecycle import LocalService, ServiceRunningError, open_service, serve

__all__ = [
    "LocalService",
    "ServiceConfig",
    "ServiceRunningError",
    "freeze_support",
    "open_service",
    "run",
    "run_worker",
    "serve",
]
