"""Mixture curves: which units are kept, read off a model that counts them."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import Dataset, mixture_curve
from jaxsel.ablation.mixture import default_keep

# Ten units; 1, 4 and 8 are in neither pool.
SELECTIVE = np.isin(np.arange(10), [0, 2, 3, 9])
NON_SELECTIVE = np.isin(np.arange(10), [5, 6, 7])
DATASET = Dataset(np.ones((2, 1), np.float32), np.array([0, 0]), ("a", "b"))


def counting(images, tap):
    """Logits 0 and sum of 2**unit / 256 over the kept units: the loss tells which they are."""
    weight = 2.0 ** jnp.arange(10, dtype=images.dtype) / 256
    kept = tap("hidden", jnp.ones((len(images), 10), images.dtype)) @ weight
    return jnp.stack([jnp.zeros_like(kept), kept], 1)


def kept_units(curve):
    """The masks, `(trials, points, units)`, from the losses log(1 + e**code)."""
    intact = np.log1p(np.exp(1023 / 256))
    loss = intact * (1 + curve.loss_ratio / 100)
    # Float32 losses near 4 tell codes apart that differ by 1/256.
    code = np.round(256 * np.log(np.expm1(loss))).astype(int)
    return (code[..., None] >> np.arange(10)) & 1 == 1


def draw(seed=0, **settings):
    settings = {"fractions": (0.0, 0.5, 1.0), "trials": 20, **settings}
    rng = np.random.default_rng(seed)
    return mixture_curve(
        counting, DATASET, "hidden", SELECTIVE, NON_SELECTIVE, rng=rng, **settings
    )


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize(
    "fractions", [(0.0, 0.5, 1.0), (0.25, 0.4), tuple(np.linspace(0, 1, 11))]
)
def test_every_network_keeps_the_right_number_of_each_pool(keep, fractions):
    curve = draw(keep=keep, fractions=fractions)
    masks = kept_units(curve)
    n_non_selective = [round(fraction * keep) for fraction in fractions]
    assert masks.shape == (20, len(fractions), 10)
    assert curve.keep == keep
    np.testing.assert_array_equal(curve.n_non_selective, n_non_selective)
    for found, expected in [
        (masks.sum(2), np.full(len(fractions), keep)),
        (masks[..., NON_SELECTIVE].sum(2), n_non_selective),
        (masks[..., SELECTIVE].sum(2), keep - np.array(n_non_selective)),
    ]:
        np.testing.assert_array_equal(found, np.tile(expected, (20, 1)))


def test_points_of_a_trial_share_units():
    masks = kept_units(draw(keep=3, fractions=(0.0, 1 / 3, 2 / 3, 1.0)))
    non_selective, selective = masks[..., NON_SELECTIVE], masks[..., SELECTIVE]
    assert (non_selective[:, 1:] >= non_selective[:, :-1]).all()  # units only join
    assert (selective[:, 1:] <= selective[:, :-1]).all()  # units only leave


def test_every_unit_of_a_pool_is_drawn_as_often_as_the_others():
    """One of four units, 400 times: within four standard deviations, 35, of 100."""
    counts = kept_units(draw(keep=1, fractions=(0.0,), trials=400))[:, 0].sum(0)
    assert counts[~SELECTIVE].sum() == 0
    assert (np.abs(counts[SELECTIVE] - 100) < 35).all()


def test_same_seed_gives_the_same_curve_and_another_seed_another():
    one, same, other = (draw(seed, keep=2) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.loss_ratio, same.loss_ratio)
    np.testing.assert_array_equal(one.accuracy, same.accuracy)
    assert (kept_units(one) != kept_units(other)).any()


@pytest.mark.parametrize("batch_size, chunk", [(1, 1), (2, 7)])
def test_batches_and_chunks_are_irrelevant(batch_size, chunk):
    masks = kept_units(draw(keep=2, batch_size=batch_size, chunk=chunk))
    np.testing.assert_array_equal(masks, kept_units(draw(keep=2)))


@pytest.mark.parametrize("k, expected", [(1, 0), (5, 1)])
def test_accuracy_is_of_the_top_k(k, expected):
    """The label's logit is 0 and the other's is larger: right among five, never alone."""
    curve = draw(keep=2, k=k)
    assert curve.k == k
    np.testing.assert_array_equal(curve.accuracy, np.full((20, 3), expected))


@pytest.mark.parametrize("n_units, keep", [(4096, 1000), (512, 125), (84, 21)])
def test_default_keep_is_the_share_of_the_paper(n_units, keep):
    """Kanda et al. (2020): 1,000 of 4,096."""
    first_half = np.arange(n_units) < n_units // 2
    assert default_keep(first_half, ~first_half) == keep


@pytest.mark.parametrize("pool, keep", [(4, 2), (1, 1)])
def test_default_keep_is_at_most_the_smaller_pool(pool, keep):
    """1000/4096 of ten units are two."""
    non_selective = np.arange(10) >= 10 - pool
    curve = mixture_curve(
        counting, DATASET, "hidden", ~non_selective, non_selective,
        rng=np.random.default_rng(0), trials=1,
    )  # fmt: skip
    assert curve.keep == keep


@pytest.mark.parametrize("keep", [0, 4, -1])
def test_a_pool_that_is_too_small_is_refused(keep):
    with pytest.raises(ValueError, match=f"keep {keep} .* 4 selective and 3 non-selective"):
        draw(keep=keep)


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="0 non-selective"):
        mixture_curve(
            counting,
            DATASET,
            "hidden",
            SELECTIVE,
            np.zeros(10, bool),
            rng=np.random.default_rng(0),
        )


def test_a_unit_in_both_pools_is_refused():
    with pytest.raises(ValueError, match="both pools"):
        mixture_curve(
            counting, DATASET, "hidden", SELECTIVE, SELECTIVE, rng=np.random.default_rng(0)
        )


def test_unknown_site_is_refused():
    with pytest.raises(KeyError, match="unknown site fc9: this network has hidden"):
        mixture_curve(
            counting, DATASET, "fc9", SELECTIVE, NON_SELECTIVE, rng=np.random.default_rng(0)
        )


@pytest.mark.parametrize("fraction", [-0.3, 1.4])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    """Otherwise fewer or more units than `keep` would be kept."""
    with pytest.raises(ValueError, match="fraction"):
        draw(keep=3, fractions=(0.5, fraction))
