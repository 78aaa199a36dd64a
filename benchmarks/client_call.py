"""A whole call of the public API as a client of its own: of ours, or of the published client, whose calls are the same.

``upload FOLDER no|wait`` into a new dataset, ``download DATASET TARGET``, or ``list DATASET COUNT``, of
ours alone. Imports, the client and its first request (the dataset) are not counted.
"""

from __future__ import annotations

import sys

from measured import phase

import vi


def main() -> None:
    verb, what, how = sys.argv[1:4]
    client = vi.Client()
    assets = client.assets  # ours imports what moves files with its first use
    if verb == "upload":
        dataset = client.datasets.create(name="bench").dataset_id
        with phase() as more:
            result = assets.upload(dataset_id=dataset, paths=what, wait_until_done=how == "wait", show_progress=False)
            more["dataset"] = dataset
        if result.total_failed:
            raise SystemExit(f"{result.total_failed} files failed")
    elif verb == "list":
        client.datasets.get(what)
        with phase():
            count = sum(1 for _ in assets.list(what).all_items())
        if count != int(how):
            raise SystemExit(f"{count} assets came")
    else:
        client.datasets.get(what)
        with phase():
            assets.download(dataset_id=what, save_dir=how, show_progress=False)
    client.close()


if __name__ == "__main__":
    main()
