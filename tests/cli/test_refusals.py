"""Wrong commands, and what the command line says to each: its own words, the reason once, and a next step."""

from __future__ import annotations

import argparse
import ast
import fnmatch
import http.server
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome
from vi.cli import build_parser, refusals

Run = Callable[..., Outcome]

LONGEST = 200
WRONG: tuple[tuple[str, int, str], ...] = (
    ("asset ls", 2, "there is no command 'asset'; did you mean assets?"),
    ("assets list $D", 2, "there is no command 'list'; did you mean ls?"),
    ("assets lst $D", 2, "there is no command 'lst'; did you mean ls?"),
    ("datasets delete $D", 2, "there is no command 'delete'; did you mean rm?"),
    ("upload $D images", 2, "there is no command 'upload'; did you mean assets upload?"),
    ("plan run none 0", 2, "one argument too many: 0"),
    ("nonsense", 2, "there is no command 'nonsense'"),
    ("--nonsense", 2, "unknown option --nonsense"),
    ("assets ls", 2, "missing: DATASET"),
    ("assets ls $D extra", 2, "one argument too many: extra"),
    ("assets ls $D --limit 0", 2, "--limit: expected a whole number above 0, got '0'"),
    ("assets ls $D --limit x", 2, "--limit: expected a whole number above 0, got 'x'"),
    ("assets ls $D --sort weight", 2, "--sort: expected one of id, name, size, modified, got 'weight'"),
    ("assets ls $D --filter colour", 2, "--filter colour: expected FIELD=VALUE or a JSON object"),
    (
        "assets ls $D --filter colour=red",
        2,
        "--filter: the filter names an unknown path 'colour'; known are filename, kind, owner, metadata.insertedBy, metadata.annotations.total and 24 more.",
    ),
    ("assets ls $D --filter {bad", 2, "--filter {bad: it is not a JSON object"),
    (
        'assets ls $D --query "camera =="',
        2,
        "--query, column 10: expected a value: text in quotes, a number, true or false, found the end.",
    ),
    ("assets ls 9q7x", 4, "There is no dataset '9q7x'. List them with: vi-sdk datasets ls"),
    ('assets ls "no such name"', 4, "There is no dataset 'no such name'. List them with: vi-sdk datasets ls"),
    (
        "assets ls 01a224fc219d000023ff3cb",
        4,
        "Dataset 01a224fc219d000023ff3cb not found. List valid ids with vi-sdk datasets ls and vi-sdk assets ls DATASET.",
    ),
    ("assets show $D", 2, "missing: ASSET"),
    (
        "assets show $D nope",
        4,
        "Asset nope not found. List valid ids with vi-sdk datasets ls and vi-sdk assets ls DATASET.",
    ),
    ('assets show $D "a b"', 2, "ASSET must be 1 to 255 characters of A-Z a-z 0-9 - _, got 'a b'."),
    ('assets count $D --query "((" ', 2, "--query, column 3: expected a key, found the end."),
    ("assets rename $D x", 2, "rename needs ASSET NEW_NAME, or --filename OLD_NAME NEW_NAME"),
    (
        "assets rename $D nope new.png",
        4,
        "Asset nope not found. List valid ids with vi-sdk datasets ls and vi-sdk assets ls DATASET.",
    ),
    (
        "assets rename $D --filename nope.png new.png",
        4,
        "Asset nope.png not found. List valid ids with vi-sdk datasets ls and vi-sdk assets ls DATASET.",
    ),
    ("assets rm $D", 2, "choose what to delete: asset ids, a selection (--filter, --query), or --all"),
    ("assets rm $D --all nope", 2, "choose what to delete: asset ids, a selection (--filter, --query), or --all"),
    ("assets rm $D nope --yes", 4, "No such asset: nope. List them with: vi-sdk assets ls DATASET"),
    (
        "assets wait $D nope",
        4,
        "Ingestion session nope not found. List valid ids with vi-sdk datasets ls and vi-sdk assets ls DATASET.",
    ),
    ("assets wait $D nope --timeout 0", 2, "--timeout: expected seconds above 0, got '0'"),
    ("assets upload $D", 2, "upload needs PATH... or --apply FILE"),
    (
        "assets upload $D missing",
        2,
        "No such file or folder: missing. Check the spelling; relative paths are looked up in *",
    ),
    (
        "assets upload $D empty",
        2,
        "No images or videos in empty. Give an image, a video, or a folder that contains some.",
    ),
    ("assets upload $D onlytxt", 2, "No images or videos to upload in onlytxt. See what was left out:"),
    ("assets upload $D images --include *.xyz", 2, "No images or videos to upload in images. See what was left out:"),
    (
        "assets upload $D note.txt",
        1,
        "note.txt: files ending in .txt are not supported; convert it to .png, .jpg or another supported type. [EBADMIME]",
    ),
    (
        "assets upload $D bad.png",
        1,
        "bad.png is named .png, but its contents are not an image: save it again. [EBADMIME]",
    ),
    ("assets upload $D tree", 2, "A name would be used more than once:"),
    ("assets upload $D images --metadata camera", 2, "--metadata: expected KEY=VALUE, got 'camera'"),
    ("assets upload $D images --metadata-file meta.json", 2, "meta.json, line 1: it is not JSON."),
    (
        "assets upload $D images --metadata-file bad.png",
        2,
        "'bad.png' is not a table: its extension must be .csv, *",
    ),
    (
        "assets upload $D images --metadata-file missing.json",
        2,
        "missing.json cannot be read: No such file or directory.",
    ),
    (
        "assets upload $D images --metadata a=1 --metadata-file meta.json",
        2,
        "--metadata-file: not allowed with --metadata",
    ),
    ("assets upload $D images --names flat", 2, "--names: expected one of basename, relative, got 'flat'"),
    ("assets upload $D images --detect magic", 2, "--detect: expected one of extension, content, got 'magic'"),
    ("assets upload $D images --concurrency 0", 2, "--concurrency: expected a whole number above 0, got '0'"),
    ("assets upload $D images --timeout -1", 2, "--timeout: expected seconds above 0, got '-1'"),
    ("assets upload $D images --plan p.jsonl --no-wait", 2, "--no-wait is not for plans and shards"),
    ("assets upload $D images --shard 5/4", 2, "--shard: expected I/N with I from 1 to N, got '5/4'"),
    ("assets upload $D images --shard x", 2, "--shard: expected I/N with I from 1 to N, got 'x'"),
    ("assets upload $D --apply plan.jsonl", 2, "Line 1 of plan.jsonl is not a valid plan entry."),
    ("assets upload $D --apply missing.jsonl", 2, "The plan missing.jsonl cannot be read: No such file or directory."),
    ("assets upload $D images --incldue x", 2, "unknown option --incldue; did you mean --include?"),
    ("assets download $D", 2, "missing: DIR"),
    (
        "assets download $D note.txt",
        1,
        "note.txt is a file, not a folder. Give another folder that can be written to as DIR.",
    ),
    ("assets download $D copy --asset nope", 1, "nope: the asset does not exist. [ENOENT]"),
    (
        "assets download $D copy --asset nope --filter a=b",
        2,
        "Give --asset or a selection (--filter, --query), not both.",
    ),
    ("assets sync $D", 2, "missing: DIR"),
    ("assets sync $D missing", 2, "No such folder: missing. Check the spelling; relative paths are looked up in *"),
    ("assets sync $D copy --direction left", 2, "--direction: expected one of up, down, got 'left'"),
    (
        "assets sync $D empty --delete --yes",
        7,
        "Nothing is deleted: the folder empty contains no images or videos, so all 1 of the other side would be deleted.",
    ),
    (
        "assets sync $D images --direction down --follow-links",
        2,
        "--follow-links applies to uploads only; leave it out with --direction down.",
    ),
    ("assets sync $D images --max-delete -1", 2, "--max-delete: expected a whole number above 0, got '-1'"),
    ("assets verify $D missing", 2, "No such folder: missing. Check the spelling; relative paths are looked up in *"),
    ("datasets create", 2, "missing: NAME"),
    ('datasets create ""', 2, "name must not be empty."),
    ("datasets create x --type boxes", 2, "--type: expected one of phrase-grounding, vqa, freeform, got 'boxes'"),
    ("datasets show nope", 4, "There is no dataset 'nope'. List them with: vi-sdk datasets ls"),
    ("datasets rm nope", 4, "There is no dataset 'nope'. List them with: vi-sdk datasets ls"),
    ("transfers forget", 2, "forget needs ids of transfers, or --all"),
    ("transfers forget nope", 4, "The transfer nope does not exist. List them with: vi-sdk transfers ls"),
    ("config shwo", 2, "there is no command 'shwo'; did you mean show?"),
    (
        "whoami --profile nope",
        2,
        "The settings file * cannot be read: No such file or directory. Create it with vi-sdk login, or name another with --config.",
    ),
    (
        "whoami --config missing.toml",
        2,
        "The settings file missing.toml cannot be read: No such file or directory. Create it with vi-sdk login, or name another with --config.",
    ),
    (
        "whoami --endpoint ftp://x",
        2,
        "The endpoint 'ftp://x' from the argument is not an http(s) address. It looks like https://api.vi.datature.com or http://127.0.0.1:8787.",
    ),
    (
        "whoami --endpoint http://vi.example",
        2,
        "The endpoint 'http://vi.example' from the argument would send the secret key unencrypted. Use https.",
    ),
    (
        "whoami --endpoint http://127.0.0.1:9",
        5,
        "GET /workspaces/* failed: no connection to 127.0.0.1:9: connection refused. Check the endpoint and the network, and run the same command again.",
    ),
    ("login --key-stdin", 2, "login --key-stdin needs --organization"),
    (
        "serve --host no.such.host.invalid --data new",
        2,
        "Cannot listen on no.such.host.invalid: no address has this name. Give 127.0.0.1 for this machine only, *",
    ),
    ("serve --port 99999", 2, "--port: expected a port from 0 to 65535, got '99999'"),
    ("serve --port -1", 2, "--port: expected a port from 0 to 65535, got '-1'"),
    ("serve --data note.txt", 2, "The folder * cannot be used: *ile *exists."),
    ("demo onlytxt", 2, "No images or videos in onlytxt."),
    ("demo missing", 2, "No such file or folder: missing. Check the spelling; relative paths are looked up in *"),
    ("doctor --slow", 2, "--slow needs --contract."),
    ("completion tcsh", 2, "shell: expected one of bash, zsh, fish, powershell, datasets, got 'tcsh'"),
    ("help nonsense", 2, "there is no command 'nonsense'"),
    ("--verson", 2, "unknown option --verson; did you mean --version?"),
    ("version", 2, "there is no command 'version'; did you mean --version?"),
    ("transfers rm nope", 2, "there is no command 'rm'; did you mean forget?"),
    ("datasets rename x y", 2, "there is no command 'rename'"),
    ("doctor --nope", 2, "unknown option --nope"),
    ("datasets ls --endpoint ''", 2, "--endpoint: must not be empty"),
    ("datasets ls --organization ''", 2, "--organization: must not be empty"),
    ("datasets ls --profile ''", 2, "--profile: must not be empty"),
    ("datasets ls --config ''", 2, "--config: must not be empty"),
    ("datasets ls --config note.txt", 2, "The settings file note.txt cannot be parsed. Correct it, or move it away *"),
    ("assets ls $D --query ''", 2, "--query must not be empty."),
    ("assets sync $D note.txt", 2, "note.txt is a file, not a folder. Check the spelling; *"),
    ("assets upload $D note.txt/1.png", 2, "No such file or folder: note.txt/1.png. Check the spelling; *"),
    ("assets upload $D ''", 2, "A path must not be empty."),
    ("assets verify $D ''", 2, "folder must not be empty."),
    (
        "assets upload $D images --metadata-file names.csv",
        2,
        "--metadata names files that are not being uploaded (1): 'nope.png'. Correct the names, or ignore them with --on-unmatched ignore.",
    ),
    (
        "assets set-metadata $D names.csv",
        2,
        "FILE names files that are not in the dataset (1): 'nope.png'. Correct the names, or ignore them with --on-unmatched ignore.",
    ),
)
"""A command, its exit code, and the line that says why; ``$D`` is a dataset, ``*`` differs from run to run."""

