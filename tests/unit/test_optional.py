"""Each library that may be missing, broken or too old costs what needs it, and one sentence says so."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import platform
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement

import vi
from vi import _checksums, _optional, config, profiles, rows
from vi._optional import LIBRARIES, Library
from vi._show import progress
from vi._transfer import filters
from vi._transfer.sources import pictures, remote
from vi.api.resources.datasets.assets import watching
from vi.api.resources.datasets.assets.metadata import tables
from vi.cli import checks, completion, demo
from vi.cli.options import VerbParser
from vi.server import ServiceConfig, command, lifecycle, metrics, serve
from vi.server.inspection.frames import InspectionLimits
from vi.server.s3.address import StoreAddress

ROOT = Path(__file__).parents[2]


def copy_of(name: str) -> Callable[[], Any]:
    """Return what imports a module of ours once more, as a new process would."""

    def load() -> Any:
        path = ROOT / "vi" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"vi.{name}_again", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[spec.name]
        return module

    return load


def without_fastcrc() -> int:
    with patch.dict(sys.modules, {"fastcrc": None}):
        return _checksums.crc32c(b"123456789")


def heif() -> None:
    decoding = importlib.import_module("vi.server.inspection.decoding")
    decoding.libraries()["pi_heif"]()


def postgres() -> None:
    importlib.import_module("vi.server.store.postgres")._engine("postgresql://host/name", "vi", 1, "READ COMMITTED")


NEEDED: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("sqlalchemy", "markupsafe"), lifecycle._require_libraries),
    "alembic": lambda: importlib.import_module("vi.server.store.migrations").upgrade(Path("none")),
    "PIL": lambda: pictures.encode(object(), "a.png"),
    "pi_heif": heif,
    "fastapi": copy_of("fastapi"),
    "starlette": copy_of("fastapi"),
    "psycopg": postgres,
    "prometheus_client": metrics.Metrics,
    "aiobotocore": lambda: StoreAddress.of(ServiceConfig(store="s3://bucket")),
    "upath": lambda: remote.path_of("memory://a"),
    "fsspec": copy_of("filesystem"),
    "pandas": lambda: rows.to_pandas([]),
    "pyarrow": lambda: tables._pyarrow("Parquet"),
    "torch": copy_of("torch"),
    "watchfiles": lambda: watching._changes(Path(), None),  # type: ignore[arg-type]
    "opentelemetry": copy_of("otel"),
    "crcmod": without_fastcrc,
    "pathspec": lambda: filters.read_patterns("*.png", "include"),
    "idna": lambda: config.ascii_host(urlsplit("https://b\u00fccher.example")),
    "tomlkit": lambda: profiles._with_values("", None, {}),
    "shtab": lambda: completion.script(VerbParser(), "bash"),
}
"""The moment at which each library is needed: it raises one sentence."""

FASTER: dict[str, Callable[[], Any]] = {
    "msgspec": lambda: copy_of("_wire_fast")().loads(b"{}", float),
    "uvloop": command._loop_factory,
    "fastcrc": lambda: _checksums.crc32c(b"123456789"),
    "google_crc32c": without_fastcrc,
    "tqdm": lambda: progress.progress_listeners(True, None),
}
"""Those without which all works: what is wrong with them is logged, once."""

OTHERS = {"torchvision", "python_multipart"}
"""Asked for when torch is there; FastAPI asks for its own, in a sentence."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    for cache in (_checksums._implementation, _optional._warn):
        cache.cache_clear()
    yield
    for cache in (_checksums._implementation, _optional._warn):
        cache.cache_clear()


RAISED = {
    "broken": "raise ImportError('DLL load failed:\\n  bad build')",
    "fails": "raise RuntimeError('of another numpy')",
    "panics": "class Panic(BaseException): ...\nraise Panic('no memory')",
}
"""How an import goes wrong; the last is what an extension in Rust does."""


CODE = {**RAISED, "old": "__version__ = '0.0.9'", "newer": "__version__ = '9999.1'", "hidden": ""}


def spoil(monkeypatch: pytest.MonkeyPatch, library: Library, how: str, folder: Path) -> None:
    for name in [library.module, *(name for name in sys.modules if name.startswith(f"{library.module}."))]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        if how != "missing":
            del sys.modules[name]
    if how != "missing":
        place = folder if how == "hidden" else folder / "site-packages"
        place.mkdir(exist_ok=True)
        (place / f"{library.module}.py").write_text(CODE[how])
        monkeypatch.setattr(sys, "path", [str(place), *sys.path])


