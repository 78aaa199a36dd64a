"""Finding the files of an upload, once, before anything is sent.

The whole tree is walked first, so that equal names, oversized files and totals are known before the first byte. The
files come out sorted, folder by folder.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import AsyncIterable, Collection, Iterable, Sized
from typing import IO, Any

from .._media import extension_of, media_type
from .._paths import LACKING, USE_UTF_8, advice_on_missing, check_path_text, expand
from .._redact import brief
from ..codes import FileCode
from ..errors import ViInvalidParameterError, ViPathError
from .file_system import OwnNames, opens_itself
from .filters import IGNORE_FILE, MOST_IGNORED, Filters, read_ignored
from .inventory import BLOCK, Broken, Inventory, Naming
from .names import EXTENDED, name_problem, remote_name
from .open_folder import leads_away
from .outcomes import SourceFailedError
from .sources.local import (
    BytesSource,
    FileObjectSource,
    Source,
    SpooledSource,
    StreamSource,
    is_seekable,
    shown,
)
from .sources.pictures import PictureSource, is_picture
from .sources.remote import RemoteObject, RemoteSource, as_remote, is_file_address, local_path
from .threads.stopping import still_wanted

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
_NO_NAME = 123
"""Windows' ERROR_INVALID_NAME: no file can have the name, as a pattern that nothing has expanded."""
LISTED_PAIRS = 10
EXCLUDED_FOLDER = "excluded folder"
_AFAR = "is in iCloud and not on this disk: download it in Finder, or leave it out."


def discover(
    paths: Any, names: Naming, filters: Filters, *, may_be_empty: bool = False, known: Collection[str] = ()
) -> Inventory:
    """Take in everything that *paths* names; blocking. Missing paths are one `ViPathError` that lists them."""
    inventory = Inventory(names, known)
    missing: list[str] = []
    own_names = OwnNames()
    for item in _as_list(paths):
        if (remote := as_remote(item)) is not None:
            _add_remote(inventory, remote, filters, missing)
        elif isinstance(item, (str, os.PathLike)):
            _add_path(inventory, item, filters, missing, own_names)
        else:
            _add_object(inventory, item)
    if missing:
        more = f" and {len(missing) - LISTED_PAIRS} more" if len(missing) > LISTED_PAIRS else ""
        listed = ", ".join(missing[:LISTED_PAIRS]) + more
        raise ViPathError(
            f"No such file or folder: {listed}.",
            path=missing[0],
            suggestion=advice_on_missing(),
            details={"paths": missing[:1000]},
        )
    inventory.notes = filters.notes
    if not may_be_empty and not inventory.count and not inventory.skip_reasons and not inventory.broken:
        raise ViInvalidParameterError(
            f"No images or videos in {_describe(paths)}.",
            parameter="paths",
            suggestion="Give an image, a video, or a folder that contains some.",
        )
    return inventory


def _as_list(paths: Any) -> Iterable[Any]:
    if isinstance(paths, (str, os.PathLike)) or hasattr(paths, "read") or as_remote(paths) is not None:
        return [paths]
    if (
        isinstance(paths, tuple)
        and paths
        and isinstance(paths[0], str)
        and len(paths) > 1
        and not isinstance(paths[1], (str, os.PathLike))
    ):
        return [paths]
    if isinstance(paths, (bytes, bytearray, memoryview)):
        raise ViInvalidParameterError("Bytes need a name: pass (filename, data).", parameter="paths")
    if not isinstance(paths, Iterable):
        raise ViInvalidParameterError(
            f"paths must be a path, a list of paths, (filename, bytes) or an open binary file, got "
            f"{type(paths).__name__}.",
            parameter="paths",
        )
    return paths


