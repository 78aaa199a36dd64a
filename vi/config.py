"""Settings, and the one function that reads them from arguments, files and the environment.

A value is taken from the first of: the argument; the file or profile that the caller names; the environment; the
default file. The default file is ``vi/config.toml`` in the user's configuration folder, or what ``VI_CONFIG`` names.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import ssl
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

from ._checks import must_be, must_be_of_type
from ._disk import warn_of_others
from ._optional import require
from ._paths import as_path, home
from ._redact import brief
from ._secret import ENVIRON, Secret, concealed, secret
from .errors import ViConfigurationError, ViInvalidParameterError

DEFAULT_ENDPOINT = "https://api.vi.datature.com"

KEY_VARIABLE = "DATATURE_VI_SECRET_KEY"
ORGANIZATION_VARIABLE = "DATATURE_VI_ORGANIZATION_ID"
ENDPOINT_VARIABLE = "DATATURE_VI_API_ENDPOINT"
CONFIG_VARIABLE = "VI_CONFIG"
PROFILE_VARIABLE = "VI_PROFILE"
PRIVATE_STORAGE_VARIABLE = "VI_ALLOW_PRIVATE_STORAGE"
RETRIES_VARIABLE = "VI_RETRIES"
LEFT_OUT = "Leave it out for the environment or the settings file."
BAD_FILE = "Correct it, or move it away and run vi-sdk login."
NO_FILE = "Create it with vi-sdk login, or name another with config_file=."

ENVIRONMENT = "the environment"
_VARIABLES = {
    "secret_key": KEY_VARIABLE,
    "organization_id": ORGANIZATION_VARIABLE,
    "endpoint": ENDPOINT_VARIABLE,
}

KEY_LENGTH = 103
_KEY = re.compile(r"dtvi_[A-Za-z0-9_-]{98}")
_LOOPBACK = re.compile(r"localhost|.*\.localhost|127(\.\d{1,3}){3}")

MIB = 1 << 20


def _positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    whole = attribute.type in (int, "int")
    good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not good or not value > 0:  # a NaN is neither above nor below
        kind = "an integer" if whole else "a number"
        raise must_be(attribute.name, f"{kind} above 0", value)


@attrs.frozen
class Timeouts:
    """Limits in seconds: *connect* for a connection, *request* for a whole API call, *stall* without a byte moving."""

    connect: float = attrs.field(default=30.0, validator=_positive)
    request: float = attrs.field(default=60.0, validator=_positive)
    stall: float = attrs.field(default=30.0, validator=_positive)


@attrs.frozen
class RetryPolicy:
    """How often and how patiently a failed request is repeated.

    Waits are random between 0 and ``backoff * 2 ** attempt`` seconds, at most *backoff_max*. A ``Retry-After`` longer
    than *retry_after_max* is not waited for: the error comes at once. A connection that cannot be made is tried again
    for *connect_patience* seconds, three times as long to a storage that has answered before and has another address
    than the API. With one attempt nothing is repeated.
    """

    max_attempts: int = attrs.field(default=5, validator=_positive)
    backoff: float = attrs.field(default=0.5, validator=_positive)
    backoff_max: float = attrs.field(default=20.0, validator=_positive)
    retry_after_max: float = attrs.field(default=60.0, validator=_positive)
    connect_patience: float = attrs.field(default=10.0, validator=_positive)

    @classmethod
    def of(cls, retries: int) -> RetryPolicy:
        """Return a policy of *retries* after the first attempt; 0 means none."""
        if retries < 0:
            raise ViInvalidParameterError(f"retries must be 0 or more, got {retries}.", parameter="retries")
        return cls(max_attempts=retries + 1)


@attrs.frozen
class TransferLimits:
    """What transfers may use at once, with what each costs in memory.

    Up to *max_concurrency* transfers run at a time; concurrency adapts up to this limit. Each holds up to 256 KiB, a
    larger file counts for several and holds up to *parts_per_file* times 3 MiB. A file of *multipart_threshold* bytes
    or more goes up in parts and comes down in ranges of *range_size*. A session announces at most *session_files* files
    (about 1 KiB each).
    """

    max_concurrency: int = attrs.field(default=256, validator=_positive)
    parts_per_file: int = attrs.field(default=4, validator=_positive)
    multipart_threshold: int = attrs.field(default=64 * MIB, validator=_positive)
    range_size: int = attrs.field(default=64 * MIB, validator=_positive)
    session_files: int = attrs.field(default=5000, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.session_files > 5000:
            raise ViInvalidParameterError(
                f"session_files must be at most 5000, got {self.session_files}.", parameter="session_files"
            )


@attrs.frozen
class Settings:
    """Everything a client needs to know; the repr masks the key."""

    secret_key: str = attrs.field(converter=Secret)
    organization_id: str
    endpoint: str = DEFAULT_ENDPOINT
    timeouts: Timeouts = attrs.Factory(Timeouts)
    retries: RetryPolicy = attrs.Factory(RetryPolicy)
    limits: TransferLimits = attrs.Factory(TransferLimits)
    allow_private_storage: bool = False
    """Whether signed URLs may lead to private addresses although the service is not at one itself."""
    _from_environment: frozenset[tuple[str, str]] = attrs.field(
        default=frozenset(), repr=False, eq=False, alias="from_environment"
    )
    """The fields that the environment gave, with their values then."""

    def __copy__(self) -> Settings:
        return self

    def __deepcopy__(self, memo: object) -> Settings:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was given and read from files; the environment's settings are read again where it is loaded."""
        values = {field.alias: getattr(self, field.name) for field in attrs.fields(Settings)}
        del values["from_environment"]
        there = frozenset(name for name, value in self._from_environment if values[name] == value)
        plain = {name: value for name, value in values.items() if name not in there}
        parts = urlsplit(self.endpoint)
        return _settings_again, (plain, there, parts.scheme == "http" and not is_loopback(parts.hostname))