WORDS = {
    "missing": "is not installed",
    "broken": "cannot be imported (DLL load failed: bad build)",
    "fails": "cannot be imported (RuntimeError: of another numpy)",
    "panics": "cannot be imported (Panic: no memory)",
    "old": "is too old: 0.0.9, not ",
    "newer": "",
    "hidden": "",
}
OFTEN = ("missing", "broken", "newer")
MENDED = {
    "missing": "pip install ",
    **dict.fromkeys(RAISED, "pip install --force-reinstall "),
    "old": ">=",
    "newer": "pip install ",
    "hidden": "Rename ",
}


@pytest.mark.parametrize(
    ("library", "how"),
    [
        pytest.param(library, how, id=f"{library.module}-{how}")
        for library in LIBRARIES
        for how in (WORDS if library.module in ("pandas", "msgspec", "crcmod") else OFTEN)
    ],
)
def test_a_library_that_cannot_be_used_is_one_sentence(
    library: Library, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """It is missing, raises at its import, is too old or too new, or a file of the user has its name."""
    if library.module == "upath":
        pytest.importorskip("fsspec")
    monkeypatch.setattr(progress, "redraws", lambda stream: True)
    spoil(monkeypatch, library, how, tmp_path)
    if library.module in NEEDED:
        with pytest.raises((vi.ViConfigurationError, ImportError)) as raised:
            NEEDED[library.module]()
        said = getattr(raised.value, "message", str(raised.value))
        assert f"needs {library.name}, which " in said
        assert WORDS[how] in said
        assert len(said) < 200
        assert "\n" not in said
        if isinstance(raised.value, vi.ViConfigurationError):
            assert MENDED[how] in (raised.value.suggestion or "")
            assert "'" not in (raised.value.suggestion or "")
    elif library.module in FASTER:
        with caplog.at_level(logging.WARNING, "vi"):
            for _ in range(2):
                assert FASTER[library.module]() is not False
        told = [record.message for record in caplog.records if record.message.startswith(f"{library.name} ")]
        assert len(told) == (how != "missing" or library.needed)
        assert all(WORDS[how] in line and library.without in line and MENDED[how] in line for line in told)
    else:
        assert library.module in OTHERS
    if how in ("missing", "broken"):
        check_doctor(library, how)


def check_doctor(library: Library, how: str) -> None:
    if not library.extras:
        told = [check for check in checks.others() if check.found.startswith(f"{library.name} ")]
        assert len(told) == (how != "missing" or library.needed)
        assert all(WORDS[how] in one.found and library.without in one.found for one in told)
        assert all(one.state == "warn" and MENDED[how] in one.advice for one in told)
        return
    found = {check.name.removeprefix("extra "): check for check in checks.extras()}
    assert set(found) == {extra for one in LIBRARIES for extra in one.extras}
    for check in (found[extra] for extra in library.extras):
        assert library.without in check.found
        assert WORDS[how] in check.found or (how == "missing" and check.found.startswith("not installed: "))
        assert check.state in (("note", "warn") if how == "missing" else ("warn",))
        assert "pip install " in check.advice or check.advice == f"{library.obstacle()}."


def test_a_service_says_that_its_store_needs_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoil(monkeypatch, _optional._BY_MODULE["aiobotocore"], "missing", tmp_path)
    for name in ("store", "bucket", "answers"):
        monkeypatch.delitem(sys.modules, f"vi.server.s3.{name}", raising=False)
    starting = serve(tmp_path / "data", port=0, config=ServiceConfig(store="s3://bucket"))
    with pytest.raises(
        vi.ViConfigurationError, match="A service with --store needs aiobotocore, which is not installed"
    ):
        asyncio.run(starting)


def test_another_release_is_proposed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = _optional._BY_MODULE["watchfiles"]
    spoil(monkeypatch, library, "newer", tmp_path)
    fault = _optional.examine("watchfiles")
    assert fault is not None
    assert fault.what == "has no watchfiles.awatch in release 9999.1"
    assert fault.advice == 'Install an older release: pip install "watchfiles>=1.0,<9999"'


def test_a_file_in_place_of_a_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoil(monkeypatch, _optional._BY_MODULE["pandas"], "hidden", tmp_path)
    with pytest.raises(vi.ViConfigurationError, match=r"needs pandas, which has no pandas\.Int64Dtype") as raised:
        rows.to_pandas([])
    assert raised.value.suggestion == f"Rename {tmp_path / 'pandas.py'}, which is imported in its place."


def test_the_library_behind_another_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """fastapi imports python-multipart if it is there, and does not bring it."""
    spoil(monkeypatch, _optional._BY_MODULE["fastapi"], "fails", tmp_path)
    place = tmp_path / "site-packages" / "fastapi.py"
    place.write_text("import python_multipart\n")
    spoil(monkeypatch, _optional._BY_MODULE["python_multipart"], "broken", tmp_path)
    with pytest.raises(vi.ViConfigurationError) as raised:
        copy_of("fastapi")()
    assert "needs fastapi, which cannot be imported (python-multipart cannot be imported (DLL" in raised.value.message
    assert raised.value.suggestion == "Install it again: pip install --force-reinstall python-multipart"


def test_an_empty_folder_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python takes a folder without modules for a package, where nothing else has the name."""
    made = Library("of_nobody", "of-nobody", "1", ("watch",), "nothing")
    monkeypatch.setitem(_optional._BY_MODULE, "of_nobody", made)
    monkeypatch.setitem(_optional.USES, "of_nobody", "of_nobody:anything")
    (tmp_path / "of_nobody").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        fault = _optional.examine("of_nobody")
    finally:
        sys.modules.pop("of_nobody", None)
    assert fault is not None
    assert (fault.what, fault.missing) == ("is not installed", True)


@pytest.mark.parametrize("version", [None, "", "unknown", "0.0.0", "0.0.0.dev1+g12", "0+unknown", 7])
def test_a_library_of_no_known_release_is_used(
    version: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoil(monkeypatch, _optional._BY_MODULE["google_crc32c"], "old", tmp_path)
    place = tmp_path / "site-packages" / "google_crc32c.py"
    place.write_text(f"__version__ = {version!r}\nimplementation = 'python'\ndef extend(crc, data): ...\n")
    assert _optional.examine("google_crc32c") is None


@pytest.mark.parametrize("found", [0, TypeError("bytes only")], ids=["wrong", "raises"])
def test_wrong_checksums_are_not_taken(
    found: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fastcrc = pytest.importorskip("fastcrc")

    def iscsi(data: object, value: int) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(fastcrc, "crc32", types.SimpleNamespace(iscsi=iscsi))
    with caplog.at_level(logging.WARNING, "vi"):
        assert _checksums.crc32c(b"123456789") == 0xE3069283
    (told,) = [record.message for record in caplog.records if record.message.startswith("fastcrc ")]
    assert "pip install --upgrade fastcrc" in told


def test_what_makes_things_faster_may_fail_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise TypeError("of another release")

    again: Any = copy_of("_wire_fast")()
    msgspec, uvloop = pytest.importorskip("msgspec"), pytest.importorskip("uvloop")
    monkeypatch.setattr(msgspec.json, "Decoder", fails)
    monkeypatch.setattr(uvloop, "new_event_loop", fails)
    with caplog.at_level(logging.WARNING, "vi"):
        assert again.read_page(b'{"items": []}', vi.Asset) is None
        loop = (command._loop_factory() or asyncio.new_event_loop)()
        loop.close()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "msgspec cannot be used (TypeError)",
        "uvloop cannot be used (TypeError)",
    ]


def test_the_demo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)  # type: ignore[arg-type]
    with pytest.raises(vi.ViConfigurationError, match="needs pillow, which is not installed"):
        demo.run(types.SimpleNamespace(folder=None, keep=None))  # type: ignore[arg-type]


def test_the_package_asks_for_what_is_looked_for() -> None:
    """Names, oldest releases and extras are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked: dict[str, tuple[str, tuple[str, ...]]] = {}
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements:
            name, oldest = requirement.partition(";")[0].replace("[binary]", "").strip().split(">=")
            assert asked.get(name, (oldest,))[0] == oldest
            asked[name] = (oldest, (*asked.get(name, ("", ()))[1], extra))
    known = {one.name: (one.oldest, one.extras) for one in LIBRARIES if one.extras}
    assert {name: (oldest, sorted(extras)) for name, (oldest, extras) in known.items()} == {
        name: (oldest, sorted(extras)) for name, (oldest, extras) in asked.items()
    }
    core = [one.partition("#")[0].partition(";")[0].strip() for one in project["dependencies"]]
    brought = {f"{one.name}>={one.oldest}" for one in LIBRARIES if one.needed or one.module == "fastcrc"}
    assert brought <= set(core)


def on(monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], machine: str, *, bits: int = 64) -> None:
    seen = types.SimpleNamespace(version_info=(*python, 0, "final", 0), maxsize=(1 << (bits - 1)) - 1)
    monkeypatch.setattr(_optional, "sys", seen)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize("machine", ["AMD64", "x86_64", "aarch64", "arm64", "ARM64", "x86", "riscv64"])
