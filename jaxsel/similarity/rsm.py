"""Representational similarity: how alike two images are to a set of units."""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Real

KINDS = ("pearson", "pearson_squared", "cosine", "euclidean")
# Of a pattern's mean square, a variance below which it is constant: two units in the last
# place of float32, in which responses are.
CONSTANT = 2.0**-44


def rsm(
    responses: Real[ArrayLike, "images units"],
    kind: str = "pearson_squared",
    *,
    labels: Int[ArrayLike, " labels"] | None = None,
) -> Float[np.ndarray, "rows rows"]:
    r"""Representational similarity matrix: how alike the units respond to every two images.

    With $x_i$ the responses of all units to image i, and $\bar x_i$ their mean over units:

    - `pearson`: $r_{ij}$, the correlation of $x_i$ and $x_j$ over units, -1 to 1;
    - `pearson_squared`: $r_{ij}^2$, 0 to 1: alike or opposite count the same;
    - `cosine`: $x_i \cdot x_j / (|x_i| |x_j|)$, -1 to 1;
    - `euclidean`: $|x_i - x_j|$, in the units of the activation: a *distance*, larger where
      images are less alike.

    Args:
        responses: one number per image and unit.
        kind: one of `KINDS`.
        labels: class of each image, for similarities of classes: responses are averaged over
            the images of each class first, and rows are the classes in rising order.

    Returns:
        A symmetric matrix in float64, by image or by class; 1 on the diagonal, for distances 0.

    Raises:
        ValueError: a kind that there is not; fewer than two images, or classes; too few units
            (two for a correlation); a response that is NaN or infinite; an image whose
            similarity is not defined, as its responses are all alike, to the digits that
            float32 has (correlations), or all 0 (`cosine`); a label for some images only.

    Source:
        Kriegeskorte, Mur and Bandettini (2008), Frontiers in Systems Neuroscience 2:4. The
        square is what the code of Truong and Hasson computes
        (github.com/tlmnhut/DNN_model_sim_space, compare_2OI.py); the paper says "RSM" only.

    >>> responses = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])
    >>> rsm(responses, "pearson").round(6).tolist()
    [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    check_kind(kind)
    patterns = checked_responses(responses)
    if labels is not None:
        patterns = _by_class(patterns, np.asarray(labels))
    n_images, n_units = patterns.shape
    what = "images" if labels is None else "classes"
    if n_images < 2:
        raise ValueError(f"{n_images} {what}: a similarity is one of two")
    if n_units < fewest_units(kind):
        raise ValueError(f"{n_units} units: a correlation needs two or more")
    if kind == "euclidean":
        return _distances(patterns)
    square = np.square(patterns).mean(axis=1)
    if kind != "cosine":
        patterns = patterns - patterns.mean(axis=1, keepdims=True)
    sizes = np.square(patterns).mean(axis=1)
    undefined = np.flatnonzero(sizes <= CONSTANT * square)
    if len(undefined):
        alike = "0" if kind == "cosine" else "alike, but for rounding to float32"
        raise ValueError(
            f"{len(undefined)} of {n_images} {what} have no {kind} similarity, the first is "
            f"number {undefined[0]}: responses of all its units are {alike}"
        )
    patterns = patterns / np.sqrt(n_units * sizes)[:, None]
    found = np.clip(patterns @ patterns.T, -1, 1)
    np.fill_diagonal(found, 1)
    return np.square(found) if kind == "pearson_squared" else found


def upper_triangle(matrix: Real[ArrayLike, "rows columns"]) -> Float[np.ndarray, " pairs"]:
    """The similarity of every pair of images, once.

    Args:
        matrix: symmetric; what is on the diagonal does not count.

    Returns:
        Row by row, the diagonal left out: images (0, 1), (0, 2), ..., (1, 2), ..., n(n-1)/2
        in all; the order of `numpy.triu_indices(n, 1)`.

    Raises:
        ValueError: no square matrix, or one that is not symmetric (to 1e-6 of its largest
            value).

    >>> upper_triangle(np.array([[1, 2, 3], [2, 1, 4], [3, 4, 1.0]])).tolist()
    [2.0, 3.0, 4.0]
    """
    matrix = real(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a similarity matrix is square, this has shape {matrix.shape}")
    upper = np.triu_indices(len(matrix), 1)
    above, below = matrix[upper], matrix.T[upper]
    size = np.abs(above[np.isfinite(above)]).max(initial=0)
    with np.errstate(invalid="ignore"):  # NaN or infinite in both places is no difference
        differ = np.abs(above - below) > 1e-6 * size
    differ |= np.isnan(above) != np.isnan(below)
    if differ.any():
        i, j = (int(of[np.argmax(differ)]) for of in upper)
        raise ValueError(
            f"a similarity matrix is symmetric, this has {matrix[i, j]:g} for images "
            f"({i}, {j}) and {matrix[j, i]:g} for ({j}, {i})"
        )
    return above


def square(triangle: Real[ArrayLike, " pairs"], diagonal: float = 1.0) -> np.ndarray:
    """The matrix of an upper triangle, `(images, images)`.

    Args:
        triangle: in the order of `upper_triangle`.
        diagonal: what an image has with itself.

    Raises:
        ValueError: a length that no triangle has.

    >>> square(np.array([2.0, 3.0, 4.0])).tolist()
    [[1.0, 2.0, 3.0], [2.0, 1.0, 4.0], [3.0, 4.0, 1.0]]
    """
    triangle = np.asarray(triangle, np.float64)
    n_images = n_images_of(triangle.shape[-1])
    matrix = np.full((n_images, n_images), float(diagonal))
    upper = np.triu_indices(n_images, 1)
    matrix[upper] = triangle
    matrix.T[upper] = triangle
    return matrix


def n_images_of(n_pairs: int) -> int:
    """How many images have so many pairs.

    >>> n_images_of(7140)
    120
    """
    n_images = (1 + int(np.sqrt(1 + 8 * n_pairs) + 0.5)) // 2
    if n_images * (n_images - 1) // 2 != n_pairs:
        raise ValueError(
            f"{n_pairs} values are no upper triangle: n images have n(n-1)/2 pairs"
        )
    return n_images


def check_kind(kind: str) -> None:
    """Raise `ValueError` for a kind of similarity that there is not."""
    if kind not in KINDS:
        raise ValueError(f"no similarity {kind!r}: possible are {', '.join(KINDS)}")


def fewest_units(kind: str) -> int:
    """That a similarity can be had of."""
    return 2 if kind.startswith("pearson") else 1


def real(values: ArrayLike) -> np.ndarray:
    """In float64.

    Raises:
        ValueError: complex numbers, whose imaginary part would be lost.
    """
    values = np.asarray(values)
    if np.iscomplexobj(values):
        raise ValueError(f"real numbers are needed, these are {values.dtype}")
    return values.astype(np.float64)


def checked_responses(responses: ArrayLike) -> Float[np.ndarray, "images units"]:
    """Responses in float64, none of them NaN or infinite."""
    responses = real(responses)
    if responses.ndim != 2:
        raise ValueError(f"responses are (images, units), these have shape {responses.shape}")
    missing = ~np.isfinite(responses)
    if missing.any():
        units = np.flatnonzero(missing.any(axis=0))
        raise ValueError(
            f"{missing.sum()} of {missing.size} responses are NaN or infinite, in {len(units)} "
            f"of {responses.shape[1]} units, the first is number {units[0]}: leave these out"
        )
    return responses


def _by_class(patterns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if labels.shape != patterns.shape[:1]:
        raise ValueError(f"{len(patterns)} images have labels of shape {labels.shape}")
    classes, of_image = np.unique(labels, return_inverse=True)
    members = of_image == np.arange(len(classes))[:, None]
    return members @ patterns / members.sum(axis=1)[:, None]


def _distances(patterns: np.ndarray) -> np.ndarray:
    """Row by row: differences of squared lengths would lose those of images that are alike."""
    found = np.stack([np.sqrt(np.square(patterns - row).sum(axis=1)) for row in patterns])
    return (found + found.T) / 2
