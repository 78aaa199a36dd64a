"""How a transfer may end before all of its bytes have moved: the signals between the parts of a transfer.

They are not errors of the API: each is turned into the report of one file, or into another attempt, and none leaves the
SDK.

    TransferSignal
    |- TransferFailed         no retry will help: has the code for the report
    |- UrlExpired             ask the service for a fresh URL
    |- TargetGone             the session was ended, or the object was removed
    |- SourceSignal           what is to be sent
    |  |- SourceChangedError  is not what was prepared
    |  `- SourceFailedError   cannot be read
    `- AnswerSignal           what came
       |- ChangedError        is not what was announced
       |- StartOverError      is of another object than the one begun
       |- NoRangesError       is the whole object, not the range asked for
       `- StatusRefused       is a status that is not an answer to a download
"""

from __future__ import annotations


class TransferSignal(Exception):
    """Base of all."""


class TransferFailed(TransferSignal):
    """A transfer that a retry does not help."""

    def __init__(self, code: str, message: str, attempts: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.attempts = attempts


class UrlExpired(TransferSignal):
    """The signed URL is past its life; the same bytes may go to a fresh one."""


class TargetGone(TransferSignal):
    """The session ended, or the object was removed, by another hand.

    *may_be_stored* tells that an earlier attempt, whose answer was lost, may have stored the bytes.
    """

    def __init__(self, *, may_be_stored: bool = False) -> None:
        super().__init__()
        self.may_be_stored = may_be_stored


class SourceSignal(TransferSignal):
    """Something is wrong with what is to be sent."""


class SourceChangedError(SourceSignal):
    """The source is no longer what was prepared."""


class SourceFailedError(SourceSignal):
    """The caller's stream raised, or gave something else than bytes."""


class AnswerSignal(TransferSignal):
    """The storage's answer to a download cannot be used as it is."""


class ChangedError(AnswerSignal):
    """What came is not what was announced."""


class StartOverError(AnswerSignal):
    """The object is no longer the one that was begun: nothing of it may be mixed with what comes now."""


class NoRangesError(AnswerSignal):
    """The storage answers with the whole object where a range was asked for."""


class StatusRefused(AnswerSignal):
    """The storage answered with a *status* that brings nothing."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after
