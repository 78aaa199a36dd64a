"""The benchmarks' README names each of them and shows what was measured by it, and the curves that it drew."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
NAMES = sorted(path.stem for path in FOLDER.glob("bench_*.py"))


def test_the_table_has_a_line_for_each_benchmark() -> None:
    assert sorted(re.findall(r"^\| `(bench_\w+)\.py` \|", README, re.MULTILINE)) == NAMES


def test_results_are_those_of_benchmarks_and_closed() -> None:
    begun = re.findall(r"^<!-- results: (\w+) -->$", README, re.MULTILINE)
    assert len(set(begun)) == len(begun)
    assert set(begun) <= set(NAMES)
    assert re.findall(r"^<!-- end: (\w+) -->$", README, re.MULTILINE) == begun


def test_curves_that_are_shown_are_there_and_the_others_are_not() -> None:
    assert set(re.findall(r"\]\(plots/(\S+\.svg)\)", README)) == {path.name for path in FOLDER.glob("plots/*.svg")}
