"""Where the service listens: on which addresses, under which scheme, and by which address others reach it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ...errors import ViConfigurationError
from ..config import ServiceConfig

_SOMEWHERE = ("192.0.2.1", 9)  # an address for documents (RFC 5737): nothing is sent to it
HANDSHAKE_SECONDS = 10.0


def is_everywhere(host: str) -> bool:
    """Tell whether listening on *host* means every address of this machine; it may be spelled `0`."""
    if not host:
        return True
    try:
        return ipaddress.ip_address(host if ":" in host else socket.gethostbyname(host)).is_unspecified
    except (OSError, ValueError):
        return False


def outward_address() -> str | None:
    """Return the address of this machine towards the network, None when it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(_SOMEWHERE)
            return str(asking.getsockname()[0])
    except OSError:
        return None


def url_of(host: str, port: int, config: ServiceConfig) -> str:
    """Return the address of a service that listens on *host*, for clients on this machine."""
    if is_everywhere(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"{config.scheme}://[{host}]:{port}" if ":" in host else f"{config.scheme}://{host}:{port}"


def public_url_of(config: ServiceConfig) -> SplitResult | None:
    """Return the address that clients use; raises `ViConfigurationError` for what is none."""
    if not config.public_url:
        return None
    parts, known = None, False
    with contextlib.suppress(ValueError):
        parts = urlsplit(config.public_url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    if parts is None or not known or parts.username or parts.query or parts.fragment:
        raise ViConfigurationError(
            "--public-url (public_url) must be an address such as https://vi.example.",
            suggestion="It begins with http:// or https://, and has no user, query or fragment.",
        )
    return parts


def names_of(config: ServiceConfig) -> set[str]:
    """Return the host names that clients may use, in lower case; raises `ViConfigurationError` for what is none."""
    public = public_url_of(config)
    names = set() if public is None else {str(public.hostname)}
    for given in config.allowed_hosts:
        name = host_name(given)
        if not name or name != given.lower():
            raise ViConfigurationError(
                f"--allowed-host (allowed_hosts) takes a host name such as vi.example, got {given[:60]!r}.",
                suggestion="Leave out scheme, port and path.",
            )
        names.add(name)
    return names


_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_.-]{1,253}))(?::\d{1,5})?", re.ASCII)


def host_name(host: str) -> str:
    """Return the name in a Host header; empty for one that is not a name or an address, and a port."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found is not None else ""


def load_certificate(config: ServiceConfig) -> ssl.SSLContext | None:
    """Return what TLS is served with; None when it is not. Blocking. Raises `ViConfigurationError`."""
    if config.tls_cert is None:
        if config.tls_key is not None:
            raise ViConfigurationError("A TLS key needs its certificate: set tls_cert (--tls-cert).")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (config.tls_cert, config.tls_key):
        if path is not None and not Path(path).is_file():
            raise ViConfigurationError(f"The TLS file {path} does not exist.", path=str(path))
    try:
        # A key with a password would be asked for on a terminal that nobody may watch.
        context.load_cert_chain(config.tls_cert, config.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ViConfigurationError(
            f"The TLS certificate {config.tls_cert} cannot be used with its key: {error}.",
            path=str(config.tls_cert),
            suggestion="Both must be PEM files, and the key without a password.",
        ) from error
    return context