PYTHON = ("client.", "vi.Client", "=True", "save_dir", "asset_ids", "failure_mode", "dry_run", "Traceback")
"""What a command line does not say."""


@pytest.fixture
def place(home: Path, png: Callable[[int], bytes]) -> Path:
    """A folder with what the commands name."""
    for name in ("tree/a", "tree/b", "empty", "onlytxt"):
        (home / name).mkdir(parents=True)
        if name.startswith("tree"):
            (home / name / "1.png").write_bytes(png(1))
    (home / "onlytxt" / "x.txt").write_text("x")
    for name, text in (
        ("bad.png", "text"),
        ("meta.json", "{"),
        ("plan.jsonl", "nope"),
        ("note.txt", "x"),
        ("names.csv", "filename,a\nnope.png,1\n"),
    ):
        (home / name).write_text(text)
    return home


@pytest.mark.parametrize(("command", "code", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_command_is_told_why(
    command: str, code: int, message: str, run: Run, place: Path, client: vi.Client, dataset: str
) -> None:
    if command.startswith("assets sync $D empty"):
        client.assets.upload(dataset, place / "images" / "bridge.png", show_progress=False)
    ended = run(*shlex.split(command.replace("$D", dataset)))
    told = [line.strip().removeprefix("error: ") for line in ended.err.splitlines()]
    assert ended.code == code, ended
    assert any(fnmatch.fnmatchcase(line, message.replace("[", "[[]")) for line in told), ended.err
    assert not [word for word in PYTHON if word in ended.err]
    # A path of this machine may be longer than any sentence.
    assert all(len(line.replace(str(place.parent), "")) <= LONGEST for line in told), told
    if told[0] != ended.err.splitlines()[0]:
        assert ended.err.startswith("error: ")


@pytest.mark.parametrize(
    "command",
    [
        "assets ls",
        "assets ls 9q7x",
        "assets ls $D --filter colour=red",
        "assets rm $D nope --dry-run",
        "datasets rm nope",
        "transfers forget nope",
        "whoami --config no.toml",
    ],
)
def test_with_json_an_error_is_a_document(command: str, run: Run, dataset: str) -> None:
    plain = run(*shlex.split(command.replace("$D", dataset)))
    ended = run(*shlex.split(command.replace("$D", dataset)), "--json")
    assert (ended.code, ended.out) == (plain.code, "")
    (line,) = ended.err.splitlines()
    error = json.loads(line)["error"]
    assert error["exit_code"] == ended.code
    assert error["message"].rstrip(".") in plain.err


def test_a_404_of_a_service_that_never_answered_doubts_the_endpoint(run: Run, service: Any) -> None:
    class Website(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    wrong = run("datasets", "ls", "--endpoint", f"{service.url}/wrong")
    assert wrong.code == 4
    assert (
        f"The path /wrong of the endpoint {service.url}/wrong may be wrong; if it is right, check the ids." in wrong.err
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        other = run("datasets", "ls", "--endpoint", address)
        server.shutdown()
    assert f"Check the endpoint {address}: this is not the answer of a Vi service." in other.err
    assert "datasets ls" not in wrong.err + other.err


def test_every_phrase_that_is_translated_is_still_said() -> None:
    """A sentence of the library that changes must not leave its translation behind."""
    library = "".join(
        path.read_text("utf-8") for path in Path(vi.__file__).parent.rglob("*.py") if path != Path(refusals.__file__)
    ).replace("\\", "")
    words: Any = library.replace('"', "'")
    missing = [python for python, _ in refusals.PHRASES if python.replace('"', "'") not in words]
    assert not missing


def test_every_parameter_that_an_error_advises_is_an_option_here() -> None:
    """An error speaks of ``on_unmatched='ignore'``; the command line says ``--on-unmatched ignore``, which it has."""
    options = set(_options(build_parser()))
    advised = {text for text in _sentences() if refusals.ADVICE.search(text) and not text.startswith("list(")}
    assert any("on_unmatched=" in text for text in advised)
    unknown = {
        (option, text)
        for text in advised
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", refusals.in_words_of_the_command_line(text))
        if option not in options
    }
    assert not unknown


def _options(parser: Any) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)


def _sentences() -> Iterator[str]:
    """Yield the texts of the modules that a command runs, without docstrings."""
    root = Path(vi.__file__).parent
    for path in (root / "config.py", *(root / "api").rglob("*.py"), *(root / "_transfer").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documents = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                yield node.value
