"""``vi-sdk`` as the base install has it: what the environment names (measured.py) is done without."""

import sys

import measured  # noqa: F401 - before vi

from vi.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
