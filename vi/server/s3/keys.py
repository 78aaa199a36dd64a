"""How keys of a bucket are made: each is below its upload session, so that a session is one prefix."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets

SESSIONS = "sessions/"
THUMBNAIL = ".thumbnail"
_BLOB = re.compile(r"([0-9A-Za-z_-]{1,64})\.([0-9a-f]{20})", re.ASCII)
_PARTS = re.compile(r"parts/([0-9A-Za-z_-]{1,64})/([0-9A-Za-z_-]{1,64})", re.ASCII)
_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)

logger: logging.Logger = logging.getLogger("vi.server")


def fresh_blob(session: str) -> str:
    """Return the id of a new object of a session."""
    return f"{session}.{secrets.token_hex(10)}"


def blob_of_upload(session: str, upload: str) -> str:
    """Return the id of the object that a multipart upload of clients becomes: always the same one."""
    return f"{session}.{hashlib.sha256(upload.encode()).hexdigest()[:20]}"


def is_blob(blob: str) -> bool:
    """Return whether an id is one of the service's, and say so in the log if it is none."""
    return _matches(_BLOB, blob) is not None


def upload_of(name: str) -> tuple[str, str] | None:
    """Return session and upload of a name of parts; None, and a line in the log, if it is none of the service's."""
    found = _matches(_PARTS, name)
    return None if found is None else (found[1], found[2])


def _matches(pattern: re.Pattern[str], name: str) -> re.Match[str] | None:
    found = pattern.fullmatch(name)
    if found is None:
        logger.warning("The database names %r, which is not a name of the service: nothing is done with it", name[:80])
    return found


def key_of(blob: str) -> str:
    """Return where an object is; ids come back from the database, and no other text becomes a key."""
    found = _BLOB.fullmatch(blob)
    if found is None:
        is_blob(blob)
        raise FileNotFoundError(blob[:80])
    return f"{SESSIONS}{found[1]}/{found[2]}"


def blob_at(key: str) -> str | None:
    """Return the id of the object at a key; None for parts, pictures and what clients have sent."""
    session, _, name = key.removeprefix(SESSIONS).partition("/")
    blob = f"{session}.{name}"
    return blob if _BLOB.fullmatch(blob) else None


def part_of(session: str, upload: str, file: str) -> str:
    """Return where a part is that the service has received; for no *file*, what they all begin with."""
    return f"{SESSIONS}{session}/parts/{upload}/{file}"


def sent_to(session: str, index: int | str) -> str:
    """Return where clients send a file of a session; for no *index*, what they all begin with."""
    return f"{SESSIONS}{session}/in/{index}"


def index_at(session: str, key: str) -> int | None:
    """Return which file of a session clients have sent to a key."""
    name = key.removeprefix(sent_to(session, ""))
    return int(name) if _INDEX.fullmatch(name) else None
