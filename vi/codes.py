"""What became of a file that was not transferred: the codes of `FileFailure.code`, in one place."""

from __future__ import annotations

from enum import StrEnum


class FileCode(StrEnum):
    """Why a file failed. A code of the operating system that is not listed here stays plain text."""

    EALREADY = "EALREADY"
    EBADITEM = "EBADITEM"
    EBADMIME = "EBADMIME"
    EBADNAME = "EBADNAME"
    EBADSIZE = "EBADSIZE"
    EBADURL = "EBADURL"
    ECANCELLED = "ECANCELLED"
    ECHANGED = "ECHANGED"
    ECONFLICT = "ECONFLICT"
    ECORRUPT = "ECORRUPT"
    EINVAL = "EINVAL"
    ENETWORK = "ENETWORK"
    ENOCONTENT = "ENOCONTENT"
    ENOENT = "ENOENT"
    ENOQUOTA = "ENOQUOTA"
    ENOSPC = "ENOSPC"
    EREFUSED = "EREFUSED"
    ESOURCE = "ESOURCE"
    ETIMEOUT = "ETIMEOUT"
    EUNKNOWN = "EUNKNOWN"
    EACCES = "EACCES"
    EDQUOT = "EDQUOT"
    EIO = "EIO"
    EPERM = "EPERM"
    EROFS = "EROFS"

    def __repr__(self) -> str:
        return repr(self.value)

    @property
    def temporary(self) -> bool:
        """Whether the same call may succeed later, with nothing changed."""
        return self in TEMPORARY

    @property
    def cut_short(self) -> bool:
        """Whether the transfer began and its connection was lost or too slow."""
        return self in CUT_SHORT

    @property
    def of_the_disk(self) -> bool:
        """Whether the local disk or its permissions are the cause, so that every other file would fail as well."""
        return self in OF_THE_DISK

    @property
    def read_only(self) -> bool:
        """Whether the folder must not be written to."""
        return self in READ_ONLY

    @property
    def meaning(self) -> str:
        """The code in words, to follow the name of a file."""
        return _MEANINGS[self]


CUT_SHORT: frozenset[str] = frozenset({FileCode.ENETWORK, FileCode.ETIMEOUT})
TEMPORARY: frozenset[str] = CUT_SHORT | {FileCode.ECANCELLED}
READ_ONLY: frozenset[str] = frozenset({FileCode.EACCES, FileCode.EPERM, FileCode.EROFS})
OF_THE_DISK: frozenset[str] = READ_ONLY | {FileCode.ENOSPC, FileCode.EDQUOT}

_MEANINGS = {
    FileCode.EALREADY: "an asset of this name exists already",
    FileCode.EBADITEM: "the service's document for it cannot be read",
    FileCode.EBADMIME: "its type is not accepted, or not the one that its name says",
    FileCode.EBADNAME: "its name is not a valid file name",
    FileCode.EBADSIZE: "its size is wrong or not allowed",
    FileCode.EBADURL: "the service gave a transfer URL that is refused",
    FileCode.ECANCELLED: "the transfer was stopped before this file was done",
    FileCode.ECHANGED: "it changed while it was transferred",
    FileCode.ECONFLICT: "a local file with other content, or something else, is in its place",
    FileCode.ECORRUPT: "its contents cannot be read or do not match the checksum",
    FileCode.EINVAL: "it is not a regular file",
    FileCode.ENETWORK: "the connection failed",
    FileCode.ENOCONTENT: "the service gave no URL for its contents",
    FileCode.ENOENT: "it does not exist",
    FileCode.ENOQUOTA: "no storage quota is left",
    FileCode.ENOSPC: "the disk is full",
    FileCode.EREFUSED: "the storage refused it",
    FileCode.ESOURCE: "what it is read from failed",
    FileCode.ETIMEOUT: "its bytes did not arrive in time",
    FileCode.EUNKNOWN: "the service failed on it",
    FileCode.EACCES: "the permissions do not allow it",
    FileCode.EDQUOT: "the disk quota is used up",
    FileCode.EIO: "the disk failed",
    FileCode.EPERM: "the system does not permit it",
    FileCode.EROFS: "the file system is read-only",
}


def meaning_of(code: str) -> str:
    """Return *code* in words; one that is not known stays as it is."""
    known = FileCode.__members__.get(code)
    return known.meaning if known is not None else code
