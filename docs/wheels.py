"""Which dependency has a wheel for which system: ``python docs/wheels.py`` writes the table of platforms.md anew.

``uv lock`` resolves the newest versions with everything they bring, for every system at once, and lists the wheels.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "platforms.md"
START, END = "<!-- written by docs/wheels.py -->\n", "<!-- end of what docs/wheels.py writes -->\n"
PYTHONS = range(11, 16)


class Platform(NamedTuple):
    """A column of the table: what markers compare, and the names of its wheels."""

    title: str
    system: str
    machine: str
    wheels: list[str]

    def environment(self, minor: int) -> dict[str, str]:
        """Return what the markers of a requirement see on Python 3.*minor*."""
        return {
            "sys_platform": {"Windows": "win32"}.get(self.system, self.system.lower()),
            "os_name": "nt" if self.system == "Windows" else "posix",
            "platform_system": self.system,
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "python_version": f"3.{minor}",
            "python_full_version": f"3.{minor}.0",
            "extra": "",
        }

    def tags(self, minor: int) -> set[Tag]:
        """Return the tags of all wheels that Python 3.*minor* takes here."""
        python, abi = (3, minor), f"cp3{minor}"
        return {*cpython_tags(python, [abi], self.wheels), *compatible_tags(python, abi, self.wheels)}


def _glibc(machine: str) -> list[str]:
    old = ["manylinux2014", "manylinux2010", "manylinux1"]
    return [f"{name}_{machine}" for name in [*(f"manylinux_2_{minor}" for minor in range(5, 29)), *old]]


def _musl(machine: str) -> list[str]:
    return [f"musllinux_1_{minor}_{machine}" for minor in range(3)]


PLATFORMS = [
    Platform("Windows x86-64", "Windows", "AMD64", ["win_amd64"]),
    Platform("Windows ARM64", "Windows", "ARM64", ["win_arm64"]),
    Platform("Windows 32-bit", "Windows", "x86", ["win32"]),
    Platform("macOS Intel", "Darwin", "x86_64", list(mac_platforms((14, 0), "x86_64"))),
    Platform("macOS Apple silicon", "Darwin", "arm64", list(mac_platforms((14, 0), "arm64"))),
    Platform("Linux x86-64, glibc", "Linux", "x86_64", _glibc("x86_64")),
    Platform("Linux aarch64, glibc", "Linux", "aarch64", _glibc("aarch64")),
    Platform("Linux x86-64, musl", "Linux", "x86_64", _musl("x86_64")),
    Platform("Linux aarch64, musl", "Linux", "aarch64", _musl("aarch64")),
]


def requirements() -> list[Requirement]:
    """Return what the package and its extras require; an extra of a requirement is one too, as ``psycopg-binary``."""
    project: Any = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = []
    for text in (
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ):
        found.append(Requirement(text))
        found += [Requirement(f"{found[-1].name}-{extra}") for extra in sorted(found[-1].extras)]
    return found


def locked() -> list[dict[str, Any]]:
    """Return the packages that ``uv lock`` finds, with their wheels; asks the package index that uv is set to."""
    document = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8"))
    project: Any = document["project"]
    kept = {key: project[key] for key in ("name", "requires-python", "dependencies", "optional-dependencies")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(tomlkit.dumps({"project": {**kept, "version": "0"}}), "utf-8")
        subprocess.run([shutil.which("uv") or "uv", "lock", "--quiet"], cwd=folder, check=True)
        lock: Any = tomlkit.parse(Path(folder, "uv.lock").read_text("utf-8")).unwrap()
    return list(lock["package"])


def file_names(package: dict[str, Any]) -> list[str]:
    """Return the names of a package's wheels."""
    return [one["url"].rsplit("/", 1)[1] for one in package.get("wheels", ())]