def _settings_again(plain: dict[str, Any], from_environment: frozenset[str], allow_http: bool) -> Settings:
    """Return pickled settings in the process that loads them."""
    checks: dict[str, Callable[[str | None, str], str]] = {
        "secret_key": _check_key,
        "organization_id": _check_organization,
        "endpoint": lambda value, source: _check_endpoint(value or DEFAULT_ENDPOINT, source, allow_http),
    }
    found: dict[str, Any] = {}
    for name in sorted(from_environment):
        value = secret(os.environ.get(_VARIABLES[name])) or None
        if value is None and name != "endpoint":
            raise ViConfigurationError(
                f"The pickled client took its {name} from the environment, and {_VARIABLES[name]} is not set here.",
                error_code="MissingRequiredField",
                suggestion=f"Set it for this process too, or pass {name}= where the client is made.",
            )
        found[name] = checks[name](value, ENVIRONMENT)
    return Settings(**plain, **found, from_environment=frozenset(found.items()))


def is_loopback(host: str | None) -> bool:
    """Tell whether *host* can only be this machine."""
    if host is None or ":" not in host:
        return host is not None and _LOOPBACK.fullmatch(host.lower()) is not None
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.ipv4_mapped is not None and address.ipv4_mapped.is_loopback)


def default_config_path(environ: Mapping[str, str] = ENVIRON) -> Path | None:
    """Return the path of the default settings file, whether or not it exists; None without a home folder."""
    if named := environ.get(CONFIG_VARIABLE):
        return as_path(named, CONFIG_VARIABLE, ViConfigurationError)
    base, below = ("APPDATA", "AppData/Roaming") if os.name == "nt" else ("XDG_CONFIG_HOME", ".config")
    if named := environ.get(base):
        return Path(named) / "vi" / "config.toml"
    folder = home()
    return folder / below / "vi" / "config.toml" if folder is not None else None


