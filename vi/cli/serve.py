"""``serve``: keep a local service running, in this terminal or in the background."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._show.console import complain, say
from .._show.text import named, printable
from .._show.writer import columns_of
from . import exits, options, service_options

if TYPE_CHECKING:
    from ..server import LocalService

EXAMPLE = """  vi-sdk serve --data ./vi-data --port 0 --env-file ./vi-data/.env
  vi-sdk serve --data ./vi-data --profile --open   # now `vi-sdk datasets ls --profile local` works in every shell
  vi-sdk serve --data ./vi-data --profile --detach
"""

LOG = "service.log"
SETTINGS = (
    *("public_url", "tls_cert", "tls_key", "store", "store_endpoint", "store_public_url", "uploads", "downloads"),
    *("access_log", "metrics"),
)
"""The options that are settings of the service by the same names."""


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "serve",
        "run the local service until Ctrl+C",
        EXAMPLE,
        description="Run the local service over a folder until SIGTERM or Ctrl+C.",
    )
    parser.add_argument("--data", default="./vi-data", metavar="DIR", help="folder to serve (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=options.port, default=8787, help="port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--env-file", metavar="FILE", help="write the three DATATURE_VI_* settings here once ready")
    service_options.add_address(
        parser,
        "--public-url",
        "VI_PUBLIC_URL",
        "address that clients use: signed URLs begin with it (or VI_PUBLIC_URL)",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept this host name too, beside that of --public-url; repeatable",
    )
    service_options.add_database(
        parser,
        "keep metadata in this PostgreSQL database, not in the folder (or VI_DATABASE, which hides a password)",
    )
    service_options.add_store(parser)
    reached = "address at which clients reach the store (or VI_STORE_PUBLIC_URL)"
    service_options.add_address(parser, "--store-public-url", "VI_STORE_PUBLIC_URL", reached)
    service_options.add_ways(parser)
    parser.add_argument(
        "--drain",
        type=options.seconds,
        default=0.0,
        metavar="SECONDS",
        help="answer on for so long after SIGTERM, while /healthz/ready answers 503 (default: %(default)g)",
    )
    parser.add_argument("--access-log", action="store_true", help="write a line of JSON for each request to stderr")
    parser.add_argument("--metrics", action="store_true", help="answer /metrics for Prometheus, to those with a key")
    parser.add_argument("--tls-cert", metavar="FILE", help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="key of the certificate (default: in the same file)")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="local",
        metavar="NAME",
        help="save the address and the key as a profile of the settings file once ready (default name: %(const)s)",
    )
    parser.add_argument("--config", metavar="FILE", help="settings file for --profile")
    parser.add_argument("--open", action="store_true", help="open the gallery in a browser, logged in")
    parser.add_argument(
        "--detach",
        action="store_true",
        help=f"run in the background, and return once the service is ready; its log is {LOG} in the folder",
    )
    parser.add_argument("--in-background", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Serve."""
    if given.detach:
        return _detach(given)
    from ..server import ServiceConfig
    from ..server import run as serve

    config = ServiceConfig(
        **{name: getattr(given, name) for name in SETTINGS},
        allowed_hosts=given.allowed_host,
        database=given.database,
        drain_seconds=given.drain,
    )
    if given.access_log:
        from ..server.access_log import write_to_stderr

        write_to_stderr()
    return serve(
        given.data,
        given.host,
        given.port,
        given.env_file,
        lambda service, warning: _ready(service, warning, given),
        config=config,
    )


def _ready(service: LocalService, warning: str | None, given: argparse.Namespace) -> None:
    rows = [("address", service.url), ("organization", service.organization_id)]
    link = service.login_link() or service.url
    rows.append(("gallery", f"{link}  (works once)"))
    if given.profile:
        from ..profiles import save_profile

        save_profile(
            service.secret_key, service.organization_id, service.url, profile=given.profile, config_file=given.config
        )
        name = shlex.quote(given.profile)
        rows.append(("profile", f"--profile {name}, or vi.Client(profile={given.profile!r})"))
    if given.env_file:
        rows.append(("settings", f"{given.env_file}: {_taken_from(Path.cwd() / given.env_file)}"))
    where = f"secret_key in {service.data / 'identity.json'}"
    rows.append(("key", where if given.database is None else "in the database; --env-file FILE or --profile saves it"))
    rows.append(("stop", _stop() if given.in_background else "Ctrl+C"))
    lines = named(rows, columns_of(sys.stdout), indent="  ")
    say("\n".join([printable(f"Serving {service.data}"), *lines]))
    if warning is not None:
        say(printable(warning))
    if given.open:
        import threading

        threading.Thread(target=_open, args=(link,), daemon=True).start()
    if given.in_background:
        from .._disk import open_private

        # Whoever started this reads stdout to its end.
        with Path(os.devnull).open("wb") as nowhere, open_private(service.data / LOG, again=True) as log:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(log.fileno(), 2)


def _taken_from(path: Path) -> str:
    """Return the command that takes settings from a file into a shell; on Windows, into PowerShell."""
    if os.name != "nt":
        return f"set -a; . {shlex.quote(str(path))}"
    quoted = str(path).replace("'", "''")
    return f"Get-Content '{quoted}' | ForEach-Object {{ $n, $v = $_ -split '=', 2; Set-Item env:$n $v.Trim(\"'\") }}"


def _stop() -> str:
    return f"taskkill /F /PID {os.getpid()}" if os.name == "nt" else f"kill {os.getpid()}"


def _open(link: str) -> None:
    import webbrowser

    if not webbrowser.open(link):
        complain("No browser could be opened. Open the address of the gallery in one.")


def _apart() -> dict[str, Any]:
    """Return how a process is started that the terminal's signals do not reach."""
    import subprocess

    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _detach(given: argparse.Namespace) -> int:
    """Start the service in a process of its own, and wait until it is ready or has failed."""
    import subprocess
    import tempfile

    from ..server.inspection.worker_process import CannotStartError, interpreter

    try:
        python = interpreter()
    except CannotStartError as error:
        raise exits.WrongUseError(f"--detach cannot start the service: {error.reason}. Leave it out.") from None
    words = ["serve", "--in-background", f"--data={given.data}", f"--host={given.host}", f"--port={given.port}"]
    for name in (*SETTINGS, "env_file", "profile", "config", "drain", "open"):
        if value := getattr(given, name):
            option = f"--{name.replace('_', '-')}"
            words.append(option if value is True else f"{option}={value}")
    words += [f"--allowed-host={name}" for name in given.allowed_host]
    with tempfile.TemporaryFile() as problems:
        service = subprocess.Popen(  # noqa: S603 - this very program
            [python, "-m", "vi", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=problems,
            # Not among the words, which every user of the machine can read: it may hold a password.
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "VI_DATABASE": given.database or ""},
            **_apart(),
        )
        assert service.stdout is not None
        try:
            with service.stdout:
                said = service.stdout.read().decode("utf-8", "replace").rstrip()
        except KeyboardInterrupt:
            service.terminate()
            service.wait()
            raise
        if said:
            say(said)
            service.returncode = 0  # nobody here waits for it
            return exits.DONE
        code = service.wait()
        problems.seek(0)
        complain(problems.read().decode("utf-8", "replace").rstrip() or "The service ended at once.")
        return code or exits.FATAL
