"""``demo``: the whole tour over a folder of images, with every byte compared at the end."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._paths import as_path
from .._show.console import complain, say
from .._show.text import aligned
from .._show.units import several, size, skipped
from .._show.writer import columns_of
from . import exits, options
from .output import tell_failures

EXAMPLE = """  vi-sdk demo               # with images that it makes
  vi-sdk demo ./images --keep ./vi-demo
"""

SAMPLES = 42


class Step:
    """A row of the report."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files = 0
        self.bytes = 0
        self.seconds: float = 0.0

    def row(self) -> tuple[str, ...]:
        """Return the cells of the report."""
        rate = f"{self.files / self.seconds:,.0f}/s" if self.seconds else ""
        return self.name, f"{self.files:,}", size(self.bytes) if self.bytes else "", f"{self.seconds:.2f}", rate


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "demo",
        "upload, list, download and compare a folder, on a local service of its own",
        EXAMPLE,
        description="Start a local service, upload FOLDER, list it, download it and compare every byte.",
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="images to use (default: some that it makes)")
    parser.add_argument(
        "--keep",
        nargs="?",
        const="./vi-demo",
        metavar="DIR",
        help="keep the service's data, to look at it afterwards (default folder: %(const)s)",
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Do the tour; 0 only if everything that went up came back the same."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="vi-demo-") as scratch:
        return _tour(given, Path(scratch))


def _tour(given: argparse.Namespace, scratch: Path) -> int:
    import vi

    steps: list[Step] = []

    @contextmanager
    def step(name: str) -> Iterator[Step]:
        row = Step(name)
        began = time.perf_counter()
        yield row
        row.seconds = time.perf_counter() - began
        steps.append(row)

    folder = as_path(given.folder, "folder") if given.folder else scratch / "images"
    if not given.folder:
        from .._optional import require

        require("PIL.Image", "The demo")
        from .._samples import make_samples

        with step("make") as row:
            made = _decodable(make_samples(folder, count=SAMPLES))
            row.files, row.bytes = len(made), sum(path.stat().st_size for path in made)
    with vi.Client.local(given.keep or scratch / "service") as client:
        dataset = client.datasets.create(name="demo")
        with step("upload") as row:
            sent = client.assets.upload(dataset.dataset_id, paths=folder, names="relative", failure_mode="FailAfterAll")
            row.files, row.bytes = sent.total_succeeded, sent.bytes_sent
        with step("list") as row:
            assets = list(client.assets.list(dataset.dataset_id).all_items())
            row.files = len(assets)
        with step("download") as row:
            received = client.assets.download(dataset.dataset_id, scratch / "copy", raise_on_failure=False)
            row.files, row.bytes = received.total_downloaded, received.bytes_received
        with step("compare") as row:
            different = []
            for asset in assets:
                copy = scratch / "copy" / received.renamed.get(asset.asset_id, asset.filename)
                if not _same(folder / asset.filename, copy):
                    different.append(asset.filename)
                row.files, row.bytes = row.files + 1, row.bytes + asset.metadata.file_size
    table = [("step", "files", "size", "seconds", "rate"), *(s.row() for s in steps)]
    say("\n".join(aligned(table, columns=columns_of(sys.stdout))))
    tell_failures([*sent.failures, *received.failures])
    for name in different:
        complain(f"{name}: came back different")
    if sent.total_skipped:
        complain("\n".join(skipped(sent.skip_reasons)))
    agree = sent.total_succeeded == len(assets) == received.total_downloaded and not different and not sent.failures
    if not assets and not sent.failures:
        complain(f"No images or videos in {given.folder}.")
        return exits.WRONG_USE
    say(
        f"{len(assets):,} of {several(sent.total_files, 'file')} went up, came back, and are the same byte for byte."
        if agree
        else "Not everything agrees; see above."
    )
    _tell_next(given)
    return 0 if agree and assets else 1


def _decodable(made: list[Path]) -> list[Path]:
    """Remove the images that no service here can look into: pi-heif has no wheel for some systems."""
    from .._optional import examine, obstacle

    problem = examine("pi_heif")
    if problem is None:
        return made
    heif = [path for path in made if path.suffix in (".heic", ".heif")]
    for path in heif:
        path.unlink()
    why = obstacle("pi_heif") if problem.missing else None
    complain(f"{several(len(heif), 'HEIF image')} left out: {why or f'pi-heif {problem.what}'}.")
    return [path for path in made if path not in heif]


def _tell_next(given: argparse.Namespace) -> None:
    """Say what to do next."""
    if given.keep:
        complain(f"Look at it:      vi-sdk serve --data {shlex.quote(given.keep)} --open")
    else:
        complain("Look at it:      vi-sdk demo --keep, then vi-sdk serve --data ./vi-demo --open")
    if not given.folder:
        complain("Your own images: vi-sdk demo ./images")
    complain("Keep a service:  vi-sdk serve --data ./vi-data --profile")


def _same(one: Path, other: Path) -> bool:
    chunk = 1 << 20
    if not one.is_file() or not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while data := first.read(chunk):
            if data != second.read(chunk):
                return False
    return True
