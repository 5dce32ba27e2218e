"""Download a published file, go on where it was cut off, and refuse another one."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 20  # bytes
SILENCE = 60  # seconds without a byte before it is given up


def download(
    url: str,
    path: Path,
    sha256: str,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """A published file, checked; kept from an earlier time if it is there already.

    What has arrived is kept in `path` with `.part` behind it: an interrupted download goes on
    there the next time.

    Args:
        url: the address.
        path: where the file is to be; its folder is made.
        sha256: the first hexadecimal digits of its checksum.
        progress: called with the bytes that are there and those of the whole (None if the
            server does not say).

    Returns:
        `path`.

    Raises:
        OSError: the address cannot be reached, or the connection breaks off.
        ValueError: the file has another checksum; it is removed, and never at `path`.
    """
    path = Path(path)
    if path.is_file() and matches(path, sha256):
        return path
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(url, part, progress)
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        reason = getattr(error, "reason", None) or error
        raise OSError(
            f"{url} cannot be downloaded: {reason}. Run it again to go on, or get the file "
            f"in another way and give it with --file"
        ) from error
    if not matches(part, sha256):
        found = file_sha256(part)
        part.unlink()
        raise ValueError(
            f"what came from {url} has the sha256 {found}, which does not begin with {sha256}: "
            "it was removed"
        )
    part.replace(path)
    return path


def matches(path: Path, sha256: str) -> bool:
    """Whether a file's checksum begins so."""
    return file_sha256(path).startswith(sha256)


def file_sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(url, part, progress):
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        answer = urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if there and error.code == 416:  # nothing is left to send: the checksum decides
            return
        raise
    with answer:
        goes_on = answer.status == 206
        there = there if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else there + int(length)
        with open(part, "ab" if goes_on else "wb") as stream:
            while chunk := answer.read(CHUNK):
                stream.write(chunk)
                there += len(chunk)
                if progress is not None:
                    progress(there, total)
    if total is not None and there < total:
        raise http.client.IncompleteRead(b"", total - there)
