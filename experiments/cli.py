"""The command line that all experiments share."""

import _thread
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
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
# Seconds after which an interrupt that something swallowed is tried again.
REPEATED_AFTER = 0.1


def run(
    main: Callable[[Config], None],
    config: type[Config],
    description: str,
    *,
    preset: Callable[[Sequence[str]], Config] | None = None,
) -> None:
    """Parse the flags of a frozen dataclass, run, and turn errors into one sentence.

    Args:
        main: the experiment.
        config: its settings; every field is a flag.
        description: shown by `--help`.
        preset: from the arguments to the settings that stand where no flag says otherwise.
    """
    if preset is None:
        settings = tyro.cli(config, description=description)
    else:
        settings = tyro.cli(config, description=description, default=preset(sys.argv[1:]))
    # Of images that are read all the same, or end in an error that names them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    interrupts = []

    def interrupt(number: int, frame: object) -> None:
        del frame
        # What is raised here may be swallowed: in a callback of the garbage collector, JAX
        # has one, or where C code clears errors. So again, until it gets through, but never
        # into the cleaning up that it causes.
        cleaning = bool(interrupts) and sys.exc_info()[0] is not None
        interrupts.append(number)
        once_more = threading.Timer(REPEATED_AFTER, _thread.interrupt_main, [number])
        once_more.daemon = True
        once_more.start()
        if not cleaning:
            raise KeyboardInterrupt

    report = sys.unraisablehook

    def without_interrupts(ignored: Any) -> None:
        if not (interrupts and ignored.exc_type is KeyboardInterrupt):
            report(ignored)

    sys.unraisablehook = without_interrupts
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as in a background job
            signal.signal(number, interrupt)
    try:
        main(settings)
    except BaseException as error:
        # An interrupt may come back as another error of the library that it fell into.
        if interrupts:
            kept = getattr(settings, "resume", None)
            rest = f"; the same command goes on from {kept}" if kept else ""
            sys.exit(f"interrupted: no result was written{rest}")
        if not isinstance(error, EXPECTED) or os.environ.get("JAXSEL_TRACEBACK"):
            raise
        sys.exit(f"error: {sentence(error)}")
    finally:
        sys.unraisablehook = report
        if interrupts:  # one is enough
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)


def sentence(error: BaseException) -> str:
    """What an error says, on one line.

    >>> sentence(KeyError("unknown site fc9"))
    'unknown site fc9'
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    return " ".join(text.split()) or type(error).__name__


def progress(*more: rich.progress.ProgressColumn) -> rich.progress.Progress:
    """Progress bars on standard error; nothing at all where that is no terminal.

    Args:
        more: columns before the time that is left.
    """
    console = rich.console.Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        *more,
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
