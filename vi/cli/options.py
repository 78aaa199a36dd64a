"""Options that several verbs have in common, and what their values mean."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .._paths import as_path
from .._redact import brief
from .._show.console import complain
from ..errors import ViNotFoundError, ViOperationError
from . import exits

if TYPE_CHECKING:
    from ..client import Client

OTHER_WORDS = {
    "list": ("ls",),
    "rm": ("forget", "revoke"),
    "delete": ("rm", "forget", "revoke"),
    "remove": ("rm", "forget", "revoke"),
    "discard": ("forget",),
    "get": ("show",),
    "info": ("show",),
    "new": ("create", "add"),
    "create": ("add",),
    "add": ("create", "upload"),
    "cp": ("upload",),
    "push": ("upload",),
    "pull": ("download",),
}
"""What other command lines call our commands."""

NO_RETRY_SECONDS = 2.0
"""How long ``--no-retry`` waits for a connection."""

_ID = re.compile("[0-9a-f_-]{20,}")
"""What the services make as ids; other text may be a name."""

SIMILAR = 0.7
"""How alike two words must be, of 1, for one to be offered for the other."""

Run = Callable[[argparse.Namespace], int]

Verbs = argparse._SubParsersAction  # the type of what `add_subparsers` returns has no public name


class VerbParser(argparse.ArgumentParser):
    """The parser of one verb: options may stand between and after its arguments."""

    _within = False

    # An overload of typeshed takes *namespace* by name only, which pyright does not find in one that also has a place.
    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        if self._within:
            return super().parse_known_args(given, namespace)
        if self._subparsers is not None:
            found, unknown = super().parse_known_args(given, namespace)
            if unknown:
                self._refuse(unknown)
            return found, unknown
        self._within = True
        try:
            parse = super().parse_known_args if "--" in given else self.parse_known_intermixed_args
            found, unknown = parse(given, namespace)
        finally:
            self._within = False
        if unknown:
            self._refuse(unknown)
        return found, unknown

    def _refuse(self, unknown: Sequence[str]) -> None:
        word = unknown[0].partition("=")[0]
        if word.startswith("-"):
            known = [
                name for action in self._actions for name in action.option_strings if action.help != argparse.SUPPRESS
            ]
            self.error(f"unknown option {word}{near(word, known)}")
        self.error(f"one argument too many: {word}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        if not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(
                action, f"expected one of {', '.join(known)}, got {brief(value)}{near(value, known)}"
            )
        below = [" ".join(path) for path in commands_within(action, value)]
        ours = [word for word in OTHER_WORDS.get(value, ()) if word in known]
        ours += [f"--{value}"] * (f"--{value}" in self._option_string_actions)
        meant = f"; did you mean {(below + ours)[0]}?" if below or ours else near(value, known)
        self.error(f"there is no command {value!r}{meant}")

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments: the error comes first, and where the usage is last."""
        text = message.removeprefix("argument ").replace("the following arguments are required: ", "missing: ")
        text = text.replace("unrecognized arguments: ", "unknown option ").replace("with argument", "with")
        raise exits.WrongUseError(text, see=f"{self.prog} --help")


def groups_of(parser: argparse.ArgumentParser) -> list[Verbs[Any]]:
    """Return what holds the commands of a parser."""
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def commands_within(action: Verbs[Any], word: str) -> list[tuple[str, str]]:
    """Return the groups that have a command *word*, each with it."""
    inner = {name: groups_of(parser) for name, parser in action.choices.items()}
    return [(name, word) for name, groups in inner.items() if any(word in group.choices for group in groups)]


def near(word: str, known: Iterable[str]) -> str:
    """Ask whether the most similar of the *known* words was meant; empty if none is similar."""
    import difflib

    # Without the dashes, which all options have in common.
    bare = {one.lstrip("-") or one: one for one in known}
    found = difflib.get_close_matches(word.lstrip("-"), bare, 1, SIMILAR)
    return f"; did you mean {name_of(bare[found[0]])}?" if found else ""


def name_of(word: str) -> str:
    """Return a word as an error shows it: in quotes where it would not end where it does."""
    return repr(word) if " " in word else word


def add_verb(
    verbs: Verbs[VerbParser], name: str, about: str, example: str, *, description: str | None = None
) -> VerbParser:
    """Add a verb with an example, which the tests run."""
    return verbs.add_parser(
        name,
        help=about,
        description=description or f"{about[0].upper()}{about[1:]}.",
        epilog=f"example:\n{example.rstrip()}\n\nExit codes: see vi-sdk --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_group(verbs: Verbs[VerbParser], name: str, about: str) -> Verbs[VerbParser]:
    """Add a resource, and return where its verbs go."""
    parser = verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)
    return add_commands(parser)


