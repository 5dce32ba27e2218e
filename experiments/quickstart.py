"""Selective units of a small network, and what it loses without them, in one page.

Question: do selective units matter less for recognition than non-selective ones? Kanda et
al. (2020), arXiv:2001.07811, table 1 and figures 1 to 6, on a network small enough for a
laptop.

    python -m experiments.quickstart                # trains on 1,797 digits, then analyses
    python -m experiments.quickstart --images best  # on the five best images of each class
    python -m experiments.quickstart --data npz:mnist.npz --split test --weights DIR
    python -m experiments.quickstart --plan         # what it will take, and nothing else
    python -m experiments.quickstart --resume DIR   # goes on where a run was killed

Writes results/quickstart/<run>/ (or --out DIR): report.html, controls.html, summary.json,
claims.json, units.parquet (a row per unit), controls.parquet, config.json, figures/. Expected:
test accuracy at least .97, under 90 seconds on two cores. The same settings on the same
machine give the same bytes.
"""

from pathlib import Path

from . import cli
from .kanda.analysis import run
from .kanda.settings import Config


def main(config: Config) -> None:
    """The analysis of `experiments.kanda` with its preset for the digits."""
    run(config, Path("results/quickstart"))


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
