"""The members of a tar, one after the other, without unpacking it."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def members(stream: Any, path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member of an uncompressed tar; where its bytes are, but not the bytes.

    Args:
        stream: the tar; it can seek forwards.
        path: what an error calls it.

    Raises:
        ValueError: no tar, damaged, cut off, or with a member that points outside.
    """
    try:
        tar = tarfile.TarFile(fileobj=stream)
    except Exception as error:  # tarfile raises nearly anything on damaged headers
        raise ValueError(f"{path} is no tar, or is compressed or damaged") from error
    done = 0
    with tar:
        while True:
            try:
                member = tar.next()
            except Exception as error:
                raise ValueError(
                    f"{path} is damaged or cut off after {done:,} of its files"
                ) from error
            if member is None:
                return
            tar.members.clear()  # pyright: ignore  (it would keep them all)
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise ValueError(
                    f"{path} has a member that points outside it: {member.name[:60]!r}"
                )
            if member.size < 0:
                raise ValueError(f"{path} is damaged: a size is negative")
            yield member
            done += 1
