"""Parts that documents of several resources have in common (protocol section 3), and choices given as words."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TypeVar

import attrs

from ... import _wire
from ..._checks import must_be

C = TypeVar("C", bound="Choice")


class Choice(StrEnum):
    """An enumeration whose members may be given as themselves, as their value, or by their name."""

    @classmethod
    def _missing_(cls, value: object) -> Choice | None:
        if isinstance(value, str):
            return cls.__members__.get(value.upper())
        return None


def choose(cls: type[C], value: C | str, parameter: str) -> C:
    """Return the member that *value* means; the error names the choices."""
    try:
        return cls(value)
    except ValueError:
        choices = ", ".join(repr(str(member)) for member in cls)
        raise must_be(parameter, f"one of {choices}", value) from None


class ConditionStatus(StrEnum):
    """How far a condition of a long operation has come."""

    WAITING = "Waiting"
    REACHED = "Reached"
    FAILED_REACH = "FailedReach"


class Timed:
    """When something was made and last changed."""

    __slots__ = ()

    time_created: int
    last_updated: int

    @property
    def created_at(self) -> dt.datetime | None:
        """The time of creation, in UTC."""
        return _wire.to_datetime(self.time_created)

    @property
    def updated_at(self) -> dt.datetime | None:
        """The time of the last change, in UTC."""
        return _wire.to_datetime(self.last_updated)


@attrs.define
class ResourceMetadata(Timed):
    """Book-keeping of a resource; times are milliseconds since 1970 UTC."""

    time_created: int = 0
    last_updated: int = 0
    generation: int = 0
    attributes: dict[str, str] = attrs.Factory(dict)


@attrs.define
class ResourceCondition:
    """One step of a long operation (``Started``, ``Finished``)."""

    condition: str
    status: ConditionStatus | str
    last_transition_time: int = 0
    reason: str | None = None
    message: str | None = None


@attrs.define
class OperationStatus:
    """The conditions of a long operation, newest first."""

    conditions: list[ResourceCondition] = attrs.Factory(list)

    @property
    def failed(self) -> bool:
        """Whether a condition can no longer be reached."""
        return any(c.status == ConditionStatus.FAILED_REACH for c in self.conditions)

    @property
    def done(self) -> bool:
        """Whether every condition is reached."""
        return bool(self.conditions) and all(c.status == ConditionStatus.REACHED for c in self.conditions)
