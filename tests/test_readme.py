"""Every block of the README runs, in a folder with images and with a service in the environment."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.readme_blocks import ROOT, Block, Section, commands, page, run, run_console, sections
from vi import _samples

README = sections((ROOT / "README.md").read_text("utf-8"))

NOT_RUN = {
    "these are the commands that start the tests",
    "it serves until it is stopped; tests/service does run it",
}
"""Every reason for which a block is not run; a new one is a decision, made here."""


@pytest.mark.parametrize("section", [s for s in README if s.to_run], ids=lambda section: section.title)
def test_the_blocks_of_a_section_run(section: Section, reader: Callable[[Section], dict[str, Any]]) -> None:
    scope = reader(section)
    if "app" in scope:
        upload_through(scope["app"])


def upload_through(app: Any) -> None:
    """Drive the web application of the README: it is not run by defining it."""
    from fastapi.testclient import TestClient

    with vi.Client() as client, TestClient(app) as web:
        dataset = client.datasets.create(name="from the web").dataset_id
        picture = _samples.encode(1, ".png", (16, 12))
        answer = web.post(f"/datasets/{dataset}/images", files={"file": ("posted.png", picture)})
        assert (answer.status_code, answer.json()) == (200, {"stored": 1})
        (asset,) = client.assets.list(dataset).items
        assert asset.filename == "posted.png"
        shown = web.get(f"/datasets/{dataset}/images/{asset.asset_id}", headers={"Range": "bytes=1-3"})
        assert (shown.status_code, shown.content) == (206, picture[1:4])


def test_the_readme_shows_both_forms_and_something_runs() -> None:
    blocks = [block for section in README for block in section.to_run]
    assert len(blocks) >= 5
    assert any("AsyncClient" in block.text for block in blocks)
    assert any("vi.Client" in block.text for block in blocks)


def test_what_is_not_run_has_a_known_reason() -> None:
    reasons = [block.exempt for section in README for block in section.blocks if block.exempt is not None]
    assert set(reasons) == NOT_RUN
    assert len(reasons) <= 4


# The mechanism itself.

TEXT = """
# Title

```python
value = 1
```

Words.

```python
import asyncio
await asyncio.sleep(0)
value += 1
```

```toml
[not] = "run"
```

## Next

<!-- not run: it would never end -->
```python
while True: pass
```

```python
assert "value" not in globals()
value = 7
```

<!-- not run: forgotten -->

Words end an exemption.

