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
from pathlib import PurePath
from types import ModuleType
from typing import Any

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
    parts: str = ""
    """The extras of its own that it is installed with."""
    needed: bool = False
    """Whether the package itself asks for it."""
    obstacle: Callable[[], str | None] = attrs.field(default=lambda: None, eq=False, repr=False)
    """Say why pip cannot install it on this Python, and what to do instead; None if it can."""

    def wanted(self, bounds: str = "") -> str:
        """Return what to give pip for a release within *bounds*; double quotes are those of every shell."""
        return f'"{self.name}{self.parts}{bounds}"' if self.parts or bounds else self.name


_HEIF_BELOW = (3, 15)
_HEIF_MACHINES = ("AMD64", "x86_64", "aarch64", "arm64")


def _no_heif() -> str | None:
    """Say what the marker of pi-heif in pyproject.toml says; a Python of 32 bits may run on a machine of 64."""
    import platform

    convert = "or convert the images"
    if sys.version_info >= _HEIF_BELOW:
        this, newest = sys.version_info[1], _HEIF_BELOW[1] - 1
        return f"pi-heif has no wheel for Python 3.{this}: use a Python up to 3.{newest}, {convert}"
    machine = platform.machine()  # empty where nothing tells
    if machine and machine not in _HEIF_MACHINES:
        return f"pi-heif has no wheel for {machine}: serve from another one, {convert}"
    return f"pi-heif has no wheel for 32 bits: use a Python of 64 bits, {convert}" if sys.maxsize < 1 << 32 else None


LIBRARIES: tuple[Library, ...] = (
    Library("sqlalchemy", "sqlalchemy", "2.0.36", ("local",), "no local service"),
    Library("alembic", "alembic", "1.14", ("local",), "folders of older releases are not served"),
    Library("markupsafe", "markupsafe", "2.1", ("local",), "no local service"),
    Library("PIL", "pillow", "12.3", ("local", "torch"), "no local service, arrays or decoded pictures"),
    Library("pi_heif", "pi-heif", "1.4", ("local",), "the local service refuses HEIF", obstacle=_no_heif),
    Library("fastapi", "fastapi", "0.133", ("fastapi",), "no vi.fastapi"),
    Library("starlette", "starlette", "1.3.1", ("fastapi",), "no vi.fastapi"),
    Library("python_multipart", "python-multipart", "0.0.31", ("fastapi",), "FastAPI reads no forms"),
    Library("psycopg", "psycopg", "3.2", ("distributed",), "no metadata in PostgreSQL", "[binary]"),
    Library("prometheus_client", "prometheus-client", "0.20", ("metrics",), "the local service has no /metrics"),
    Library("aiobotocore", "aiobotocore", "3.0", ("distributed",), "no bytes in an S3 store"),
    Library("upath", "universal-pathlib", "0.3", ("cloud",), "no addresses such as s3://"),
    Library("fsspec", "fsspec", "2024.10", ("cloud",), "no vi.filesystem"),
    Library("pandas", "pandas", "2.2", ("pandas",), "no data frames"),
    Library("pyarrow", "pyarrow", "16", ("pandas", "torch"), "no Arrow or Parquet"),
    Library("torch", "torch", "2.6", ("torch",), "no vi.torch"),
    Library("torchvision", "torchvision", "0.21", (), 'no decode="torchvision"'),
    Library("watchfiles", "watchfiles", "1.0", ("watch",), "folders cannot be watched"),
    Library("opentelemetry", "opentelemetry-api", "1.25", ("otel",), "no vi.otel"),
    Library("msgspec", "msgspec", "0.19", ("fast",), "listings are read more slowly"),
    Library("uvloop", "uvloop", "0.21", ("fast",), "the service uses the loop of the standard library"),
    Library("fastcrc", "fastcrc", "0.4", (), "checksums are computed by a slower library"),
    Library("google_crc32c", "google-crc32c", "1.5", (), "checksums are computed by another library"),
    Library("crcmod", "crcmod", "1.7", (), "no checksums where fastcrc cannot be used", needed=True),
    Library("pathspec", "pathspec", "1.0", (), "no patterns of files", needed=True),
    Library("idna", "idna", "3.15", (), "no endpoints in other letters than ASCII", needed=True),
    Library("tomlkit", "tomlkit", "0.13", (), "no profile is saved", needed=True),
    Library("shtab", "shtab", "1.13", (), "no completion scripts", needed=True),
    Library("tqdm", "tqdm", "4.66.3", (), "progress is told in lines", needed=True),
)
_BY_MODULE = {library.module: library for library in LIBRARIES}

