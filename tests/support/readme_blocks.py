"""The fenced blocks of README and of the documentation: finding them, and running them as a reader would."""

from __future__ import annotations

import ast
import asyncio
import codeop
import contextlib
import doctest
import importlib.metadata
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import vi

ROOT = Path(__file__).parents[2]

RUN = ("python", "console")
SHOWN = ("toml", "json", "text", "yaml")
"""Languages of blocks that there is nothing to run of."""

DIRECTIVES = ("{toctree}", "{include}", "{literalinclude}")
"""What Sphinx puts in the place of a fence; what is included is run where it stands."""

_HEADING = re.compile(r"#{1,6} (.+)")
_FENCE = re.compile(r"```(?:(\{[\w-]+\})(?: .*)?|(\S*)\s*)")
_EXEMPTION = re.compile(r"<!-- not run: (.+?) -->")
_PRINTED = "<!-- printed by the block above -->"
_COMMAND = re.compile(r"((?:[A-Z_]+=\S+ )*)(?:python3? -m vi|vi-sdk)(?= |$)")
_TEST = re.compile(r"^(?:async )?def test_", re.MULTILINE)
_ASSIGNMENT = re.compile(r"([A-Z]+)=\$\((.+)\)")
_SECRET = re.compile(r"dtvi_[A-Za-z0-9_-]{4}|(?i:signature|sig|token)=(?!\*\*\*)")
_SECONDS = 60


@attrs.frozen
class Block:
    """A fenced block: its language, its text, the line it begins at, and why it is not run, if it is not.

    *printed* is the text that a later block says this one prints; ``...`` stands for anything.
    """

    language: str
    text: str
    line: int
    exempt: str | None = None
    printed: str | None = None

    @property
    def is_test(self) -> bool:
        """Whether it is a module for pytest."""
        return _TEST.search(self.text) is not None


@attrs.define
class Section:
    """What stands under one heading; its Python blocks share one namespace."""

    title: str
    blocks: list[Block] = attrs.Factory(list)

    @property
    def to_run(self) -> list[Block]:
        return [block for block in self.blocks if block.language in RUN and block.exempt is None]


def sections(markdown: str) -> list[Section]:
    """Return the sections that hold blocks; raises `ValueError` for a fence without an end or a language unknown."""
    found = [Section("the beginning")]
    exempt: str | None = None
    is_printed = False
    lines = iter(enumerate(markdown.splitlines(), 1))
    for number, line in lines:
        if fence := _FENCE.fullmatch(line):
            language = fence[1] or fence[2]
            if language not in (*RUN, *SHOWN, *DIRECTIVES):
                raise ValueError(f"line {number}: a block of {language!r}, which is none of {(*RUN, *SHOWN)}")
            body = []
            for _, inner in lines:
                if inner.rstrip() == "```":
                    break
                body.append(inner)
            else:
                raise ValueError(f"line {number}: a block without an end")
            if is_printed:
                if not (found[-1].blocks and found[-1].blocks[-1].language == "python"):
                    raise ValueError(f"line {number}: no Python block above prints this")
                found[-1].blocks[-1] = attrs.evolve(found[-1].blocks[-1], printed="\n".join(body) + "\n")
            elif language not in DIRECTIVES:
                found[-1].blocks.append(Block(language, "\n".join(body) + "\n", number, exempt))
            exempt, is_printed = None, False
        elif heading := _HEADING.fullmatch(line):
            found.append(Section(heading[1]))
        elif exemption := _EXEMPTION.fullmatch(line.strip()):
            exempt = exemption[1]
        elif line.strip():
            exempt, is_printed = None, line.strip() == _PRINTED
    return [section for section in found if section.blocks]


def page(title: str, markdown: str) -> Section:
    """Return a page of the documentation as one section: its blocks are read from the top, each after the others."""
    return Section(title, [block for section in sections(markdown) for block in section.blocks])


