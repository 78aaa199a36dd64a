"""What `doctor` looks at, one function a question. Nothing here changes anything but for a file made and removed."""

from __future__ import annotations

import datetime as dt
import http.client
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from yarl import URL

from .. import _checksums
from .._disk import open_to_others
from .._optional import LIBRARIES, Fault, Library, examine, requirement
from .._proxies import bypasses, named_proxy, proxy_of, read_proxy
from .._redact import redact
from .._show.units import size
from ..errors import ViError

if TYPE_CHECKING:
    from ..client import Client

State = Literal["ok", "note", "warn", "fail"]

PATIENCE = 10.0
CLOCK_SECONDS = 60.0
CRC_BYTES = 8 << 20
SLOW_CRC = 200e6
LITTLE_SPACE = 1 << 30
NO_SPACE = 64 << 20
FEW_FILES, TOO_FEW_FILES = 1024, 128
LOOPBACK_ADVICE = "Start it: vi-sdk serve --data ./vi-data --env-file ./vi-data/.env"


@attrs.frozen
class Check:
    """What was found, and what to do about it."""

    name: str
    state: State
    found: str
    advice: str = ""


def private(name: str, path: Path | None, *, written: bool = False) -> Iterator[Check]:
    """Warn of a file that other users of this machine can read, or with *written* of one that they can change."""
    if path is not None and (found := open_to_others(path, written=written)) is not None:
        yield Check(name, "warn", *found)


def service(client: Client) -> Iterator[Check]:
    """Ask the service from the outside in: proxy, address, clock, then the key."""
    endpoint = client.settings.endpoint
    way = proxy(endpoint)
    yield way
    if way.state == "fail":
        return
    began = time.monotonic()
    try:
        date = _head(endpoint)
    except (OSError, http.client.HTTPException) as error:
        yield _unreachable(endpoint, error)
        return
    yield Check("address", "ok", f"{endpoint} answers in {(time.monotonic() - began) * 1000:.0f} ms")
    yield clock(date)
    yield credentials(client)


def proxy(endpoint: str) -> Check:
    """Say which way requests go, as the client finds it."""
    url = URL(endpoint)
    named = named_proxy(url)
    if named is None:
        return Check("proxy", "ok", "none")
    why = bypasses(url)
    if why == "loopback":
        return Check("proxy", "ok", f"{named[1]} is set, and not used for this machine")
    if why == "NO_PROXY":
        return Check("proxy", "ok", f"{named[1]} is set, and NO_PROXY leaves this service out")
    try:
        address = read_proxy(*named)
    except ViError as error:
        return Check("proxy", "fail", error.message, error.suggestion or "")
    advice = "Set NO_PROXY for this service if the proxy does not reach it."
    return Check("proxy", "note", f"requests go through {redact(str(address))}", advice)


def _head(endpoint: str) -> str | None:
    """Return the Date of whatever the service answers to a request without a key."""
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the endpoint was checked to be http(s)
    url = URL(endpoint)
    proxy = proxy_of(url)
    through = urllib.request.ProxyHandler({url.scheme: str(proxy)} if proxy is not None else {})
    try:
        with urllib.request.build_opener(through).open(request, timeout=PATIENCE) as answer:
            return str(answer.headers.get("Date"))
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.headers.get("Date")


def _unreachable(endpoint: str, error: Exception) -> Check:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        advice = "If your network inspects TLS, point SSL_CERT_FILE at its certificates."
        return Check("address", "fail", f"the certificate of {endpoint} was refused: {reason.verify_message}", advice)
    if isinstance(reason, socket.gaierror):
        advice = "Check DATATURE_VI_API_ENDPOINT for a typing error, then your DNS or proxy."
        return Check("address", "fail", f"the name in {endpoint} cannot be resolved", advice)
    local = urllib.parse.urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
    advice = LOOPBACK_ADVICE if local else "Check the address, the network, and whether a proxy is needed."
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Check("address", "fail", f"{endpoint} does not answer: {redact(said)}", advice)


