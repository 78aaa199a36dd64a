"""Row A1: every pattern and parser of the package is known here, and is linear in its input or says why it need not be.

The places are read from the source: a new one fails until it has a row.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.attacks.costs import AT_MOST, growth
from tests.attacks.test_foreign_text import PARSERS

PACKAGE = Path(vi.__file__).parent
CALLS = {
    "json.loads", "tomllib.loads", "tomlkit.parse", "parse_qsl", "urlsplit", "urllib.parse.urlsplit", "URL", "unquote", "base64.b64decode",
    "ipaddress.ip_address", "parsedate_to_datetime", "email.utils.parsedate_to_datetime", "msgspec.json.Decoder", "Image.open",
}  # fmt: skip
"""What reads text or bytes that may come from others, besides patterns."""

HEADS = ("", "bytes=", "con", ".", '"')
PIECES = ("a", "0", " ", ".", "\\", ".0", "a.", " a", "127.")
# Repeated pieces that come near to what a pattern takes, besides those that every pattern gets. Their places are the
# module and the name.
PATTERNS: dict[str, tuple[str, ...]] = {
    "vi._ranges._RANGE": ("bytes=0-", ", ", "\t", "0-0,"),
    "vi._ranges._TAG": ('W/"', '"a"', '"'),
    "vi._connections._NOT_OF_URLS": ("a", "\x21"),
    "vi._redact._KEY": ("dtvi_", "dtvi_abcd"),
    "vi._redact._BEARER": ("bearer ", "basic a", "bearer\t"),
    "vi._redact._URL": ("http://", "http://a@", "http://a?)", "https://a/%2F", "@", "?"),
    "vi._redact._SIGNATURE": ("sig=", "signature=a", "sig%3d&", "x-amz-credential"),
    "vi._redact._RUN": ("a" * 15 + "-", "a" * 17 + "-"),
    "vi._show.text._WORD": (" ", "a ", " a"),
    "vi._routes._FIELD": ("{", "{a", "{a}"),
    "vi._routes._IDENTIFIER": ("_-",),
    "vi._transfer.dictated._HEADER": ("x-goog-", "content-", "if-"),
    "vi._transfer.dictated._OF_GATEWAYS": ("x-goog-iap-", "x-ms-token", "x-ms-client-principal-"),
    "vi._transfer.dictated._REPORTED": ("x-amz-", "etag"),
    "vi._transfer.dictated._VALUE": ("\t", "\xa0"),
    "vi._transfer.download._CONTENT_RANGE": ("bytes 0-", "0/", "*"),
    "vi._transfer.journals.downloads._PART": (".a.part", ".0123456789ab.part", ".01234567"),
    "vi._transfer.filters._ESCAPES": ("a", "\\!", "\\\\"),
    "vi._transfer.names._IGNORABLE": ("\u200b", "a"),
    "vi._transfer.names._ALWAYS": ("\u202e", "\x00"),
    "vi._transfer.names._SPECIAL": ("<", "a:"),
    "vi._transfer.names._DEVICE": ("con", "con ", "con .", "com1 . "),
    "vi._transfer.names._WRITTEN": ("%{", "%{0", "%{41.", "%{41}"),
    "vi._transfer.sources.remote.ADDRESS": ("a+", "s3://"),
    "vi._transfer.storage._PAGE": ("<", "<html", "\n"),
    "vi._transfer.storage._EXPIRED": ("expire", "e"),
    "vi._transfer.storage._CODE": ("<Code>", "<Code> a", "<Code> a </Code"),
    "vi.api.resources.datasets.assets.metadata.csv_files._QUOTED": ('""', '" "', '"a'),
    "vi.api.resources.datasets.assets.metadata.csv_files._NUMBER": ("0.", "1e", "1e+"),
    "vi.api.resources.datasets.assets.metadata.csv_files._BREAK": ("\r", "\r\n"),
    "vi.api.resources.datasets.assets.metadata.csv_files._END": ("\r", "\r\n"),
    "vi.cli.options._ID": ("0a_-",),
    "vi.cli.refusals.ADVICE": ("a_", "overwrite=True", "names='a-", 'names="'),
    "vi.cli.refusals._PARAMETER": ("dataset", "dataset_id ", "overwrite'"),
    "vi.config._KEY": ("dtvi_",),
    "vi.config._LOOPBACK": (".localhost", "127.0", "localhost"),
    "vi.contract.report._WORD": ("a/", "-"),
    "vi.errors._LONG_WORD": ("a", "a" * 60 + " "),
    "vi._interpreter._HELPER": ("import sys; from multiprocessing.a", "from multiprocessing."),
    "vi._interpreter._NAME": ("python", "python3."),
    "vi.errors._COMPOSITE": ("00000000-0000-", "00000000-0000-0000-0000-000000000000_"),
    "vi.fastapi._ETAG": ('"a"',),
    "vi.server.disk.blobs._FOLDER": ("0f",),
    "vi.server.disk.blobs.OBJECT": ("000000-",),
    "vi.server.disk.blobs._UPLOAD": ("_-",),
    "vi.server.disk.blobs._PART": ("1.0f",),
    "vi.server.gallery.archive._UNSAFE": ("\u202e", "<"),
    "vi.server.handlers.sessions._LABEL": ("0123456789abcdef ", "0f"),
    "vi.server.http.addresses._HOST": ("[::", "a.b", ":80"),
    "vi.server.http.signing._NUMBER": ("1",),
    "vi.server.identity._NAME": ("a._-",),
    "vi.server.inspection.jpeg._MARKER": ("\xff", "\xff\x00", "\xff\xd0"),
    "vi.server.inspection.jpeg._RESTART": ("\xff", "\xff\xd0"),
    "vi.server.s3.address._BUCKET": ("a-", "a."),
    "vi.server.s3.address._PREFIX": ("a/", "a-"),
    "vi.server.s3.bucket._CODE": ("a", "a "),
    "vi.server.s3.keys._BLOB": ("000000-", "a/", "a."),
    "vi.server.s3.keys._PARTS": ("parts/", "parts/a", "a/"),
    "vi.server.s3.keys._INDEX": ("1", "a"),
    "vi.server.store.json_text._FIELD": ('"{=', "{a", '"{=a}'),
    "vi.server.store.query_grammar._TOKEN": ('"', '"\\', "'a", "==", "a:", "(", "<="),
    "vi.server.store.query_grammar._COLON_WORD": ("a:",),
    "vi.server.store.query_grammar._NUMBER": ("1.", "+1", "1e"),
    "vi.server.store.query_grammar._ESCAPE": ("\\u", "\\u00", "\\\\"),
}
SCANNING = {
    *("_ranges._TAG", "server.inspection.jpeg._MARKER", "server.inspection.jpeg._RESTART", "server.gallery.archive._UNSAFE"),
    *("server.store.query_grammar._ESCAPE", "errors._COMPOSITE", "errors._LONG_WORD", "_routes._FIELD", "cli.refusals._PARAMETER", "cli.refusals.ADVICE"),
    *("api.resources.datasets.assets.metadata.csv_files._BREAK", "_redact._SIGNATURE", "_redact._RUN", "_redact._KEY", "server.store.json_text._FIELD"),
    *("_redact._BEARER", "_redact._URL", "_connections._NOT_OF_URLS", "_transfer.storage._EXPIRED", "_transfer.storage._CODE"),
    *("_transfer.names._IGNORABLE", "_transfer.names._WRITTEN", "_transfer.names._ALWAYS", "_transfer.names._SPECIAL", "_show.text._WORD"),
}  # fmt: skip
"""Patterns that look for their beginning in the whole text, without "vi."; others begin where the text does."""

OWN = "it reads what this program wrote, or what its user typed"
BOUNDED = "the text is cut, or refused by its length, before"
PIXELS = "a decoder: its process has limits of time and memory"
# By place and call: the row of `PARSERS` that feeds it, or why it is in none.
READERS: dict[tuple[str, str], str] = {
    ("vi._checksums._from_base64", "base64.b64decode"): "digests",
    ("vi._checksums.from_repr_digest", "base64.b64decode"): "digests",
    ("vi._connections.Connections.__init__", "URL"): OWN,
    ("vi._connections.Connections.follow", "URL"): "transfer url",
    ("vi._connections.Connections.proxy_for", "URL"): OWN,
    ("vi._connections.exact_url", "URL"): "transfer url",
    ("vi._connections.exact_url", "urlsplit"): "transfer url",
    ("vi._http.Http._doubt_of_endpoint", "urlsplit"): OWN,
    ("vi._http.Http._failure", "json.loads"): "json",
    ("vi._http.Http._url", "URL"): OWN,
    ("vi._optional._checkout", "urlsplit"): OWN,
    ("vi._optional._origin", "json.loads"): OWN,
    ("vi._optional._numbers", "re.findall"): "the version of an installed package",
    ("vi._proxies._address", "ipaddress.ip_address"): OWN,
    ("vi._proxies.read_proxy", "unquote"): OWN,
    ("vi._proxies.read_proxy", "urlsplit"): OWN,
    ("vi._retry.read_date", "email.utils.parsedate_to_datetime"): "retry-after as a date",
    ("vi._sockets._is_address", "ipaddress.ip_address"): "address",
    ("vi._sockets.nearness", "ipaddress.ip_address"): "address",
    ("vi._transfer.journals.downloads.read_parts", "re.fullmatch"): "eight characters",
    ("vi._transfer.journals.locked_lines.read", "json.loads"): "json",
    ("vi._transfer.journals.uploads.JournalKey.of", "urlsplit"): OWN,
    ("vi._transfer.signed.known_origins", "URL"): OWN,
    ("vi._transfer.sources.remote.as_remote", "unquote"): OWN,
    ("vi._transfer.sources.remote.as_remote", "urlsplit"): OWN,
    ("vi._transfer.sources.remote.local_path", "urlsplit"): OWN,
    ("vi._transfer.storage.Storage.redirect", "URL"): "transfer url",
    ("vi._wire_fast._page_of", "msgspec.json.Decoder"): "page",
    ("vi._wire_fast.loads", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.arguments.is_selection", "json.loads"): OWN,
    ("vi.api.resources.datasets.assets.metadata.csv_files.Cell.typed", "json.loads"): "metadata file",
    ("vi.api.resources.datasets.assets.metadata.csv_files.read_cells", "re.compile"): "metadata file",
    ("vi.api.resources.datasets.assets.metadata.tables._json", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.metadata.tables._json_lines", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.plans.TransferPlan.load", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.run_plans.read_sealed", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.run_plans.read_head", "json.loads"): "json",
    ("vi.api.resources.datasets.assets.run_reports.parse_report", "json.loads"): "json",
    ("vi.cli.checks._head", "URL"): OWN,
    ("vi.cli.checks._unreachable", "urllib.parse.urlsplit"): OWN,
    ("vi.cli.checks.clock", "parsedate_to_datetime"): "retry-after as a date",
    ("vi.cli.checks.proxy", "URL"): OWN,
    ("vi.cli.options._filter", "json.loads"): OWN,
    ("vi.cli.options.scalar", "json.loads"): OWN,
    ("vi.cli.options.tell_of_silence", "urlsplit"): OWN,
    ("vi.config.Settings.__reduce__", "urlsplit"): OWN,
    ("vi.config._check_endpoint", "urlsplit"): OWN,
    ("vi.config._parsed", "json.loads"): OWN,
    ("vi.config._parsed", "re.search"): OWN,
    ("vi.config._parsed", "tomllib.loads"): OWN,
    ("vi.contract.probe.Reply.document", "json.loads"): "json",
    ("vi.contract.reading.Reading._organization", "urlsplit"): OWN,
    ("vi.profiles._check", "tomllib.loads"): OWN,
    ("vi.profiles._with_values", "tomlkit.parse"): OWN,
    ("vi.rows._of_unknown_keys.read", "json.loads"): "json",
    ("vi.server.command._warning", "urlsplit"): OWN,
    ("vi.server.disk.lock.read_address", "json.loads"): "json",
    ("vi.server.following.Following._find", "urlsplit"): OWN,
    ("vi.server.gallery.datasets.create", "json.loads"): OWN,
    ("vi.server.gallery.forms.read_fields", "parse_qsl"): BOUNDED,
    ("vi.server.gallery.selection._back", "parse_qsl"): BOUNDED,
    ("vi.server.gallery.uploads._receive", "re.split"): "a class of two characters, without repetition",
    ("vi.server.handlers.multipart._check_body", "base64.b64decode"): "digests",
    ("vi.server.handlers.sessions._labelled", "unquote"): BOUNDED,
    ("vi.server.http.addresses.is_everywhere", "ipaddress.ip_address"): OWN,
    ("vi.server.http.addresses.public_url_of", "urlsplit"): OWN,
    ("vi.server.http.reading.read_json", "json.loads"): "json",
    ("vi.server.identity.read_identity", "json.loads"): "json",
    ("vi.server.inspection.decoding._decode_common", "Image.open"): PIXELS,
    ("vi.server.inspection.decoding._decode_jpeg", "Image.open"): PIXELS,
    ("vi.server.inspection.decoding._page", "Image.open"): PIXELS,
    ("vi.server.inspection.decoding._pixels", "Image.open"): PIXELS,
    ("vi.server.inspection.frames.FrameReader.feed", "json.loads"): "json",
    ("vi.server.middleware._is_allowed_address", "ipaddress.ip_address"): BOUNDED,
    ("vi.server.openapi._operation", "re.findall"): OWN,
    ("vi.server.s3.address._origin", "urlsplit"): OWN,
    ("vi.server.s3.address.endpoint_of", "urlsplit"): OWN,
    ("vi.server.s3.presigning.Presigner.__init__", "urlsplit"): OWN,
    ("vi.server.s3.store._noted", "json.loads"): "json",
    ("vi.server.shared_identity._marked", "json.loads"): "json",
    ("vi.server.store.database._read_json", "json.loads"): "json",
    ("vi.server.store.paging._position", "base64.b64decode"): BOUNDED,
    ("vi.server.store.paging._position", "json.loads"): "it is signed by the service",
    ("vi.server.store.query._read_json", "json.loads"): "filter",
    ("vi.testing.faults.Faults._ask", "URL"): OWN,
    ("vi.torch._Reading._decoded", "Image.open"): "the pictures of the user's own dataset",
}


@cache
def trees() -> dict[str, ast.Module]:
    """Return every module of the package, read."""
    paths = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py")]
    return {".".join(path.with_suffix("").parts): ast.parse((PACKAGE.parent / path).read_bytes()) for path in paths}


@cache
def places() -> frozenset[tuple[str, str]]:
    """Return where the package reads: module and name, and what is called there."""
    return frozenset(place for module in trees() for place in _of(module))


def _of(module: str) -> Iterator[tuple[str, str]]:

    def walk(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            names = inside
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = (*inside, child.name)
            elif not inside and isinstance(child, ast.Assign | ast.AnnAssign):
                names = (ast.unparse(child.targets[0] if isinstance(child, ast.Assign) else child.target),)
            if isinstance(child, ast.Call):
                called = ast.unparse(child.func)
                if called in CALLS or called.startswith("re."):
                    yield ".".join((module, *names)), called
            yield from walk(child, names)

    return walk(trees()[module], ())


def test_A1_every_pattern_and_parser_has_a_row() -> None:
    known = {(name, "re.compile") for name in PATTERNS} | set(READERS)
    assert sorted(places() - known) == [], "add a row to PATTERNS or READERS"
    assert sorted(known - places()) == [], "there is no such place any more"


def test_A1_nothing_else_compiles_a_pattern() -> None:
    """Under another name the list above would not find it."""
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("re", "regex"), module
            elif isinstance(node, ast.Import):
                assert not any(name.name in ("re", "regex") and name.asname for name in node.names), module


def test_A1_every_reader_names_a_parser_that_is_measured() -> None:
    reasons = {text for text in READERS.values() if text not in PARSERS}
    assert all(len(text.split()) > 1 for text in reasons), "neither a row of PARSERS nor a reason"


@pytest.mark.parametrize("name", PATTERNS)
def test_A1_each_pattern_is_linear(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        pattern = getattr(importlib.import_module(module), attribute)
    except (ImportError, vi.ViConfigurationError) as error:
        pytest.skip(f"an extra is not installed: {error}")
    calls: list[Callable[[Any], object]] = [pattern.match, pattern.fullmatch]
    if name.removeprefix("vi.") in SCANNING:
        empty = b"" if isinstance(pattern.pattern, bytes) else ""
        calls += [pattern.search, lambda text: pattern.sub(empty, text)]
    for head in HEADS:
        for piece in PIECES + PATTERNS[name]:

            def make(size: int, head: str = head, piece: str = piece) -> Any:
                text = head + piece * size + "\n!"
                return text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text

            for call in calls:
                assert growth(call, make, 4000) <= AT_MOST, (head, piece)


def test_A1_a_pattern_that_is_not_linear_would_be_found() -> None:
    assert growth(re.compile(r"(a|b)*?c").search, lambda size: "a" * size, 250) > AT_MOST
