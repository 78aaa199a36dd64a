"""Every error of this package, in one tree.

::

    ViError
    ├── ViConfigurationError            settings missing or unusable
    ├── ViValidationError               a request or a file cannot be right (also a ValueError)
    │   ├── ViInvalidParameterError     an argument
    │   ├── ViInvalidFileFormatError    a file of a kind the service does not take
    │   ├── ViFileTooLargeError         a file over the limit (also a ViUploadError)
    │   └── ViPathError                 a path that is missing or unreadable (also a FileNotFoundError)
    ├── ViAuthenticationError           401
    ├── ViPermissionError               403
    ├── ViNotFoundError                 404
    ├── ViConflictError                 409
    ├── ViRateLimitError                429
    ├── ViServerError                   5xx
    ├── ViNetworkError                  no answer
    ├── ViTimeoutError                  no answer in time (also a TimeoutError)
    └── ViOperationError                an answer that cannot be used, or an operation that failed
        ├── ViUploadError               with .result
        └── ViDownloadError             with .result

Status and wire code become a class in `from_response`, nowhere else (protocol section 4.3). Every text is cut and
redacted on the way in, so no error can show a key or a signed URL, nor be larger than a few hundred kilobytes.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, ClassVar

from ._redact import WORD_LENGTH, limited, limited_value, printable


class ViErrorCode(StrEnum):
    """What went wrong, as a stable word; the service uses the same words in its answers."""

    AUTHENTICATION_FAILED = "AuthenticationFailed"
    INVALID_API_KEY = "InvalidApiKey"
    EXPIRED_CREDENTIALS = "ExpiredCredentials"
    PERMISSION_DENIED = "PermissionDenied"
    VALIDATION_FAILED = "ValidationFailed"
    INVALID_PARAMETER = "InvalidParameter"
    MISSING_REQUIRED_FIELD = "MissingRequiredField"
    INVALID_FILE_FORMAT = "InvalidFileFormat"
    FILE_TOO_LARGE = "FileTooLarge"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    RESOURCE_CONFLICT = "ResourceConflict"
    RESOURCE_LIMIT_EXCEEDED = "ResourceLimitExceeded"
    NETWORK_ERROR = "NetworkError"
    TIMEOUT_ERROR = "TimeoutError"
    CONNECTION_FAILED = "ConnectionFailed"
    SERVER_ERROR = "ServerError"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    RATE_LIMIT_EXCEEDED = "RateLimitExceeded"
    OPERATION_FAILED = "OperationFailed"
    DOWNLOAD_FAILED = "DownloadFailed"
    UPLOAD_FAILED = "UploadFailed"
    CONFIGURATION_ERROR = "ConfigurationError"
    UNKNOWN_ERROR = "UnknownError"


_RETRYABLE = frozenset(
    {
        ViErrorCode.NETWORK_ERROR,
        ViErrorCode.TIMEOUT_ERROR,
        ViErrorCode.CONNECTION_FAILED,
        ViErrorCode.SERVER_ERROR,
        ViErrorCode.SERVICE_UNAVAILABLE,
        ViErrorCode.RATE_LIMIT_EXCEEDED,
    }
)


class ViError(Exception):
    """Base of every error raised by this package.

    *message* is one sentence with the values in it, *suggestion* the next step. *status_code*, *code* and *request_id*
    come from the service's answer where there was one; *path* is the local file or the field that it is about.
    """

    default_code: ClassVar[ViErrorCode] = ViErrorCode.UNKNOWN_ERROR
    default_suggestion: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        error_code: ViErrorCode | str | None = None,
        status_code: int | None = None,
        suggestion: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        path: str | None = None,
        result: Any = None,
    ) -> None:
        self.message: str = _LONG_WORD.sub(_shortened, printable(limited(message), keep="\n"))
        super().__init__(self.message)
        code = error_code if error_code is not None else self.default_code
        self.error_code: ViErrorCode | str = code if isinstance(code, ViErrorCode) else limited(code, WORD_LENGTH)
        self.status_code = status_code
        self.suggestion: str | None = (
            printable(limited(suggestion), "\n") if suggestion is not None else self.default_suggestion
        )
        self.details: dict[str, Any] = limited_value(details) if details else {}
        self.retry_after = retry_after
        self.request_id: str | None = printable(limited(request_id, WORD_LENGTH)) if request_id is not None else None
        self.path: str | None = limited(path) if path is not None else None
        self.result: Any = result
        """What an upload, a download or a sync had done before the error."""

    @property
    def trace_id(self) -> str | None:
        """The same as *request_id*, under the name the hosted service uses."""
        return self.request_id

    @property
    def partial_result(self) -> Any:
        """What was done before the error, for the operations that keep it (uploads and downloads)."""
        return self.result

    def is_retryable(self) -> bool:
        """Tell whether the same call may succeed later with nothing changed."""
        return self.error_code in _RETRYABLE

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data."""
        fields = {
            "type": type(self).__name__,
            "error_code": str(self.error_code),
            "message": self.message,
            "status_code": self.status_code,
            "suggestion": self.suggestion,
            "retry_after": self.retry_after,
            "request_id": self.request_id,
            "path": self.path,
            "details": self.details or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def __str__(self) -> str:
        text = self.message
        about = [f"HTTP {self.status_code}"] if self.status_code is not None else []
        if self.request_id:
            about.append(f"request {self.request_id}")
        if about:
            text = f"{text.removesuffix('.')} ({', '.join(about)})."
        gap = "\n" if "\n" in text else " "
        return f"{text}{gap}{self.suggestion}" if self.suggestion else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, error_code={str(self.error_code)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message), self.__dict__


_COMPOSITE = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}_(?=[0-9A-Za-z])")
"""The organization within the id of a dataset, which users leave out."""


