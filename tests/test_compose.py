"""The example with containers: its syntax, and that its commands and names are those that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vi.cli import build_parser

yaml = pytest.importorskip("yaml")

FILE = Path(__file__).parent.parent / "docs" / "examples" / "compose.yaml"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text("utf-8")))


def test_the_commands_of_the_example_are_commands(example: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for service in example["services"].values():
        words = shlex.split(service.get("command", ""))
        if words[:1] != ["vi-sdk"]:
            continue
        for name in ("VI_DATABASE", "VI_STORE", "VI_STORE_ENDPOINT"):
            monkeypatch.setenv(name, service["environment"][name])
        given = build_parser().parse_args(words[1:])
        assert given.database.startswith("postgresql://vi:")
        assert given.store == "s3://vi-bytes/service"
        assert given.store_endpoint == "http://store:8333"
        seen.append(words[1])
    assert sorted(seen) == ["serve", "serve", "worker", "worker"]


def test_what_the_example_refers_to_is_in_it(example: dict[str, Any]) -> None:
    services = example["services"]
    for service in services.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted == {"condition": "service_healthy"}
            assert "test" in services[name]["healthcheck"]
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in example["volumes"]
        for config in service.get("configs", ()):
            assert config["source"] in example["configs"]
    nginx = (FILE.parent / example["configs"]["nginx"]["file"]).read_text("utf-8")
    assert re.findall(r"server (serve-\S*):8787 ", nginx) == [name for name in services if name.startswith("serve-")]
    assert f"listen {services['nginx']['ports'][0].partition(':')[2]};" in nginx
    assert (
        services["store"]["environment"]["AWS_ACCESS_KEY_ID"] == services["serve-1"]["environment"]["AWS_ACCESS_KEY_ID"]
    )


def test_the_store_of_the_example_knows_its_options(example: dict[str, Any]) -> None:
    program = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
    if program is None:
        pytest.skip("SeaweedFS is not installed (weed)")
    command, *words = example["services"]["store"]["command"].split()
    told = subprocess.run([program, command, "-h"], capture_output=True, text=True, check=False)
    known = {line.split()[0] for line in (told.stdout + told.stderr).splitlines() if line.startswith("  -")}
    assert {word.partition("=")[0] for word in words} <= known
