"""All gratings that units' orientation tuning is measured with, as a data set."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .dataset import Dataset, Preprocess
from .preprocess import of_brightness
from .stimuli import Numbers, grating, shuffled, warn_above_nyquist


@dataclass(frozen=True, eq=False)
class Gratings:
    """Every orientation with every frequency and phase, drawn when asked for.

    Numbered with the phase fastest, then the frequency, then the orientation: `(orientations,
    frequencies, phases)` is the shape of what is recorded.

    Attributes:
        orientations: degrees.
        frequencies: cycles per shorter side.
        phases: degrees.
        image: height, width and channels.
        shuffle: a seed, for images whose pixels are `shuffled`: the control.
        look: further arguments of `grating`.
    """

    orientations: Float[np.ndarray, " orientations"]
    frequencies: Float[np.ndarray, " frequencies"]
    phases: Float[np.ndarray, " phases"]
    image: tuple[int, ...]
    shuffle: int | None
    look: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Orientations, frequencies and phases."""
        return len(self.orientations), len(self.frequencies), len(self.phases)

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        numbers = np.arange(len(self))[which]
        i, j, k = np.unravel_index(numbers, self.shape)
        chosen = self.orientations[i], self.frequencies[j], self.phases[k]
        with warnings.catch_warnings():  # said once, when the data set was made
            warnings.simplefilter("ignore")
            images = grating(*chosen, image=self.image, **self.look)
        if self.shuffle is None:
            return images
        # An order of its own for each, the same in whichever batch it comes.
        seeds = (np.random.default_rng([self.shuffle, number]) for number in numbers)
        return np.concatenate(
            [shuffled(one[None], rng) for one, rng in zip(images, seeds, strict=True)]
        )


def gratings(
    orientations: Numbers,
    frequencies: Numbers,
    phases: Numbers,
    *,
    image: Sequence[int],
    preprocess: Preprocess | None = None,
    white: int = 255,
    shuffle: int | None = None,
    **look: Any,
) -> Dataset:
    """A data set of gratings, as a network sees them.

    What `record` keeps of it is reshaped to `(*gratings.images.shape, units)` for
    `jaxsel.metrics.tuning_curves`.

    Args:
        orientations: degrees.
        frequencies: cycles per shorter side of the image.
        phases: degrees.
        image: height, width and channels of the network's input.
        preprocess: the network's, see `of_brightness`; by default pixels stay 0 to 1.
        white: the largest pixel that it takes: 16 for scikit-learn's digits.
        shuffle: a seed: images with their pixels in another order each, as a control.
        **look: further arguments of `grating`.

    Returns:
        One image for every combination; the class of each is its orientation.

    Raises:
        ValueError: orientations, frequencies or phases that are none or a table; see also
            `grating` and `of_brightness`.

    >>> dataset = gratings([0, 90], [1, 2], [0, 90, 180], image=(8, 8, 1))
    >>> dataset.images.shape, dataset.labels.tolist(), dataset.class_names
    ((2, 2, 3), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1], ('0', '90'))
    """
    lists = {"orientations": orientations, "frequencies": frequencies, "phases": phases}
    each = {name: np.atleast_1d(np.asarray(x, np.float64)) for name, x in lists.items()}
    for name, values in each.items():
        if values.ndim > 1 or not len(values):
            raise ValueError(f"{name} are a list, one at least; found shape {values.shape}")
    drawn = Gratings(**each, image=tuple(image), shuffle=shuffle, look=look)
    drawn[:1]  # refuses what cannot be drawn
    warn_above_nyquist(drawn.frequencies, image)
    labels = np.repeat(np.arange(drawn.shape[0]), drawn.shape[1] * drawn.shape[2])
    as_seen = None if preprocess is None else of_brightness(preprocess, image, white)
    return Dataset(drawn, labels, [f"{angle:g}" for angle in drawn.orientations], as_seen)
