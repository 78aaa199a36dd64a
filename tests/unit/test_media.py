"""File types by extension and by content (protocol section 12)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi import _samples
from vi._media import (
    IMAGE_TYPES,
    MAX_IMAGE_BYTES,
    MAX_VIDEO_BYTES,
    SNIFF_BYTES,
    VIDEO_TYPES,
    extension_of,
    family_of,
    media_type,
    size_limit,
    sniff,
)

IMAGES = {
    "image/avif": [".avif"],
    "image/bmp": [".bmp"],
    "image/gif": [".gif"],
    "image/heic": [".heic"],
    "image/heif": [".heif"],
    "image/jpeg": [".jpeg", ".jpg", ".jfif"],
    "image/jp2": [".jp2", ".j2k"],
    "image/png": [".png"],
    "image/tiff": [".tiff", ".tif"],
    "image/webp": [".webp"],
}
VIDEOS = {
    "video/3gpp": [".3gp", ".3gpp"],
    "video/x-msvideo": [".avi"],
    "video/x-ms-asf": [".asf", ".wmv"],
    "video/mp4": [".mp4", ".f4v"],
    "video/x-flv": [".flv"],
    "video/x-m4v": [".m4v"],
    "video/matroska": [".mkv"],
    "video/mpeg": [".mpg"],
    "video/quicktime": [".mov", ".movie", ".qt"],
    "video/ogg": [".ogg", ".ogv"],
    "application/vnd.rn-realmedia": [".rm", ".rmv"],
    "video/webm": [".webm"],
}


def brands(*names: bytes, size: int | None = None) -> bytes:
    body = names[0] + bytes(4) + b"".join(names[1:])
    return struct.pack(">I4s", 8 + len(body) if size is None else size, b"ftyp") + body


VIDEO_HEADS = [
    b"\x1aE\xdf\xa3" + bytes(60),
    b"OggS" + bytes(60),
    b"FLV\x01" + bytes(60),
    b".RMF" + bytes(60),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(56),
    b"\x00\x00\x01\xba" + bytes(60),
    b"\x00\x00\x01\xb3" + bytes(60),
    b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(48),
    brands(b"isom", b"iso2", b"mp41"),
    brands(b"qt  "),
    b"\x00\x00\x00\x08wide" + bytes(56),
    b"\x00\x00\x10\x00moov" + bytes(56),
]


class TestByExtension:
    def test_the_table_of_the_protocol(self) -> None:
        assert {e: mime for mime, extensions in IMAGES.items() for e in extensions} == IMAGE_TYPES
        assert {e: mime for mime, extensions in VIDEOS.items() for e in extensions} == VIDEO_TYPES

    @pytest.mark.parametrize("extension", IMAGE_TYPES)
    def test_images_in_any_case(self, extension: str) -> None:
        for name in (f"a{extension}", f"A{extension.upper()}", f"a.b{extension.title()}", f".x{extension}"):
            assert media_type(name) == ("Image", IMAGE_TYPES[extension])

    @pytest.mark.parametrize("extension", VIDEO_TYPES)
    def test_videos(self, extension: str) -> None:
        assert media_type(f"a{extension}") == ("Video", VIDEO_TYPES[extension])

    @pytest.mark.parametrize(
        "name", ["", "png", ".png", "a", "a.", "a.txt", "a.png.txt", "a.png ", "a.svg", "a.pngx", "a.ps"]
    )
    def test_what_is_not_supported(self, name: str) -> None:
        assert media_type(name) is None

    def test_an_extension(self) -> None:
        assert [extension_of(name) for name in ("a.PNG", "a.tar.GZ", ".png", "a", "a.")] == [".png", ".gz", "", "", "."]

    def test_limits(self) -> None:
        assert size_limit("Image") == MAX_IMAGE_BYTES == 256 * 1024**2
        assert size_limit("Video") == MAX_VIDEO_BYTES == 512 * 1024**3


class TestByContent:
    @pytest.mark.parametrize("extension", IMAGE_TYPES)
    def test_a_real_file_of_every_extension(self, extension: str) -> None:
        head = _samples.encode(3, extension, (16, 16))[:SNIFF_BYTES]
        assert sniff(head) == family_of(IMAGE_TYPES[extension])

    @pytest.mark.parametrize("head", VIDEO_HEADS)
    def test_videos(self, head: bytes) -> None:
        assert sniff(head) == "video"

    @pytest.mark.parametrize("mime", VIDEOS)
    def test_every_video_type_is_one_family(self, mime: str) -> None:
        assert family_of(mime) == "video"

    def test_what_has_both_brands_is_avif(self) -> None:
        assert sniff(brands(b"mif1", b"miaf", b"avif")) == "avif"
        assert sniff(brands(b"avif", b"mif1")) == "avif"
        assert sniff(brands(b"mif1", b"heic")) == "heif"
        assert sniff(brands(b"heic")) == "heif"

    def test_a_brand_behind_its_box_does_not_count(self) -> None:
        assert sniff(brands(b"isom", b"avif", size=16)) == "video"

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\xff\xd8",
            b"\x89PNG",
            b"GIF88a",
            b"RIFF\x00\x00\x00\x00WAVE",
            b"RIFF",
            b"%PDF-1.4",
            b"<svg",
            b"%!PS",
            bytes(64),
        ],
    )
    def test_what_is_unknown(self, head: bytes) -> None:
        assert sniff(head) is None

    @given(st.binary(max_size=SNIFF_BYTES))
    def test_any_bytes_are_a_known_family_or_none(self, head: bytes) -> None:
        families = {family_of(mime) for mime in (*IMAGES, *VIDEOS)}
        assert sniff(head) in families | {None}

    @pytest.mark.parametrize("extension", IMAGE_TYPES)
    def test_a_cut_file_never_shows_another_family(self, extension: str) -> None:
        whole = _samples.encode(3, extension, (16, 16))
        for length in range(SNIFF_BYTES):
            family = sniff(whole[:length])
            assert family in (None, family_of(IMAGE_TYPES[extension])) or extension in (".avif", ".heic", ".heif")