def load_settings(
    secret_key: str | None = None,
    organization_id: str | None = None,
    endpoint: str | None = None,
    *,
    config_file: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    allow_http: bool = False,
    timeouts: Timeouts | None = None,
    retries: RetryPolicy | int | None = None,
    limits: TransferLimits | None = None,
    allow_private_storage: bool | None = None,
    environ: Mapping[str, str] = ENVIRON,
) -> Settings:
    """Put settings together; raises `ViConfigurationError` that names the source of a bad or missing value.

    An empty text counts as not given. *retries* may be a number of retries; 0 means none.
    """
    secret_key = secret(secret_key)  # a traceback may show the locals
    check_type(allow_http, "allow_http", bool, "True or False")
    if allow_private_storage is None:
        allow_private_storage = _switch(PRIVATE_STORAGE_VARIABLE, environ)
    check_type(allow_private_storage, "allow_private_storage", bool, "True or False")
    if timeouts is not None:
        check_type(timeouts, "timeouts", Timeouts, "a vi.Timeouts, such as Timeouts(request=30)")
    if limits is not None:
        check_type(limits, "limits", TransferLimits, "a vi.TransferLimits, such as TransferLimits(max_concurrency=8)")
    found = find_settings(
        secret_key, organization_id, endpoint, config_file=config_file, profile=profile, environ=environ
    )
    key, organization, address = found["secret_key"], found["organization_id"], found["endpoint"]
    checked = {
        "secret_key": _check_key(key.value, key.source),
        "organization_id": _check_organization(organization.value, organization.source),
        "endpoint": _check_endpoint(address.value or DEFAULT_ENDPOINT, address.source, allow_http),
    }
    from_environment = {n for n in checked if found[n].source == ENVIRONMENT} if environ is ENVIRON else set()
    return Settings(
        **checked,
        from_environment=frozenset((name, checked[name]) for name in from_environment),
        timeouts=timeouts if timeouts is not None else Timeouts(),
        retries=_policy(retries, environ),
        limits=limits if limits is not None else TransferLimits(),
        allow_private_storage=allow_private_storage,
    )


def _switch(variable: str, environ: Mapping[str, str]) -> bool:
    value = environ.get(variable, "").strip().lower()
    if value not in ("", "0", "1", "false", "true", "no", "yes"):
        raise ViConfigurationError(f"{variable} must be 1 or 0, got {value[:20]!r}.")
    return value in ("1", "true", "yes")


def _policy(retries: object, environ: Mapping[str, str]) -> RetryPolicy:
    if isinstance(retries, int) and not isinstance(retries, bool):
        return RetryPolicy.of(retries)
    if retries is None:
        given = environ.get(RETRIES_VARIABLE, "").strip()
        if given and not (given.isascii() and given.isdecimal() and len(given) < 4):
            raise ViConfigurationError(f"{RETRIES_VARIABLE} must be a number from 0 to 999, got {given[:20]!r}.")
        return RetryPolicy.of(int(given)) if given else RetryPolicy()
    check_type(retries, "retries", RetryPolicy, "a vi.RetryPolicy or a number of retries")
    assert isinstance(retries, RetryPolicy)
    return retries


def check_type(value: object, name: str, kind: type, expected: str) -> None:
    """Refuse an argument of another type; the error does not show it, for it may be a secret."""
    if not isinstance(value, kind):
        raise must_be_of_type(name, expected, value)


def check_ssl_context(value: object) -> None:
    """Refuse an *ssl_context* that is none."""
    if value is not None:
        check_type(value, "ssl_context", ssl.SSLContext, "an ssl.SSLContext")


@attrs.frozen
class FoundSetting:
    """A setting as it was found, unchecked, and where; *value* is None when it was found nowhere."""

    value: str | None = attrs.field(repr=False)
    source: str


