"""The whole analysis of Kanda et al. (2020), arXiv:2001.07811, in one command.

Question: do selective units matter less for recognition than non-selective ones?

    python -m experiments.kanda --preset lenet5 --weights DIR --data npz:FILE.npz --split test
    python -m experiments.kanda --preset alexnet --weights DIR --data imagenet-val:FILE.tar
    python -m experiments.kanda --preset vgg19 --selected-by alexnet.parquet ...
    python -m experiments.kanda --preset alexnet --rehearse 100 --channels-per-site 8
    python -m experiments.kanda ... --multiverse   # the claims under every reading as well
    python -m experiments.kanda ... --plan         # what it will take, and nothing else
    python -m experiments.kanda ... --resume DIR   # goes on where a run was killed

Table 1 and figures 1 to 6, for the network and images given, and whether each claim of the
paper holds. What the paper leaves open is chosen by flags (--reduce, --replacement, --silent,
--category, --index, --above, --keep, --fractions). Writes results/kanda/<run>/ (or --out DIR):
report.html, controls.html (what a neuroscientist asks first; --no-controls leaves it out),
summary.json (every number), claims.json, units.parquet (a row per unit), controls.parquet,
config.json, figures/. The same settings on the same machine give the same bytes.
"""

from .. import cli
from .analysis import run
from .settings import Config, preset_in

if __name__ == "__main__":
    cli.run(run, Config, __doc__ or "", preset=preset_in)
