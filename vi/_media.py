"""File types of the protocol (section 12): extension to MIME type, and the type that the first bytes show."""

from __future__ import annotations

from typing import Literal

Kind = Literal["Image", "Video"]

IMAGE_TYPES: dict[str, str] = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".jfif": "image/jpeg",
    ".jp2": "image/jp2",
    ".j2k": "image/jp2",
    ".png": "image/png",
    ".tiff": "image/tiff",
    ".tif": "image/tiff",
    ".webp": "image/webp",
}

VIDEO_TYPES: dict[str, str] = {
    ".3gp": "video/3gpp",
    ".3gpp": "video/3gpp",
    ".avi": "video/x-msvideo",
    ".asf": "video/x-ms-asf",
    ".wmv": "video/x-ms-asf",
    ".mp4": "video/mp4",
    ".f4v": "video/mp4",
    ".flv": "video/x-flv",
    ".m4v": "video/x-m4v",
    ".mkv": "video/matroska",
    ".mpg": "video/mpeg",
    ".mov": "video/quicktime",
    ".movie": "video/quicktime",
    ".qt": "video/quicktime",
    ".ogg": "video/ogg",
    ".ogv": "video/ogg",
    ".rm": "application/vnd.rn-realmedia",
    ".rmv": "application/vnd.rn-realmedia",
    ".webm": "video/webm",
}

MIB = 1 << 20
GIB = 1 << 30
MAX_IMAGE_BYTES = 256 * MIB
MAX_VIDEO_BYTES = 512 * GIB

SNIFF_BYTES = 64


def extension_of(filename: str) -> str:
    """Return the extension with its dot, in lower case; empty when there is none."""
    dot = filename.rfind(".")
    return filename[dot:].lower() if dot > 0 else ""


def media_type(filename: str) -> tuple[Kind, str] | None:
    """Return kind and MIME type by the extension of *filename*, or None when it is not supported."""
    extension = extension_of(filename)
    if mime := IMAGE_TYPES.get(extension):
        return "Image", mime
    if mime := VIDEO_TYPES.get(extension):
        return "Video", mime
    return None


def size_limit(kind: str) -> int:
    """Return the largest size in bytes of a file of *kind*."""
    return MAX_IMAGE_BYTES if kind == "Image" else MAX_VIDEO_BYTES


_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"mif2"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def sniff(head: bytes) -> str | None:
    """Name the family that the first `SNIFF_BYTES` bytes show: ``jpeg``, ``png``, ... ``video``, or None if unknown."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and len(head) >= 12:
        return "webp" if head[8:12] == b"WEBP" else "video" if head[8:11] == b"AVI" else None
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "jpeg2000"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head.startswith(b"BM"):
        return "bmp"
    if _is_video(head):
        return "video"
    return None


def _brand(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12]] + [head[at : at + 4] for at in range(16, min(size, len(head)), 4)]
    # An AVIF file may name a HEIF structural brand first, never the other way round.
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "avif"
    return "heif" if any(brand in _HEIF_BRANDS for brand in brands) else "video"


def _is_video(head: bytes) -> bool:
    return (
        head.startswith(
            (
                b"\x1aE\xdf\xa3",  # Matroska, WebM
                b"OggS",
                b"FLV\x01",
                b".RMF",
                b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
                b"\x00\x00\x01\xba",  # MPEG program stream
                b"\x00\x00\x01\xb3",  # MPEG video
            )
        )
        or head[4:8] in _QUICKTIME_ATOMS
    )


_FAMILIES = {
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heif",
    "image/heif": "heif",
    "image/jpeg": "jpeg",
    "image/jp2": "jpeg2000",
    "image/png": "png",
    "image/tiff": "tiff",
    "image/webp": "webp",
}


def type_of(family: str) -> str:
    """Return the MIME type to announce images of a family that `sniff` names by."""
    return next(mime for mime, known in _FAMILIES.items() if known == family)


def extension_for(family: str) -> str:
    """Return the extension that images of a family usually have."""
    return next(extension for extension, mime in IMAGE_TYPES.items() if family_of(mime) == family)


def family_of(mime: str) -> str:
    """Return the family that a file announced as *mime* must show to `sniff`."""
    return _FAMILIES.get(mime, "video")


PICTURES_SHOWN = ("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp")
FILMS_PLAYED = ("video/mp4", "video/webm", "video/ogg")


def may_be_inline(mime: str) -> bool:
    """Tell whether a browser may show *mime* in the page's own origin: pictures and films that it runs nothing of."""
    return mime in PICTURES_SHOWN or mime in FILMS_PLAYED
