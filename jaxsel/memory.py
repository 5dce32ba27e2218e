"""How much memory there is, how much a compiled program needs, and what fits."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax

# Of what is free: the rest is for the data, for Python, and for others.
SHARE = 0.5
FALLBACK = 2**31  # where nobody says what is free


class LimitError(MemoryError):
    """A limit that not even one at a time keeps to: halves would not help."""


@cache
def default_limit() -> int:
    """Bytes that one program may use: half of what its device has free.

    Asked once, and rounded down to a power of two, so that a little more or less free memory
    changes neither the sizes that follow from it nor, by them, the last bits of a result.

    >>> default_limit() & (default_limit() - 1)
    0
    """
    return host_limit() if jax.default_backend() == "cpu" else _share(_free_on_device())


@cache
def host_limit() -> int:
    """The same of the host, where the device is another.

    >>> host_limit() > 0
    True
    """
    return _share(_free_on_host())


def _share(free: int | None) -> int:
    return 1 << (max(int(SHARE * (free or FALLBACK)), 1).bit_length() - 1)


def check_limit(memory: int | None) -> int:
    """A limit in bytes as it was asked for, or the default.

    >>> check_limit(2**30)
    1073741824
    """
    if memory is None:
        return default_limit()
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        raise ValueError(f"memory must be a whole number of bytes; found {memory!r}")
    return memory


def program_bytes(program: Any, *arguments: Any, **settings: Any) -> int:
    """What a jitted function needs for its results and on its way, by its compiler's account.

    The function is compiled, but not run; a call with the same arguments does not compile it
    again. The arguments themselves do not count.

    >>> program_bytes(jax.jit(lambda x: x + 1), jax.ShapeDtypeStruct((1000,), "float32"))
    4000
    """
    analysis = program.lower(*arguments, **settings).compile().memory_analysis()
    if analysis is None:  # a backend that keeps no account
        return 0
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes


def fitting(needs: Callable[[int], int], most: int, limit: int, what: str) -> int:
    """The largest size, of those tried, at which a program fits.

    Args:
        needs: from a size to bytes; it compiles, so that few sizes are tried.
        most: the first to try.
        limit: in bytes.
        what: is counted by a size, in the plural, for the message.

    Raises:
        LimitError: not even one fits; a `MemoryError`.

    >>> fitting(lambda size: 100 * size + 20, 64, 1000, "images")
    9
    """
    size = most
    while (bytes_needed := needs(size)) > limit:
        if size == 1:
            raise LimitError(
                f"of the {what}, one alone needs {in_words(bytes_needed)}, but the limit is "
                f"{in_words(limit)}: allow more memory, or ask for smaller batches"
            )
        size = max(min(size * limit // bytes_needed, size - 1), 1)
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("no"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return not isinstance(error, LimitError)
    told = "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
    return isinstance(error, jax.errors.JaxRuntimeError) and told


def in_words(n_bytes: int | float) -> str:
    """A number of bytes, for people.

    >>> in_words(1536), in_words(3.2e9)
    ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024 or unit == "GiB":
            break
        n_bytes /= 1024
    return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"


def _free_on_device() -> int | None:
    """Bytes free on the default device."""
    stats = jax.local_devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _free_on_host() -> int | None:
    """Bytes that programs can still have, without others being swapped out."""
    try:
        with open("/proc/meminfo") as lines:
            found = dict(line.split(":", 1) for line in lines)
        free = int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    within = _left_in_container()
    return free if within is None else min(free, within)


def _left_in_container() -> int | None:
    """What a limit on this process's group leaves it, on Linux."""
    try:
        with (
            open("/sys/fs/cgroup/memory.max") as limit,
            open("/sys/fs/cgroup/memory.current") as used,
        ):
            return int(limit.read()) - int(used.read())
    except (OSError, ValueError):  # none, or "max"
        return None
