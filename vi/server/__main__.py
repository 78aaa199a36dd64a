from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial
from typing import TextIO

from .._redact import expressible
from ..errors import ViError
from .command import run
from .config import ServiceConfig
from .lifecycle import LocalService


def main() -> int:
    """Serve a folder from the command line."""
    parser = argparse.ArgumentParser(prog="python -m vi.server", description="Run the local service.")
    parser.add_argument("--data", default="vi-data", help="folder of the service (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--env-file", help="file to write a client's settings to, once the service is ready")
    parser.add_argument("--public-url", help="address that clients use, for signed URLs")
    parser.add_argument("--allowed-host", action="append", default=[], help="accept this host name too; repeatable")
    parser.add_argument("--tls-cert", help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", help="key of the certificate (default: in the same file)")
    given = parser.parse_args()
    try:
        config = ServiceConfig(
            public_url=given.public_url,
            allowed_hosts=given.allowed_host,
            tls_cert=given.tls_cert,
            tls_key=given.tls_key,
        )
        return run(given.data, given.host, given.port, given.env_file, partial(announce, given.env_file), config=config)
    except ViError as error:
        _write(sys.stderr, str(error))
        return 2


def announce(env_file: str | None, service: LocalService, warning: str | None) -> None:
    """Say that the service listens, and which file has its key."""
    key = env_file or service.data / "identity.json"
    _write(sys.stdout, f"Serving {service.data} at {service.url}; the key is in {key}")
    if warning is not None:
        _write(sys.stdout, warning)


def _write(stream: TextIO | None, line: str) -> None:
    """Write a line; a closed or full stream does not stop the service."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if stream is not None:
            stream.write(f"{expressible(line, stream)}\n")
            stream.flush()


if __name__ == "__main__":
    sys.exit(main())
