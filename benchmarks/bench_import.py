"""What does ``import vi`` cost, and the first client?"""

from __future__ import annotations

import subprocess
import sys

from harness import arguments, interleave, median, report


def main() -> None:
    given = arguments(__doc__)
    codes = {
        "python alone": "pass",
        "import vi": "import vi",
        "first client": "import vi; vi.Client('dtvi_' + 'a' * 98, 'o', 'http://127.0.0.1:1').close()",
        "import aiohttp": "import aiohttp",
    }
    runs = {name: _run(code) for name, code in codes.items()}
    costs = interleave(runs, given.rounds)
    base = median([cost.wall for cost in costs["python alone"]])
    rows = {name: round((median([c.wall for c in values]) - base) * 1000, 1) for name, values in costs.items()}
    report(str(__doc__), {"ms above python alone": rows})


def _run(code: str):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main()
