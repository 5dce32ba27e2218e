"""The command line that all experiments share."""

import _thread
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import rich.console
import rich.progress
import tyro

Config = TypeVar("Config")
# What bad input and a full disk or memory end in; anything else is a mistake in the code.
EXPECTED = (
    *(OSError, ValueError, TypeError, KeyError, ArithmeticError, RuntimeError),
    MemoryError,
)


def run(main: Callable[[Config], None], config: type[Config], description: str) -> None:
    """Parse the flags of a frozen dataclass, run, and turn errors into one sentence.

    Args:
        main: the experiment.
        config: its settings; every field is a flag.
        description: shown by `--help`.
    """
    settings = tyro.cli(config, description=description)
    # Of images that are read all the same, or end in an error that names them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    interrupts = []

    def interrupt(number: int, frame: object) -> None:
        del frame
        interrupts.append(number)
        raise KeyboardInterrupt

    # A callback of the garbage collector, JAX has one, swallows what is raised in it.
    report = sys.unraisablehook

    def again(ignored: Any) -> None:
        if interrupts and ignored.exc_type is KeyboardInterrupt:
            threading.Timer(0.01, _thread.interrupt_main, [interrupts[-1]]).start()
        else:
            report(ignored)

    sys.unraisablehook = again
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as in a background job
            signal.signal(number, interrupt)
    try:
        main(settings)
    except BaseException as error:
        # An interrupt may come back as another error of the library that it fell into.
        if interrupts:
            for number in (signal.SIGINT, signal.SIGTERM):  # one is enough
                signal.signal(number, signal.SIG_IGN)
            sys.exit("interrupted: no result was written")
        if not isinstance(error, EXPECTED) or os.environ.get("JAXSEL_TRACEBACK"):
            raise
        sys.exit(f"error: {sentence(error)}")
    finally:
        sys.unraisablehook = report


def sentence(error: BaseException) -> str:
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


def counting(
    bars: rich.progress.Progress, description: str
) -> Callable[[int, int | None], None]:
    """A bar that is there from its first report on.

    Args:
        bars: where it is to be.
        description: before it.

    Returns:
        A function of what is done and the total, as the library calls it.
    """
    made: list[rich.progress.TaskID] = []

    def report(done: int, total: int | None) -> None:
        if not made:
            made.append(bars.add_task(description, total=total))
        bars.update(made[0], completed=done)

    return report
