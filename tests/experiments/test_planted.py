"""Networks whose truth is known, because it was put there: the report must say it."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.kanda import claims, figures2to5
from experiments.kanda.measure import measure
from experiments.kanda.paper import NOTHING
from experiments.kanda.reading import DEFAULTS
from experiments.kanda.resampled import over_images
from jaxsel import Dataset, plotting

N_CLASSES, N_EACH, N_UNITS = 6, 5, 60
CORRELATION = "the more selective a unit (CSI), the less its ablation costs"
NEEDLESS = "taking away some of the selective units improves the network"
SELECTIVE = np.arange(N_UNITS) < N_UNITS // 2


def planted(helps, rng, folder):
    """Half of the units respond to one class only, half to all classes, to one a little more.

    Each lifts the logit of its class where it `helps`, and of another class where not; the
    images' own pixels make the network right.
    """
    own = np.arange(N_UNITS) % N_CLASSES
    labels = np.repeat(np.arange(N_CLASSES), N_EACH)
    is_own = labels[:, None] == own
    strength = rng.uniform(0.5, 1.5, (len(labels), N_UNITS))
    responses = strength * np.where(SELECTIVE, is_own, 1 + 0.5 * is_own)
    target = np.where(helps, own, (own + 1) % N_CLASSES)
    weight = 0.3 * np.eye(N_CLASSES)[target] * rng.uniform(0.5, 1.5, (N_UNITS, 1))
    weight = weight.astype(np.float32)
    pixels = 2 * np.eye(N_CLASSES)[labels]
    # What every image gets of a unit is taken off again: only its preference counts.
    common = np.where(SELECTIVE, 0, strength.mean()).astype(np.float32)

    def model(images, tap):
        site = tap("in", images[:, :N_UNITS])
        preference = jnp.where(site > 0, site - common, 0)
        return preference @ jnp.asarray(weight) + images[:, N_UNITS:]

    images = np.concatenate([responses, pixels], axis=1).astype(np.float32)
    names = tuple(map(str, range(N_CLASSES)))
    silent = lambda text, total: lambda done: None  # noqa: E731
    dataset = Dataset(images, labels, names)
    return measure(model, dataset, ("in",), pairs=folder, progress=silent)


def told(measured, folder):
    """What figures 2, 3 and 5 say: their numbers, their sentences, and the claims."""
    rng = np.random.default_rng(0)
    images = {"in": over_images(measured["in"], rng)}
    with plotting.look():
        found = [
            figures2to5.figure_2(measured, images, folder, rng, NOTHING),
            figures2to5.figure_3(measured, images, folder, NOTHING),
            figures2to5.figure_5(measured["in"], folder, rng, NOTHING),
        ]
    numbers = [number for one, _ in found for number in one]
    said = claims.claims(numbers, ["in"], ["in"], DEFAULTS)
    verdicts = {one.claim: one.verdict for one in said}
    by_key = {number.key: number.value for number in numbers}
    return by_key, [drawing.details for _, drawing in found], verdicts


def test_the_units_are_as_selective_as_they_were_made(rng, tmp_path):
    units = planted(SELECTIVE, rng, tmp_path)["in"]
    np.testing.assert_array_equal(units.selective, SELECTIVE)
    assert (units.csi[SELECTIVE] == 1).all()
    assert units.csi[~SELECTIVE].max() < 0.5


def test_selective_units_that_harm_and_others_that_help_come_out_so(rng, tmp_path):
    measured = planted(~SELECTIVE, rng, tmp_path)
    numbers, (_, of_figure_3, _), verdicts = told(measured, tmp_path)
    assert (measured["in"].loss_ratio[SELECTIVE] < 0).all()
    assert (measured["in"].loss_ratio[~SELECTIVE] > 0).mean() > 0.9
    assert numbers["figure_3.in.csi.high"] < -0.5
    assert numbers["figure_2.in.n_improve"] >= SELECTIVE.sum()
    assert numbers["figure_5.n"] == SELECTIVE.sum()
    assert "the same direction as in the paper" in of_figure_3[0]
    assert verdicts[CORRELATION] == claims.HOLDS
    # Each helps five images of thirty: not for certain over images.
    assert verdicts[NEEDLESS] == claims.CANNOT


def test_the_flipped_plant_flips_the_report(rng, tmp_path):
    measured = planted(SELECTIVE, rng, tmp_path)
    numbers, (_, of_figure_3, _), verdicts = told(measured, tmp_path)
    assert (measured["in"].loss_ratio[SELECTIVE] > 0).all()
    assert numbers["figure_3.in.csi.low"] > 0.5
    assert numbers["figure_5.n"] == 0
    assert "the opposite of the paper's direction" in of_figure_3[0]
    assert verdicts[CORRELATION] == verdicts[NEEDLESS] == claims.DOES_NOT


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]
)
def test_no_relation_gives_an_interval_that_covers_zero(seed, tmp_path):
    """Who helps is drawn, as many of either kind."""
    rng = np.random.default_rng(seed)
    helps = np.concatenate([rng.permutation(30) < 15, rng.permutation(30) < 15])
    numbers, (_, of_figure_3, _), verdicts = told(planted(helps, rng, tmp_path), tmp_path)
    assert numbers["figure_3.in.csi.low"] < 0 < numbers["figure_3.in.csi.high"]
    assert "not significant at the paper's threshold" in of_figure_3[0]
    assert verdicts[CORRELATION] == claims.CANNOT
