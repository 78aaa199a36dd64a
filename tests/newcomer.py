"""Try each extra alone, in an environment made for it, as somebody would who has just installed it.

``python tests/newcomer.py WHEEL FOLDER`` makes the environments in FOLDER; ``nox -s newcomer`` calls it. Those without
``local`` use a service of the environment that has it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

SCRIPTS = "Scripts" if os.name == "nt" else "bin"

MAKE_IMAGES = """
from pathlib import Path
from PIL import Image
Path("images").mkdir()
for number in range(6):
    Image.new("RGB", (160, 120), (40 * number, 90, 160)).save(f"images/square-{number}.png")
"""

FIRST_SCRIPT = """
import vi
with vi.Client() as client:
    dataset = client.datasets.create(name="newcomer").dataset_id
    result = client.assets.upload(dataset, "./images/", show_progress=False)
    client.assets.download(dataset, "./copy", show_progress=False)
    assert (result.total_succeeded, client.assets.verify(dataset, "./copy").ok) == (6, True)
    {more}
"""

MORE = {
    "": "",
    "fast": "import uvloop",
    "distributed": "import psycopg",
    "metrics": "import prometheus_client",
    "otel": "import vi.otel; vi.otel.instrument(client)(); client.datasets.list()",
    "pandas": "import vi.rows; assert len(vi.rows.to_pandas(client.assets.list(dataset))) == 6; "
    "assert vi.rows.to_arrow(client.assets.list(dataset)).num_rows == 6",
    "cloud": "from upath import UPath; client.assets.upload(dataset, UPath('images')); "
    "client.assets.upload(dataset, UPath('images/square-0.png').resolve().as_uri())",
    "fastapi": "from fastapi import FastAPI; import vi.fastapi as f; "
    "f.add_error_handlers(FastAPI(lifespan=f.lifespan()))",
}

TEST = """
def test_it(vi_client, vi_dataset, vi_images):
    assert vi_client.assets.upload(vi_dataset.dataset_id, vi_images(3)).total_succeeded == 3
"""

MISSING = {
    "import vi; vi.Client.local()": "[local]",
    "import vi.fastapi": "[fastapi]",
    "import vi.otel": "[otel]",
    "import vi.rows; vi.rows.to_pandas([])": "[pandas]",
    "import vi; vi.Client().assets.upload('0123456789abcdef', 's3://bucket/a.png')": "[cloud]",
    "from vi.cli import main; raise SystemExit(main(['demo']))": "[local]",
    "from vi.cli import main; raise SystemExit(main(['serve']))": "[local]",
}
"""What the package says to install when an extra is needed and is not there."""


def make(folder: Path, wheel: str, extra: str, *others: str) -> Path:
    """Make an environment with the package and *extra*, and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    programs = folder / SCRIPTS
    wanted = f"{wheel}[{extra}]" if extra else wheel
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", wanted, *others], check=True)
    return programs


def main(wheel: str, work: Path) -> None:
    """Try all; the first that does not do what its page says ends it."""
    place = work / "place"
    place.mkdir(parents=True)
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("VI_", "DATATURE_", "PYTHON"))}
    plain |= {"VI_CACHE_DIR": str(work / "cache"), "VI_CONFIG": str(work / "none.toml")}
    (work / "none.toml").touch()

    def run(*command: object, env: dict[str, str] = plain) -> None:
        subprocess.run([str(part) for part in command], cwd=place, env=env, check=True, timeout=120)

    local = make(work / "local", wheel, "local", "pytest")
    run(local / "vi-sdk", "demo")
    run(local / "python", "-c", MAKE_IMAGES)
    (place / "test_it.py").write_text(TEST, "utf-8")
    (place / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    run(local / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    settings = work / "vi.env"
    command = [local / "vi-sdk", "serve", "--data", work / "data", "--port", "0", "--env-file", settings]
    with subprocess.Popen(command, cwd=place, env=plain) as service:
        try:
            while not (settings.exists() and settings.stat().st_size):
                assert service.poll() is None, "the service did not start"
                time.sleep(0.05)
            beside = plain | dict(line.split("=", 1) for line in settings.read_text("utf-8").splitlines())
            run(local / "vi-sdk", "doctor", env=beside)
            for extra, more in MORE.items():
                programs = make(work / (extra or "base"), wheel, extra)
                run(programs / "python", "-c", FIRST_SCRIPT.format(more=more), env=beside)
                run(programs / "vi-sdk", "datasets", "ls", "--quiet", env=beside)
                print(f"{extra or 'no extra'}: as it should be", flush=True)
            for code, wanted in MISSING.items():
                ended = subprocess.run(
                    [work / "base" / SCRIPTS / "python", "-c", code],
                    cwd=place,
                    env=beside,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                assert ended.returncode, code
                assert f'pip install "vi-async-sdk{wanted}"' in ended.stderr, (code, ended.stderr)
        finally:
            service.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
