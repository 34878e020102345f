"""Names of files and folders that no data set reads: hidden ones, and those that operating systems add."""

from __future__ import annotations

# Of macOS's archives, of Windows's folders and drives, of file systems, of network storage (thumbnails, deleted files).
SYSTEM_NAMES = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "@eadir",
        "__macosx",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)


def ignored(path: str) -> bool:
    """Whether a part of the path within a data set is hidden (begins with a dot) or belongs to an operating system."""
    return any(
        part.casefold() in SYSTEM_NAMES or (part.startswith(".") and part not in (".", ".."))
        for part in path.split("/")
    )
