"""Local names for remote files: inside the folder, portable, and distinct on every file system.

Whoever may upload to a dataset chooses the names that others download, so every rule of POSIX and Windows holds on
both: no separators, drive letters, device names, control characters, trailing dots or spaces, nothing over 255 bytes.
Two names that some file system takes for one (case, Unicode form) are told apart by the asset id.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from .sources.local import shown

MAX_BYTES = 200  # leaves room for the decoration of a temporary name within the usual 255

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?")


def safe_name(filename: str, asset_id: str) -> str:
    """Return the name under which *filename* is saved; itself when it is harmless everywhere."""
    name = _UNSAFE.sub("_", filename).rstrip(". ").lstrip()
    if not name or set(name) <= {"."}:
        return f"unnamed-{_short(asset_id)}"
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > MAX_BYTES:
        stem, dot, extension = name.rpartition(".")
        if not dot or len(extension.encode()) > 16:
            stem, dot, extension = name, "", ""
        name = f"{_cut(stem, MAX_BYTES - 32)}~{_short(filename)}{dot}{extension}"
    return name


def key_of(name: str) -> str:
    """Return what names that some file system takes for one have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def apart(name: str, asset_id: str) -> str:
    """Return a name beside *name* that only this asset has."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        return f"{name}~{_short(asset_id)}"
    return f"{stem}~{_short(asset_id)}.{extension}"


class LocalNames:
    """Names of one folder's files as they are chosen, each used once."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def choose(self, filename: str, asset_id: str) -> str:
        """Return the local name of an asset: safe everywhere, and no other's on any file system."""
        name = safe_name(filename, asset_id)
        while hash(key_of(name)) in self._taken:  # more than once if somebody named an asset as this one would be
            name = apart(name, asset_id)
        self._taken.add(hash(key_of(name)))
        return name


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")


def name_problem(name: str) -> str | None:
    """Say why a file name cannot be sent, or None."""
    if "\0" in name:
        return f"The name {name!r} holds a NUL character."
    if name in (".", ".."):
        return f"The name {name!r} is no file's."
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"The name {shown(name)!r} is not valid Unicode."
    return None