def add_commands(parser: VerbParser) -> Verbs[VerbParser]:
    """Let a parser have commands; without one, its help is shown."""

    def run(given: argparse.Namespace) -> int:
        complain(parser.format_help().rstrip())
        return exits.WRONG_USE

    parser.set_defaults(run=run)
    return parser.add_subparsers(title="commands", metavar="COMMAND")


def add_dataset(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the dataset, or datasets, that a command is about."""
    parser.add_argument(
        *(["datasets"] if several else ["dataset"]),
        nargs="+" if several else None,
        metavar="DATASET",
        help="id or name of the dataset",
    )


def dataset_id(client: Client, text: str) -> str:
    """Return the id of the dataset that *text* names: by its id, or else by its name, which must be unique."""
    from .. import _routes
    from ..api.types import MAX_PAGE_SIZE, PaginationParams

    if _ID.fullmatch(text):
        return text
    if _routes.is_identifier(text):
        with contextlib.suppress(ViNotFoundError):
            return client.datasets.get(text).dataset_id
    pages = [*client.datasets.list(PaginationParams(page_size=MAX_PAGE_SIZE)).pages()]
    datasets = [dataset for page in pages for dataset in page.items]
    found = [dataset.dataset_id for dataset in datasets if dataset.name == text]
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
        ids = f"{', '.join(found[:5])}{more}"
        raise exits.WrongUseError(f"{len(found):,} datasets are named {text!r}: use an id: {ids}")
    if unread := sum(len(page.bad_items) for page in pages):
        raise ViOperationError(f"{unread:,} of the datasets cannot be read: give the id of {brief(text)}.")
    meant = near(text, [dataset.name for dataset in datasets]).removeprefix("; d")
    hint = f"{f'D{meant} ' if meant else ''}List them with: vi-sdk datasets ls"
    raise ViNotFoundError(f"There is no dataset {text!r}.", suggestion=hint)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add where the service is; the key is not an option, because other users can see command lines."""
    group = parser.add_argument_group("connection")
    group.add_argument("--profile", type=text, metavar="NAME", help="settings to use from the settings file")
    group.add_argument("--config", type=text, metavar="FILE", help="settings file to use")
    group.add_argument("--endpoint", type=text, metavar="URL", help="address of the service")
    group.add_argument("--organization", type=text, metavar="ID", help="id of the organization")
    group.add_argument(
        "--no-retry",
        action="store_true",
        help=f"fail instead of retrying, at most {NO_RETRY_SECONDS:.0f} seconds to connect (see also VI_RETRIES)",
    )


def finish(parser: VerbParser, run: Run, *, ids: str | None = "ids only", connects: bool = True) -> None:
    """Let a verb call *run*; add how to print, where *ids* says what ``--quiet`` leaves, and where the service is."""
    parser.set_defaults(run=run)
    group = parser.add_argument_group("output").add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="JSON, one line for each item of a list")
    if ids is not None:
        group.add_argument("--quiet", "-q", action="store_true", help=ids)
    else:
        parser.set_defaults(quiet=False)
    if connects:
        add_connection(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add how to choose assets by what the service knows of them."""
    group = parser.add_argument_group("selection")
    group.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="field of the asset and its value (metadata.status=Annotated), repeatable; or one JSON object of them",
    )
    group.add_argument("--query", metavar="TEXT", help="query over custom metadata, such as 'camera == \"north\"'")
    group.add_argument("--strict", action="store_true", help="make --query and --filter case-sensitive")


def add_patterns(parser: argparse.ArgumentParser) -> None:
    """Add how to choose files by name."""
    group = parser.add_argument_group("files")
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="take only what matches, as in .gitignore ('*.png', 'train/'); repeatable",
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out what matches, as in .gitignore and a .viignore in the folder; repeatable",
    )


def add_naming(parser: argparse.ArgumentParser) -> None:
    """Add how local files are found and named."""
    parser.add_argument(
        "--names",
        choices=("basename", "relative"),
        default="basename",
        help="names of new assets: the bare file name, or the path below the folder (default: %(default)s)",
    )
    parser.add_argument("--follow-links", action="store_true", help="walk into symlinked folders too")


def add_metadata(parser: argparse.ArgumentParser) -> None:
    """Add custom metadata for uploads."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--metadata",
        action="append",
        default=[],
        type=pair,
        metavar="KEY=VALUE",
        help="custom metadata for every file, repeatable; numbers, true and false are read as such",
    )
    group.add_argument(
        "--metadata-file",
        metavar="FILE",
        help="table with a column filename, as .csv, .tsv, .jsonl or .parquet, or a .json object of file names",
    )
    add_unmatched(parser)


