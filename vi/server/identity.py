"""The organization of a data folder and its keys: made on first start, kept in one file that only the owner reads."""

from __future__ import annotations

import hmac
import json
import secrets
import uuid
from pathlib import Path

import attrs

from .._disk import write_private
from ..errors import ViConfigurationError
from .config import ServiceConfig
from .disk.own import read_own

KEY_PREFIX = "dtvi_"
_KEY_CHARACTERS = 98


@attrs.frozen
class Identity:
    """Who the service is; the repr hides both keys."""

    organization_id: str
    name: str
    user_id: str
    created: int
    secret_key: str = attrs.field(repr=False)
    signing_key: str = attrs.field(repr=False)

    def accepts(self, key: str) -> bool:
        """Tell whether *key* is the organization's, in constant time."""
        return hmac.compare_digest(self.secret_key.encode(), key.encode("utf-8", "surrogatepass"))


def issue_key() -> str:
    """Return a new secret key (protocol section 1.4)."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_CHARACTERS)[:_KEY_CHARACTERS]


def read_identity(path: Path) -> Identity:
    """Read the identity at *path*; raises `ViConfigurationError` when it is damaged."""
    try:
        return Identity(**json.loads(read_own(path)))
    except (ValueError, TypeError) as error:
        raise ViConfigurationError(f"{path} is not an identity file of the local service.", path=str(path)) from error


def load_identity(path: Path, config: ServiceConfig, now: int) -> Identity:
    """Return the identity at *path*, made first when there is none."""
    for unfinished in path.parent.glob(f".{path.name}.*"):
        unfinished.unlink(missing_ok=True)
    if path.exists():
        found = read_identity(path)
        if config.organization_id not in (None, found.organization_id):
            raise ViConfigurationError(
                f"The folder belongs to organization {found.organization_id}, not {config.organization_id}.",
                path=str(path),
            )
        return found
    if config.organization_id is not None and (not config.organization_id or "/" in config.organization_id):
        raise ViConfigurationError("An organization id must be non-empty text without '/'.")
    made = Identity(
        organization_id=config.organization_id or str(uuid.uuid4()),
        name=config.organization_name,
        user_id=f"user-{secrets.token_hex(6)}",
        created=now,
        secret_key=issue_key(),
        signing_key=secrets.token_hex(32),
    )
    write_private(path, json.dumps(attrs.asdict(made), indent=1).encode())
    return made
