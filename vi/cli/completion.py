"""``completion``: a script for bash, zsh or fish, made from the parser itself."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import attrs

from .._show.console import say
from . import exits, options

_FILES = ("FILE", "PATH", "DIR", "FOLDER")


@attrs.frozen
class Option:
    """An option: its spellings, what it does, and what its value may be."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]
    takes_file: bool


@attrs.frozen
class Command:
    """A command: the words that lead to it, the words that may follow, and its options."""

    words: tuple[str, ...]
    below: dict[str, str]
    options: tuple[Option, ...]
    choices: tuple[str, ...]
    takes_file: bool


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "completion",
        "print a completion script for a shell",
        '  eval "$(vi-sdk completion bash)"\n  vi-sdk completion zsh > _vi-sdk\n'
        "  vi-sdk completion fish > vi-sdk.fish\n",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the script."""
    commands = list(read_commands(given.whole))
    say({"bash": bash, "zsh": zsh, "fish": fish}[given.shell](commands))
    return exits.DONE


def read_commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """Read a parser and those below it."""
    found: list[Option] = []
    below: dict[str, str] = {}
    choices: tuple[str, ...] = ()
    takes_file = False
    parsers: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = {choice.dest: choice.help or "" for choice in action._choices_actions}
            parsers = list(action.choices.items())
        elif action.option_strings:
            about = (action.help or "").replace("%(default)s", str(action.default))
            allowed = tuple(map(str, action.choices or ()))
            found.append(
                Option(tuple(action.option_strings), about, action.nargs != 0, allowed, action.metavar in _FILES)
            )
        else:
            choices += tuple(map(str, action.choices or ()))
            takes_file = takes_file or action.metavar in _FILES
    yield Command(words, below, tuple(found), choices, takes_file)
    for name, inner in parsers:
        yield from read_commands(inner, (*words, name))


def bash(commands: list[Command]) -> str:
    """Return the script for bash."""
    lines = [
        "# bash completion of vi-sdk",
        "_vi_sdk() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" word',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        case "$path $word" in',
    ]
    paths = [_path(command) for command in commands if command.words]
    lines += [f"            {shlex.quote(path)}) path={shlex.quote(path)} ;;" for path in paths]
    lines += ["        esac", "    done", "    COMPREPLY=()", '    case "$path:$prev" in']
    for command in commands:
        for option in command.options:
            if option.takes_value:
                cases = "|".join(shlex.quote(f"{_path(command)}:{name}") for name in option.names)
                lines.append(f"        {cases}) {_bash_values(option.choices, option.takes_file)} return ;;")
    lines += ["    esac", '    case "$path" in']
    for command in commands:
        words = [name for option in command.options for name in option.names]
        fill = _bash_values((*command.below, *command.choices), command.takes_file)
        dashed = f"if [[ $cur == -* ]]; then {_bash_values(tuple(words), False)} else {fill or ':;'} fi"
        lines.append(f"        {shlex.quote(_path(command))}) {dashed} ;;")
    return "\n".join([*lines, "    esac", "}", "complete -F _vi_sdk vi-sdk"])


def _bash_values(words: tuple[str, ...], files: bool) -> str:
    parts = []
    if words:
        parts.append(f'COMPREPLY+=($(compgen -W "{" ".join(words)}" -- "$cur"));')
    if files:
        parts.append('compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$cur"));')
    return " ".join(parts)


def zsh(commands: list[Command]) -> str:
    """Return the script for zsh."""
    lines = [
        "#compdef vi-sdk",
        "_vi_sdk() {",
        '  local at="" word prev="${words[CURRENT-1]}"',
        "  local -a found",
        '  for word in "${(@)words[2,CURRENT-1]}"; do',
        '    case "$at $word" in',
    ]
    lines += [f"      {shlex.quote(_path(c))}) at={shlex.quote(_path(c))} ;;" for c in commands if c.words]
    lines += ["    esac", "  done", '  case "$at:$prev" in']
    for command in commands:
        for option in command.options:
            if option.takes_value:
                cases = "|".join(shlex.quote(f"{_path(command)}:{name}") for name in option.names)
                fill = "_files" if option.takes_file else f"compadd -- {' '.join(map(shlex.quote, option.choices))}"
                lines.append(f"    {cases}) {fill}; return ;;")
    lines += ["  esac", '  case "$at" in']
    for command in commands:
        told = [f"{name}:{about}" for name, about in command.below.items()] + list(command.choices)
        dashed = [f"{name}:{option.help}" for option in command.options for name in option.names]
        files = "_files; " if command.takes_file else ""
        lines += [
            f"    {shlex.quote(_path(command))})",
            f"      if [[ $PREFIX == -* ]]; then found=({' '.join(map(shlex.quote, dashed))})",
            f"      else found=({' '.join(map(shlex.quote, told))}); {files}fi ;;",
        ]
    return "\n".join([*lines, "  esac", "  (( $#found )) && _describe vi-sdk found", "}", "compdef _vi_sdk vi-sdk"])


def fish(commands: list[Command]) -> str:
    """Return the script for fish."""
    lines = ["# fish completion of vi-sdk", "complete -c vi-sdk -f"]
    for command in commands:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
        not_below = f"not __fish_seen_subcommand_from {' '.join(command.below)}" if command.below else ""
        when = "; and ".join(part for part in (seen, not_below) if part) or "true"
        start = f"complete -c vi-sdk -n {_fish(when)}"
        lines += [f"{start} -a {_fish(name)} -d {_fish(about)}" for name, about in command.below.items()]
        if command.choices:
            lines.append(f"{start} -a {_fish(' '.join(command.choices))}")
        if command.takes_file:
            lines.append(f"{start} -F")
        for option in command.options:
            spelled = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            value = f" -x -a {_fish(' '.join(option.choices))}" if option.choices else " -r" * option.takes_value
            files = " -F" * option.takes_file
            lines.append(f"{start} {' '.join(spelled)}{value}{files} -d {_fish(option.help)}")
    return "\n".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _path(command: Command) -> str:
    return "".join(f" {word}" for word in command.words)
