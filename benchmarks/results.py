"""An answer: tables and ratios on the terminal and, after a full run, in README.md between the markers of its file."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
from harness import HERE, Cost, median

README = HERE / "README.md"


@attrs.frozen
class Ratio:
    """A figure that was asked for, with its bound."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def reached(self) -> str:
        if self.least is None and self.most is None:
            return ""
        good = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "yes" if good else "no"

    @property
    def asked(self) -> str:
        if self.least is not None:
            return f"at least {self.least:g}{self.unit}"
        return f"at most {self.most:g}{self.unit}" if self.most is not None else ""


@attrs.define
class Answer:
    """What one benchmark found."""

    script: str
    question: str
    neutral: str
    tables: list[str] = attrs.Factory(list)
    ratios: list[Ratio] = attrs.Factory(list)

    def table(self, title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
        """Add a table: a row for each key, a column for each key within."""
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        lines = [[title, *columns]] + [[name, *(_text(row.get(c)) for c in columns)] for name, row in rows.items()]
        self.tables.append(_markdown(lines))

    def costs(self, title: str, costs: Mapping[str, list[Cost]], count: int, size: int = 0) -> None:
        """Add a table of costs: of many files per second, of few large ones (a *size* is given) by their bytes."""
        rows: dict[str, dict[str, object]] = {}
        for name, values in costs.items():
            wall, cpu = median([c.wall for c in values]), median([c.cpu for c in values])
            row: dict[str, object] = {}
            if size:
                row["MB/s"] = round(count * size / wall / 1e6)
                row["CPU s per GiB"] = round(cpu / (count * size) * (1 << 30), 2)
            else:
                row["files/s"] = round(count / wall)
                row["client CPU s per 1,000"] = round(cpu / count * 1000, 3)
            row["peak MB"] = round(median([c.peak for c in values]) / 1e6) or None
            row["wall s, all rounds"] = " ".join(f"{c.wall:.2f}" for c in values)
            rows[name] = row
        self.table(title, rows)

    def ratio(
        self, what: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = ""
    ) -> None:
        """Add a ratio, with the bound that was asked for, if there is one."""
        self.ratios.append(Ratio(what, value, least, most, unit))

    def give(self, given: Any) -> None:
        """Print the answer; after a run that was not quick, write it into README.md."""
        text = self.text(given)
        sys.stdout.write(f"## {self.script}\n\n{text}\n\n")
        sys.stdout.flush()
        if not given.quick:
            write(self.script, text)

    def text(self, given: Any) -> str:
        """Return the answer in Markdown."""
        parts = [self.question, f"Neutral party: {self.neutral}"]
        if self.ratios:
            lines = [["Ratio", "Measured", "Asked", "Reached"]]
            for r in self.ratios:
                # A small workload says nothing of what was asked for a large one.
                lines.append([r.what, f"{_text(r.value)}{r.unit}", r.asked, "" if given.quick else r.reached])
            parts.append(_markdown(lines))
        parts += self.tables
        rounds = f"medians of {given.rounds} interleaved rounds" if given.rounds > 1 else "one round"
        if given.quick:
            rounds = "a quick run, " + rounds
        parts.append(
            f"{rounds[0].upper()}{rounds[1:]}; {machine()}. `{' '.join([f'python benchmarks/{self.script}.py', *sys.argv[1:]])}`"
        )
        return "\n\n".join(parts)


def write(name: str, text: str) -> None:
    """Put *text* between the markers of *name* in README.md, or at its end."""
    begin, end = f"<!-- results: {name} -->", f"<!-- end: {name} -->"
    block = f"{begin}\n{text}\n{end}"
    readme = README.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(readme):
        readme = pattern.sub(lambda _: block, readme)
    else:
        readme = f"{readme.rstrip()}\n\n### {name}\n\n{block}\n"
    README.write_text(readme, encoding="utf-8")


def machine() -> str:
    """Describe where a figure was taken, and how busy it was there."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(f"{name} {found}" for name in ("aiohttp", "obstore", "msgspec") if (found := _version(name)))
    return (
        f"{time.strftime('%Y-%m-%d')}, {cores} cores ({_processor()}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, vi {_version('vi-async-sdk')}, {versions}{load}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _markdown(lines: list[list[str]]) -> str:
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows])
