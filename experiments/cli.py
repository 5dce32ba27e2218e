"""The command line that all experiments share."""

import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import rich.console
import rich.progress
import tyro

Config = TypeVar("Config")


def run(main: Callable[[Config], None], config: type[Config], description: str) -> None:
    """Parse the flags of a frozen dataclass, run, and turn errors into one sentence.

    Args:
        main: the experiment.
        config: its settings; every field is a flag.
        description: shown by `--help`.
    """
    settings = tyro.cli(config, description=description)
    # Like an interrupt, so that nothing unfinished is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(settings)
    except KeyboardInterrupt:
        sys.exit("interrupted: no result was written")
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError, RuntimeError) as error:
        # For whoever looks for a mistake in the code itself.
        if os.environ.get("JAXSEL_TRACEBACK"):
            raise
        sys.exit(f"error: {sentence(error)}")


def sentence(error: Exception) -> str:
    """What an error says, on one line.

    >>> sentence(KeyError("unknown site fc9"))
    'unknown site fc9'
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    return " ".join(text.split()) or type(error).__name__


def progress() -> rich.progress.Progress:
    """Progress bars on standard error; nothing at all where that is no terminal."""
    console = rich.console.Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