def clock(date: str | None) -> Check:
    """Compare our clock with the service's."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return Check("clock", "note", "the service states no Date to compare with")
    off = (dt.datetime.now(dt.UTC) - theirs.replace(tzinfo=theirs.tzinfo or dt.UTC)).total_seconds()
    word = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the service"
    if abs(off) < CLOCK_SECONDS:
        return Check("clock", "ok", "agrees with the service" if abs(off) < 2 else word)
    return Check("clock", "warn", word, "Set the clock (NTP); certificates and signed URLs depend on it.")


def credentials(client: Client) -> Check:
    """Ask for our own organization."""
    try:
        organization = client.organizations.get()
    except ViError as error:
        advice = "Log in again: vi-sdk login" if error.status_code in (401, 403, 404) else error.suggestion or ""
        return Check("credentials", "fail", error.message, advice)
    return Check("credentials", "ok", f"{organization.name} ({organization.organization_id})")


def crc() -> Check:
    """Measure the checksum that every file passes through."""
    data = os.urandom(1 << 20)
    rounds = CRC_BYTES >> 20 if _checksums.is_fast() else 1
    began = time.perf_counter()
    for _ in range(rounds):
        _checksums.crc32c(data)
    speed = rounds * len(data) / max(time.perf_counter() - began, 1e-9)
    found = f"{_checksums.implementation()}, {size(speed)}/s"
    if speed >= SLOW_CRC:
        return Check("CRC32C", "ok", found)
    return Check("CRC32C", "warn", found, "Checksums will bound the speed: pip install fastcrc")


def extensions() -> Check:
    """Look for aiohttp's compiled parser."""
    if importlib.util.find_spec("aiohttp._http_parser") is not None:
        return Check("aiohttp", "ok", f"{importlib.metadata.version('aiohttp')} with its C extensions")
    advice = "Install a wheel for this platform: pip install --force-reinstall --only-binary :all: aiohttp"
    return Check("aiohttp", "warn", "without C extensions: HTTP is parsed in Python", advice)


def folder(name: str, path: Path, advice: str) -> Check:
    """Look whether files can be made in a folder, or in what will be its parent, and how much fits."""
    there = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".vi-doctor-"):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(name, "fail", f"{path}: no file can be made: {error.strerror}", advice)
    found = f"{path}: {size(free)} free"
    if free < NO_SPACE:
        return Check(name, "fail", found, f"Free some space. {advice}")
    return Check(name, "warn", found, f"Little space. {advice}") if free < LITTLE_SPACE else Check(name, "ok", found)


def open_files() -> Check:
    """Look how many files and connections may be open."""
    if sys.platform == "win32":
        return Check("open files", "ok", "not limited by this system")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FEW_FILES:
        return Check("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} at once")
    most = "4096" if hard == resource.RLIM_INFINITY else str(min(hard, 4096))
    state: State = "fail" if soft < TOO_FEW_FILES else "warn"
    return Check("open files", state, f"{soft:,} at once: fewer transfers run side by side", f"Run: ulimit -n {most}")


def decoders() -> Iterator[Check]:
    """Look which walls of this system enclose the decoders of a local service, if one can run here."""
    try:
        from ..server.inspection import walls
    except ImportError:
        return
    found = walls.available()
    absent: dict[str, list[str]] = {}
    for name, why in found.items():
        if why != walls.STANDS:
            absent.setdefault(why, []).append(f"no {name}")
    if not absent:
        yield Check("decoders", "ok", f"a local service encloses them: {', '.join(found)}")
        return
    advice = "Serve pictures of strangers on a system, or in a container, that has all of them."
    said = "; ".join(f"{', '.join(names)}: {why}" for why, names in absent.items())
    yield Check("decoders", "note", said, advice)


def extras() -> Iterator[Check]:
    """Import the libraries of each extra, and say of each that cannot be used why, and what is lost."""
    for extra in sorted({extra for library in LIBRARIES for extra in library.extras}):
        found = _examined(library for library in LIBRARIES if extra in library.extras)
        faults = [(library, fault) for library, fault in found if fault is not None]
        if not faults:
            yield Check(f"extra {extra}", "ok", "installed")
        elif len(faults) == len(found) and all(fault.missing for _, fault in faults):
            lost = ", ".join(dict.fromkeys(library.without for library, _ in faults))
            advice = f"If you need it: pip install {requirement(extra)}"
            yield Check(f"extra {extra}", "note", f"not installed: {lost}", advice)
        else:
            said = "; ".join(f"{library.name} {fault.what}: {library.without}" for library, fault in faults)
            first = min((fault for _, fault in faults), key=lambda fault: (fault.missing, fault.obstacle))
            installable = first.missing and not first.obstacle
            advice = f"If you need it: pip install {requirement(extra)}" if installable else first.advice
            yield Check(f"extra {extra}", "note" if first.missing else "warn", said, advice)


def others() -> Iterator[Check]:
    """Do the same with those of no extra, of which only what is wrong is told."""
    for library, fault in _examined(library for library in LIBRARIES if not library.extras):
        if fault is not None and (library.needed or not fault.missing):
            yield Check("libraries", "warn", f"{library.name} {fault.what}: {library.without}", fault.advice)


def _examined(libraries: Iterable[Library]) -> list[tuple[Library, Fault | None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of theirs, at their import
        return [(library, examine(library.module)) for library in libraries]