USES = {
    "sqlalchemy": "sqlalchemy:select sqlalchemy.ext.compiler:compiles sqlalchemy.sql.visitors:InternalTraversal",
    "alembic": "alembic.command:upgrade alembic.config:Config alembic.util:CommandError",
    "markupsafe": "markupsafe:Markup.escape",
    "PIL.Image": "PIL.Image:open PIL.Image:fromarray PIL.Image:registered_extensions",
    "pi_heif": "pi_heif:register_heif_opener",
    "fastapi": "fastapi:Depends fastapi:FastAPI fastapi:UploadFile fastapi.responses:StreamingResponse",
    "starlette": "starlette.requests:ClientDisconnect starlette.types:Message",
    "python_multipart": "python_multipart:MultipartParser",
    "psycopg": "psycopg:connect",
    "prometheus_client": "prometheus_client:CollectorRegistry prometheus_client:Histogram",
    "aiobotocore": "aiobotocore.config:AioConfig aiobotocore.httpsession:AIOHTTPSession "
    "aiobotocore.session:get_session botocore.exceptions:BotoCoreError botocore.parsers:ResponseParserError",
    "upath": "upath:UPath",
    "fsspec": "fsspec.asyn:AsyncFileSystem fsspec.callbacks:Callback",
    "pandas": "pandas:Int64Dtype",
    "pyarrow": "pyarrow:RecordBatchReader.from_stream pyarrow:Table pyarrow:schema",
    "pyarrow.ipc": "pyarrow.ipc:new_stream",
    "pyarrow.parquet": "pyarrow.parquet:ParquetFile",
    "torch": "torch:Tensor torch.utils.data:IterableDataset torch.utils.data:get_worker_info",
    "torchvision": "torchvision.io:decode_image torchvision.io:ImageReadMode",
    "watchfiles": "watchfiles:awatch",
    "opentelemetry": "opentelemetry.trace:get_tracer opentelemetry.metrics:get_meter",
    "msgspec": "msgspec:MsgspecError msgspec:defstruct msgspec.json:Decoder msgspec.json:decode",
    "uvloop": "uvloop:new_event_loop",
    "fastcrc": "fastcrc:crc32.iscsi",
    "google_crc32c": "google_crc32c:extend google_crc32c:implementation",
    "crcmod": "crcmod.predefined:mkPredefinedCrcFun",
    "pathspec": "pathspec:GitIgnoreSpec",
    "idna": "idna:encode",
    "tomlkit": "tomlkit:parse tomlkit:dumps",
    "shtab": "shtab:complete",
    "tqdm": "tqdm:tqdm",
}
"""What a module has to have, since later releases may lack it, as does something else that has its name."""


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
    """Import *module* if it can be used; what is there and cannot, or was installed with the package, is logged."""
    found, fault = _load(module)
    if fault is not None and (_BY_MODULE[module].needed or not fault.missing):
        _warn(module, fault.what, fault.advice)
    return found


def reject(module: str, what: str) -> None:
    """Log that a library was found wrong when it was used, and is done without."""
    library = _BY_MODULE[module]
    _warn(module, what, f"Update it with: pip install --upgrade {library.wanted()}")


@lru_cache(maxsize=64)
def _warn(module: str, what: str, advice: str) -> None:
    library = _BY_MODULE[module]
    logger.warning("%s %s: %s. %s", library.name, what, library.without, advice)


def examine(module: str) -> Fault | None:
    """Say what is wrong with the library of *module*; all of it that is used is imported."""
    for name in (module, *(name for name in USES if name.startswith(f"{module}."))):
        if (fault := _load(name)[1]) is not None:
            return fault
    return None


def _load(module: str, *, alone: bool = False) -> tuple[ModuleType | None, Fault | None]:
    """Import a module, or say what is wrong with its library; if not *alone*, another one of ours may be to blame."""
    root = module.partition(".")[0]
    library = _BY_MODULE[root]
    version = None
    try:
        top = importlib.import_module(root)
        version = _version(top, library)
        if version is not None and _numbers(version) < _numbers(library.oldest):
            advice = f"Update it with: pip install {library.wanted(f'>={library.oldest}')}"
            return None, _fault(library, f"is too old: {version}, not {library.oldest} or later", advice)
        for name in dict.fromkeys((root, module)):
            if (lacking := _lacking(name)) is not None:
                return None, _lacks(library, lacking, version)
        return importlib.import_module(module), None
    except ModuleNotFoundError as error:
        absent = error.name == root or _is_empty_folder(library)
        return None, _missing(library) if absent else _broken(library, error, alone)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - it raises whatever it meets first: SystemExit, a panic of Rust
        return None, _broken(library, error, alone)


def obstacle(module: str) -> str | None:
    """Say why pip cannot install *module* here, and what to do instead; nothing is imported."""
    return _BY_MODULE[module].obstacle()


def _lacking(module: str) -> str | None:
    """Return the first name that *module* has to have and has not."""
    for name in USES.get(module, "").split():
        place, _, path = name.partition(":")
        found: Any = importlib.import_module(place)
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                return f"{place}.{path}"
    return None


