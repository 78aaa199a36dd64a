"""Libraries that may be missing, broken or too old: which extra brings each, and what is lost without it.

`require` imports one at the moment it is needed, or raises one sentence that names it, what needs it and how to fix
it. `prefer` imports one that only makes things faster; what is wrong with it is logged once. Each is imported nowhere
else, so a library that raises at its import, whatever it raises, costs only what needs it.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType

import attrs

from .errors import ViConfigurationError

logger: logging.Logger = logging.getLogger("vi")

DISTRIBUTION = "vi-async-sdk"
_REASON = 80


@attrs.frozen
class Library:
    """One library: the *module* to import, the distribution *name*, the *oldest* release that works, its *extras*."""

    module: str
    name: str
    oldest: str
    extras: tuple[str, ...]
    without: str
    """What is lost without it."""
    obstacle: Callable[[], str | None] = attrs.field(default=lambda: None, eq=False, repr=False)
    """Say why pip cannot install it on this Python, and what to do instead; None if it can."""


_HEIF_BELOW = (3, 15)
_HEIF_MACHINES = ("AMD64", "x86_64", "aarch64", "arm64")


def _no_heif() -> str | None:
    """Say what the marker of pi-heif in pyproject.toml says; a Python of 32 bits may run on a machine of 64."""
    import platform

    convert = "or convert the images"
    if sys.version_info >= _HEIF_BELOW:
        this, newest = sys.version_info[1], _HEIF_BELOW[1] - 1
        return f"pi-heif has no wheel for Python 3.{this}: use a Python up to 3.{newest}, {convert}"
    if (machine := platform.machine()) not in _HEIF_MACHINES:
        return f"pi-heif has no wheel for {machine or 'this machine'}: serve from another one, {convert}"
    return f"pi-heif has no wheel for 32 bits: use a Python of 64 bits, {convert}" if sys.maxsize < 1 << 32 else None


LIBRARIES: tuple[Library, ...] = (
    Library("sqlalchemy", "sqlalchemy", "2.0.36", ("local",), "no local service"),
    Library("alembic", "alembic", "1.14", ("local",), "folders of older releases are not served"),
    Library("markupsafe", "markupsafe", "2.1", ("local",), "no local service"),
    Library("PIL", "pillow", "12.2", ("local", "torch"), "no local service, arrays or decoded pictures"),
    Library("pi_heif", "pi-heif", "1.0", ("local",), "the local service refuses HEIF", _no_heif),
    Library("fastapi", "fastapi", "0.115", ("fastapi",), "no vi.fastapi"),
    Library("starlette", "starlette", "1.0.1", ("fastapi",), "no vi.fastapi"),
    Library("python_multipart", "python-multipart", "0.0.26", ("fastapi",), "FastAPI reads no forms"),
    Library("psycopg", "psycopg", "3.2", ("distributed",), "no metadata in PostgreSQL"),
    Library("prometheus_client", "prometheus-client", "0.20", ("metrics",), "the local service has no /metrics"),
    Library("aiobotocore", "aiobotocore", "3.0", ("distributed",), "no bytes in an S3 store"),
    Library("upath", "universal-pathlib", "0.3", ("cloud",), "no addresses such as s3://"),
    Library("fsspec", "fsspec", "2024.10", ("cloud",), "no vi.filesystem"),
    Library("pandas", "pandas", "2.2", ("pandas",), "no data frames"),
    Library("pyarrow", "pyarrow", "16", ("pandas", "torch"), "no Arrow or Parquet"),
    Library("torch", "torch", "2.4", ("torch",), "no vi.torch"),
    Library("torchvision", "torchvision", "0.19", (), 'no decode="torchvision"'),
    Library("watchfiles", "watchfiles", "1.0", ("watch",), "folders cannot be watched"),
    Library("opentelemetry", "opentelemetry-api", "1.25", ("otel",), "no vi.otel"),
    Library("msgspec", "msgspec", "0.19", ("fast",), "listings are read more slowly"),
    Library("uvloop", "uvloop", "0.21", ("fast",), "the service uses the loop of the standard library"),
    Library("fastcrc", "fastcrc", "0.4", (), "checksums are computed by a slower library"),
)
_BY_MODULE = {library.module: library for library in LIBRARIES}


@attrs.frozen
class Fault:
    """What is wrong with a library, said after its name, and how to fix it."""

    what: str
    advice: str
    missing: bool = False
    obstacle: bool = False
    """It is missing, and pip cannot install it."""


def require(module: str, user: str) -> ModuleType:
    """Import *module*, or say that *user* needs it; raises `ViConfigurationError`."""
    found, fault = _load(module)
    if fault is not None:
        name = _BY_MODULE[module.partition(".")[0]].name
        raise ViConfigurationError(f"{user} needs {name}, which {fault.what}.", suggestion=fault.advice)
    assert found is not None
    return found


def prefer(module: str) -> ModuleType | None:
    """Import *module* if it can be used; one that is there and cannot is logged."""
    found, fault = _load(module)
    if fault is not None and not fault.missing:
        _warn(module, fault.what, fault.advice)
    return found


@lru_cache(maxsize=64)
def _warn(module: str, what: str, advice: str) -> None:
    library = _BY_MODULE[module]
    logger.warning("%s %s: %s. %s", library.name, what, library.without, advice)


def examine(library: Library) -> Fault | None:
    """Say what is wrong with *library*; it is imported."""
    return _load(library.module)[1]


def _load(module: str) -> tuple[ModuleType | None, Fault | None]:
    root = module.partition(".")[0]
    library = _BY_MODULE[root]
    try:
        top = importlib.import_module(root)
        if (version := _version(top, library)) is not None and _numbers(version) < _numbers(library.oldest):
            advice = f"Update it with: pip install '{library.name}>={library.oldest}'"
            return None, Fault(f"is too old: {version}, not {library.oldest} or later", advice)
        return importlib.import_module(module), None
    except ModuleNotFoundError as error:
        if error.name == root:
            return None, _missing(library)
        return None, _broken(library, error)
    except Exception as error:  # noqa: BLE001 - a library that cannot be loaded raises whatever it meets first
        return None, _broken(library, error)


def _missing(library: Library) -> Fault:
    if why := library.obstacle():
        return Fault("is not installed", f"{why}.", missing=True, obstacle=True)
    return Fault("is not installed", f"Install it with: pip install {_wanted(library)}", missing=True)


def obstacle(module: str) -> str | None:
    """Say why pip cannot install *module* here, and what to do instead; nothing is imported."""
    return _BY_MODULE[module].obstacle()


def _broken(library: Library, error: Exception) -> Fault:
    said = " ".join(str(error).split())
    reason = said if len(said) <= _REASON else f"{said[:_REASON]}..."
    return Fault(
        f"cannot be imported ({reason or type(error).__name__})",
        f"Install it again: pip install --force-reinstall {library.name}",
    )


def _wanted(library: Library) -> str:
    return requirement(library.extras[0]) if library.extras else library.name


@lru_cache(maxsize=1)
def _checkout() -> str | None:
    """Return the folder that this package was installed from, if that is where it came from (PEP 610)."""
    import json
    from importlib.metadata import Distribution, PackageNotFoundError
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(Distribution.from_name(DISTRIBUTION).read_text("direct_url.json") or "{}")
        folder = url2pathname(urlsplit(origin["url"]).path) if "dir_info" in origin else ""
    except (PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return folder if folder and os.path.isdir(folder) else None  # noqa: PTH112


def requirement(extra: str) -> str:
    """Return what to give pip for an extra, in quotes: the folder of a checkout where this package came from one."""
    return f"'{_checkout() or DISTRIBUTION}[{extra}]'"


def _version(module: ModuleType, library: Library) -> str | None:
    # Not getattr: some libraries have a version that warns when it is asked for.
    if isinstance(version := vars(module).get("__version__"), str):
        return version
    from importlib.metadata import PackageNotFoundError  # costs more than a small library
    from importlib.metadata import version as version_of

    try:
        return version_of(library.name)
    except PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))
