"""The reference of ``vi-sdk``, made from its parser when the documentation is built: see `CommandLine` in conf.py."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from vi.cli import build_parser


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Iterate over the commands below *parser* that run something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from commands(below)
            return
    yield parser


def reference() -> str:
    """Return the reference of every command as reStructuredText."""
    return "\n".join(line for command in commands(build_parser()) for line in _section(command)) + "\n"


def _section(command: argparse.ArgumentParser) -> Iterator[str]:
    name = command.prog
    yield from (name, "-" * len(name), "", _escaped(command.description or ""), "", f".. program:: {name}", "")
    usage = command.format_usage().removeprefix("usage: ")
    yield from ("::", "", *(f"   {line.strip()}" for line in usage.splitlines()), "")
    for group in command._action_groups:
        for action in group._group_actions:
            if action.help != argparse.SUPPRESS:
                yield from _option(command, action)
    title, _, example = (command.epilog or "").partition("\n")
    if title == "example:":
        lines = example.partition("\n\n")[0].splitlines()
        yield from (".. code-block:: console", "", *(f"   {line.strip()}" for line in lines), "")


def _option(command: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    formatter = argparse.HelpFormatter(command.prog)
    value = formatter._format_args(action, action.metavar or action.dest.upper()) if action.nargs != 0 else ""
    if action.choices is not None and not action.metavar:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    names = [f"{name} {value}".rstrip() for name in action.option_strings] or [str(action.metavar or action.dest)]
    text = formatter._expand_help(action) if action.help else ""
    yield from (f".. option:: {', '.join(names)}", "", f"   {_escaped(text)}", "")


def _escaped(text: str) -> str:
    return " ".join(re.sub(r"([\\*`|_])", r"\\\1", text).split())
