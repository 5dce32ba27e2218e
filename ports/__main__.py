"""Turn a file of weights into a checkpoint: `python -m ports NAME --file F --out DIR`.

Reads the file without executing anything in it, converts, checks that every array is used
once and every parameter filled once, writes the checkpoint with its manifest, reads it back
and prints what it holds. `--download` fetches the published file first; it stays beside DIR.
"""

import argparse
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)

from jaxsel import checkpoint, models
from jaxsel.data import PREPROCESS
from jaxsel.folders import refuse_taken

from .convert import PORTS, convert
from .download import download, file_sha256
from .published import PUBLISHED, UNKNOWN
from .reading import FORMATS, read


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    try:
        refuse_taken(options.out)
        file = fetch(options.network, options.out) if options.download else options.file
        with bars(TextColumn("{task.description}"), BarColumn()) as steps:
            bar = steps.add_task("", total=4)
            manifest = port(
                options.network,
                file,
                options.out,
                options.preprocess,
                progress=lambda step: steps.update(bar, description=step, advance=1),
            )
    except (OSError, ValueError) as error:
        sys.exit(f"ports: {error}")
    except KeyboardInterrupt:
        sys.exit(f"ports: interrupted: {options.out} is there whole or not at all")
    settings = ", ".join(f"{key} {value}" for key, value in manifest["settings"].items())
    print(
        f"{options.out}: {manifest['network']} ({settings}), "
        f"{manifest['parameters']:,} parameters\n"
        f"source {manifest['source']}\n"
        f"sha256 {manifest['sha256']}\n"
        f"preprocessing {manifest['preprocess']}\n"
        f"licence {manifest['licence']}"
    )


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(prog="python -m ports", description=__doc__)
    names, known = ", ".join(sorted(PORTS)), ", ".join(sorted(PREPROCESS))
    flags.add_argument("network", choices=sorted(PORTS), metavar="NAME", help=names)
    source = flags.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, help=f"the weights: {FORMATS}")
    source.add_argument("--download", action="store_true", help="fetch the published weights")
    flags.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    flags.add_argument(
        "--preprocess",
        choices=sorted(PREPROCESS),
        metavar="NAME",
        help=f"what the network's images went through, if not what is usual for it: {known}",
    )
    return flags


def port(
    name: str,
    file: Path,
    out: Path,
    preprocess: str | None = None,
    *,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Convert one file, write the checkpoint, and read it back.

    Args:
        name: one of `PORTS`.
        file: as in `reading.read`.
        out: the checkpoint's folder.
        preprocess: instead of the network's usual one.
        progress: called with the name of each of the four steps when it begins.

    Returns:
        The manifest as written.

    Raises:
        OSError: a file that cannot be read, or a folder that is taken.
        ValueError: a file that is damaged or holds another network; no preprocessing given
            for a network that has no usual one.
    """
    preprocess = preprocess or PORTS[name].preprocess
    if preprocess is None:
        raise ValueError(
            f"what the images of {name} went through differs from file to file: say it with "
            f"--preprocess, possible are {', '.join(sorted(PREPROCESS))}"
        )
    progress("reading")
    arrays = read(file)
    sha256 = file_sha256(file)
    refuse_false_names(name, file, sha256)
    progress("converting")
    try:
        tree, settings = convert(name, arrays)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    tree = jax.tree.map(lambda array: np.asarray(array, np.float32), tree)
    published = PUBLISHED.get(name)
    if published is None or not sha256.startswith(published.sha256):
        published = None
    manifest = {
        "network": name,
        "settings": settings,
        "parameters": models.n_parameters(models.outline(name, settings)),
        "source": published.url if published else file.name,
        "sha256": sha256,
        "licence": published.licence if published else UNKNOWN,
        "preprocess": preprocess,
    }
    progress("writing")
    written = checkpoint.write(out, tree, manifest)
    progress("reading back")
    models.load(out)
    return written


def refuse_false_names(name: str, file: Path, sha256: str) -> None:
    """Refuse a file that is not what its name or the command says.

    Args:
        name: the network that it is to hold.
        file: where its name ends in `-` and eight hexadecimal digits, as PyTorch names
            weights, its checksum must begin with them; eight decimal digits are a date.
        sha256: its checksum.
    """
    promised = re.search(r"-([0-9a-f]{8})$", file.stem)
    if promised and not promised[1].isdecimal() and not sha256.startswith(promised[1]):
        raise ValueError(
            f"{file} is damaged: its sha256 begins with {sha256[:8]}, not with the "
            f"{promised[1]} of its name"
        )
    for other, published in PUBLISHED.items():
        if other != name and sha256.startswith(published.sha256):
            raise ValueError(f"{file} holds the published weights of {other}, not of {name}")


def fetch(name: str, out: Path) -> Path:
    """The published weights of a network, beside the checkpoint's folder."""
    if name not in PUBLISHED:
        raise ValueError(
            f"no published weights of {name} are known; possible are "
            f"{', '.join(sorted(PUBLISHED))}: give a file with --file"
        )
    published = PUBLISHED[name]
    path = out.parent / published.file_name
    with bars(BarColumn(), DownloadColumn(), TransferSpeedColumn()) as columns:
        bar = columns.add_task(published.file_name)

        def progress(there: int, total: int | None) -> None:
            columns.update(bar, completed=there, total=total)

        return download(published.url, path, published.sha256, progress)


def bars(*columns: ProgressColumn) -> Progress:
    """Progress on standard error; nothing at all where that is no terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ctrl-c: nothing half written
    main()
