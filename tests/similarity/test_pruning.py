"""Pruning curves: against recomputing each level, and what chance makes."""

import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jaxsel.metrics import percentage_of_zeros
from jaxsel.similarity import (
    against_random,
    compare,
    effects_on_fit,
    pruning_curve,
    random_curves,
    removal_order,
    rsm,
    supervised_pruning,
    upper_triangle,
)
from jaxsel.similarity.compare import COMPARISONS
from jaxsel.similarity.rsm import KINDS


def by_recomputing(
    responses, ranking, keep, target, kind="pearson_squared", how="pearson_squared"
):
    """Each level on its own, in float64 by NumPy."""
    upper = np.triu_indices(len(responses), 1)
    fits = []
    for n in keep:
        kept = responses[:, ranking[len(ranking) - n :]].astype(np.float64)
        if kind == "euclidean":
            found = np.linalg.norm(kept[:, None] - kept, axis=2)
        elif kind == "cosine":
            sizes = np.linalg.norm(kept, axis=1)
            found = kept @ kept.T / np.outer(sizes, sizes)
        else:
            found = np.corrcoef(kept)
        found = found[upper] ** (2 if kind == "pearson_squared" else 1)
        fits.append(compare(found, target, how))
    return np.array(fits)


@pytest.fixture
def responses(rng):
    """Of 15 images; fires as a ReLU does, but no image is silent for long."""
    return np.maximum(rng.normal(size=(15, 60)) + 0.5, 0).astype(np.float32)


@pytest.fixture
def target(rng):
    return rng.uniform(size=105)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", COMPARISONS)
