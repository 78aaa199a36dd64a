"""The access log: one line of JSON a request, without keys, signatures and queries."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from .._redact import redact
from .middleware import ACCESS_KEY
from .serving import SENT

logger: logging.Logger = logging.getLogger("vi.server.access")


class AccessLog(AbstractAccessLogger):
    """Logs each request once it is answered."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log a request, whose answer took *time* seconds."""
        key = request.get(ACCESS_KEY)
        line = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "method": request.method,
            "path": redact(request.path),
            "status": response.status,
            "bytes": _body_bytes(request, response),
            "seconds": round(time, 6),
            "key": key.name if key is not None else None,
        }
        self.logger.info("%s", json.dumps(line))

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self.logger.isEnabledFor(logging.INFO)


def _body_bytes(request: web.BaseRequest, response: web.StreamResponse) -> int:
    if request.method == "HEAD":
        return 0
    if SENT in request:
        return request[SENT]
    return response.body_length if response.content_length is None else response.content_length


def write_to_stderr() -> None:
    """Write the lines to stderr, and nowhere else, from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
