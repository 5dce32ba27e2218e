"""What a category selectivity index is worth: on other images, and with shuffled labels.

The index is a difference to a *maximum* over classes, of means of few images each: noise alone
makes it larger than 0.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from .class_means import class_means
from .csi import category_selectivity_index


def cross_validated_csi(
    responses: Float[np.ndarray, "images units"],
    labels: Int[np.ndarray, " images"],
    n_classes: int,
    *,
    rng: np.random.Generator,
    n_splits: int = 20,
) -> Float[np.ndarray, " units"]:
    r"""The category selectivity index with the best class chosen on other images.

    $$\mathrm{CSI}_{cv} = \frac{\langle R'_{best} - R'_{others} \rangle}
    {R_{\max} + R_{others}}$$

    The images of each class are divided into halves at random. One says which class is a
    unit's best; in the other the mean response to that class is $R'_{best}$ and the mean of
    the other class means $R'_{others}$. Then the halves change their parts; a half without
    responses names no class, and counts as 0. The difference is averaged over all splits, and
    is 0 on average for responses that do not depend on the class. What it is divided by comes
    from all images, as in `category_selectivity_index`, which is larger as a rule.

    Args:
        responses: one number per image and unit, non-negative as after a ReLU.
        labels: class of each image.
        n_classes: classes in all; those without images do not count.
        rng: divides the images.
        n_splits: how often.

    Returns:
        One index per unit, dimensionless, -1 to 1, and a little beyond where few splits meet
        classes with odd numbers of images; 0 for a unit that responds to a single image. NaN
        for a silent unit.

    Raises:
        ValueError: a class with a single image, fewer than two classes.

    Source:
        jaxsel's definition. Kriegeskorte et al. (2009), Nature Neuroscience 12:535, on why
        what selects must not be what is measured.

    >>> responses = np.array([[1.0], [2.0], [0.0], [0.0]], np.float32)
    >>> labels, rng = np.array([0, 0, 1, 1]), np.random.default_rng(0)
    >>> cross_validated_csi(responses, labels, 2, rng=rng).tolist()
    [1.0]
    """
    counts = np.bincount(labels, minlength=n_classes)
    present = np.flatnonzero(counts)
    if len(present) < 2 or counts[present].min() < 2:
        raise ValueError(
            "cross-validation needs two classes and two images of each; found "
            f"{len(present)} classes, the smallest with {counts[present].min()} images"
        )
    responses = np.asarray(responses, np.float64)
    units = np.arange(responses.shape[1])

    def means_of(half: np.ndarray) -> np.ndarray:
        members = (labels == present[:, None]) & half
        return members.astype(np.float64) @ responses / members.sum(axis=1, keepdims=True)

    apart = np.zeros(len(units))
    for _ in range(n_splits):
        half = half_of_each_class(labels, rng)
        means = [means_of(half), means_of(~half)]
        for choosing, measuring in (means, means[::-1]):
            best = measuring[choosing.argmax(axis=0), units]
            others = (measuring.sum(axis=0) - best) / (len(present) - 1)
            apart += np.where(choosing.any(axis=0), best - others, 0)
    whole = means_of(np.ones(len(labels), bool))
    best = whole.max(axis=0)
    size = best + (whole.sum(axis=0) - best) / (len(present) - 1)
    return np.where(size == 0, np.nan, apart / (2 * n_splits) / np.where(size == 0, 1, size))


def shuffled_csi(
    responses: Float[np.ndarray, "images units"],
    labels: Int[np.ndarray, " images"],
    n_classes: int,
    *,
    rng: np.random.Generator,
    n_shuffles: int = 100,
) -> Float[np.ndarray, "shuffles units"]:
    """The category selectivity index of the same responses with shuffled labels.

    What it is without any selectivity for classes: large for a unit that responds to few
    images, whichever they are.

    Args:
        responses: one number per image and unit, non-negative as after a ReLU.
        labels: class of each image.
        n_classes: classes in all.
        rng: shuffles the labels.
        n_shuffles: how often.

    Returns:
        One index per shuffle and unit; NaN for a silent unit.

    >>> one_image = np.array([[1.0], [0.0], [0.0], [0.0]], np.float32)
    >>> labels, rng = np.array([0, 0, 1, 1]), np.random.default_rng(0)
    >>> shuffled_csi(one_image, labels, 2, rng=rng, n_shuffles=2).tolist()
    [[1.0], [1.0]]
    """
    on_device, found = jnp.asarray(responses), []
    for _ in range(n_shuffles):
        means, counts = class_means(on_device, rng.permutation(labels), n_classes)
        found.append(np.asarray(category_selectivity_index(means, where=counts > 0)))
    return np.stack(found)


def half_of_each_class(
    labels: Int[np.ndarray, " images"], rng: np.random.Generator
) -> Bool[np.ndarray, " images"]:
    """Half of the images of each class; of an odd number, the odd one falls to either.

    >>> half = half_of_each_class(np.array([0, 0, 1, 1]), np.random.default_rng(0))
    >>> half[:2].sum(), half[2:].sum()
    (np.int64(1), np.int64(1))
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: (len(rows) + rng.integers(2)) // 2]] = True
    return chosen
