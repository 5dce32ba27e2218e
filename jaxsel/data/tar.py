"""The members of a tar, one after the other, without unpacking it."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_HEADER = 2**20  # bytes


class _Headers:
    """What `tarfile` may read of a stream: a header says itself how long it is."""

    def __init__(self, stream: Any):
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.stream.read(size)


def members(stream: Any, path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member of an uncompressed tar; where its bytes are, but not the bytes.

    Args:
        stream: the tar; it can seek.
        path: what an error calls it.

    Raises:
        ValueError: no tar, damaged, cut off, or with a member that points outside.
    """
    done = 0
    try:
        tar = tarfile.TarFile(fileobj=_Headers(stream))  # pyright: ignore
    except Exception as error:  # tarfile raises nearly anything on damaged headers
        raise ValueError(f"{path} is no tar, or is compressed or damaged") from error
    with tar:
        while True:
            try:
                member = tar.next()
                if member is None:
                    _refuse_damaged_end(tar, stream)
                    return
            except Exception as error:
                raise ValueError(
                    f"{path} is damaged or cut off after {done:,} of its files"
                ) from error
            tar.members.clear()  # pyright: ignore  (it would keep them all)
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise ValueError(
                    f"{path} has a member that points outside it: {member.name[:60]!r}"
                )
            if member.size < 0:
                raise ValueError(f"{path} is damaged: a size is negative")
            yield member
            done += 1


def _refuse_damaged_end(tar: tarfile.TarFile, stream: Any) -> None:
    """tarfile takes a damaged header for the end, where there are zeros in a sound tar."""
    stream.seek(tar.offset)  # pyright: ignore
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("a damaged header")