def used(packages: list[dict[str, Any]], platform: Platform, minor: int) -> dict[str, str]:
    """Return what ``pip`` takes of each package of all our extras: a ``wheel``, its ``source`` or ``none``."""
    environment, tags = platform.environment(minor), platform.tags(minor)
    (ours,) = (one for one in packages if "virtual" in one["source"])
    waiting = [*ours["dependencies"], *(one for extra in ours["optional-dependencies"].values() for one in extra)]
    found: dict[str, str] = {}
    while waiting:
        edge = waiting.pop()
        if "marker" in edge and not Marker(edge["marker"]).evaluate(environment):
            continue
        (package,) = (
            one for one in packages if one["name"] == edge["name"] and edge.get("version") in (None, one["version"])
        )
        if package["name"] not in found:
            fits = any(parse_wheel_filename(name)[3] & tags for name in file_names(package))
            found[package["name"]] = "wheel" if fits else "source" if "sdist" in package else "none"
            if found[package["name"]] != "none":  # what cannot be installed brings nothing
                waiting += package.get("dependencies", ())
        for extra in edge.get("extra", ()):
            waiting += package.get("optional-dependencies", {}).get(extra, ())
    return found


def span(minors: Iterable[int]) -> str:
    """Write versions of Python as a reader would: ``3.11 to 3.14``."""
    first, *others = sorted(minors)
    assert others == list(range(first + 1, first + 1 + len(others))), "a version in the middle is missing"
    return f"3.{first} to 3.{others[-1]}" if others else f"3.{first}"


def cell(found: dict[int, str]) -> str:
    """Return the text for what was *found* for each Python that uses the package: ``wheel``, ``source`` or ``none``."""
    parts = []
    for kind in ("wheel", "source", "none"):
        minors = [minor for minor, one in found.items() if one == kind]
        if minors:
            whole = kind != "wheel" and len(minors) == len(found)
            parts.append(kind if whole else span(minors) if kind == "wheel" else f"{kind} {span(minors)}")
    return ", ".join(parts) or "not used"


def rows(packages: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the cells of each package, one for each platform."""
    table: dict[str, list[str]] = {}
    for column, platform in enumerate(PLATFORMS):
        found: dict[str, dict[int, str]] = {}
        for minor in PYTHONS:
            for name, kind in used(packages, platform, minor).items():
                found.setdefault(name, {})[minor] = kind
        for name, kinds in found.items():
            table.setdefault(name, ["not used"] * len(PLATFORMS))[column] = cell(kinds)
    return table


def text(packages: list[dict[str, Any]], day: str) -> str:
    """Return the text of the page between the two marks."""
    table = rows(packages)
    ours = {canonicalize_name(one.name) for one in requirements()}
    compiled = {one["name"] for one in packages if not all(name.endswith("-any.whl") for name in file_names(one))}
    compiled |= {one["name"] for one in packages if not file_names(one)}
    brought = table.keys() - ours
    gaps = {name for name in brought if any("source" in one or "none" in one for one in table[name])}
    grouped: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(ours & compiled):
        grouped.setdefault(tuple(table[name]), []).append(f"`{name}`")
    pure = ", ".join(f"`{name}`" for name in sorted(ours - compiled))
    lines = [
        f"Wheels of the newest versions on {day}, for Python {span(PYTHONS)}, glibc 2.28 or later and macOS 14 or later:",
        "",
        "| Dependency | " + " | ".join(one.title for one in PLATFORMS) + " |",
        "|---" * (len(PLATFORMS) + 1) + "|",
        *(
            f"| {', '.join(names)} | {' | '.join(cells)} |"
            for cells, names in sorted(grouped.items(), key=lambda item: -len(item[1]))
        ),
        "",
        f"One wheel for every system: {pure}.",
        "",
        f"The {len(brought)} other packages that these bring have a wheel wherever they are used"
        + (f", but for {', '.join(sorted(gaps))}." if gaps else "."),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into the page."""
    page = PAGE.read_text("utf-8")
    before, between, after = re.split(f"(?<={START})(.*)(?={END})", page, maxsplit=1, flags=re.DOTALL)
    new = text(locked(), f"{datetime.now(UTC):%Y-%m-%d}")
    PAGE.write_text(before + new + after, "utf-8")
    known = set(between.splitlines())
    print("\n".join(line for line in new.splitlines() if line not in known) or "Nothing has changed.")


if __name__ == "__main__":
    main()
