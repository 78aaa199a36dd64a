"""Upload, download, sync, verify and their plans, as commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vi
from tests.cli.outcomes import Outcome
from tests.support.systems import needs_links

Run = Callable[..., Outcome]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestUpload:
    def test_what_it_says_goes_to_stderr(self, run: Run, dataset: str, home: Path) -> None:
        (home / "images" / "notes.txt").write_text("x")
        sent = run("assets", "upload", dataset, "images")
        assert (sent.code, sent.out) == (0, "")
        assert sent.err.startswith("4 files uploaded in ")
        assert "1 skipped: 1 unsupported (.txt)" in sent.err

    def test_json_is_the_result(self, run: Run, dataset: str) -> None:
        document = run("assets", "upload", dataset, "images", "--json").json()
        assert (document["total_succeeded"], document["failures"]) == (4, [])
        assert len(document["session_ids"]) == 1

    def test_quiet_prints_the_sessions(self, run: Run, dataset: str, client: vi.Client) -> None:
        sent = run("assets", "upload", dataset, "images", "--quiet")
        assert (sent.code, sent.err, len(sent.lines)) == (0, "", 1)
        assert client.assets.wait_until_done(dataset, sent.lines[0]).status.progressCount.succeeded == 4

    def test_failures_are_named_and_the_others_stored(self, run: Run, dataset: str, home: Path) -> None:
        (home / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
        (home / "images" / "text.png").write_text("x")
        sent = run("assets", "upload", dataset, "images", "--json")
        assert sent.code == 1
        assert sent.json()["total_succeeded"] == 4
        assert re.search(r"images.broken\.png: .+ \[ECORRUPT\]$", sent.err, re.MULTILINE)
        assert re.search(r"images.text\.png .+ \[EBADMIME\]$", sent.err, re.MULTILINE)
        stopped = run("assets", "upload", dataset, "images", "--fail-fast")
        assert stopped.code == 1
        assert stopped.err.startswith("error: ")

    def test_patterns_names_and_metadata(self, run: Run, dataset: str, home: Path, client: vi.Client) -> None:
        below = home / "images" / "below"
        below.mkdir()
        last = home / "images" / [n for n in names(home / "images") if n != "below"][-1]
        last.rename(below / last.name)
        pairs = ["--metadata", "camera=north", "--metadata", "lot=7", "--metadata", "night=false"]
        options = ["--names", "relative", "--include", "*/*", *pairs]
        assert run("assets", "upload", dataset, *options, "images").code == 0
        (asset,) = client.assets.list(dataset).items
        assert asset.filename == f"below/{last.name}"
        assert asset.metadata.custom_metadata == {"camera": "north", "lot": 7, "night": False}
        assert run("assets", "upload", dataset, "images", "--exclude", "*.*", "--fail-if-nothing").code == 9

    def test_a_pattern_that_matched_nothing_is_told(self, run: Run, dataset: str) -> None:
        sent = run("assets", "upload", dataset, "images", "--exclude", "privat/", "--exclude", "*.jpg")
        assert sent.code == 0
        assert "note: exclude 'privat/' matched nothing" in sent.err
        assert "*.jpg' matched" not in sent.err
        checked = run("assets", "verify", dataset, "images", "--exclude", "privat/", "--json")
        assert checked.json()["notes"] == ["exclude 'privat/' matched nothing"]

    def test_metadata_from_a_file(self, run: Run, dataset: str, home: Path, client: vi.Client) -> None:
        name = names(home / "images")[0]
        (home / "metadata.json").write_text(json.dumps({name: {"lot": 1}}))
        assert run("assets", "upload", dataset, "images", "--metadata-file", "metadata.json").code == 0
        found = {a.filename: a.metadata.custom_metadata for a in client.assets.list(dataset).all_items()}
        assert found.pop(name) == {"lot": 1}
        assert set(map(str, found.values())) == {"{}"}
        (home / "metadata.csv").write_text(f"filename,lot,camera\n{name},2,\nother.png,3,north\n")
        refused = run("assets", "upload", dataset, "images", "--metadata-file", "metadata.csv")
        assert (refused.code, "'other.png'" in refused.err, "--on-unmatched ignore" in refused.err) == (2, True, True)
        given = ("--metadata-file", "metadata.csv", "--on-unmatched", "ignore")
        assert run("assets", "upload", dataset, "images", *given).code == 0
        found = {a.filename: a.metadata.custom_metadata for a in client.assets.list(dataset).all_items()}
        assert found[name] == {"lot": 2}
        (home / "metadata.json").write_text("5")
        assert run("assets", "upload", dataset, "images", "--metadata-file", "metadata.json").code == 2
        assert run("assets", "upload", dataset, "images", "--metadata-file", "none.json").code == 2

    def test_skip_existing_and_nothing_to_do(self, run: Run, filled: str) -> None:
        again = run("assets", "upload", filled, "images", "--skip-existing")
        assert (again.code, again.out) == (0, "")
        assert again.err.startswith("4 files unchanged in ")
        assert run("assets", "upload", filled, "images", "--skip-existing", "--fail-if-nothing").code == 9
        assert run("assets", "upload", filled, "images", "--fail-if-nothing").code == 0

    def test_dry_run_sends_nothing(self, run: Run, dataset: str, home: Path, client: vi.Client) -> None:
        planned = run("assets", "upload", dataset, "images", "--dry-run")
        assert planned.code == 0
        assert planned.lines[0].split() == ["ACTION", "NAME", "SIZE", "REASON"]
        assert [line.split()[0] for line in planned.lines[1:]] == ["upload"] * 4
        assert "Dry run: nothing was changed." in planned.err
        rows = run("assets", "upload", dataset, "images", "--dry-run", "--json").json_lines()
        assert sorted(row["filename"] for row in rows) == names(home / "images")
        assert client.assets.count(dataset) == 0


class TestPlans:
    def test_a_plan_is_saved_cut_and_applied(self, run: Run, dataset: str, home: Path, client: vi.Client) -> None:
        saved = run("assets", "upload", dataset, "images", "--plan", "plan.jsonl", "--quiet")
        assert (saved.code, saved.out, saved.err) == (0, "", "")
        assert client.assets.count(dataset) == 0
        for part in ("1/3", "2/3", "3/3"):
            assert run("assets", "upload", dataset, "--apply", "plan.jsonl", "--shard", part).code == 0
        assert sorted(a.filename for a in client.assets.list(dataset).all_items()) == names(home / "images")

    def test_shards_without_a_file_are_apart(self, run: Run, dataset: str) -> None:
        parts = [
            {
                row["filename"]
                for row in run(
                    "assets", "upload", dataset, "images", "--shard", part, "--dry-run", "--json"
                ).json_lines()
            }
            for part in ("1/2", "2/2")
        ]
        assert parts[0] & parts[1] == set()
        assert len(parts[0] | parts[1]) == 4

    def test_a_plan_of_another_dataset_or_direction_is_refused(
        self, run: Run, dataset: str, client: vi.Client, home: Path
    ) -> None:
        run("assets", "upload", dataset, "images", "--plan", "plan.jsonl")
        other = client.datasets.create(name="other").dataset_id
        for command in (
            ["upload", other, "--apply", "plan.jsonl"],
            ["download", dataset, "copy", "--apply", "plan.jsonl"],
            ["upload", dataset, "--apply", "none.jsonl"],
            ["upload", dataset, "copy", "--apply", "plan.jsonl"],
            ["upload", dataset, "--apply", "plan.jsonl", "--no-wait"],
            ["upload", dataset],
        ):
            refused = run("assets", *command)
            assert (refused.code, refused.out) == (2, ""), command
        assert client.assets.count(other) == client.assets.count(dataset) == 0

    def test_applying_reports_what_fails(self, run: Run, dataset: str, home: Path) -> None:
        run("assets", "upload", dataset, "images", "--plan", "plan.jsonl")
        victim = home / "images" / names(home / "images")[0]
        victim.write_text("no image now")
        applied = run("assets", "upload", dataset, "--apply", "plan.jsonl", "--json")
        assert applied.code == 1
        assert applied.json()["upload"]["total_succeeded"] == 3
        assert victim.name in applied.err

    @pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "-1/2"])
    def test_bad_shards(self, run: Run, dataset: str, text: str) -> None:
        refused = run("assets", "upload", dataset, "images", f"--shard={text}")
        assert refused.code == 2
        assert "expected I/N" in refused.err


class TestDownload:
    def test_the_bytes_come_back(self, run: Run, filled: str, home: Path) -> None:
        got = run("assets", "download", filled, "copy")
        assert (got.code, got.out) == (0, "")
        assert got.err.startswith("copy: 4 files downloaded in ")
        assert contents(home / "copy") == contents(home / "images")
        again = run("assets", "download", filled, "copy", "--json", "--fail-if-nothing")
        assert (again.code, again.json()["total_existing"]) == (9, 4)

    def test_selection_and_patterns(self, run: Run, filled: str, home: Path) -> None:
        first, second, *_ = names(home / "images")
        assert run("assets", "download", filled, "a", "--include", first, "--quiet") == Outcome(0, "", "")
        assert names(home / "a") == [first]
        assert run("assets", "download", filled, "b", "--filter", f"filename={second}").code == 0
        assert names(home / "b") == [second]
        assert run("assets", "download", filled, "c", "--exclude", first, "--limit", "2").code == 0
        assert len(names(home / "c")) == 2
        assert first not in names(home / "c")
        asset = run("assets", "ls", filled, "--quiet", "--limit", "1").out.strip()
        assert run("assets", "download", filled, "d", "--asset", asset).code == 0
        assert len(names(home / "d")) == 1
        assert run("assets", "download", filled, "d", "--asset", "0" * 24).code == 1

    @needs_links
    def test_what_is_in_the_way_is_not_called_a_file_with_other_content(
        self, run: Run, filled: str, home: Path
    ) -> None:
        run("assets", "download", filled, "copy")
        link, folder, *_ = sorted(names(home / "copy"))
        for name in (link, folder):
            (home / "copy" / name).unlink()
        (home / "copy" / link).symlink_to(home / "nowhere")
        (home / "copy" / folder).mkdir()
        kept = run("assets", "download", filled, "copy")
        assert kept.code == 1
        assert "other content" not in kept.err
        assert "Not saved, because something else has the name or the folder" in kept.err
        assert f"{link}: a link of this name is there" in kept.err
        assert f"{folder}: a folder of this name is there" in kept.err
        assert (home / "copy" / link).is_symlink()

    def test_a_local_file_with_other_content_is_kept(self, run: Run, filled: str, home: Path) -> None:
        run("assets", "download", filled, "copy")
        victim = home / "copy" / names(home / "copy")[0]
        victim.write_bytes(b"mine")
        kept = run("assets", "download", filled, "copy")
        assert kept.code == 1
        assert "Local files with other content were kept; --overwrite replaces them" in kept.err
        assert str(victim.relative_to(home)) in kept.err
        assert victim.read_bytes() == b"mine"
        planned = run("assets", "download", filled, "copy", "--dry-run", "--json").json_lines()
        assert [(row["action"], row["filename"]) for row in planned] == [("keep", victim.name)]
        planned = run("assets", "download", filled, "copy", "--overwrite", "--dry-run", "--json").json_lines()
        assert [(row["action"], row["filename"]) for row in planned] == [("download", victim.name)]
        assert victim.read_bytes() == b"mine"
        assert run("assets", "download", filled, "copy", "--overwrite").code == 0
        assert contents(home / "copy") == contents(home / "images")

    def test_a_plan_takes_what_it_selected(self, run: Run, filled: str, home: Path) -> None:
        first, *_ = names(home / "images")
        assert run("assets", "download", filled, "copy", "--include", first, "--plan", "plan.jsonl").code == 0
        assert not (home / "copy").exists()
        assert run("assets", "download", filled, "copy", "--apply", "plan.jsonl").code == 0
        assert names(home / "copy") == [first]


class TestSync:
    def test_up_moves_the_difference_and_asks_before_deleting(
        self, run: Run, filled: str, home: Path, client: vi.Client
    ) -> None:
        gone, *kept = names(home / "images")
        (home / "images" / gone).unlink()
        planned = run("assets", "sync", filled, "images", "--delete", "--dry-run", "--json").json_lines()
        assert [(row["action"], row["filename"]) for row in planned] == [("delete_asset", gone)]
        refused = run("assets", "sync", filled, "images", "--delete")
        assert refused.code == 2
        assert "Delete 1 asset of the dataset permanently?" in refused.err
        assert client.assets.count(filled) == 4
        done = run("assets", "sync", filled, "images", "--delete", "--yes", "--json")
        assert (done.code, done.json()["deleted"], done.json()["existing"]) == (0, 1, 3)
        assert sorted(a.filename for a in client.assets.list(filled).all_items()) == kept
        assert run("assets", "sync", filled, "images", "--fail-if-nothing").code == 9

    def test_down(self, run: Run, filled: str, home: Path) -> None:
        done = run("assets", "sync", filled, "copy", "--direction", "down")
        assert (done.code, done.out) == (0, "")
        assert contents(home / "copy") == contents(home / "images")

    def test_more_deletions_than_allowed_end_it(self, run: Run, filled: str, home: Path) -> None:
        for name in names(home / "images")[:2]:
            (home / "images" / name).unlink()
        refused = run("assets", "sync", filled, "images", "--delete", "--max-delete", "1", "--yes")
        assert (refused.code, refused.out) == (7, "")
        assert "2 would be deleted, more than --max-delete 1; nothing was changed." in refused.err
        run("assets", "sync", filled, "images", "--delete", "--plan", "plan.jsonl")
        assert run("assets", "upload", filled, "--apply", "plan.jsonl").code == 2
        assert run("assets", "sync", filled, "images", "--apply", "plan.jsonl", "--max-delete", "1", "--yes").code == 7
        assert run("assets", "count", filled).out == "4\n"
        assert run("assets", "sync", filled, "images", "--apply", "plan.jsonl", "--yes").code == 0
        assert run("assets", "count", filled).out == "2\n"


class TestVerify:
    def test_same(self, run: Run, filled: str) -> None:
        same = run("assets", "verify", filled, "images")
        assert (same.code, same.out) == (0, "")
        assert same.err == "4 files identical\n"
        assert run("assets", "verify", filled, "images", "--json").json()["ok"] is True

    def test_different(self, run: Run, filled: str, home: Path, png: Callable[[int], bytes]) -> None:
        changed, missing, *_ = names(home / "images")
        (home / "images" / missing).unlink()
        (home / "images" / "new.png").write_bytes(png(1))
        (home / "images" / changed).write_bytes(png(2))
        found = run("assets", "verify", filled, "images")
        assert found.code == 1
        assert [line.rpartition("  ")[2] for line in found.lines] == [changed, "new.png", missing]
        assert run("assets", "verify", filled, "images", "--quiet") == Outcome(1, "", "")
        document = run("assets", "verify", filled, "images", "--json").json()
        assert (document["different"], document["only_local"], document["only_remote"]) == (
            [changed],
            ["new.png"],
            [missing],
        )


def test_sync_and_upload_set_metadata_of_what_is_there(run: Run, filled: str, home: Path, client: vi.Client) -> None:
    every = ("--metadata", "lot=7")
    planned = run("assets", "sync", filled, "images", *every, "--dry-run")
    assert (planned.code, planned.out.count("set metadata")) == (0, 4)
    synced = run("assets", "sync", filled, "images", *every, "--keep-annotations", "--json")
    assert (synced.code, synced.json()["metadata_updated"]) == (0, 4)
    assert client.assets.count(filled, metadata_query="lot == 7") == 4
    name = names(home / "images")[0]
    (home / "labels.csv").write_text(f"filename,lot\n{name},8\n")
    skipped = run("assets", "upload", filled, "images", "--skip-existing", "--metadata-file", "labels.csv")
    assert skipped.code == 0
    assert "1 with new metadata" in skipped.err
    assert run("assets", "sync", filled, "images", "--metadata-file", "labels.csv", "--plan", "p.jsonl").code == 0
    assert run("assets", "sync", filled, "images", "--apply", "p.jsonl", "--keep-annotations").code == 0
