"""Answers that refuse a request, as the protocol words them (section 4.1)."""

from __future__ import annotations

from typing import Any, TypeVar

from ...errors import ViErrorCode

T = TypeVar("T")

_CODES = {
    400: ViErrorCode.VALIDATION_FAILED,
    401: ViErrorCode.AUTHENTICATION_FAILED,
    403: ViErrorCode.PERMISSION_DENIED,
    404: ViErrorCode.RESOURCE_NOT_FOUND,
    409: ViErrorCode.RESOURCE_CONFLICT,
    413: ViErrorCode.FILE_TOO_LARGE,
    429: ViErrorCode.RATE_LIMIT_EXCEEDED,
    500: ViErrorCode.SERVER_ERROR,
    503: ViErrorCode.SERVICE_UNAVAILABLE,
    507: ViErrorCode.SERVER_ERROR,
}


class ApiError(Exception):
    """A request that gets *status* and a body with *message*; raised anywhere below a handler."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: ViErrorCode | None = None,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.details: dict[str, Any] = details or {}
        self.headers: dict[str, str] = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the document of the answer."""
        return error_body(self.status, self.message, self.code, self.details)


def error_body(
    status: int, message: str, code: ViErrorCode | None = None, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the document that goes with an error *status*."""
    return {
        "code": str(code or _CODES.get(status, ViErrorCode.VALIDATION_FAILED)),
        "message": message,
        "details": details or {},
    }


def invalid(message: str, parameter: str) -> ApiError:
    """A field or query parameter with a value that cannot be used."""
    return ApiError(400, message, code=ViErrorCode.INVALID_PARAMETER, details={"parameter": parameter})


def not_found(what: str, name: str) -> ApiError:
    """Something of this organization that is not there; the same words for what belongs to another."""
    return ApiError(404, f"{what} {name} not found")


def existing(row: T | None, what: str, name: str) -> T:
    """Return *row*; raises 404 if there is none."""
    if row is None:
        raise not_found(what, name)
    return row
