"""Which proxy a request goes through, as ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say.

Names and passwords are taken as curl takes them: up to the last ``@``, so that ``#``, ``/`` and ``:`` in a password
need no escape. This machine is reached without a proxy: one would look for the service on its own.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from typing import Literal
from urllib.parse import unquote, urlsplit

from yarl import URL

from .config import is_loopback
from .errors import ViConfigurationError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
DIRECT = "Set NO_PROXY to reach the service without a proxy."


def proxy_of(url: URL) -> URL | None:
    """Return the proxy for *url*, None for none; raises `ViConfigurationError` for one that cannot be used."""
    found = named_proxy(url)
    return None if found is None or bypasses(url) is not None else read_proxy(*found)


def named_proxy(url: URL) -> tuple[str, str] | None:
    """Return the address of the proxy that is set for the scheme of *url*, and the variable's name."""
    proxies = urllib.request.getproxies()
    for kind in (url.scheme, "all"):
        if address := proxies.get(kind, "").strip():
            return address, f"{kind.upper()}_PROXY"
    return None


def bypasses(url: URL) -> Literal["loopback", "NO_PROXY"] | None:
    """Tell why a request to *url* goes without the proxy that is set; None if it goes through it."""
    host, port = url.host or "", url.port
    if is_loopback(host):
        return "loopback"
    forms = [f"[{host}]:{port}", f"[{host}]"] if ":" in host else [f"{host}:{port}"]
    if any(urllib.request.proxy_bypass(form) for form in forms) or _address_is_listed(host):
        return "NO_PROXY"
    return None


def _address_is_listed(host: str) -> bool:
    """Tell whether ``NO_PROXY`` holds the address *host* in another spelling, or a network that it is in."""
    address = _address(host)
    if address is None:
        return False
    for entry in urllib.request.getproxies().get("no", "").split(","):
        entry = entry.strip()
        plain = entry.partition("]")[0].removeprefix("[") if entry.startswith("[") else entry
        try:
            if address in ipaddress.ip_network(plain, strict=False):
                return True
        except ValueError:
            continue
    return False


def _address(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def read_proxy(address: str, variable: str) -> URL:
    """Return the address of a proxy; the error for one that cannot be used shows neither name nor password."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "http", address
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise ViConfigurationError(
            f"{variable} names a SOCKS proxy ({scheme}), which is not supported.",
            suggestion=f"Name an HTTP proxy (http://host:port). {DIRECT}",
        )
    user_info, at, place = rest.rpartition("@")
    user, colon, password = user_info.partition(":")
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
        if scheme not in ("http", "https") or not host or ":" in unquote(user):
            raise ValueError
        return URL.build(
            scheme=scheme,
            user=unquote(user) if at else None,
            password=unquote(password) if colon else None,
            host=host,
            port=port,
        )
    except ValueError:
        raise ViConfigurationError(
            f"{variable} is not a valid proxy address.",
            suggestion=f"It looks like http://proxy.example:3128 or http://name:password@proxy.example:3128. {DIRECT}",
        ) from None