```python
value += 1
```
"""


class TestMechanism:
    def test_sections_and_blocks_are_found(self) -> None:
        first, second = sections(TEXT)
        assert (first.title, second.title) == ("Title", "Next")
        assert [block.line for block in first.blocks] == [4, 10, 16]
        assert [block.language for block in first.to_run] == ["python", "python"]
        assert [block.exempt for block in second.blocks] == ["it would never end", None, None]

    def test_blocks_share_a_namespace_within_their_section_only(self, tmp_path: Path) -> None:
        first, second = sections(TEXT)
        assert run(first, tmp_path, {})["value"] == 2
        assert run(second, tmp_path, {})["value"] == 8

    @pytest.mark.parametrize("code", ["1 / 0", "import asyncio\nawait asyncio.sleep(0)\n1 / 0"])
    def test_a_block_that_fails_fails_with_its_line(self, code: str, tmp_path: Path) -> None:
        (section,) = sections(f"# T\n\n```python\n{code}\n```\n")
        with pytest.raises(ZeroDivisionError) as raised:
            run(section, tmp_path, {})
        frame = traceback.extract_tb(raised.tb)[-1]
        assert (frame.filename, frame.lineno) == ("README.md", 3 + len(code.splitlines()))

    def test_directives_are_no_blocks_and_a_page_is_one_section(self) -> None:
        text = "# T\n```{toctree}\n:hidden:\none\n```\n## U\n```python\nx = 1\n```\n```{include} ../x.md\n```\n## V\n```json\n1\n```\n"
        whole = page("t", text)
        assert [(block.language, block.line) for block in whole.blocks] == [("python", 7), ("json", 13)]
        with pytest.raises(ValueError, match="line 1"):
            sections("```{code-block} python\nx = 1\n```\n")

    def test_a_block_of_tests_is_run_by_pytest(self, reader: Any) -> None:
        (section,) = sections(
            "# T\n```python\ndef test_it(vi_images):\n    assert len(list(vi_images(2).iterdir())) == 2\n```\n"
        )
        reader(section)
        (section,) = sections("# T\n```python\ndef test_it(vi_images):\n    assert not vi_images(2)\n```\n")
        with pytest.raises(AssertionError, match=r"the tests ended with 1: (?s:.*)test_line_2.py"):
            reader(section)

    @pytest.mark.parametrize("text", ["```python\nx = 1\n", "```py\nx\n```\n", "```\nx\n```\n", "```ruby\nx\n```\n"])
    def test_a_block_that_would_be_missed_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match="line 1"):
            sections(text)

    def test_clients_left_open_are_closed(self, reader: Any) -> None:
        (section,) = sections(
            "# T\n```python\nimport vi\none = vi.Client()\none.datasets.list()\n```\n"
            "```python\ntwo = vi.AsyncClient()\nawait two.datasets.list()\n```\n"
        )
        scope = reader(section)
        assert scope["two"]._closed
        assert scope["one"]._loop_thread.runs is False

    def test_what_a_block_prints_is_compared(self, tmp_path: Path) -> None:
        text = "# T\n```python\nprint('a 1 b')\n```\nIt prints:\n\n<!-- printed by the block above -->\n```text\na ... {}\n```\n"
        (section,) = sections(text.format("b"))
        assert len(section.blocks) == 1
        run(section, tmp_path, {})
        with pytest.raises(AssertionError, match="line 2: the block printed 'a 1 b"):
            run(sections(text.format("c"))[0], tmp_path, {})
        with pytest.raises(ValueError, match="no Python block above"):
            sections("# T\n<!-- printed by the block above -->\n```text\na\n```\n")

    def test_commands_with_prompts_and_output(self) -> None:
        block = Block("console", "$ vi-sdk a \\\n    --b\nout 1\nout 2\n$ vi-sdk c\n", 1)
        assert commands(block) == [("vi-sdk a --b", "out 1\nout 2\n"), ("vi-sdk c", "")]

    def test_commands_without_prompts(self) -> None:
        block = Block("console", "# a comment\nvi-sdk a\n\npython -m vi b \\\n  c\n", 1)
        assert commands(block) == [("vi-sdk a", ""), ("python -m vi b c", "")]

    @pytest.mark.parametrize("command", ["python -m vi --version", "VI_LOG=info vi-sdk --version"])
    def test_a_command_of_ours_is_run_and_its_output_compared(self, command: str, tmp_path: Path) -> None:
        run_console(Block("console", f"$ {command}\nvi-sdk ...\n", 1), tmp_path, {})
        with pytest.raises(AssertionError, match="printed 'vi-sdk"):
            run_console(Block("console", f"$ {command}\nvi-sdk 9.9.9\n", 1), tmp_path, {})
        with pytest.raises(AssertionError, match=r"line 7: .* ended with 2"):
            run_console(Block("console", f"{command.removesuffix('--version')}nonsense\n", 7), tmp_path, {})

    def test_what_a_command_prints_can_be_kept_for_the_next(self, tmp_path: Path) -> None:
        compared = 'vi-sdk --version | grep -qx "$TEXT"'
        run_console(Block("console", f"TEXT=$(vi-sdk --version)\n{compared}\n", 1), tmp_path, {})
        with pytest.raises(AssertionError, match="ended with 1"):
            run_console(Block("console", f"{compared}\n", 1), tmp_path, {"TEXT": "other"})

    @pytest.mark.parametrize("command", ["rm -rf /", "pip install x", "vi-sdkx", "python -m video", "env vi-sdk"])
    def test_other_commands_need_an_exemption(self, command: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="exempt the block"):
            run_console(Block("console", command, 1), tmp_path, {})