def _describe(paths: Any) -> str:
    if isinstance(paths, (str, os.PathLike)):
        return os.fspath(paths)
    if isinstance(paths, (list, tuple)) and paths and all(isinstance(path, (str, os.PathLike)) for path in paths):
        more = f" and {len(paths) - LISTED_PAIRS:,} more" if len(paths) > LISTED_PAIRS else ""
        return ", ".join(os.fspath(path) for path in paths[:LISTED_PAIRS]) + more
    return f"what was given ({paths!r})" if isinstance(paths, Sized) and not paths else "what was given"


def _add_object(inventory: Inventory, item: Any) -> None:
    if isinstance(item, tuple) and len(item) in (2, 3) and isinstance(item[0], str) and item[0]:
        name, content, *size = item
        source = _source_of(name, content, size)
        if source is not None:
            if problem := name_problem(name):
                inventory.broken.append(Broken(shown(name), shown(name), FileCode.EBADNAME, problem))
            else:
                inventory.add_source(*source)
            return
    elif hasattr(item, "read"):
        given = getattr(item, "name", None)
        name = os.path.basename(str(given or ""))  # noqa: PTH119
        if not name or isinstance(given, int):
            raise ViInvalidParameterError(
                "An open file without a name needs one: pass (filename, file).", parameter="paths"
            )
        if is_seekable(item):
            inventory.add_source(FileObjectSource(str(given), item), name, _size_of(item))
            return
    kind = type(item).__name__ if not isinstance(item, tuple) else f"tuple of {len(item)}"
    raise ViInvalidParameterError(
        f"An item of paths cannot be uploaded ({kind}): give a path, (filename, bytes), an open binary file that can "
        "seek, or (filename, stream) with the size if it is known.",
        parameter="paths",
    )


def _source_of(name: str, content: Any, size: list[Any]) -> tuple[Source, str, int] | None:
    """Return the source, name and size (-1 while unknown) of named content, or None when it is of no use."""
    if isinstance(content, (bytes, bytearray, memoryview)) and not size:
        return BytesSource(name, content), name, len(content)
    if is_picture(content) and not size:
        return PictureSource(name, content), name, -1
    if not isinstance(content, str) and not size and (found := as_remote(content)) is not None:
        return RemoteSource(found), name, -1
    if isinstance(content, AsyncIterable):
        if not size:
            return SpooledSource(name, content), name, -1
        if type(size[0]) is int and size[0] >= 0:
            return StreamSource(name, content, size[0]), name, size[0]
    elif hasattr(content, "read") and not size and is_seekable(content):
        return FileObjectSource(name, content), name, _size_of(content)
    return None


def _add_remote(inventory: Inventory, given: RemoteObject, filters: Filters, missing: list[str]) -> None:
    """Take in a file, or all files below a folder, that something else opens."""
    try:
        if given.is_folder:
            _walk_remote(inventory, given, "", beside(given, filters))
        elif given.is_missing:
            missing.append(shown(given.label))
        elif media_type(given.name) is None:
            message = f"{given.label}: files of this type are not supported."
            inventory.broken.append(Broken(given.label, given.name, FileCode.EBADMIME, message))
        else:
            inventory.add_remote(given, given.name)
    except OSError as error:
        inventory.broken.append(Broken(given.label, given.name, *os_failure(error, given.label)))
    except SourceFailedError as error:
        inventory.broken.append(Broken(given.label, given.name, FileCode.ESOURCE, f"{error}."))


def beside(folder: RemoteObject, filters: Filters) -> Filters:
    """Return the filters together with the .viignore of a remote folder."""
    for child in folder.children():
        if child.name == IGNORE_FILE:
            with child.open() as file:
                return filters.with_ignored(read_ignored(file.read(MOST_IGNORED + 1), child.label))
    return filters


