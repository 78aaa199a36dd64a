"""CRC32C and the digests of stored objects, against published vectors and crcmod."""

from __future__ import annotations

import base64
import hashlib
import importlib
import sys
from typing import Any

import crcmod.predefined
import pytest
from crcmod import _crcfunpy
from hypothesis import given
from hypothesis import strategies as st

from vi import _checksums
from vi._checksums import Expected, combine, crc32c, from_goog_hash, to_base64, to_signed, to_unsigned

REFERENCE = crcmod.predefined.mkPredefinedCrcFun("crc-32c")

VECTORS = [
    (b"", "00000000", 0, "AAAAAA=="),
    (b"123456789", "e3069283", -486108541, "4waSgw=="),
    (b"a", "c1d04330", -1043315920, "wdBDMA=="),
    (b"hello world", "c99465aa", -913021526, "yZRlqg=="),
    (bytes(32), "8a9136aa", -1970194774, "ipE2qg=="),
]


def _pure() -> Any:
    table = crcmod.predefined.PredefinedCrc("crc-32c").table
    return lambda data, value: _crcfunpy._crc32r(bytes(data), value ^ 0xFFFFFFFF, table) ^ 0xFFFFFFFF


@pytest.fixture(params=[_checksums._fastcrc, _checksums._crcmod, _pure], ids=["fastcrc", "crcmod", "pure Python"])
def update(request: pytest.FixtureRequest) -> Any:
    """Each implementation."""
    return request.param() or pytest.skip("fastcrc cannot be imported")  # wine has no DLL that it needs


class TestVectors:
    @pytest.mark.parametrize(
        ("data", "hexadecimal", "signed", "encoded"), VECTORS, ids=["empty", "digits", "a", "hello", "zeros"]
    )
    def test_the_protocols_vectors(self, data: bytes, hexadecimal: str, signed: int, encoded: str) -> None:
        crc = crc32c(data)
        assert f"{crc:08x}" == hexadecimal
        assert to_signed(crc) == signed
        assert to_unsigned(signed) == crc
        assert to_base64(crc) == encoded
        assert to_base64(signed) == encoded
        assert from_goog_hash(f"crc32c={encoded}") == crc

    @pytest.mark.parametrize("data", [data for data, *_ in VECTORS])
    def test_every_implementation_gives_them(self, update: Any, data: bytes) -> None:
        assert update(data, 0) == REFERENCE(data)


class TestAgainstTheReference:
    @given(st.binary(max_size=4096))
    def test_any_bytes(self, data: bytes) -> None:
        assert crc32c(data) == REFERENCE(data)

    @given(st.lists(st.binary(max_size=512), max_size=8))
    def test_any_pieces(self, pieces: list[bytes]) -> None:
        value = 0
        for piece in pieces:
            value = crc32c(piece, value)
        assert value == REFERENCE(b"".join(pieces))

    @given(st.binary(max_size=512), st.sampled_from([bytes, bytearray, memoryview]))
    def test_any_buffer(self, data: bytes, kind: Any) -> None:
        assert crc32c(kind(data)) == REFERENCE(data)

    @given(st.binary(max_size=2048), st.binary(max_size=2048))
    def test_combining_two_stretches(self, first: bytes, second: bytes) -> None:
        assert combine(crc32c(first), crc32c(second), len(second)) == REFERENCE(first + second)

    @given(st.binary(max_size=256), st.integers(0, 1 << 40))
    def test_combining_is_associative_at_any_length(self, first: bytes, length: int) -> None:
        """Lengths that no test could hash: (a + zeros) + b equals a + (zeros + b)."""
        a, b = crc32c(first), crc32c(b"tail")
        zeros = 0x12345678  # stands for the CRC of *length* bytes
        assert combine(combine(a, zeros, length), b, 4) == combine(a, combine(zeros, b, 4), length + 4)

    @given(st.integers(0, 0xFFFFFFFF))
    def test_signed_and_base64_go_there_and_back(self, crc: int) -> None:
        assert to_unsigned(to_signed(crc)) == crc
        assert -(1 << 31) <= to_signed(crc) < 1 << 31
        assert from_goog_hash(f"crc32c={to_base64(crc)}") == crc