def find_settings(
    secret_key: str | None = None,
    organization_id: str | None = None,
    endpoint: str | None = None,
    *,
    config_file: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] = ENVIRON,
) -> dict[str, FoundSetting]:
    """Return ``secret_key``, ``organization_id`` and ``endpoint`` with their sources, as `load_settings` takes them."""
    given: dict[str, str | None] = {
        "secret_key": (secret_key := secret(secret_key)),
        "organization_id": organization_id,
        "endpoint": endpoint,
    }
    for name, value in {**given, "profile": profile}.items():
        if value is not None:
            check_type(value, name, str, "text")
            if not value.strip():
                advice = "Leave it out for the settings file." if name == "profile" else LEFT_OUT
                raise ViConfigurationError(f"{name} must not be empty.", suggestion=advice)
    sources: list[tuple[str, Mapping[str, str | None]]] = [("the argument", given)]
    if config_file is not None:
        path = as_path(config_file, "config_file", ViConfigurationError)
        sources.append((f"the file {path}", _read_file(path, profile)))
    elif profile is not None:
        path = _file_of_profiles(profile, environ)
        sources.append((f"profile {profile!r} of {path}", _read_file(path, profile)))
    sources.append((ENVIRONMENT, concealed({name: environ.get(variable) for name, variable in _VARIABLES.items()})))
    if config_file is None and profile is None:
        selected = environ.get(PROFILE_VARIABLE)
        if selected and not all(given.values()):  # also with a whole environment: an unknown profile is refused
            path = _file_of_profiles(selected, environ)
            sources.append((f"the file {path}", _read_file(path, selected, PROFILE_VARIABLE)))
        elif not all(_pick(sources, name).value for name in given):
            default = default_config_path(environ)
            if default is not None and (default.is_file() or environ.get(CONFIG_VARIABLE)):
                sources.append((f"the file {default}", _read_file(default, None)))
    return {name: _pick(sources, name) for name in given}


def _file_of_profiles(profile: str, environ: Mapping[str, str]) -> Path:
    path = default_config_path(environ)
    if path is None:
        raise ViConfigurationError(
            f"There is no home folder, so no settings file has the profile {profile!r}.",
            suggestion=f"Name the file: {CONFIG_VARIABLE} or config_file=.",
        )
    return path


def _pick(sources: list[tuple[str, Mapping[str, str | None]]], name: str) -> FoundSetting:
    for source, values in sources:
        if value := values.get(name):
            return FoundSetting(value, source)
    return FoundSetting(None, "the default" if name == "endpoint" else "nowhere")


def _read_file(path: Path, profile: str | None, variable: str = "") -> dict[str, str | None]:
    """Read a settings file: TOML with profiles, or the JSON object of the published client.

    *variable* is what names the profile where no argument does.
    """
    if variable and not path.exists():
        raise ViConfigurationError(
            f"{variable} names the profile {brief(profile)}, and there is no settings file {path}.",
            path=str(path),
            suggestion=f"Unset {variable}, or create the profile with vi-sdk login.",
        )
    section = _profile_of(read_document(path), path, profile, variable)
    if "secret_key" in section:
        warn_of_others(path)
    values: dict[str, str | None] = {}
    for name in ("secret_key", "organization_id", "endpoint"):
        value = section.get(name)
        if value is not None and not isinstance(value, str):
            raise ViConfigurationError(f"{name} in {path} must be text.", path=str(path))
        values[name] = value
    return values


def read_document(path: Path) -> dict[str, Any]:
    """Return what a settings file holds, secrets included; the error of one that cannot be read quotes none."""
    document, problem = _parsed(path)  # whose locals no traceback shows
    if problem is not None:
        advice = NO_FILE if not path.exists() else BAD_FILE if "parsed" in problem else None
        raise ViConfigurationError(f"The settings file {path} {problem}.", path=str(path), suggestion=advice)
    return document


