"""The image files of class folders, and the files that are left out, with the reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sdedge.data.decode import IMAGE_SUFFIXES
from sdedge.errors import DataError
from sdedge.escape import printable

__all__ = ["File", "LeftOut", "is_clutter", "scan_classes"]

# Folders and files that file servers, desktops and archivers leave in folders of images.
_CLUTTER = frozenset(
    {"@eadir", "#recycle", "@recycle", "$recycle.bin", "lost+found", "system volume information"}
    | {"__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"}
)
_EXAMPLES = 3


@dataclass(frozen=True)
class File:
    """One image file and its state on disk."""

    path: str
    name: str  # relative to its class folder
    size: int  # bytes
    changed_ns: tuple[int, int]  # the content; the content or its attributes


@dataclass
class LeftOut:
    """Names of files that are not used, by reason."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one more."""
        self.names.setdefault(reason, []).append(printable(name))

    def notes(self) -> tuple[str, ...]:
        """A sentence on all of them; none where everything is used."""
        if not self.names:
            return ()
        count = sum(map(len, self.names.values()))
        parts = [
            f"{len(names):,} {reason} ({', '.join(names[:_EXAMPLES])}"
            f"{', ...' if len(names) > _EXAMPLES else ''})"
            for reason, names in sorted(self.names.items(), key=lambda item: -len(item[1]))
        ]
        files = "1 file is" if count == 1 else f"{count:,} files are"
        return (f"{files} left out: {', '.join(parts)}",)


def is_clutter(name: str) -> bool:
    """Whether a name is hidden, or of a file server, desktop or archiver: @eaDir, Thumbs.db."""
    return name.startswith(".") or name.lower() in _CLUTTER


def scan_classes(root: Path, folder: Path, left_out: LeftOut) -> dict[str, list[File]]:
    """The image files of each class folder in `folder`, both in order of their names.

    Classes are named as their folders are, with escapes for what cannot be shown. What is not
    used is added to `left_out` by its name relative to `root`. Raises DataError where a folder
    cannot be read or two classes get one name.
    """
    folders: dict[str, Path] = {}
    for entry in _entries(folder):
        if entry.is_dir() and not is_clutter(entry.name):
            name = printable(entry.name)
            if name in folders:
                raise DataError(
                    f"{printable(str(folder))}: two class folders are both shown as {name}; "
                    "rename one"
                )
            folders[name] = Path(entry.path)
        else:
            _leave_out(entry, root, left_out, "outside the class folders")
    return {
        name: sorted(_images(path, path, root, left_out), key=lambda file: file.name)
        for name, path in folders.items()
    }


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be read: {error.strerror}") from error


def _images(folder: Path, top: Path, root: Path, left_out: LeftOut) -> Iterator[File]:
    prefix = "" if folder == top else f"{folder.relative_to(top)}/"
    for entry in _entries(folder):
        suffix = os.path.splitext(entry.name)[1].lower()
        if is_clutter(entry.name):
            _leave_out(entry, root, left_out, "")
        elif entry.is_dir():
            if entry.is_symlink():  # it may lead back here
                left_out.add("behind a link to a folder", _relative(entry, root))
            else:
                yield from _images(Path(entry.path), top, root, left_out)
        elif not entry.is_file() and os.path.exists(entry.path):
            # A device or a pipe, or a link to one: it may have no end.
            left_out.add("not a regular file", _relative(entry, root))
        elif suffix in IMAGE_SUFFIXES:
            yield _described(entry, prefix + entry.name)
        else:
            reason = "not of a supported image format" if suffix else "without a suffix"
            left_out.add(reason, _relative(entry, root))


def _described(entry: os.DirEntry[str], name: str) -> File:
    try:
        status = entry.stat()
    except OSError:  # a dangling link: listed, so that it is counted among the unreadable files
        return File(entry.path, name, 0, (0, 0))
    return File(entry.path, name, status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


def _leave_out(entry: os.DirEntry[str], root: Path, left_out: LeftOut, reason: str) -> None:
    """Count a file, or all that is in a folder."""
    if is_clutter(entry.name):
        system = not entry.name.startswith(".") or entry.name == ".DS_Store"
        reason = "of a file server or desktop" if system else "hidden"
    if reason == "hidden" or not entry.is_dir(follow_symlinks=False):
        left_out.add(reason, _relative(entry, root))
        return
    for folder, _, files in os.walk(entry.path):
        for file in files:
            left_out.add(reason, os.path.relpath(os.path.join(folder, file), root))


def _relative(entry: os.DirEntry[str], root: Path) -> str:
    return os.path.relpath(entry.path, root)
