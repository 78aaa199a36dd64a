"""A client in a process of its own: ``upload.py FOLDER DATASET`` uploads and prints the result as JSON."""

from __future__ import annotations

import json
import sys

import vi
from tests.support.counting_service import LIMITS, RETRIES


def main(folder: str, dataset: str) -> None:
    with vi.Client(limits=LIMITS, retries=RETRIES) as client:
        result = client.assets.upload(dataset, folder, show_progress=False)
    print(json.dumps(result.to_dict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
