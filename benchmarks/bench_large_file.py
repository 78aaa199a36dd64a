"""Does one large file go as fast as with curl: up in parts, down in ranges with verification, plain and over TLS?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import curl
from harness import Cost, Run, arguments, client, fresh_folder, interleave, memory_folder, rate, scratch_folder
from neutral import make_certificates, nginx
from results import Answer

SIZE, QUICK = 4 << 30, 256 << 20
NAME = "film.mp4"
LEAST, MOST_MB = 0.95, 150


def make_film(path: Path, size: int) -> None:
    """Write something that passes as a film, no two megabytes of it alike."""
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
        block = bytes(range(256)) * 4096
        for number in range(-(-size // len(block))):
            file.write(number.to_bytes(8, "big") + block[8:])
        file.truncate(size)


def main() -> None:
    given = arguments(__doc__)
    size = QUICK if given.quick else SIZE
    answer = Answer(
        Path(__file__).stem,
        f"{__doc__} Parts of 16 MiB, ranges and their number as by default.",
        "nginx (dav) over a folder in memory; curl sends and fetches the whole in one request and verifies nothing. "
        "The film comes from the page cache and goes to a folder in memory.",
    )
    with scratch_folder() as scratch, memory_folder() as targets:
        folder = scratch / "films"
        folder.mkdir()
        make_film(folder / NAME, size)
        for line in ("plain", "TLS"):
            certificates = make_certificates(scratch / "certificates") if line == "TLS" else None
            one_line(answer, line, folder, certificates, targets, given.rounds)
    answer.give(given)


def one_line(answer: Answer, line: str, folder: Path, certificates: Path | None, targets: Path, rounds: int) -> None:
    film = folder / NAME
    size = film.stat().st_size
    with nginx(certificates) as (store, kept):
        ca = [f'cacert = "{certificates}/ca.pem"'] if certificates else []
        trusted = ["--ca", certificates / "ca.pem"] if certificates else []
        curl_up = curl.up([(film, f"{store}/{NAME}")], folder.parent, *ca)
        curl_down = curl.down([(f"{store}/{NAME}", targets / "curl.mp4")], folder.parent, *ca)

        def up(run: Run) -> Cost:
            # An object that is replaced would be there twice for a while, for which memory may not suffice.
            for path in kept.iterdir():
                path.unlink()
            return run()

        def down(run: Callable[[Path], Cost]) -> Cost:
            with fresh_folder(targets) as target:
                return run(target)

        ups: dict[str, Run] = {
            "vi": partial(up, lambda: client("client_vi.py", "up", folder, store, *trusted)),
            "curl": partial(up, curl_up),
        }
        costs_up = interleave(ups, rounds)

        def by_vi(digest: str) -> Run:
            return partial(down, lambda to: client("client_vi.py", "down", folder, store, to, digest, *trusted))

        def by_curl() -> Cost:
            try:
                return curl_down()
            finally:
                (targets / "curl.mp4").unlink()

        costs_down = interleave(
            {"curl": by_curl, "vi, CRC32C": by_vi("crc32c"), "vi, SHA-256": by_vi("sha256")}, rounds
        )
    gib = f"{size / (1 << 30):g} GiB"
    answer.ratio(f"{gib} {line}, up in parts: of curl's throughput", rate(costs_up, "vi", "curl"), least=LEAST)
    for way in ("vi, CRC32C", "vi, SHA-256"):
        answer.ratio(
            f"{gib} {line}, down in ranges, {way[4:]}: of curl's throughput", rate(costs_down, way, "curl"), least=LEAST
        )
    peak = max(cost.peak for costs in (costs_up, costs_down) for runs in costs.values() for cost in runs)
    answer.ratio(f"{gib} {line}: peak memory of vi", peak / 1e6, most=MOST_MB, unit=" MB")
    answer.costs(f"{gib} {line}, up", costs_up, 1, size)
    answer.costs(f"{gib} {line}, down", costs_down, 1, size)


if __name__ == "__main__":
    main()
