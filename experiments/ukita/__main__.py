"""Ukita (2020): orientation selectivity, generalisation and shift invariance, in one command.

Question: do units that respond to one orientation of gratings, in lower layers and in higher
ones, come with generalisation, and what does a network lose without them?

    python -m experiments.ukita                                   # digits, a few minutes
    python -m experiments.ukita --preset cifar10_cnn7             # needs tfds:cifar10
    python -m experiments.ukita --preset resnet20 --weights DIR --data npz:cifar10.npz
    python -m experiments.ukita --preset vgg16 --weights DIR --data imagenet-val:PATH

Gratings (12 orientations, several spatial frequencies, 4 phases) go through the network; a
unit's tuning curve gives its orientation selectivity (OSI, gOSI), beside that to the same
images with shuffled pixels. Then, at every site, the more and the less selective half of the
units are ablated, beside random halves: the change of every image's loss, and what becomes of
the shift invariance of higher sites. Networks that are trained here (digits, cifar10_cnn7)
are also followed over their epochs, and compared with networks that generalise worse, as some
of their labels were drawn anew. Of the paper we have the abstract and the author's code: what
neither defines is jaxsel's own, and the page says so.

Writes results/ukita/<run>/ (or --out DIR): training/ (networks that are trained here; the same
command goes on after a kill), result/: report.html, summary.json (every number), claims.json,
units.parquet, halves.parquet, epochs.parquet, networks.parquet, config.json, figures/.
"""

import sys

from .. import cli
from .analysis import run
from .settings import preset_in

if __name__ == "__main__":
    preset = preset_in(sys.argv[1:])
    cli.run(run, type(preset), __doc__ or "", preset=lambda _: preset)
