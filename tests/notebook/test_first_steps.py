"""The notebook of the first steps runs as it is, and what is saved of it gives nothing away."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import vi
from tests.cli.outcomes import check_no_secret
from tests.notebook.kernel import ROOT
from tests.support.readme_blocks import ROOT as REPOSITORY

pytestmark = pytest.mark.notebook

NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The cells by their id, after a run in a folder of its own."""
    home = tmp_path_factory.mktemp("home")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(home / ".ipython"))
        patch.setenv("JUPYTER_DATA_DIR", str(home / ".jupyter"))
        patch.setenv("VI_CACHE_DIR", str(home / "cache"))
        patch.setenv("VI_LOG", "info")
        NotebookClient(
            notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(home)}}
        ).execute()
    with vi.Client.local(home / "vi-data") as client:
        key = client.settings.secret_key
    saved = nbformat.writes(notebook)
    cells = {cell["id"]: cell for cell in notebook.cells}
    return {"cells": cells, "saved": saved, "key": key, "home": home}


def shown(executed: dict[str, Any], cell: str, mime: str = "text/html") -> str:
    """The value that a cell shows."""
    (output,) = [o for o in executed["cells"][cell].outputs if o.output_type == "execute_result"]
    text: str = output.data[mime]
    return text


def test_the_bad_files_are_named_in_the_report(executed: dict[str, Any]) -> None:
    for cell in ("send", "await-report"):
        report = shown(executed, cell)
        assert "12 files uploaded" in report
        for path, code in (("images/broken.jpg", "ECORRUPT"), ("images/notes.png", "EBADMIME")):
            assert re.search(rf"<td[^>]*>{path}</td><td[^>]*>{code}</td>", report)
        assert "2 failed" in shown(executed, cell, "text/plain")
    assert eval(shown(executed, "report", "text/plain")) == [("broken.jpg", "ECORRUPT"), ("notes.png", "EBADMIME")]


def test_pictures_are_shown_with_names_and_sizes(executed: dict[str, Any]) -> None:
    for cell in ("grid", "await-grid"):
        grid = shown(executed, cell)
        assert grid.count('<img src="data:image/jpeg;base64,') == 10
        assert re.search(r"lamp-00\.jpg.*320 x 240, [\d.]+ KiB", grid)


def test_what_came_back_is_the_same(executed: dict[str, Any]) -> None:
    assert "12 files identical" in shown(executed, "verify")
    assert shown(executed, "verify", "text/plain") == "12 files identical"
    assert "broken.jpg" in shown(executed, "differs")
    assert eval(shown(executed, "await-check", "text/plain")) == (True, 12, 2, "copy-again")
    names = {path.name for path in (executed["home"] / "copy-again").iterdir()}
    assert names == {f"lamp-{number:02d}.jpg" for number in range(12)}


@pytest.mark.parametrize(("cell", "bars"), [("send", 1), ("fetch", 1), ("await-all", 2), ("verify", 0)])
def test_a_transfer_leaves_one_bar_and_no_lines(executed: dict[str, Any], cell: str, bars: int) -> None:
    outputs = executed["cells"][cell].outputs
    # The log that this notebook asks for names refused files; progress and results write no line.
    lines = [line for o in outputs if o.output_type == "stream" for line in o.text.splitlines()]
    assert [line for line in lines if " INFO vi.server: 'broken.jpg' was refused: " not in line] == []
    drawn = [o.data["text/plain"] for o in outputs if o.output_type == "display_data"]
    assert len(drawn) == bars
    assert all(
        re.fullmatch(
            r"(upload: (2 failed, )?checked 1[24]/1[24], sent|download:) 1[24]/1[24] files, \d+\.\d KiB, \d+\.\d .iB/s, \d s",
            text,
        )
        for text in drawn
    )


def test_the_saved_notebook_holds_no_secret_and_no_control_code(executed: dict[str, Any]) -> None:
    saved = executed["saved"]
    check_no_secret(saved, executed["key"])
    assert not re.search(r"(?i)dtvi_|signature|https?://", saved)
    texts = [
        str(text)
        for cell in executed["cells"].values()
        for output in cell.get("outputs", [])
        for text in [output.get("text", ""), *output.get("data", {}).values()]
    ]
    assert not re.search(r"[\r\x1b\x08]", "".join(texts))
    assert str(executed["home"]) not in saved
    assert len(saved) < 1 << 20


def test_the_committed_notebook_has_no_outputs() -> None:
    document = json.loads(NOTEBOOK.read_text("utf-8"))
    for cell in document["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    again = copy.deepcopy(document)
    nbformat.validate(nbformat.from_dict(again))
    assert again == document
    assert not re.search(r"dtvi_|/home/|/root/|/tmp/|[A-Z]:\\\\", NOTEBOOK.read_text("utf-8"))