_LONG_WORD = re.compile(r"(?<!\S)\S{600,}")
"""What no path of most systems, name or id is; the rest of the sentence is to be read."""


def _shortened(word: re.Match[str]) -> str:
    return f"{word[0][:60]}...{word[0][-20:]}"


def _rebuild(cls: type[ViError], message: str) -> ViError:
    # cls.__new__ would be that of ValueError, which is not safe where the layout is OSError's.
    error = (OSError if issubclass(cls, OSError) else Exception).__new__(cls)
    Exception.__init__(error, message)
    return error


class ViConfigurationError(ViError):
    """Settings are missing or cannot be used."""

    default_code = ViErrorCode.CONFIGURATION_ERROR


class ViValidationError(ViError, ValueError):
    """A request, or a file, that cannot be accepted as it is. Repeating it does not help."""

    default_code = ViErrorCode.VALIDATION_FAILED


class ViInvalidParameterError(ViValidationError):
    """An argument has a value that cannot be used; *parameter* names it."""

    default_code = ViErrorCode.INVALID_PARAMETER

    def __init__(self, message: str, *, parameter: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.parameter = parameter


class ViInvalidFileFormatError(ViValidationError):
    """A file is not of a kind that the service takes."""

    default_code = ViErrorCode.INVALID_FILE_FORMAT


class ViPathError(ViValidationError, FileNotFoundError):
    """A local path is missing, unreadable, or not what the call needs."""

    default_code = ViErrorCode.INVALID_PARAMETER

    # FileNotFoundError would print errno and strerror otherwise.
    def __str__(self) -> str:
        return ViError.__str__(self)


class ViAuthenticationError(ViError):
    """The service did not accept the secret key (401)."""

    default_code = ViErrorCode.AUTHENTICATION_FAILED
    default_suggestion: ClassVar[str | None] = (
        "Check DATATURE_VI_SECRET_KEY or the secret_key argument; the key may be revoked."
    )


class ViPermissionError(ViError):
    """The key is valid but may not do this (403)."""

    default_code = ViErrorCode.PERMISSION_DENIED
    default_suggestion: ClassVar[str | None] = "Check that the organization id belongs to this key."


class ViNotFoundError(ViError):
    """No such organization, dataset, asset or session (404)."""

    default_code = ViErrorCode.RESOURCE_NOT_FOUND
    default_suggestion: ClassVar[str | None] = (
        "List valid ids with client.datasets.list() and client.assets.list(dataset_id)."
    )


class ViConflictError(ViError):
    """The request contradicts what the service holds (409)."""

    default_code = ViErrorCode.RESOURCE_CONFLICT


class ViRateLimitError(ViError):
    """The service asks for fewer requests (429); *retry_after* is in seconds."""

    default_code = ViErrorCode.RATE_LIMIT_EXCEEDED


class ViServerError(ViError):
    """The service failed (5xx) and kept failing through the retries."""

    default_code = ViErrorCode.SERVER_ERROR


class ViNetworkError(ViError):
    """No answer: name resolution, connection or TLS failed, or the connection was cut."""

    default_code = ViErrorCode.NETWORK_ERROR
    default_suggestion: ClassVar[str | None] = "Check the endpoint and the network, and make the same call again."


class ViTimeoutError(ViError, TimeoutError):
    """No answer, or no end, within the time allowed; the work was cancelled."""

    default_code = ViErrorCode.TIMEOUT_ERROR

    def __str__(self) -> str:
        return ViError.__str__(self)

    def __init__(self, message: str, *, session: Any = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.session = session


class ViOperationError(ViError):
    """An operation failed, or the service's answer cannot be used."""

    default_code = ViErrorCode.OPERATION_FAILED


class ViUploadError(ViOperationError):
    """An upload did not complete; *result* says what became of each file."""

    default_code = ViErrorCode.UPLOAD_FAILED


class ViDownloadError(ViOperationError):
    """A download did not complete; *result* says what became of each asset."""

    default_code = ViErrorCode.DOWNLOAD_FAILED


class ViFileTooLargeError(ViValidationError, ViUploadError):
    """A file is over the size limit; *file_size* and *max_size* are in bytes.

    It is a validation error and an upload error, so it may be caught before or as `ViUploadError`.
    """

    default_code = ViErrorCode.FILE_TOO_LARGE

    def __init__(
        self, message: str, *, file_size: int | None = None, max_size: int | None = None, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.file_size = file_size
        self.max_size = max_size


_BY_STATUS: dict[int, tuple[type[ViError], ViErrorCode]] = {
    401: (ViAuthenticationError, ViErrorCode.AUTHENTICATION_FAILED),
    403: (ViPermissionError, ViErrorCode.PERMISSION_DENIED),
    404: (ViNotFoundError, ViErrorCode.RESOURCE_NOT_FOUND),
    408: (ViTimeoutError, ViErrorCode.TIMEOUT_ERROR),
    409: (ViConflictError, ViErrorCode.RESOURCE_CONFLICT),
    413: (ViFileTooLargeError, ViErrorCode.FILE_TOO_LARGE),
    429: (ViRateLimitError, ViErrorCode.RATE_LIMIT_EXCEEDED),
    502: (ViServerError, ViErrorCode.NETWORK_ERROR),
    503: (ViServerError, ViErrorCode.SERVICE_UNAVAILABLE),
    504: (ViServerError, ViErrorCode.TIMEOUT_ERROR),
}


def from_response(
    status: int, body: object, *, retry_after: float | None = None, request_id: str | None = None
) -> ViError:
    """Turn an error answer into an error; *body* is its JSON, or its text (protocol section 4.1)."""
    message, code, details = _read_body(body)
    cls, default_code = _BY_STATUS.get(status) or (
        (ViServerError, ViErrorCode.SERVER_ERROR)
        if status >= 500
        else (ViValidationError, ViErrorCode.VALIDATION_FAILED)
    )
    if code is not None and code in ViErrorCode._value2member_map_:
        code = ViErrorCode(code)
    return cls(
        _COMPOSITE.sub("", message) if message else f"The service answered with status {status}.",
        error_code=code or default_code,
        status_code=status,
        retry_after=retry_after,
        request_id=request_id,
        details=details,
    )


def _read_body(body: object) -> tuple[str | None, str | None, dict[str, Any] | None]:
    if isinstance(body, str):
        return body[:1000].strip()[:200] or None, None, None
    if not isinstance(body, dict):
        return None, None, None
    nested = body.get("error")
    source = {**nested, **{k: v for k, v in body.items() if v is not None}} if isinstance(nested, dict) else body
    message = source.get("message")
    if not isinstance(message, str) or not message:
        message = nested if isinstance(nested, str) and nested else None
    code, details = source.get("code"), source.get("details")
    return (
        message[:1000] if message else None,
        code if isinstance(code, str) else None,
        details if isinstance(details, dict) else None,
    )