def test_every_level_is_that_of_the_units_kept_alone(responses, target, rng, kind, how):
    ranking, keep = rng.permutation(60), np.array([60, 41, 23, 40, 12])
    found = pruning_curve(responses, ranking, keep, target, kind=kind, how=how)
    expected = by_recomputing(responses, ranking, keep, target, kind, how)
    # 60 sums of float64 of order one; distances are square roots of differences.
    np.testing.assert_allclose(found.fit, expected, atol=1e-12)
    assert np.array_equal(found.keep, keep)
    assert not found.undefined.any()


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32 - 1), st.data())
def test_any_levels_in_any_order_agree_with_recomputing(seed, data):
    rng = np.random.default_rng(seed)
    n_units = data.draw(st.integers(4, 12))
    keep = data.draw(st.lists(st.integers(3, n_units), min_size=1, max_size=5, unique=True))
    responses, ranking = rng.normal(size=(6, n_units)), rng.permutation(n_units)
    target = rng.normal(size=15)
    found = pruning_curve(responses, ranking, keep, target).fit
    expected = by_recomputing(
        responses, ranking, keep, target, "pearson_squared", "pearson_squared"
    )
    # Patterns of three units may be nearly alike, which magnifies a rounding of 1e-16.
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("scale, offset", [(1e-6, 0.0), (1e4, 0.0), (1.0, 1e4)])
def test_the_size_of_responses_costs_no_digits(responses, target, scale, offset):
    """Sums of squares of an offset of 10,000 would keep eight digits of the variance."""
    keep, ranking = [60, 30, 10], np.arange(60)
    changed = np.float64(responses) * scale + offset
    found = pruning_curve(changed, ranking, keep, target).fit
    expected = by_recomputing(
        changed, ranking, keep, target, "pearson_squared", "pearson_squared"
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_an_image_without_a_similarity_is_left_out_and_counted(responses, target):
    """Its kept units are silent at the second level, and fire at the first."""
    responses[4, 30:] = 0
    curve = pruning_curve(responses, np.arange(60), [60, 30], target)
    assert curve.undefined.tolist() == [0, 14]
    rest = np.delete(np.arange(15), 4)
    of_rest = upper_triangle(_square(target)[np.ix_(rest, rest)])
    expected = compare(rsm(responses[np.ix_(rest, np.arange(30, 60))]), of_rest)
    assert curve.fit[1] == pytest.approx(expected, abs=1e-13)


def test_there_is_no_fit_with_a_target_that_is_the_same_for_the_pairs_left(responses):
    """Only pairs of image 4 differ in it, which is silent to the units kept at last."""
    responses[4, 30:] = 0
    target = np.full((15, 15), 0.1)
    target[4] = target[:, 4] = np.arange(15.0)
    for how in COMPARISONS:
        curve = pruning_curve(responses, np.arange(60), [60, 30], target, how=how)
        assert np.isfinite(curve.fit[0])
        assert np.isnan(curve.fit[1])


@pytest.mark.parametrize("how", ["pearson_squared", "spearman"])
def test_there_is_no_fit_where_all_similarities_are_one(responses, target, how):
    """Two units are always correlated fully; the square says nothing."""
    curve = pruning_curve(responses + 1, np.arange(60), [60, 2], target, how=how)
    assert np.isfinite(curve.fit[0])
    assert np.isnan(curve.fit[1])


def test_pairs_that_nobody_judged_are_left_out(responses, target):
    target[[2, 50]] = np.nan
    curve = pruning_curve(responses, np.arange(60), [60], target)
    assert curve.fit[0] == pytest.approx(compare(rsm(responses), target, missing="omit"))
    assert curve.undefined.tolist() == [0]


def test_against_its_own_space_all_units_fit_perfectly(responses):
    assert pruning_curve(responses, np.arange(60), [60], rsm(responses)).fit[
        0
    ] == pytest.approx(1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keep": [61]}, "of 60 units, 2 to 60 can be kept, each number once, not"),
        ({"keep": [1]}, "2 to 60 can be kept"),
        ({"keep": [30, 30]}, "each number once"),
        ({"keep": []}, "can be kept"),
        ({"ranking": np.zeros(60, int)}, "a ranking of 60 units has each of the numbers"),
        ({"ranking": np.arange(59)}, "a ranking of 60 units"),
        ({"target": np.zeros(105)}, "the target is the same for all pairs"),
        ({"target": np.ones(104)}, "15 images have 105 pairs, the target has 104"),
        (
            {"target": np.r_[np.full(103, np.nan), 1, 2]},
            "has 2 pairs of images: .* needs three",
        ),
        ({"kind": "l1"}, "no similarity 'l1'"),
        ({"how": "l1"}, "no comparison 'l1'"),
    ],
)
def test_what_cannot_be_pruned_is_refused(responses, target, change, message):
    of = {"ranking": np.arange(60), "keep": [60, 30], "target": target, **change}
    with pytest.raises(ValueError, match=message):
        pruning_curve(responses, **of)


def test_no_ranking_makes_no_chance(responses, target, rng):
    with pytest.raises(ValueError, match="0 rankings"):
        random_curves(responses, [60], target, rng=rng, n=0)


def test_two_images_have_no_curve(responses):
    with pytest.raises(ValueError, match="the target has 1 pairs of images"):
        pruning_curve(responses[:2], np.arange(60), [60], np.ones(1))


def test_the_highest_go_first_and_ties_by_number():
    values = np.array([50.0, 90.0, 50.0, np.nan, 10.0, 90.0, np.nan])
    assert removal_order(values).tolist() == [3, 6, 1, 5, 0, 2, 4]
    assert removal_order(values, highest_first=False).tolist() == [3, 6, 4, 0, 2, 1, 5]


