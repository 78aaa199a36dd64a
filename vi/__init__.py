"""Move image datasets between disks and the Vi dataset service.

`AsyncClient` is the client, `Client` its synchronous twin; both have ``assets``, ``datasets`` and ``organizations``.
``Client.local(folder)`` brings a service of its own. Importing this module opens nothing and costs little: the
transport is loaded with the first client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import (
    ViAuthenticationError,
    ViConfigurationError,
    ViConflictError,
    ViDownloadError,
    ViError,
    ViErrorCode,
    ViFileTooLargeError,
    ViInvalidFileFormatError,
    ViInvalidParameterError,
    ViNetworkError,
    ViNotFoundError,
    ViOperationError,
    ViPathError,
    ViPermissionError,
    ViRateLimitError,
    ViServerError,
    ViTimeoutError,
    ViUploadError,
    ViValidationError,
)

if TYPE_CHECKING:
    from ._events import RequestEvent, RetryEvent, TransferProgress
    from .client import AsyncClient, Client
    from .config import RetryPolicy, Settings, Timeouts, TransferLimits

__all__ = [
    "AsyncClient",
    "Client",
    "RequestEvent",
    "RetryEvent",
    "RetryPolicy",
    "Settings",
    "Timeouts",
    "TransferLimits",
    "TransferProgress",
    "ViAuthenticationError",
    "ViConfigurationError",
    "ViConflictError",
    "ViDownloadError",
    "ViError",
    "ViErrorCode",
    "ViFileTooLargeError",
    "ViInvalidFileFormatError",
    "ViInvalidParameterError",
    "ViNetworkError",
    "ViNotFoundError",
    "ViOperationError",
    "ViPathError",
    "ViPermissionError",
    "ViRateLimitError",
    "ViServerError",
    "ViTimeoutError",
    "ViUploadError",
    "ViValidationError",
    "__version__",
]

_LAZY = {
    "AsyncClient": ".client",
    "RequestEvent": "._events",
    "RetryEvent": "._events",
    "Client": ".client",
    "RetryPolicy": ".config",
    "Settings": ".config",
    "Timeouts": ".config",
    "TransferLimits": ".config",
    "TransferProgress": "._events",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