def _lacks(library: Library, name: str, version: str | None) -> Fault:
    if _is_empty_folder(library):
        return _missing(library)
    first, oldest = _numbers(version or "0")[0], _numbers(library.oldest)[0]
    advice = _reinstall(library)
    if first > oldest:
        advice = f"Install an older release: pip install {library.wanted(f'>={library.oldest},<{first}')}"
    fault = _fault(library, f"has no {name}", advice)
    return (
        attrs.evolve(fault, what=f"{fault.what} in release {version}") if version and fault.advice == advice else fault
    )


def _broken(library: Library, error: BaseException, alone: bool) -> Fault:
    if not alone and (other := _to_blame(library, error)) is not None:
        fault = _load(other.module, alone=True)[1]
        advice = fault.advice if fault is not None else _reinstall(other)
        return Fault(f"cannot be imported ({other.name} {fault.what if fault is not None else 'fails'})", advice)
    said = " ".join(str(error).split())
    kind = "" if isinstance(error, (ImportError, OSError)) else type(error).__name__
    reason = ": ".join(part for part in (kind, said) if part) or type(error).__name__
    reason = reason if len(reason) <= _REASON else f"{reason[:_REASON]}..."
    return _fault(library, f"cannot be imported ({reason})", _reinstall(library))


def _to_blame(library: Library, error: BaseException) -> Library | None:
    """Return the library that a library fails to import, or whose code raised last, if it is another of ours."""
    module = error.name if isinstance(error, ImportError) else None
    trace = error.__traceback__
    while module is None and trace is not None:
        if trace.tb_next is None:
            module = trace.tb_frame.f_globals.get("__name__")
        trace = trace.tb_next
    other = _BY_MODULE.get(str(module).partition(".")[0])
    return None if other is library else other


def _reinstall(library: Library) -> str:
    return f"Install it again: pip install --force-reinstall {library.wanted()}"


def _fault(library: Library, what: str, advice: str) -> Fault:
    """Return the fault; the advice is another where a file of the user is imported in place of the library."""
    place = _place(library.module)
    if place is None or _is_installed(library.name, PurePath(place)):
        return Fault(what, advice)
    return Fault(what, f"Rename {place}, which is imported in its place.")


def _is_installed(name: str, place: PurePath) -> bool:
    """Tell whether *place* is that of an installed distribution, as far as its folder and its record tell."""
    if {"site-packages", "dist-packages"} & set(place.parts):
        return True
    found = _installed(name)
    return found is not None and ("dir_info" in _origin(found) or PurePath(found.locate_file("")) == place.parent)


def _place(root: str) -> str | None:
    """Return where the module *root* was found: its file, or the folder of a package."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(root)
    except Exception:  # noqa: BLE001 - a module without a spec, or a finder of somebody else
        return None
    if spec is None or not spec.has_location or spec.origin is None or getattr(sys, "frozen", False):
        return None
    return os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin  # noqa: PTH120


def _is_empty_folder(library: Library) -> bool:
    """Tell whether a folder without modules is all that has the name, which Python takes for a package."""
    top = sys.modules.get(library.module)
    is_folder = hasattr(top, "__path__") and getattr(top, "__file__", None) is None
    return is_folder and _installed(library.name) is None


def _missing(library: Library) -> Fault:
    if why := library.obstacle():
        return Fault("is not installed", f"{why}.", missing=True, obstacle=True)
    return Fault("is not installed", f"Install it with: pip install {_wanted(library)}", missing=True)


def _wanted(library: Library) -> str:
    return requirement(library.extras[0]) if library.extras else library.wanted()


@lru_cache(maxsize=1)
def _checkout() -> str | None:
    """Return the folder that this package was installed from, if that is where it came from (PEP 610)."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = _origin(_installed(DISTRIBUTION))
        folder = url2pathname(urlsplit(origin["url"]).path) if "dir_info" in origin else ""
    except (KeyError, TypeError, AttributeError):
        return None
    return folder if folder and os.path.isdir(folder) else None  # noqa: PTH112


def _origin(distribution: Any) -> dict[str, Any]:
    """Return what the installer has noted of where a distribution came from."""
    import json

    try:
        found = json.loads((distribution.read_text("direct_url.json") if distribution is not None else None) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def requirement(extra: str) -> str:
    """Return what to give pip for an extra, in quotes: the folder of a checkout where this package came from one."""
    return f'"{_checkout() or DISTRIBUTION}[{extra}]"'


def _version(module: ModuleType, library: Library) -> str | None:
    """Return the release of a module; None if it says none, or one without numbers, as some that were built at home."""
    # Not getattr: some libraries have a version that warns when it is asked for.
    version = vars(module).get("__version__")
    if not isinstance(version, str):
        found = _installed(library.name)
        version = None if found is None else found.metadata.get("Version")
    return version if isinstance(version, str) and any(_numbers(version)[:3]) else None


def _installed(name: str) -> Any:
    from importlib.metadata import Distribution, PackageNotFoundError  # costs more than a small library

    try:
        return Distribution.from_name(name)
    except PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))
