"""Turn a file of weights into a checkpoint: `python -m ports mlp --file F --out DIR`.

Reads the file without executing anything in it, converts, checks that every key is used
once and every parameter filled once, writes the checkpoint with its manifest, reads it back
and prints what it holds.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from jaxsel import checkpoint, models
from jaxsel.data.npz import read_arrays

from . import mlp


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m ports", description=__doc__)
    parser.add_argument("network", choices=["mlp"], help="which network the weights are of")
    parser.add_argument("--file", type=Path, required=True, help="the weights, a .npz file")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    options = parser.parse_args(arguments)
    try:
        manifest = port_mlp(options.file, options.out)
    except (OSError, ValueError) as error:
        sys.exit(f"ports: {error}")
    print(
        f"{options.out}: {manifest['network']} {manifest['settings']}, "
        f"{manifest['parameters']:,} parameters\n"
        f"source {manifest['source']}, sha256 {manifest['sha256']}\n"
        f"preprocessing {manifest['preprocess']}"
    )


def port_mlp(file: Path, out: Path) -> dict:
    """Convert one file of an MLP, write it, and read it back."""
    arrays, settings = mlp.convert(read_arrays(file))
    manifest = {
        "network": "mlp",
        "settings": settings,
        "source": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "licence": "not stated by the source: do not redistribute",
        "preprocess": "unit_range",
    }
    written = checkpoint.write(out, arrays, manifest)
    models.load(out)
    return written


if __name__ == "__main__":
    main()