def run(section: Section, folder: Path, environment: Mapping[str, str], source: str = "README.md") -> dict[str, Any]:
    """Run the blocks of a section in order, in *folder*, and return the namespace they leave.

    The caller has set the working folder and the environment of this process alike. A block with ``await`` at its top
    runs in an event loop that lasts for the section; those that define tests are modules that pytest runs at the end.
    """
    scope: dict[str, Any] = {"__name__": "readme"}
    modules: list[Path] = []
    with asyncio.Runner() as runner:
        try:
            for block in section.to_run:
                if block.language == "console":
                    run_console(block, folder, environment)
                    continue
                if block.is_test:
                    modules.append(folder / f"test_line_{block.line}.py")
                    modules[-1].write_text(block.text, "utf-8")
                    continue
                # Leading blank lines make the lines of a traceback those of the file.
                text = "\n" * block.line + block.text
                code = compile(text, source, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                with contextlib.redirect_stdout(io.StringIO()) if block.printed else contextlib.nullcontext() as out:
                    if code.co_flags & inspect.CO_COROUTINE:
                        runner.run(_evaluate(code, scope))
                    else:
                        exec(code, scope)
                if block.printed and out is not None:
                    check_printed(out.getvalue())
                    _compare(f"line {block.line}: the block", block.printed, out.getvalue())
        finally:
            _close(scope, runner)
    if modules:
        run_tests(modules, folder, environment)
    return scope


async def _evaluate(code: Any, scope: dict[str, Any]) -> None:
    await eval(code, scope)


def _close(scope: dict[str, Any], runner: asyncio.Runner) -> None:
    """Close the clients that a section leaves open for a reader to go on with."""
    for value in scope.values():
        if isinstance(value, vi.Client):
            value.close()
        elif isinstance(value, vi.AsyncClient):
            runner.run(value.aclose())


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is printed below it.

    Either every command has a ``$`` before it and what has none is output, or nothing has and every line is a command.
    """
    found: list[tuple[str, str]] = []
    prompted = any(line.startswith("$ ") for line in block.text.splitlines())
    continued = False
    for line in block.text.splitlines():
        bare = line.removeprefix("$ ")
        if continued:
            command, output = found.pop()
            found.append((f"{command} {bare.strip().removesuffix(chr(92)).strip()}", output))
            continued = bare.endswith("\\")
        elif line.startswith("$ ") or (not prompted and bare.strip() and not bare.startswith("#")):
            found.append((bare.removesuffix("\\").strip(), ""))
            continued = bare.endswith("\\")
        elif prompted and found:
            command, output = found.pop()
            found.append((command, f"{output}{line}\n"))
    return found


def refused_when_pasted(text: str) -> list[str]:
    """Return the lines that an interactive Python refuses when *text* is pasted into it, line by line.

    Before Python 3.13 it takes an empty line for the end of a block, and ends none without one. ``await`` at the top is
    for ``python -m asyncio``.
    """
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    refused = []
    pending: list[str] = []
    for line in [*text.splitlines(), ""]:
        pending.append(line)
        try:
            if compiler("\n".join(pending), "<stdin>", "single") is None:
                continue
        except SyntaxError:
            refused.append(line)
        pending.clear()
    return refused


def check_printed(text: str) -> None:
    """Fail when a key or the signature of a URL has been printed; the text of the failure is only its beginning."""
    if found := _SECRET.search(text):
        raise AssertionError(f"a secret was printed: {found[0][:10]}...")


def run_tests(modules: Sequence[Path], folder: Path, environment: Mapping[str, str]) -> None:
    """Run the tests of a reader's modules as a suite of its own, in which warnings are errors."""
    installed = importlib.metadata.entry_points(group="pytest11", name="vi")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", *(() if installed else ("-p", "vi.testing"))]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(module.name for module in modules)],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * _SECONDS,
    )
    check_printed(ended.stdout + ended.stderr)
    if ended.returncode:
        raise AssertionError(f"the tests ended with {ended.returncode}: {ended.stdout}")


def run_console(block: Block, folder: Path, environment: Mapping[str, str]) -> None:
    """Run the commands of a block; each must be one of ours, end with 0, and print what the block shows of it.

    ``NAME=$(command)`` keeps what a command prints for those below it.
    """
    kept: dict[str, str] = {}
    for written, expected in commands(block):
        assigned = _ASSIGNMENT.fullmatch(written)
        command = assigned[2] if assigned else written
        if not _COMMAND.match(command):
            raise ValueError(f"line {block.line}: {command!r} is no command of ours: exempt the block, with the reason")
        ended = subprocess.run(
            ["bash", "-c", _COMMAND.sub(rf"\1{sys.executable} -m vi", command)],
            cwd=folder,
            env={**os.environ, **environment, **kept, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        check_printed(ended.stdout + ended.stderr)
        if ended.returncode:
            raise AssertionError(f"line {block.line}: {command} ended with {ended.returncode}: {ended.stderr}")
        if assigned:
            kept[assigned[1]] = ended.stdout.strip()
        if expected:
            _compare(f"line {block.line}: {command}", expected, ended.stdout)


def _compare(what: str, expected: str, printed: str) -> None:
    if not doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS):
        raise AssertionError(f"{what} printed {printed!r}, the text says {expected!r}")
