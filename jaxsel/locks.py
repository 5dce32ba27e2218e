"""Files that one process writes alone, where the system can lock them.

The system ends a lock with the process that has it, however that ends.
"""

import os
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def locked(path: Path, *, without_locks: bool) -> BinaryIO | None:
    """A file for writing, without a buffer and locked until it is closed.

    Args:
        path: of the file.
        without_locks: whether to go on where files cannot be locked.

    Returns:
        The file, or None: somebody else has it, it is gone, or it cannot be locked.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     with locked(Path(file.name), without_locks=True) as first:
    ...         second = locked(Path(file.name), without_locks=False)
    >>> second is None
    True
    """
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    try:
        # Before this lock, the one who had it may have renamed or removed the file.
        own = os.stat(file.fileno())
        if _is_alone(file, without_locks) and os.path.samestat(own, path.stat()):
            return file
    except FileNotFoundError:
        pass
    file.close()
    return None


def _is_alone(file: BinaryIO, without_locks: bool) -> bool:
    if fcntl is None:
        return without_locks
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system of a network may have none
        return without_locks
    return True