@pytest.mark.parametrize("how", ["pearson_squared", "spearman"])
def test_random_rankings_are_those_of_the_generator(responses, target, how):
    """More than one program's worth, and each as its own curve."""
    done = []
    curves = random_curves(
        responses, [60, 20], target, rng=np.random.default_rng(3), n=40, how=how,
        on_progress=done.append,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    for fit in curves.fit:
        alone = pruning_curve(responses, rng.permutation(60), [60, 20], target, how=how)
        np.testing.assert_allclose(fit, alone.fit, atol=1e-14)
    assert done[-1] == 40
    assert sorted(done) == done
    assert curves.undefined.shape == (40, 2)


def test_p_is_the_share_of_rankings_that_fit_as_well(rng):
    random = rng.uniform(size=(199, 4))
    fit = np.array([2.0, np.median(random[:, 1]), -1.0, np.nan])
    found = against_random(fit, random)
    counted = [(1 + (random[:, k] >= fit[k]).sum()) / 200 for k in range(3)]
    np.testing.assert_allclose(found.p[:3], counted)
    assert np.isnan(found.p[3])
    assert np.isnan(found.corrected[3])


def test_correction_keeps_the_error_of_many_levels():
    """Under chance, the smallest corrected p is below 0.2 in about a fifth of cases."""
    rng, below = np.random.default_rng(5), 0
    for _ in range(300):
        every = np.cumsum(rng.normal(size=(100, 30)), axis=1)  # levels that go together
        below += against_random(every[0], every[1:]).corrected.min() <= 0.2
    # 60 expected, with a standard deviation of 6.9.
    assert 40 <= below <= 80


def test_levels_that_all_rankings_share_have_p_one(responses, target):
    curves = random_curves(responses, [60], target, rng=np.random.default_rng(0), n=50)
    alone = pruning_curve(responses, np.arange(60), [60], target)
    assert against_random(alone.fit, curves.fit).p.tolist() == [1.0]


def test_a_level_at_which_a_ranking_has_no_fit_is_not_tested_and_spoils_no_other(rng):
    random = rng.uniform(size=(99, 3))
    fit = np.array([2.0, 0.5, 2.0])
    without = against_random(fit[:2], random[:, :2])
    random[7, 2] = np.nan
    found = against_random(fit, random)
    assert np.isnan(found.p[2])
    assert np.isnan(found.corrected[2])
    np.testing.assert_array_equal(found.corrected[:2], without.corrected)


def test_a_level_that_stands_out_is_found_among_many_with_few_rankings():
    """By the smallest P it could not be: some ranking is the first of 200 at most levels."""
    rng = np.random.default_rng(2)
    random = rng.normal(size=(200, 205))
    fit = rng.normal(size=205)
    fit[100] = 8
    found = against_random(fit, random)
    assert found.corrected[100] == pytest.approx(1 / 201)
    assert (np.delete(found.corrected, 100) > 0.05).all()


def _square(target):
    matrix = np.ones((15, 15))
    matrix[np.triu_indices(15, 1)] = target
    return np.triu(matrix, 1) + np.triu(matrix, 1).T


@pytest.mark.parametrize("n_units", [3, 60, 63, 64, 65, 130])
def test_the_effect_of_a_unit_is_the_fit_without_it(rng, target, n_units):
    responses = rng.normal(size=(15, n_units))
    kind = "pearson" if n_units == 3 else "pearson_squared"
    found = effects_on_fit(responses, target, kind=kind)
    whole = compare(rsm(responses, kind), target)
    for unit in range(n_units):
        without = compare(rsm(np.delete(responses, unit, axis=1), kind), target)
        assert found[unit] == pytest.approx(whole - without, abs=1e-11)


def test_a_unit_that_is_nearly_all_there_is_keeps_the_others_digits(rng, target):
    """Subtracting its products from the sum would leave none: they are 1e16 times as large."""
    responses = rng.normal(size=(15, 6))
    responses[:, 2] *= 1e8
    found = effects_on_fit(responses, target, kind="cosine")[2]
    without = compare(rsm(np.delete(responses, 2, axis=1), "cosine"), target)
    assert found == pytest.approx(compare(rsm(responses, "cosine"), target) - without, abs=1e-9)


def test_numbers_that_leave_no_fit_are_refused(partly_relevant, rng):
    responses, target = partly_relevant
    with pytest.raises(ValueError, match=r"with each of the numbers of units \[2\]"):
        supervised_pruning(responses, target, [2], folds=2, rng=rng)


@pytest.mark.parametrize("how", ["spearman", "kendall"])
def test_images_that_are_the_same_are_tied(responses, target, how):
    """Running sums round them differently, which a sort would take for an order."""
    responses[8:] = responses[:7]
    ranking = np.random.default_rng(6).permutation(60)
    found = pruning_curve(responses, ranking, [60, 30], target, kind="pearson", how=how)
    expected = []
    for n in (60, 30):
        similar = np.round(rsm(responses[:, ranking[60 - n :]], "pearson"), 10)
        expected.append(compare(similar, target, how))
    np.testing.assert_allclose(found.fit, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["pearson", "euclidean"])
@pytest.mark.parametrize("how", ["spearman", "kendall"])
@pytest.mark.parametrize("scale", [1e-12, 1, 1e9])
def test_images_that_are_the_same_are_tied_at_any_scale(responses, target, kind, how, scale):
    """As `compare` has it: distances of 0 are not roots of roundings, ranks have no units."""
    responses[8:] = responses[:7]
    scaled = np.float64(responses) * scale
    found = pruning_curve(scaled, np.arange(60), [60, 30], target, kind=kind, how=how)
    expected = [compare(rsm(scaled[:, 60 - n :], kind), target, how) for n in (60, 30)]
    np.testing.assert_allclose(found.fit, expected, atol=1e-12)
    if scale != 1:
        plain = pruning_curve(responses, np.arange(60), [60, 30], target, kind=kind, how=how)
        np.testing.assert_allclose(found.fit, plain.fit, atol=1e-12)


@pytest.mark.parametrize("how", ["pearson_squared", "spearman"])
@pytest.mark.parametrize("size", [1e3, 1e5, 1e6, 1e7, 1e9])
def test_units_that_go_may_be_far_larger_than_those_that_stay(responses, target, how, size):
    changed = np.float64(responses)
    changed[:, :30] *= size
    keep = [60, 40, 30, 20]
    found = pruning_curve(changed, np.arange(60), keep, target, how=how)
    expected = by_recomputing(changed, np.arange(60), keep, target, how=how)
    np.testing.assert_allclose(found.fit, expected, atol=1e-6)
    assert not found.undefined.any()


def test_levels_far_apart_are_those_that_were_asked_for(responses, target, rng):
    """More between them are computed and left out."""
    ranking, keep = rng.permutation(60), [9, 10, 60, 11, 12]
    found = pruning_curve(responses, ranking, keep, target)
    expected = by_recomputing(responses, ranking, keep, target)
    np.testing.assert_allclose(found.fit, expected, atol=1e-12)


def test_taught_pruning_keeps_no_fewer_units_than_most_pairs_need(rng):
    """Of units that hardly ever fire, few leave most images without a similarity."""
    responses = np.maximum(rng.normal(size=(60, 120)) - 1.3, 0)
    target = rng.uniform(size=60 * 59 // 2)
    keep = np.array([120, 60, 20, 10, 8, 7, 6, 5, 4, 3])
    found = supervised_pruning(responses, target, keep, folds=3, rng=rng)
    for fold, held_out in enumerate(found.held_out):
        rest = np.setdiff1d(np.arange(60), held_out)
        matrix = np.zeros((60, 60))
        matrix[np.triu_indices(60, 1)] = target
        matrix += matrix.T
        effects = effects_on_fit(responses[rest], matrix[np.ix_(rest, rest)])
        order = removal_order(effects, highest_first=False)
        n = keep[found.chosen[fold]]
        for images, most in ((rest, 0.05), (held_out, None)):
            kept = responses[np.ix_(images, order[120 - n :])]
            defined = int((np.ptp(kept, axis=1) > 0).sum())
            share = 1 - defined * (defined - 1) / (len(images) * (len(images) - 1))
            if most is not None:
                assert share <= most + 1e-9
            else:
                assert found.left_out[fold, found.chosen[fold]] == pytest.approx(share)
                assert np.isnan(found.gain[fold]) == (share > 0.05 + 1e-9)


def test_too_few_images_for_folds_are_refused(rng):
    with pytest.raises(ValueError, match="7 images: folds of four or more need at least 8"):
        supervised_pruning(rng.normal(size=(7, 9)), rng.uniform(size=21), [9], rng=rng)


def test_effects_by_ranks_are_refused(responses, target):
    with pytest.raises(ValueError, match="possible are pearson, pearson_squared"):
        effects_on_fit(responses, target, how="spearman")


@pytest.fixture
def partly_relevant(rng):
    """Similarities are made by 20 units of 80; the others are noise."""
    relevant = rng.normal(size=(40, 20))
    responses = np.hstack([relevant, rng.normal(size=(40, 60))])
    return responses, rsm(relevant, "pearson")


def test_supervised_pruning_finds_units_that_matter_on_other_images(partly_relevant, rng):
    responses, target = partly_relevant
    keep = [80, 60, 40, 30, 20, 10]
    found = supervised_pruning(responses, target, keep, folds=4, rng=rng, kind="pearson")
    assert (found.gain > 0.1).all()
    assert set(found.keep[found.chosen]) <= {10, 20, 30, 40}
    np.testing.assert_allclose(found.test_full, found.test[:, 0])


def test_with_nothing_to_learn_the_fit_on_other_images_is_not_flattered(rng):
    """Training images fit far better after choosing among thousands; others do not."""
    responses, target = rng.normal(size=(40, 200)), rng.normal(size=780)
    keep = [200, 100, 50, 25]
    found = supervised_pruning(responses, target, keep, folds=4, rng=rng, kind="pearson")
    chosen = found.train[np.arange(4), found.chosen]
    assert (chosen - found.train_full > 0.05).all()
    # A squared correlation of 45 pairs is 1/44 by chance, with a spread of sqrt(2)/44 or so.
    assert found.test.mean() < 0.1


def test_images_are_held_out_once_each_and_have_no_part(partly_relevant):
    responses, target = partly_relevant
    run = functools.partial(supervised_pruning, keep=[40], folds=4, kind="pearson")
    found = run(responses, target, rng=np.random.default_rng(1))
    assert sorted(np.concatenate(found.held_out)) == list(range(40))
    changed = target.copy()
    fold = found.held_out[0]
    changed[np.ix_(fold, fold)] = changed[np.ix_(fold, fold)][::-1, ::-1]
    again = run(responses, changed, rng=np.random.default_rng(1))
    assert np.array_equal(again.train[0], found.train[0])
    assert not np.array_equal(again.test[0], found.test[0])


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_too_few_or_too_small_are_refused(partly_relevant, folds, rng):
    responses, target = partly_relevant
    with pytest.raises(ValueError, match=f"40 images in {folds} folds: possible are 2 to 10"):
        supervised_pruning(responses, target, [40], folds=folds, rng=rng)


def test_the_curve_of_vgg16_by_zeros_is_that_of_a_plain_loop_at_all_levels(data_folder):
    responses = np.load(data_folder / "vgg16_fc7" / "fc7_relu_144x4096.npy")
    ranking = removal_order(np.asarray(percentage_of_zeros(responses)))
    keep = np.arange(4096, 0, -20)
    assert len(keep) == 205
    assert keep[-1] == 16
    whole = upper_triangle(rsm(responses))
    found = pruning_curve(responses, ranking, keep, whole)
    centred = whole - whole.mean()
    upper = np.triu_indices(144, 1)
    for n, fit in zip(keep, found.fit, strict=True):
        kept = responses[:, ranking[4096 - n :]].astype(np.float64)
        pruned = np.square(np.corrcoef(kept)[upper])
        pruned -= pruned.mean()
        plain = (pruned @ centred) ** 2 / ((pruned @ pruned) * (centred @ centred))
        assert fit == pytest.approx(plain, abs=1e-10)
    assert not found.undefined.any()
