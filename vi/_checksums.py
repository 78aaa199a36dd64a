"""CRC32C (Castagnoli) as the protocol writes it, from the fastest implementation at hand.

crcmod is the reference and always there; without a C compiler it silently runs at about 10 MB/s, so a wheel with
hardware support (fastcrc, google-crc32c) is taken first when it answers the standard nine-byte vector correctly.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ._optional import prefer, reject, require

Buffer = bytes | bytearray | memoryview
Update = Callable[[Buffer, int], int]

POLYNOMIAL = 0x82F63B78  # reflected
_CHECK = 0xE3069283  # of b"123456789"

logger = logging.getLogger("vi.checksums")


def _fastcrc() -> Update | None:
    library: Any = prefer("fastcrc")
    return None if library is None else library.crc32.iscsi


def _google() -> Update | None:
    library: Any = prefer("google_crc32c")
    if library is None or library.implementation != "c":
        return None
    return lambda data, value: int(library.extend(value, bytes(data)))


def _crcmod() -> Update:
    library: Any = require("crcmod", "A checksum")
    reference: Update = library.predefined.mkPredefinedCrcFun("crc-32c")
    return lambda data, value: reference(bytes(data), value)


@lru_cache(maxsize=1)
def _implementation() -> tuple[str, Update]:
    for name, load in (("fastcrc", _fastcrc), ("google-crc32c", _google)):
        if (update := load()) is not None:
            problem = _problem(update)
            if problem is None:
                return name, update
            reject(name.replace("-", "_"), problem)
    reference = _crcmod()
    # `import crcmod.crcmod` would give the package, which has a name `crcmod` of its own.
    if not getattr(importlib.import_module("crcmod.crcmod"), "_usingExtension", False):
        logger.warning("CRC32C runs in pure Python at about 10 MB/s: install fastcrc for this platform")
        return "crcmod (pure Python)", reference
    return "crcmod", reference


def _problem(update: Update) -> str | None:
    """Try a library with each kind of buffer, and say what is wrong with it."""
    try:
        found = update(memoryview(b"6789"), update(bytearray(b"45"), update(b"123", 0)))
    except Exception as error:  # noqa: BLE001 - such as a module that is built for another processor
        return f"fails ({type(error).__name__})"
    return None if found == _CHECK else "computes wrong sums"


def crc32c(data: Buffer, value: int = 0) -> int:
    """Return the CRC32C of *data*, continuing from *value*, as an unsigned 32-bit integer."""
    return _implementation()[1](data, value)


def implementation() -> str:
    """Name the CRC32C implementation in use."""
    return _implementation()[0]


def is_fast() -> bool:
    """Tell whether a mebibyte is hashed in microseconds, so that a thread would only cost time."""
    return not implementation().startswith("crcmod")


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC of two ranges from the CRC of each and the length of the second.

    Appending n zero bytes multiplies the register by x^(8n) modulo the polynomial (the method of zlib's
    crc32_combine), so a large file can be hashed in parts and read only once.
    """
    return _multiply(_power(second_length), first) ^ second


def _multiply(a: int, b: int) -> int:
    product = 0
    bit = 1 << 31
    while bit:
        if a & bit:
            product ^= b
            if not a & (bit - 1):
                break
        b = (b >> 1) ^ POLYNOMIAL if b & 1 else b >> 1
        bit >>= 1
    return product


@lru_cache(maxsize=256)
def _power(length: int) -> int:
    result, square = 1 << 31, 1 << 30  # x^0 and x^1
    exponent = length * 8
    while exponent:
        if exponent & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        exponent >>= 1
    return result


def to_signed(value: int) -> int:
    """Write a CRC as the protocol's signed 32-bit integer (section 9.3)."""
    return value - (1 << 32) if value & 0x80000000 else value


def to_unsigned(value: int) -> int:
    """Read the protocol's signed integer."""
    return value & 0xFFFFFFFF


def to_base64(value: int) -> str:
    """Write a CRC as storage headers do: base64 of its four big-endian bytes."""
    return base64.b64encode(to_unsigned(value).to_bytes(4, "big")).decode()