def _parsed(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        text = path.read_text("utf-8-sig")  # editors of Windows begin a file with a mark
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        return {}, f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        return {}, "cannot be read: it is not UTF-8 text"
    except (ValueError, RecursionError) as error:
        # The parser's message may quote the line, and so the key.
        position = re.search(r"line \d+", str(error))
        return {}, f"cannot be parsed{f' at {position[0]}' if position else ''}"
    if not isinstance(document, dict):
        return {}, "must hold an object"
    return concealed(document), None


def _profile_of(document: dict[str, Any], path: Path, profile: str | None, variable: str) -> dict[str, Any]:
    profiles = document.get("profiles", {})
    name = profile or document.get("profile")
    if name is None or (name == "default" and any(field in document for field in _VARIABLES)):
        section = profiles.get("default", {}) if isinstance(profiles, dict) else {}
        return {**section, **document} if isinstance(section, dict) else document
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        known = ", ".join(sorted(profiles)) if isinstance(profiles, dict) and profiles else "none"
        raise ViConfigurationError(
            f"No profile {brief(name)}{f' ({variable})' if variable else ''} in {path}; it has: {known}.",
            path=str(path),
            suggestion=NO_FILE,
        )
    return dict(profiles[name])


def _check_key(key: str | None, source: str) -> str:
    if key is None:
        raise ViConfigurationError(
            "No secret key was found.",
            error_code="MissingRequiredField",
            suggestion=f"Set {KEY_VARIABLE}, pass secret_key=, or use Client.local() for the local service.",
        )
    if not _KEY.fullmatch(key):
        raise ViConfigurationError(
            f"The secret key from {source} is malformed: expected 'dtvi_' and {KEY_LENGTH} characters in all of "
            f"A-Z a-z 0-9 - _, got {len(key)} characters"
            f"{'' if key.startswith('dtvi_') else ' without that prefix'}.",
            error_code="InvalidApiKey",
            suggestion="Copy the whole key again; Client.local() needs none.",
        )
    return key


def _check_organization(organization: str | None, source: str) -> str:
    if organization is None or not organization.strip():
        raise ViConfigurationError(
            "No organization id was found.",
            error_code="MissingRequiredField",
            suggestion=f"Set {ORGANIZATION_VARIABLE} or pass organization_id=.",
        )
    if "/" in organization or any(ord(c) < 32 or ord(c) == 127 for c in organization):
        raise ViConfigurationError(f"The organization id from {source} holds a character that cannot be sent.")
    return organization.strip()


def _check_endpoint(endpoint: str, source: str, allow_http: bool) -> str:
    endpoint = endpoint.strip()
    odd = any(c.isspace() or ord(c) < 32 or ord(c) == 127 for c in endpoint)
    try:
        parts = urlsplit(endpoint)
        port = parts.port
        parts = parts._replace(netloc=ascii_host(parts))
    except ValueError:
        parts, port = urlsplit(""), None
    if odd or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ViConfigurationError(
            f"The endpoint {endpoint!r} from {source} is not an http(s) address.",
            suggestion="It looks like https://api.vi.datature.com or http://127.0.0.1:8787.",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ViConfigurationError(f"The endpoint from {source} must not have a user, query or fragment.")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_http:
        raise ViConfigurationError(
            f"The endpoint {endpoint!r} from {source} would send the secret key unencrypted.",
            suggestion="Use https, or pass allow_http=True if the network is your own.",
        )
    return parts.geturl().rstrip("/")


def ascii_host(parts: SplitResult) -> str:
    """Return host and port with a name in other letters in its ASCII form (RFC 5891); `ValueError` if it has none."""
    if parts.netloc.isascii() or "@" in parts.netloc:
        return parts.netloc
    idna: Any = require("idna", "A name that is not ASCII")  # here: for few
    host = idna.encode(parts.hostname or "", uts46=True).decode()
    return host if parts.port is None else f"{host}:{parts.port}"