def _walk_remote(inventory: Inventory, folder: RemoteObject, below: str, filters: Filters) -> None:
    for child in folder.children():
        still_wanted()
        relative = f"{below}/{child.name}" if below else child.name
        name = remote_name(relative)
        if child.name.startswith(".") or (child.name.lower() in _JUNK and not child.is_folder):
            inventory.skip(child.label, "hidden")
        elif child.is_folder:
            if filters.leaves_out(name):
                inventory.skip(child.label, EXCLUDED_FOLDER)
                continue
            _walk_remote(inventory, child, relative, filters)
        elif not filters.takes(name):
            inventory.skip(child.label, "excluded")
        elif media_type(name) is None:
            inventory.skip(child.label, f"unsupported ({extension_of(child.name) or 'no extension'})")
        elif (size := child.size) == 0:
            inventory.skip(child.label, "empty")
        else:
            inventory.add_remote(child, relative, -1 if size is None else size)


def _size_of(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


def _add_path(
    inventory: Inventory, given: str | os.PathLike[str], filters: Filters, missing: list[str], own_names: OwnNames
) -> None:
    label = os.fspath(given)
    if not isinstance(label, str):
        raise ViInvalidParameterError(f"A path must be text, got {brief(given)}.", parameter="paths")
    check_path_text(label, "A path", "paths")
    if is_file_address(label):
        label = local_path(label)
    path = expand(label)
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) or getattr(error, "winerror", 0) == _NO_NAME:
            missing.append(shown(label))
            return
        name = os.path.basename(path)  # noqa: PTH119
        inventory.broken.append(Broken(shown(label), shown(name), *os_failure(error, label)))
        return
    if stat.S_ISDIR(status.st_mode):
        _walk(inventory, path, filters)
        return
    folder, name = os.path.split(path)
    name = own_names.of(folder, name)
    label = shown(label)
    if not stat.S_ISREG(status.st_mode):
        inventory.broken.append(Broken(label, shown(name), FileCode.EINVAL, f"{label} is not a regular file."))
    elif media_type(remote_name(name)) is None:
        inventory.broken.append(Broken(label, shown(name), FileCode.EBADMIME, unsupported(label, shown(name))))
    elif status.st_size == 0:
        message = f"{label} is empty (0 bytes): write it again or leave it out."
        inventory.broken.append(Broken(label, shown(name), FileCode.EBADSIZE, message))
    elif problem := name_problem(name):
        inventory.broken.append(Broken(label, shown(name), FileCode.EBADNAME, problem))
    else:
        inventory.add_block(folder, "", [(name, status.st_size)], named=True)


def unsupported(path: str, filename: str) -> str:
    """Say that a type of file is not taken, and which are."""
    kind = f"files ending in {extension_of(filename)}" if extension_of(filename) else "files without an extension"
    return f"{path}: {kind} are not supported; convert it to .png, .jpg or another supported type."


def os_failure(error: OSError | ValueError, path: str) -> tuple[str, str]:
    """Return code and message for what the operating system says of *path*."""
    if isinstance(error, UnicodeEncodeError):
        return FileCode.EBADNAME, f"{shown(path)}: {LACKING}. {USE_UTF_8}"
    number = getattr(error, "errno", None)
    if number == errno.EILSEQ:  # APFS, of characters that are newer than its Unicode
        return FileCode.EBADNAME, f"{shown(path)}: this disk does not know a character of the name; take another disk."
    code = errno.errorcode.get(number, FileCode.EIO) if isinstance(number, int) else FileCode.EINVAL
    reason = getattr(error, "strerror", None) or str(error)
    return code, f"{shown(path)}: {reason}."


def _walk(inventory: Inventory, root: str, filters: Filters) -> None:
    filters = filters.beside(root)
    seen: set[str] = set()
    pending: list[tuple[str, str]] = [(root, "")]
    while pending:
        still_wanted()
        folder, below = pending.pop()
        try:
            if filters.follow_links:
                place = os.path.realpath(folder)  # not its inode, which some file systems change at each look
                if place in seen:
                    inventory.skip(folder, "symlink loop")
                    continue
                seen.add(place)
            files, folders = _scan(inventory, folder, below, filters)
        except OSError as error:
            inventory.broken.append(Broken(shown(folder), shown(below), *os_failure(error, folder)))
            continue
        for start in range(0, len(files), BLOCK):
            block = (entry.rpartition("\0") for entry in files[start : start + BLOCK])
            inventory.add_block(folder, below, [(name, int(size)) for name, _, size in block])
        for name in reversed(folders):
            pending.append((os.path.join(folder, name), f"{below}/{name}" if below else name))  # noqa: PTH118


