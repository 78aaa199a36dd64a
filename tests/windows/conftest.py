"""A service that counts what it is sent."""

from __future__ import annotations

from tests.support.counting_service import counting  # noqa: F401 - a fixture
