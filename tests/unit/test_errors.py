"""The tree of errors, what a service's answer becomes in it, and that no error shows a secret."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

import vi
from vi import errors
from vi.errors import ViError, ViErrorCode, from_response

KEY = "dtvi_" + "k" * 98
SIGNED = "https://storage.example/dl/a.png?X-Expires=1&X-Signature=secretsecret"

TREE = {
    "ViConfigurationError": ["ViError"],
    "ViValidationError": ["ViError", "ValueError"],
    "ViInvalidParameterError": ["ViValidationError"],
    "ViInvalidFileFormatError": ["ViValidationError"],
    "ViFileTooLargeError": ["ViValidationError", "ViUploadError"],
    "ViPathError": ["ViValidationError", "FileNotFoundError"],
    "ViAuthenticationError": ["ViError"],
    "ViPermissionError": ["ViError"],
    "ViNotFoundError": ["ViError"],
    "ViConflictError": ["ViError"],
    "ViRateLimitError": ["ViError"],
    "ViServerError": ["ViError"],
    "ViNetworkError": ["ViError"],
    "ViTimeoutError": ["ViError", "TimeoutError"],
    "ViOperationError": ["ViError"],
    "ViUploadError": ["ViOperationError"],
    "ViDownloadError": ["ViOperationError"],
}

CLASSES: list[type[ViError]] = [getattr(errors, name) for name in TREE]

# Protocol section 4.3: status, class, kind.
STATUSES = [
    (400, "ViValidationError", "ValidationFailed"),
    (405, "ViValidationError", "ValidationFailed"),
    (410, "ViValidationError", "ValidationFailed"),
    (418, "ViValidationError", "ValidationFailed"),
    (422, "ViValidationError", "ValidationFailed"),
    (451, "ViValidationError", "ValidationFailed"),
    (401, "ViAuthenticationError", "AuthenticationFailed"),
    (403, "ViPermissionError", "PermissionDenied"),
    (404, "ViNotFoundError", "ResourceNotFound"),
    (408, "ViTimeoutError", "TimeoutError"),
    (409, "ViConflictError", "ResourceConflict"),
    (413, "ViFileTooLargeError", "FileTooLarge"),
    (429, "ViRateLimitError", "RateLimitExceeded"),
    (500, "ViServerError", "ServerError"),
    (501, "ViServerError", "ServerError"),
    (502, "ViServerError", "NetworkError"),
    (503, "ViServerError", "ServiceUnavailable"),
    (504, "ViServerError", "TimeoutError"),
    (507, "ViServerError", "ServerError"),
    (599, "ViServerError", "ServerError"),
]

RETRYABLE = {
    "NetworkError",
    "TimeoutError",
    "ConnectionFailed",
    "ServerError",
    "ServiceUnavailable",
    "RateLimitExceeded",
}


class TestTree:
    @pytest.mark.parametrize("name", TREE)
    def test_the_bases(self, name: str) -> None:
        assert [base.__name__ for base in getattr(vi, name).__bases__] == TREE[name]

    def test_it_is_whole(self) -> None:
        found = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ViError)}
        assert found == {"ViError", *TREE}

    def test_a_file_too_large_is_caught_in_either_order(self) -> None:
        """As the documentation has it, and the other way round."""
        error = vi.ViFileTooLargeError("Too large.", file_size=2, max_size=1)
        with pytest.raises(vi.ViFileTooLargeError):
            raise error
        with pytest.raises(vi.ViUploadError) as raised:
            raise error
        assert raised.value.message == "Too large."
        assert isinstance(error, vi.ViValidationError)
        assert (error.file_size, error.max_size) == (2, 1)

    @pytest.mark.parametrize("cls", CLASSES)
    def test_every_class_has_a_code_of_its_own_family(self, cls: type[ViError]) -> None:
        assert cls("x").error_code is cls.default_code
        assert cls.default_code is not ViErrorCode.UNKNOWN_ERROR


class TestText:
    def test_one_line_says_it_all(self) -> None:
        error = from_response(401, {"message": "The key is not known"}, request_id="abc")
        assert error.message == "The key is not known"
        assert str(error).startswith("The key is not known (HTTP 401, request abc). Check DATATURE_VI_SECRET_KEY")
        assert repr(error) == "ViAuthenticationError('The key is not known', error_code='AuthenticationFailed')"

    @pytest.mark.parametrize("cls", [vi.ViPathError, vi.ViTimeoutError])
    def test_bases_of_the_language_do_not_spoil_the_text(self, cls: type[ViError]) -> None:
        assert str(cls("Nothing there.")) == "Nothing there."
        assert cls("Nothing there.", suggestion="Look again.").args == ("Nothing there.",)
        assert str(cls("Nothing there.", suggestion="Look again.")) == "Nothing there. Look again."

    def test_a_suggestion_may_be_given_or_is_that_of_the_class(self) -> None:
        assert ViError("x").suggestion is None
        assert vi.ViPermissionError("x").suggestion == vi.ViPermissionError.default_suggestion
        assert vi.ViPermissionError("x", suggestion="Ask.").suggestion == "Ask."

    def test_to_dict_is_json_without_what_is_unknown(self) -> None:
        error = from_response(
            429,
            {"message": "Slow down", "code": "RateLimitExceeded", "details": {"limit": 5}},
            retry_after=1.5,
            request_id="r",
        )
        assert json.loads(json.dumps(error.to_dict())) == {
            "type": "ViRateLimitError",
            "error_code": "RateLimitExceeded",
            "message": "Slow down",
            "status_code": 429,
            "retry_after": 1.5,
            "request_id": "r",
            "details": {"limit": 5},
        }
        assert ViError("x").to_dict() == {"type": "ViError", "error_code": "UnknownError", "message": "x"}

    def test_the_trace_id_is_the_request_id(self) -> None:
        assert ViError("x", request_id="r").trace_id == "r"

    @pytest.mark.parametrize("code", list(ViErrorCode))
    def test_which_may_be_tried_again(self, code: ViErrorCode) -> None:
        assert ViError("x", error_code=code).is_retryable() == (str(code) in RETRYABLE)
        assert ViError("x", error_code=str(code)).is_retryable() == (str(code) in RETRYABLE)


class TestSecrets:
    @pytest.mark.parametrize("cls", [ViError, *CLASSES])
    def test_nothing_of_an_error_shows_a_key_or_a_signature(self, cls: type[ViError]) -> None:
        error = cls(f"Bearer {KEY} at {SIGNED}", details={"url": SIGNED, "deep": [{"key": KEY}]}, path=f"/x/{KEY}")
        for text in (str(error), repr(error), repr(error.args), json.dumps(error.to_dict()), repr(vars(error))):
            assert "kkkk" not in text
            assert "secretsecret" not in text
        assert "https://storage.example/dl/a.png?***" in error.message

    @pytest.mark.parametrize(
        "body", [f"echo {KEY}", {"message": KEY, "details": {"header": f"Bearer {KEY}"}}, {"error": KEY}]
    )
    def test_nor_does_what_the_service_echoes(self, body: Any) -> None:
        error = from_response(400, body)
        assert "kkkk" not in json.dumps(error.to_dict()) + str(error) + repr(error)


class TestPickling:
    @pytest.mark.parametrize("cls", [ViError, *CLASSES])
    @pytest.mark.parametrize(
        "way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
    )
    def test_an_error_survives(self, cls: type[ViError], way: Any) -> None:
        error = cls(
            "It failed.",
            error_code="EWHATEVER",
            status_code=499,
            suggestion="Sit down.",
            details={"a": [1]},
            retry_after=2.5,
            request_id="r",
            path="/a/b",
        )
        twin = way(error)
        assert type(twin) is cls
        assert vars(twin) == vars(error)
        assert (str(twin), twin.args) == (str(error), error.args)

    def test_attributes_of_single_classes_survive(self) -> None:
        one = pickle.loads(pickle.dumps(vi.ViFileTooLargeError("x", file_size=2, max_size=1, result={"a": 1})))
        assert (one.file_size, one.max_size, one.result, one.partial_result) == (2, 1, {"a": 1}, {"a": 1})
        two = pickle.loads(pickle.dumps(vi.ViInvalidParameterError("x", parameter="paths")))
        assert two.parameter == "paths"
        three = pickle.loads(pickle.dumps(vi.ViTimeoutError("x", result=1, session=2)))
        assert (three.result, three.session, three.partial_result) == (1, 2, 1)


class TestFromResponse:
    @pytest.mark.parametrize(("status", "name", "kind"), STATUSES)
    def test_the_table_of_the_protocol(self, status: int, name: str, kind: str) -> None:
        error = from_response(status, None)
        assert type(error).__name__ == name
        assert error.error_code == kind
        assert error.error_code in ViErrorCode
        assert error.status_code == status
        assert error.message == f"The service answered with status {status}."

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"message": "A"}, "A"),
            ({"message": "A", "error": "B"}, "A"),
            ({"error": "B"}, "B"),
            ({"message": None, "error": "B"}, "B"),
            ({"message": "", "error": "B"}, "B"),
            ({"error": {"message": "C"}}, "C"),
            ({"message": None, "error": {"message": "C"}}, "C"),
            ("plain text\n", "plain text"),
            ({"message": 7}, None),
            ({"message": ["A"]}, None),
            ({"error": None}, None),
            ({}, None),
            ([], None),
            (7, None),
            ("  ", None),
            (None, None),
        ],
    )
    def test_where_the_message_is_looked_for(self, body: Any, message: str | None) -> None:
        assert from_response(400, body).message == (message or "The service answered with status 400.")

    def test_code_and_details_are_kept(self) -> None:
        error = from_response(400, {"message": "x", "code": "InvalidParameter", "details": {"field": "name"}})
        assert error.error_code is ViErrorCode.INVALID_PARAMETER
        assert error.details == {"field": "name"}

    def test_code_and_details_may_be_inside_error(self) -> None:
        error = from_response(
            400, {"error": {"message": "x", "code": "InvalidParameter", "details": {"field": "name"}}}
        )
        assert (error.error_code, error.details) == ("InvalidParameter", {"field": "name"})

    @pytest.mark.parametrize(
        ("code", "kept"), [("Novel", "Novel"), (7, "ValidationFailed"), (None, "ValidationFailed")]
    )
    def test_an_unknown_code_stays_as_it_is(self, code: Any, kept: str) -> None:
        assert from_response(400, {"message": "x", "code": code}).error_code == kept

    def test_a_long_answer_is_cut(self) -> None:
        assert len(from_response(500, "ab " * 5_000).message) == 200
        assert len(from_response(500, {"message": "ab " * 5_000}).message) == 1000