def from_goog_hash(header: str | None) -> int | None:
    """Read the CRC32C out of an ``x-goog-hash`` header; None when there is none."""
    if header is None:
        return None
    for part in header.split(","):
        name, _, text = part.strip().partition("=")
        if name.lower() == "crc32c":
            return _from_base64(text)
    return None


def _from_base64(text: str) -> int | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(raw, "big") if len(raw) == 4 else None


def from_repr_digest(header: str | None) -> str | None:
    """Read the SHA-256 out of a ``Repr-Digest`` header (RFC 9530), as hex; None when there is none."""
    for part in (header or "").split(","):
        name, _, text = part.strip().partition("=")
        if name.lower() == "sha-256" and len(text) > 2 and text[0] == text[-1] == ":":
            try:
                return base64.b64decode(text[1:-1], validate=True).hex()
            except (binascii.Error, ValueError):
                return None
    return None


_DIGITS = {"sha256": 64, "md5": 32}
"""The digests besides CRC32C, and how long each is in hex."""


class Expected:
    """What a stored object's bytes must hash to: the strongest digest that the service states and we know."""

    __slots__ = ("_crc", "_hasher", "algorithm", "value")

    def __init__(self, algorithm: str | None, contents: str | None) -> None:
        self._hasher: Any = None
        self._crc = 0
        self.algorithm: str | None = None
        self.value: str | frozenset[int] | None = None
        name = (algorithm or "").lower().replace("-", "")
        if not contents:
            return
        if len(contents) == _DIGITS.get(name):
            self.algorithm, self.value = name, contents.lower()
        elif name == "crc32c" and (readings := _read_crc(contents)):
            self.algorithm, self.value = name, readings

    def __bool__(self) -> bool:
        return self.algorithm is not None

    @property
    def text(self) -> str:
        """The expectation as text, to be compared with another; empty when nothing is expected."""
        value = self.value if isinstance(self.value, str) else ",".join(map(str, sorted(self.value or ())))
        return f"{self.algorithm}:{value}" if self else ""

    def expect_crc(self, crc: int) -> None:
        """Expect *crc* unless a stronger digest is already expected."""
        if self.algorithm is None:
            self.algorithm, self.value = "crc32c", frozenset({crc})

    def update(self, data: Buffer) -> None:
        """Take in the next range of bytes."""
        if self.algorithm == "crc32c":
            self._crc = crc32c(data, self._crc)
        elif self.algorithm is not None:
            self._hash().update(data)

    def _hash(self) -> Any:
        if self._hasher is None:
            assert self.algorithm is not None
            self._hasher = hashlib.new(self.algorithm, usedforsecurity=False)
        return self._hasher

    def of_range(self) -> Expected:
        """Return what takes in one range of the bytes, to be joined to the others by `join`, if that can be done."""
        twin = Expected(None, None)
        if self.algorithm == "crc32c":
            twin.algorithm, twin.value = self.algorithm, self.value
        return twin

    def join(self, other: Expected, length: int) -> bool:
        """Take in the next *length* bytes, which *other* has taken in already; False if they must be read again."""
        if self.algorithm != "crc32c" or other.algorithm != "crc32c":
            return False
        self._crc = combine(self._crc, other._crc, length)
        return True

    def matches(self) -> bool:
        """Tell whether the bytes taken in are the expected ones; true when nothing is expected."""
        if self.algorithm is None:
            return True
        if isinstance(self.value, frozenset):
            return self._crc in self.value
        return bool(self._hash().hexdigest() == self.value)

    def fresh(self) -> Expected:
        """Return the same expectation with nothing taken in."""
        twin = Expected(None, None)
        twin.algorithm, twin.value = self.algorithm, self.value
        return twin


def _read_crc(text: str) -> frozenset[int]:
    """Read a CRC32C in signed decimal, hex or base64 (protocol section 8.3); eight digits may be two of them."""
    readings: set[int] = set()
    if text.removeprefix("-").isdecimal() and -(1 << 31) <= (number := int(text)) < (1 << 32):
        readings.add(to_unsigned(number))
    if len(text) == 8 and all(c in "0123456789abcdefABCDEF" for c in text):
        readings.add(int(text, 16))
    if len(text) == 8 and (crc := _from_base64(text)) is not None:
        readings.add(crc)
    return frozenset(readings)
