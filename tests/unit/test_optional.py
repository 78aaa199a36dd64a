"""Each library that may be missing, broken or too old costs what needs it, and one sentence says so."""

from __future__ import annotations

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

import pytest
from packaging.requirements import Requirement

import vi
from vi import _checksums, _optional, rows
from vi._optional import LIBRARIES, Library
from vi._transfer.sources import pictures, remote
from vi.api.resources.datasets.assets import watching
from vi.api.resources.datasets.assets.metadata import tables
from vi.cli import checks, demo
from vi.server import ServiceConfig, command, lifecycle, metrics
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
}
"""The moment at which each library is needed: it raises one sentence."""

FASTER: dict[str, Callable[[], Any]] = {
    "msgspec": lambda: copy_of("_wire_fast")().loads(b"{}", float),
    "uvloop": command._loop_factory,
    "fastcrc": lambda: _checksums.crc32c(b"123456789"),
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


class Breaks:
    """An importer under which one module raises."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == self.name:
            raise SystemError("DLL load failed:\n  bad build")
        return None


def spoil(monkeypatch: pytest.MonkeyPatch, library: Library, how: str) -> None:
    below = [name for name in sys.modules if name.startswith(f"{library.module}.")]
    if how == "missing":
        monkeypatch.setitem(sys.modules, library.module, None)  # type: ignore[arg-type]
    elif how == "broken":
        for name in (library.module, *below):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Breaks(library.module), *sys.meta_path])
    else:
        old = types.ModuleType(library.module)
        old.__version__ = "0.0.9"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, library.module, old)


WORDS = {"missing": "is not installed", "broken": "cannot be imported (DLL load failed: bad build)", "old": "0.0.9"}
MENDED = {"missing": "pip install ", "broken": "pip install --force-reinstall ", "old": ">="}


@pytest.mark.parametrize("how", WORDS)
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.module)
def test_a_library_that_cannot_be_used_is_one_sentence(
    library: Library, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if library.module == "upath":
        pytest.importorskip("fsspec")
    spoil(monkeypatch, library, how)
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
    elif library.module in FASTER:
        with caplog.at_level(logging.WARNING, "vi"):
            for _ in range(2):
                assert FASTER[library.module]() is not False
        told = [record.message for record in caplog.records if record.message.startswith(f"{library.name} ")]
        assert len(told) == (how != "missing")
        assert all(WORDS[how] in line and library.without in line and MENDED[how] in line for line in told)
    else:
        assert library.module in OTHERS
    found = {check.name.removeprefix("extra "): check for check in checks.extras()}
    assert set(found) == {extra for one in LIBRARIES for extra in one.extras}
    for check in (found[extra] for extra in library.extras):
        assert library.without in check.found
        assert WORDS[how] in check.found or (how == "missing" and check.found.startswith("not installed: "))
        assert check.state in (("note", "warn") if how == "missing" else ("warn",))
        assert "pip install " in check.advice or check.advice == f"{library.obstacle()}."


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
            name, oldest = requirement.partition(";")[0].replace("[binary,pool]", "").strip().split(">=")
            assert asked.get(name, (oldest,))[0] == oldest
            asked[name] = (oldest, (*asked.get(name, ("", ()))[1], extra))
    known = {one.name: (one.oldest, one.extras) for one in LIBRARIES if one.extras}
    assert {name: (oldest, sorted(extras)) for name, (oldest, extras) in known.items()} == {
        name: (oldest, sorted(extras)) for name, (oldest, extras) in asked.items()
    }
    fastcrc = next(one for one in LIBRARIES if one.module == "fastcrc")
    assert any(one.startswith(f"fastcrc>={fastcrc.oldest};") for one in project["dependencies"])


def on(monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], machine: str, *, bits: int = 64) -> None:
    seen = types.SimpleNamespace(version_info=(*python, 0, "final", 0), maxsize=(1 << (bits - 1)) - 1)
    monkeypatch.setattr(_optional, "sys", seen)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize("machine", ["AMD64", "x86_64", "aarch64", "arm64", "ARM64", "x86", "riscv64", ""])
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
    ],
)
def test_where_heif_cannot_be_installed_nothing_advises_that(
    python: tuple[int, int], machine: str, bits: int, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, next(one for one in LIBRARIES if one.module == "pi_heif"), "missing")
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
        ('{"url": "FOLDER", "dir_info": {"editable": true}}', "'FOLDER[local]'"),
        ('{"url": "file:///no/such/folder", "dir_info": {}}', "'vi-async-sdk[local]'"),
        ('{"url": "https://example.com/vi.whl", "archive_info": {}}', "'vi-async-sdk[local]'"),
        ("nonsense", "'vi-async-sdk[local]'"),
        (None, "'vi-async-sdk[local]'"),
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
