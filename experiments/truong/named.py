"""Errors that say which category or target they are about."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put a name before what a `ValueError` says.

    >>> with named("birds"):
    ...     raise ValueError("one image")
    Traceback (most recent call last):
    ValueError: birds: one image
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