class TestChoice:
    @pytest.fixture(autouse=True)
    def fresh(self) -> Any:
        _checksums._implementation.cache_clear()
        yield
        _checksums._implementation.cache_clear()

    def test_without_accelerators_crcmod_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("fastcrc", "google_crc32c"):
            monkeypatch.setitem(sys.modules, name, None)
        pytest.importorskip("crcmod._crcfunext")  # where there was no compiler, it is not
        assert _checksums.implementation() == "crcmod"
        assert not _checksums.is_fast()
        assert crc32c(b"123456789") == 0xE3069283

    def test_an_accelerator_that_is_wrong_is_not_trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_checksums, "_fastcrc", lambda: lambda data, value: 1)
        assert _checksums.implementation() != "fastcrc"
        assert crc32c(b"123456789") == 0xE3069283

    def test_pure_python_is_said_aloud_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("fastcrc", "google_crc32c"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(importlib.import_module("crcmod.crcmod"), "_usingExtension", False)
        monkeypatch.setattr(_checksums, "_crcmod", lambda: lambda data, value: REFERENCE(data, value))
        crc32c(b"a")
        crc32c(b"b")
        assert _checksums.implementation() == "crcmod (pure Python)"
        assert [record.levelname for record in caplog.records if record.name == "vi.checksums"] == ["WARNING"]


class TestGoogHash:
    @pytest.mark.parametrize(
        ("header", "crc"),
        [
            ("crc32c=4waSgw==", 0xE3069283),
            ("md5=rL0Y20zC+Fzt72VPzMSk2A==,crc32c=4waSgw==", 0xE3069283),
            ("crc32c=4waSgw==, md5=rL0Y20zC+Fzt72VPzMSk2A==", 0xE3069283),
            ("CRC32C=4waSgw==", 0xE3069283),
            ("md5=rL0Y20zC+Fzt72VPzMSk2A==", None),
            ("crc32c=", None),
            ("crc32c=4waS", None),
            ("crc32c=not base64", None),
            ("crc32c=4waSgwAA", None),
            ("", None),
            (None, None),
        ],
    )
    def test_reading(self, header: str | None, crc: int | None) -> None:
        assert from_goog_hash(header) == crc


DATA = b"stored bytes"
CRC = crc32c(DATA)


class TestExpected:
    @pytest.mark.parametrize(
        ("algorithm", "contents"),
        [
            ("sha256", hashlib.sha256(DATA).hexdigest()),
            ("SHA-256", hashlib.sha256(DATA).hexdigest().upper()),
            ("md5", hashlib.md5(DATA).hexdigest()),
            ("crc32c", str(to_signed(CRC))),
            ("crc32c", str(CRC)),
            ("crc32c", f"{CRC:08x}"),
            ("crc32c", to_base64(CRC)),
        ],
    )
    def test_a_known_digest_is_checked(self, algorithm: str, contents: str) -> None:
        check = Expected(algorithm, contents)
        assert check
        check.update(DATA[:5])
        check.update(memoryview(DATA)[5:])
        assert check.matches()
        other = check.fresh()
        assert (other.algorithm, other.value) == (check.algorithm, check.value)
        other.update(DATA + b"!")
        assert not other.matches()

    @pytest.mark.parametrize("contents", ["12345678", "00000000", "deadbeef", "10000000"])
    def test_eight_digits_may_be_hex_or_decimal(self, contents: str) -> None:
        assert int(contents, 16) in (Expected("crc32c", contents).value or ())

    @pytest.mark.parametrize(
        ("algorithm", "contents"),
        [
            (None, None),
            ("sha256", None),
            ("sha256", ""),
            ("sha256", "abc"),
            ("whirlpool", "ab" * 64),
            ("crc32c", "none"),
            ("crc32c", str(1 << 32)),
            ("", hashlib.sha256(DATA).hexdigest()),
        ],
    )
    def test_an_unknown_digest_expects_nothing(self, algorithm: str | None, contents: str | None) -> None:
        check = Expected(algorithm, contents)
        assert not check
        check.update(b"anything")
        assert check.matches()

    def test_a_crc_of_the_storage_is_taken_only_where_nothing_stronger_is_known(self) -> None:
        weak, strong = Expected(None, None), Expected("sha256", hashlib.sha256(DATA).hexdigest())
        for check in (weak, strong):
            check.expect_crc(CRC ^ 1)
            check.update(DATA)
        assert not weak.matches()
        assert strong.matches()
        assert (weak.algorithm, strong.algorithm) == ("crc32c", "sha256")

    @given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
    def test_stretches_taken_in_apart_are_joined_to_the_whole(self, stretches: list[bytes]) -> None:
        whole = Expected("crc32c", str(crc32c(b"".join(stretches))))
        for data in stretches:
            stretch = whole.of_range()
            stretch.update(data)
            assert whole.join(stretch, len(data))
        assert whole.matches()

    def test_a_stretch_that_is_not_what_it_should_be_spoils_the_whole(self) -> None:
        whole = Expected("crc32c", str(CRC))
        for data in (DATA[:4], DATA[4:-1] + b"!"):
            stretch = whole.of_range()
            stretch.update(data)
            assert whole.join(stretch, len(data))
        assert not whole.matches()

    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    def test_other_digests_are_not_joined(self, algorithm: str) -> None:
        whole = Expected(algorithm, hashlib.new(algorithm, DATA).hexdigest())
        assert not whole.join(whole.of_range(), len(DATA))
        whole.update(DATA)
        assert whole.matches()

    def test_nothing_taken_in_matches_only_the_empty_digest(self) -> None:
        assert Expected("sha256", hashlib.sha256(b"").hexdigest()).matches()
        assert Expected("crc32c", "AAAAAA==").matches()
        assert not Expected("crc32c", to_base64(CRC)).matches()
        assert base64.b64decode("AAAAAA==") == bytes(4)