def add_retention(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of the annotations of assets that are overwritten."""
    parser.add_argument(
        "--keep-annotations", action="store_true", help="keep the annotations of assets that are overwritten"
    )


def retention(given: argparse.Namespace) -> str:
    """Return what becomes of them as an argument of the API."""
    return "KeepLinkedResource" if given.keep_annotations else "RemoveLinkedResource"


def add_unmatched(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of metadata that belongs to no file."""
    parser.add_argument(
        "--on-unmatched",
        choices=("error", "ignore"),
        default="error",
        help="what to do if the table names files that are not there (default: %(default)s)",
    )


def add_moving(parser: argparse.ArgumentParser) -> None:
    """Add what every transfer has."""
    parser.add_argument("--no-progress", action="store_true", help="show no progress")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="cancel after this time")
    parser.add_argument(
        "--fail-if-nothing", action="store_true", help=f"exit with {exits.NOTHING} if there is nothing to transfer"
    )


def add_consent(parser: argparse.ArgumentParser, *, of_deletions: bool = True) -> None:
    """Add how to agree beforehand."""
    if of_deletions:
        parser.add_argument("--dry-run", action="store_true", help="show what would be deleted, without deleting it")
    parser.add_argument("--yes", "-y", action="store_true", help="delete without asking; required without a terminal")


def open_client(given: argparse.Namespace) -> Client:
    """Return a client of the service that the options and settings name."""
    import vi

    from ..config import RetryPolicy

    client = vi.Client(
        organization_id=given.organization,
        endpoint=given.endpoint,
        config_file=given.config,
        profile=given.profile,
        retries=RetryPolicy(max_attempts=1, connect_patience=NO_RETRY_SECONDS) if given.no_retry else None,
    )
    tell_of_silence(client)
    if hasattr(given, "dataset"):
        try:
            given.dataset = dataset_id(client, given.dataset)
        except BaseException:
            client.close()
            raise
    return client


def tell_of_silence(client: Client) -> None:
    """Say on stderr, once, that the service does not answer, and until when it is waited for."""
    from urllib.parse import urlsplit

    from .._events import RetryEvent, SilenceEvent

    address = urlsplit(client.settings.endpoint)
    place = f"{address.hostname}:{address.port or (443 if address.scheme == 'https' else 80)}"

    def hear(event: object) -> None:
        patience: float | None
        if isinstance(event, SilenceEvent):
            reason, patience = "no answer yet", event.seconds
        elif isinstance(event, RetryEvent) and event.kind == "api":
            reason, patience = event.reason.removeprefix(f"no connection to {place}: "), event.patience
        else:
            return
        stop()
        end = dt.datetime.now().astimezone() + dt.timedelta(seconds=patience or 0)
        until = "trying again" if patience is None else f"until {end:%H:%M:%S}"
        complain(f"Waiting for {place} ({reason}), {until}. Ctrl+C stops; --no-retry fails at once.")

    stop = client.hooks.add(hear)


def selection(given: argparse.Namespace) -> dict[str, Any]:
    """Return the selection as arguments of the API."""
    return {
        "filter_criteria": _filter(given.filter),
        "metadata_query": given.query,
        "strict_query": given.strict,
    }


def _filter(texts: Sequence[str]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            try:
                found.update(json.loads(text))
            except ValueError:
                raise exits.WrongUseError(f"--filter {text}: it is not a JSON object") from None
        else:
            name, sign, value = text.partition("=")
            if not sign or not name:
                raise exits.WrongUseError(f"--filter {text}: expected FIELD=VALUE or a JSON object")
            found[name] = scalar(value)
    return found or None


def custom_metadata(given: argparse.Namespace) -> dict[str, Any] | Path | None:
    """Return the metadata as an argument of the API."""
    if given.metadata_file is None:
        return dict(given.metadata) or None
    return as_path(given.metadata_file, "--metadata-file")


def pair(text: str) -> tuple[str, str | int | float | bool]:
    """Read ``KEY=VALUE``."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {brief(text)}")
    return key, scalar(value)


def scalar(text: str) -> str | int | float | bool:
    """Read a number, a truth value or quoted text as JSON does, anything else as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    good = isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if good else text


def text(value: str) -> str:
    """Read text; an empty one, as of a variable that is not set, would be replaced in silence."""
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return value


def count(text: str) -> int:
    """Read a number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {brief(text)}")
    return value


def port(text: str) -> int:
    """Read the number of a port; 0 is for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {brief(text)}")
    return int(text)


def seconds(text: str) -> float:
    """Read a time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {brief(text)}")
    return value


def confirm(question: str, given: argparse.Namespace) -> bool:
    """Ask on the terminal; without one, only ``--yes`` agrees."""
    from .._show.console import ask, can_ask

    if given.yes:
        return True
    if not can_ask():
        raise exits.WrongUseError(f"{question} Add --yes to confirm: there is no terminal to ask on.")
    return ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