def _scan(inventory: Inventory, folder: str, below: str, filters: Filters) -> tuple[list[str], list[str]]:
    """Return the files to take, as name, NUL and size, and the folders to go into, both in order of their names.

    One text a file: a million of them in one folder are held here at once.
    """
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            relative = remote_name(f"{below}/{entry.name}" if below else entry.name)
            found = _classify(entry, relative, filters)
            if isinstance(found, int):
                files.append(f"{entry.name}\0{found}")
            elif isinstance(found, Broken):
                inventory.broken.append(found)
            elif found == "folder":
                folders.append(entry.name)
            else:
                inventory.skip(entry.path, found)
    files.sort()
    folders.sort()
    return files, folders


def _in_cloud(name: str) -> str | None:
    """Return the name of the image or video for which iCloud has left ``.name.icloud``; None for any other file."""
    if not (name.startswith(".") and name.endswith(".icloud")):
        return None
    afar = name[1 : -len(".icloud")]
    return afar if media_type(afar) is not None else None


def _classify(entry: os.DirEntry[str], relative: str, filters: Filters) -> int | str | Broken:
    """Return the size of a file to take, ``"folder"``, the reason to skip, or what is broken."""
    name = entry.name
    try:
        if entry.is_dir():
            if filters.leaves_out(relative):
                return EXCLUDED_FOLDER
            if not filters.follow_links and _is_link(entry):
                return "symlinked folder"
            if name.startswith(".") or _is_the_systems(entry):
                return "hidden"
            return "folder" if opens_itself(entry.path, folder=True) else _opens_another(entry)
        if (afar := _in_cloud(name)) is not None and filters.takes(f"{relative.rpartition('/')[0]}/{afar}".lstrip("/")):
            return Broken(shown(entry.path), shown(afar), FileCode.ENOENT, f"{shown(afar)} {_AFAR}")
        if name.startswith(".") or name.lower() in _JUNK or _is_the_systems(entry):
            return "hidden"
        if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
            return "dangling link"
        if not entry.is_file():
            return "not a regular file"
        if not filters.takes(relative):
            return "excluded"
        if media_type(relative) is None:
            return f"unsupported ({extension_of(name) or 'no extension'})"
        if problem := name_problem(relative):
            return Broken(shown(entry.path), shown(name), FileCode.EBADNAME, problem)
        if not opens_itself(entry.path):
            return _opens_another(entry)
        size = entry.stat().st_size
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "symlink loop"
        return Broken(shown(entry.path), shown(name), *os_failure(error, entry.path))
    return size or "empty"


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Tell whether a folder is another one's second name: a link, or a junction of Windows."""
    return entry.is_symlink() or (sys.platform == "win32" and leads_away(entry.stat(follow_symlinks=False)))


def _is_the_systems(entry: os.DirEntry[str]) -> bool:
    """Tell whether Windows keeps something for itself, such as ``$RECYCLE.BIN`` on each drive."""
    if sys.platform == "win32":
        both = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM
        return entry.stat(follow_symlinks=False).st_file_attributes & both == both
    return False


def _opens_another(entry: os.DirEntry[str]) -> Broken:
    message = (
        f"{shown(entry.path)}: Windows opens something else under this name; rename it, or put {EXTENDED} before the whole "
        "path that you give."
    )
    return Broken(shown(entry.path), shown(entry.name), FileCode.EBADNAME, message)