@pytest.mark.parametrize("python", [(3, 11), (3, 14), (3, 15), (3, 16)])
def test_heif_is_called_out_of_reach_where_pip_skips_it(
    python: tuple[int, int], machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pyproject.toml tells pip is what the advice goes by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (asked,) = (one for one in project["optional-dependencies"]["local"] if one.startswith("pi-heif"))
    taken = Requirement(asked).marker
    assert taken is not None
    environment = {"python_version": ".".join(map(str, python)), "platform_machine": machine}
    installed = taken.evaluate(environment)
    on(monkeypatch, python, machine)
    assert (_optional.obstacle("pi_heif") is None) == installed


@pytest.mark.parametrize(
    ("python", "machine", "bits", "words"),
    [
        ((3, 15), "x86_64", 64, "pi-heif has no wheel for Python 3.15: use a Python up to 3.14, or convert the images"),
        ((3, 12), "riscv64", 64, "pi-heif has no wheel for riscv64: serve from another one, or convert the images"),
        ((3, 12), "AMD64", 32, "pi-heif has no wheel for 32 bits: use a Python of 64 bits, or convert the images"),
        ((3, 14), "arm64", 64, None),
        ((3, 14), "", 64, None),  # of a process on Windows that has few variables
    ],
)
def test_where_heif_cannot_be_installed_nothing_advises_that(
    python: tuple[int, int],
    machine: str,
    bits: int,
    words: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    spoil(monkeypatch, _optional._BY_MODULE["pi_heif"], "missing", tmp_path)
    on(monkeypatch, python, machine, bits=bits)
    decoding = importlib.import_module("vi.server.inspection.decoding")
    with pytest.raises(ImportError) as raised:
        heif()
    refusal = decoding.Decoder(InspectionLimits(), {"pi_heif": f"ImportError: {raised.value}"}).unsupported()["heif"]
    (local,) = (check for check in checks.extras() if check.name == "extra local")
    assert len(refusal) < 200
    assert local.state == "note"
    if words is None:
        assert refusal.startswith("HEIF is not supported here: install pi-heif where the service runs (")
        assert local.advice == f"If you need it: pip install {_optional.requirement('local')}"
    else:
        assert refusal.startswith(f"HEIF is not supported here: {words} (")
        assert local.advice == f"{words}."
        assert "install " not in refusal + local.advice


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ('{"url": "FOLDER", "dir_info": {"editable": true}}', '"FOLDER[local]"'),
        ('{"url": "file:///no/such/folder", "dir_info": {}}', '"vi-async-sdk[local]"'),
        ('{"url": "https://example.com/vi.whl", "archive_info": {}}', '"vi-async-sdk[local]"'),
        ("nonsense", '"vi-async-sdk[local]"'),
        (None, '"vi-async-sdk[local]"'),
    ],
)
def test_an_extra_of_a_checkout_is_installed_from_there(
    origin: str | None, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the name is on a registry, what a checkout says must work."""
    noted = tmp_path / "vi_async_sdk-1.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text("Name: vi-async-sdk\nVersion: 1\n")
    if origin is not None:
        (noted / "direct_url.json").write_text(origin.replace("FOLDER", tmp_path.as_uri()))
    monkeypatch.syspath_prepend(str(tmp_path))
    _optional._checkout.cache_clear()
    try:
        assert _optional.requirement("local") == wanted.replace("FOLDER", str(tmp_path))
    finally:
        _optional._checkout.cache_clear()
