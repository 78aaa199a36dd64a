"""Datasets and assets from the shell: what is printed, as what, and where."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome
from tests.support.systems import needs_names
from vi.cli.output import Columns, show_items

Run = Callable[..., Outcome]


class TestDatasets:
    def test_create_prints_the_id_alone(self, run: Run, client: vi.Client) -> None:
        made = run("datasets", "create", "street signs", "--quiet", "--description", "north", "--metadata", "lot=7")
        assert (made.code, made.err) == (0, "")
        (dataset_id,) = made.lines
        dataset = client.datasets.get(dataset_id)
        assert (dataset.name, dataset.description, dataset.statistic.asset_total) == ("street signs", "north", 0)

    def test_a_short_command_imports_little(self, home: Path) -> None:
        code = (
            "import sys, vi.cli; vi.cli.main(['datasets', 'ls']); print([m for m in sys.argv[1:] if m in sys.modules])"
        )
        unused = ("cattrs", "sqlalchemy", "PIL", "tqdm", "vi.cli.moves", "aiohttp.web")
        done = subprocess.run([sys.executable, "-c", code, *unused], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"

    def test_ls_in_three_forms(self, run: Run, filled: str, client: vi.Client) -> None:
        other = client.datasets.create(name="zwei \x1b[31m rot").dataset_id
        table = run("datasets", "ls")
        assert table.lines[0].split() == ["DATASET", "NAME", "TYPE", "ASSETS", "ANNOTATIONS", "CREATED", "(UTC)"]
        assert next(line for line in table.lines if line.startswith(filled)).split()[1:4] == [
            "test",
            "phrase-grounding",
            "4",
        ]
        assert r"zwei \x1b[31m rot" in next(line for line in table.lines if line.startswith(other))
        ids = run("datasets", "ls", "--quiet").lines
        assert {filled, other} <= set(ids)
        documents = run("datasets", "ls", "--json").json_lines()
        assert [document["dataset_id"] for document in documents] == ids
        assert next(d for d in documents if d["dataset_id"] == other)["name"] == "zwei \x1b[31m rot"
        assert run("datasets", "ls", "--quiet", "--limit", "1").lines == ids[:1]

    def test_show(self, run: Run, filled: str) -> None:
        assert "Assets" in run("datasets", "show", filled).out
        assert run("datasets", "show", filled, "--json").json()["statistic"]["asset_total"] == 4

    def test_rm_shows_asks_and_deletes(self, run: Run, filled: str, client: vi.Client) -> None:
        shown = run("datasets", "rm", filled, "--dry-run", "--quiet")
        assert (shown.code, shown.lines) == (0, [filled])
        refused = run("datasets", "rm", filled)
        assert (refused.code, refused.out) == (2, "")
        assert "with 4 assets permanently? Add --yes to confirm: there is no terminal to ask on." in refused.err
        assert client.datasets.get(filled).statistic.asset_total == 4
        gone = run("datasets", "rm", filled, "--yes", "--quiet")
        assert (gone.code, gone.lines) == (0, [filled])
        with pytest.raises(vi.ViNotFoundError):
            client.datasets.get(filled)
        assert run("datasets", "rm", filled, "--yes").code == 4
        assert run("datasets", "rm", filled, "--yes", "--missing-ok").code == 0


class TestAssets:
    def test_ls_in_three_forms(self, run: Run, filled: str, home: Path) -> None:
        names = sorted(path.name for path in (home / "images").iterdir())
        table = run("assets", "ls", filled, "--sort", "name")
        assert table.lines[0].split()[:4] == ["ASSET", "NAME", "SIZE", "PIXELS"]
        assert [name in line for name, line in zip(names, table.lines[1:], strict=True)] == [True] * 4
        documents = run("assets", "ls", filled, "--sort", "name", "--json").json_lines()
        assert [document["filename"] for document in documents] == names
        assert documents[0]["metadata"]["custom_metadata"] == {"camera": "north"}
        ids = run("assets", "ls", filled, "--sort", "name", "--quiet").lines
        assert ids == [document["asset_id"] for document in documents]
        assert run("assets", "ls", filled, "--sort", "name", "--desc", "--quiet").lines == ids[::-1]
        assert run("assets", "ls", filled, "--sort", "name", "--quiet", "--limit", "3").lines == ids[:3]

    def test_an_empty_list_says_so_on_stderr(self, run: Run, dataset: str) -> None:
        assert run("assets", "ls", dataset) == Outcome(0, "", "No assets found.\n")
        assert run("assets", "ls", dataset, "--json") == Outcome(0, "", "")

    def test_selection(self, run: Run, filled: str, home: Path) -> None:
        name = next((home / "images").iterdir()).name
        for chosen, expected in (
            ([], 4),
            (["--filter", f"filename={name}"], 1),
            (["--filter", json.dumps({"filename": name})], 1),
            (["--query", 'camera == "north"'], 4),
            (["--query", 'camera == "south"'], 0),
        ):
            assert run("assets", "count", filled, *chosen).out == f"{expected}\n"
            assert len(run("assets", "ls", filled, *chosen, "--quiet").lines) == expected
        assert run("assets", "count", filled, "--json").json() == {"count": 4}
        for bad in ("no-sign", "=x", "{broken"):
            assert run("assets", "ls", filled, "--filter", bad).code == 2
        assert run("assets", "ls", filled, "--query", "camera ==").code == 2

    def test_show(self, run: Run, filled: str) -> None:
        asset = run("assets", "ls", filled, "--quiet", "--limit", "1").out.strip()
        assert asset in run("assets", "show", filled, asset).out
        document = run("assets", "show", filled, asset, "--json").json()
        assert (document["asset_id"], document["contents"]) == (asset, None) if "contents" in document else True
        assert run("assets", "show", filled, "0" * 24).code == 4

    def test_rename(self, run: Run, filled: str, client: vi.Client) -> None:
        asset = client.assets.list(filled).items[0]
        new = f"new-{asset.filename}"
        assert run("assets", "rename", filled, asset.asset_id, new, "--dry-run", "--quiet").out == f"{asset.asset_id}\n"
        assert client.assets.get(filled, asset.asset_id).filename == asset.filename
        assert run("assets", "rename", filled, asset.asset_id, new, "--json").json()["filename"] == new
        dry = run("assets", "rename", filled, "--filename", new, asset.filename, "--dry-run", "--quiet")
        assert dry.lines == [asset.asset_id]
        assert run("assets", "rename", filled, "--filename", new, asset.filename).code == 0
        assert client.assets.get(filled, asset.asset_id).filename == asset.filename
        assert run("assets", "rename", filled, "only-one").code == 2
        assert run("assets", "rename", filled, "--filename", "none.png", "x.png").code == 4
        assert run("assets", "rename", filled, "--filename", "none.png", "x.png", "--dry-run").code == 4

    def test_rm_by_id(self, run: Run, filled: str) -> None:
        one, two, *_ = run("assets", "ls", filled, "--quiet").lines
        dry = run("assets", "rm", filled, one, "f" * 24, "--dry-run", "--quiet")
        assert (dry.code, dry.lines) == (4, [one])
        assert run("assets", "rm", filled, one).code == 2
        assert run("assets", "count", filled).out == "4\n"
        gone = run("assets", "rm", filled, one, two, "--yes", "--quiet")
        assert (gone.code, gone.lines) == (0, [one, two])
        assert run("assets", "count", filled).out == "2\n"
        again = run("assets", "rm", filled, one, "--yes")
        assert again.code == 4
        assert f"No such asset: {one}" in again.err
        assert run("assets", "rm", filled, one, "--yes", "--missing-ok").code == 0

    def test_rm_by_selection(self, run: Run, filled: str) -> None:
        assert len(run("assets", "rm", filled, "--query", "camera:north", "--dry-run", "--quiet").lines) == 4
        assert run("assets", "rm", filled, "--query", "camera:south", "--yes", "--json").json()["deleted"] == 0
        result = run("assets", "rm", filled, "--all", "--yes", "--json").json()
        assert (result["count"], result["deleted"]) == (4, 4)
        assert run("assets", "count", filled).out == "0\n"

    @pytest.mark.parametrize("chosen", [[], ["x", "--all"], ["x", "--query", "a:b"], ["--all", "--query", "a:b"]])
    def test_rm_needs_exactly_one_selection(self, chosen: list[str], run: Run, filled: str) -> None:
        refused = run("assets", "rm", filled, *chosen, "--yes")
        assert refused.code == 2
        assert "choose what to delete" in refused.err
        assert run("assets", "count", filled).out == "4\n"

    def test_wait(self, run: Run, dataset: str, home: Path) -> None:
        (home / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
        sent = run("assets", "upload", dataset, "images", "--no-wait", "--quiet")
        assert sent.code == 0
        ended = run("assets", "wait", dataset, *sent.lines, "--json", "--timeout", "60")
        assert ended.code == 1
        documents = ended.json_lines()
        assert sum(document["succeeded"] for document in documents) == 4
        assert [error for document in documents for error in document["errors"].items()] == [("broken.png", "ECORRUPT")]
        assert "broken.png: ECORRUPT" in ended.err


def test_hostile_metadata_stays_text(run: Run, home: Path, dataset: str, client: vi.Client) -> None:
    client.assets.upload(dataset, home / "images" / "bridge.png", custom_metadata={"a\x1b[2J": "b\x07"})
    asset = client.assets.list(dataset).items[0]
    shown = run("assets", "show", dataset, asset.asset_id).out
    assert r"a\x1b[2J" in shown
    assert all(c == "\n" or c.isprintable() for c in shown)


@needs_names
def test_hostile_names_stay_text(run: Run, home: Path, dataset: str, png: Any) -> None:
    """A terminal would obey these; a table shows them, JSON keeps them exactly."""
    names = ["bell\x07.png", "esc\x1b]0;owned\x07.png", "line\nbreak.png", "rtl\u202egnp.png", "wide-図.png"]
    folder = home / "hostile"
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / name).write_bytes(png(number))
    sent = run("assets", "upload", dataset, "hostile")
    assert sent.code == 0
    table = run("assets", "ls", dataset, "--sort", "name")
    assert len(table.lines) == 6
    assert all(c == "\n" or c.isprintable() for c in table.out + sent.err)
    assert "wide-図.png" in table.out
    assert sorted(d["filename"] for d in run("assets", "ls", dataset, "--json").json_lines()) == sorted(names)
    run("assets", "rm", dataset, "--all", "--yes")
    (folder / "esc\x1b[2J.png").write_bytes(b"not an image")
    failed = run("assets", "upload", dataset, "hostile")
    assert failed.code == 1
    assert r"esc\x1b[2J.png is named .png" in failed.err


def test_metadata_is_set_from_a_table(run: Run, home: Path, filled: str, client: vi.Client) -> None:
    name = client.assets.list(filled).items[0].filename
    (home / "labels.csv").write_text(f"filename,lot\n{name},7\n")
    tried = run("assets", "set-metadata", filled, "labels.csv", "--dry-run", "--json")
    assert (tried.code, tried.json()["total_changed"], tried.json()["dry_run"]) == (0, 1, True)
    done = run("assets", "set-metadata", filled, "labels.csv", "--remove", "camera")
    assert (done.code, done.out, done.err) == (0, "", "1 file changed\n")
    assert client.assets.get(filled, filename=name).metadata.custom_metadata == {"lot": 7}
    (home / "labels.csv").write_text("filename,lot\nother.png,7\n")
    assert run("assets", "set-metadata", filled, "labels.csv").code == 2
    ignored = run("assets", "set-metadata", filled, "labels.csv", "--on-unmatched", "ignore", "--quiet")
    assert (ignored.code, ignored.out) == (0, "other.png\n")


def test_records_stand_apart_and_a_dry_run_has_its_total(run: Run, client: vi.Client, dataset: str, home: Path) -> None:
    client.assets.upload(dataset, home / "images", show_progress=False)
    ids = [asset.asset_id for asset in client.assets.list(dataset).items]
    shown = run("assets", "show", dataset, *ids[:2]).out
    assert [block.split()[1] for block in shown.split("\n\n")] == ids[:2]
    planned = run("assets", "rm", dataset, "--all", "--dry-run")
    assert planned.err.splitlines() == ["Would delete 4 assets. Dry run: nothing was changed."]


@pytest.fixture
def unreadable() -> Iterator[str]:
    """Where a service is whose every listing holds two items that are none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"items": [None, {"datasetId": "\x1b[2J"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "verb", ["datasets ls", f"assets ls {20 * 'a'}", f"assets ls {20 * 'a'} --quiet", "datasets ls --json --limit 5"]
)
def test_a_listing_that_cannot_be_read_is_no_empty_one(run: Run, unreadable: str, verb: str) -> None:
    ended = run(*verb.split(), "--endpoint", unreadable)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("an item of the listing cannot be read") == 2
    assert "2 items were left out" in ended.err
    assert "There are no datasets" not in ended.err
    assert "\x1b" not in ended.err


def test_a_name_is_not_missing_where_datasets_cannot_be_read(run: Run, unreadable: str) -> None:
    ended = run("assets", "ls", "street signs", "--endpoint", unreadable)
    assert ended.code == 7
    assert "2 of the datasets cannot be read: give the id of 'street signs'." in ended.err


@pytest.mark.parametrize("name", ["--all", "--yes", "-q", "-"])
def test_an_id_that_looks_like_an_option_is_not_for_shells(name: str) -> None:
    """The alphabet of ids has it, and `$(vi-sdk ... --quiet)` puts it into the next command."""
    columns = Columns(("ASSET",), lambda one: (one,), str)
    with pytest.raises(vi.ViOperationError, match="looks like an option"):
        show_items(argparse.Namespace(json=False, quiet=True), ["a1", name], columns, none="")
