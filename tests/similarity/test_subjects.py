"""Subjects: noise ceiling, bootstrap and permutation, against rsatoolbox and chance."""

import numpy as np
import pytest
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.rdm.rdms import RDMs

from jaxsel.similarity import (
    agreement_by_subject,
    bootstrap_agreement,
    compare,
    noise_ceiling,
    permutation_test,
    upper_triangle,
)
from jaxsel.similarity.rsm import square


@pytest.fixture
def subjects(rng):
    """Five subjects' judgements of 9 images: a common part and their own."""
    return rng.normal(size=36) + rng.normal(size=(5, 36))


@pytest.mark.parametrize(
    "how, method", [("pearson", "corr"), ("spearman", "spearman"), ("kendall", "tau-a")]
)
@pytest.mark.filterwarnings("ignore:Noise ceiling for tau based on averaged ranks")
def test_the_ceiling_equals_that_of_rsatoolbox(subjects, how, method):
    rdms = RDMs(subjects)
    lower, upper = boot_noise_ceiling(rdms, method=method)
    found = noise_ceiling(subjects, how)
    assert found.lower == pytest.approx(float(lower), abs=1e-10)
    assert found.upper == pytest.approx(float(upper), abs=1e-10)


@pytest.mark.parametrize("how", ["pearson", "spearman"])
def test_no_matrix_agrees_better_than_the_upper_end(subjects, how):
    rng, (_, upper) = np.random.default_rng(1), noise_ceiling(subjects, how)
    best = subjects.mean(axis=0)
    for spread in (0.0, 0.05, 0.2, 1.0):
        for _ in range(50):
            model = best + spread * rng.normal(size=36)
            assert agreement_by_subject(model, subjects, how).mean() <= upper + 1e-12


def test_subjects_who_agree_have_a_ceiling_of_one(rng):
    assert noise_ceiling(np.tile(rng.normal(size=15), (3, 1))) == pytest.approx((1, 1))


def test_one_subject_has_no_ceiling(subjects):
    with pytest.raises(ValueError, match="one subject"):
        noise_ceiling(subjects[:1])


def test_matrices_and_triangles_are_the_same_subjects(subjects):
    matrices = np.stack([square(one) for one in subjects])
    assert noise_ceiling(matrices) == noise_ceiling(subjects)
    model = np.arange(36.0)
    expected = [compare(model, one, "spearman") for one in subjects]
    assert agreement_by_subject(square(model), matrices).tolist() == expected
    assert agreement_by_subject(model, square(subjects[0])).tolist() == expected[:1]


def test_one_square_matrix_is_one_subject_and_has_no_ceiling(rng):
    """Even one that is not symmetric is not taken for sixteen subjects with sixteen pairs."""
    matrix = square(rng.normal(size=120))
    assert len(agreement_by_subject(square(np.arange(120.0)), matrix)) == 1
    with pytest.raises(ValueError, match="one subject"):
        noise_ceiling(matrix)
    with pytest.raises(ValueError, match="a similarity matrix is symmetric"):
        noise_ceiling(rng.normal(size=(16, 16)))


def test_over_subjects_means_of_drawn_subjects_are_resampled(subjects):
    """Their standard deviation is that of a mean of five."""
    model = subjects.mean(axis=0)
    rng = np.random.default_rng(2)
    found = bootstrap_agreement(model, subjects, over="subjects", rng=rng, n_resamples=4000)
    fits = agreement_by_subject(model, subjects)
    # The standard deviation of 4,000 draws is known to 1 / sqrt(8,000).
    assert found.std() == pytest.approx(fits.std() / np.sqrt(5), rel=0.05)
    assert found.mean() == pytest.approx(fits.mean(), abs=0.01)


def test_over_images_pairs_of_an_image_with_itself_do_not_count(subjects):
    """Each draw is that of rsatoolbox for the same images."""
    model, subject = subjects[0], subjects[1]
    found = bootstrap_agreement(
        model, subject, "pearson", over="images", rng=np.random.default_rng(4), n_resamples=20
    )
    rng = np.random.default_rng(4)
    for value in found:
        drawn = rng.integers(9, size=9)
        pairs = [(i, j) for i in range(9) for j in range(i) if drawn[i] != drawn[j]]
        ours, theirs = (
            np.array([square(one)[drawn[i], drawn[j]] for i, j in pairs])
            for one in (model, subject)
        )
        assert value == pytest.approx(np.corrcoef(ours, theirs)[0, 1], abs=1e-12)


def test_both_vary_more_than_either(subjects):
    model, spread = np.arange(36.0) + subjects.sum(axis=0), {}
    for over in ("images", "subjects", "both"):
        rng = np.random.default_rng(0)
        found = bootstrap_agreement(model, subjects, over=over, rng=rng, n_resamples=400)
        spread[over] = np.nanstd(found)
    assert spread["both"] > max(spread["images"], spread["subjects"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"over": "pairs"}, "possible are images, subjects and both"),
        ({"subjects": np.arange(36.0), "over": "subjects"}, "an interval over subjects needs"),
        ({"subjects": np.full((2, 36), np.nan)}, "36 of 36 pairs of images have no similarity"),
        ({"subjects": np.zeros((2, 2, 2, 2))}, r"subjects are \(subjects, images, images\) or"),
    ],
)
def test_what_cannot_be_resampled_is_refused(subjects, rng, change, message):
    of = {"subjects": subjects, "over": "images", **change}
    with pytest.raises(ValueError, match=message):
        bootstrap_agreement(np.arange(36.0), of["subjects"], over=of["over"], rng=rng)


def test_matrices_of_different_images_agree_by_chance():
    """P of unrelated matrices is uniform: the mean of 200 is 0.5, standard error 0.02."""
    rng, found = np.random.default_rng(8), []
    for _ in range(200):
        first, second = rng.normal(size=(2, 45))
        found.append(permutation_test(first, second, "pearson", rng=rng, n=99).p)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert min(found) >= 0.01


def test_the_same_images_agree_beyond_chance_and_shuffled_pairs_would_not_tell(rng):
    """Images with a common part: every pair with one of them is alike."""
    common = rng.normal(size=12)
    first, second = (upper_triangle(np.add.outer(common, common) + noise + noise.T)
                     for noise in rng.normal(size=(2, 12, 12)) / 4)  # fmt: skip
    assert permutation_test(first, second, rng=rng, n=199).p == pytest.approx(0.005)


def test_of_subjects_the_mean_agreement_is_tested(subjects):
    """P by a plain loop over the same permutations."""
    model = subjects[0] + np.arange(36.0)
    found = permutation_test(model, subjects, rng=np.random.default_rng(1), n=60)
    assert found.value == pytest.approx(agreement_by_subject(model, subjects).mean())
    rng, as_large, upper = np.random.default_rng(1), 1, np.triu_indices(9, 1)
    for _ in range(60):
        order = rng.permutation(9)
        permuted = square(model)[np.ix_(order, order)][upper]
        mean = np.mean([compare(permuted, one, "spearman") for one in subjects])
        as_large += mean >= found.value - 1e-12
    assert found.p == as_large / 61


def test_no_draw_makes_no_test(subjects, rng):
    with pytest.raises(ValueError, match="0 permutations"):
        permutation_test(subjects[0], subjects[1], rng=rng, n=0)
    with pytest.raises(ValueError, match="0 resamples"):
        bootstrap_agreement(subjects[0], subjects, over="images", rng=rng, n_resamples=0)


def test_all_permutations_are_counted(rng):
    done = []
    permutation_test(*rng.normal(size=(2, 15)), rng=rng, n=20, on_progress=done.append)
    assert done == list(range(1, 21))


@pytest.mark.parametrize(
    "value, told", [(np.nan, "3 pairs without a value"), (2.0, "the same")]
)
@pytest.mark.parametrize("how", ["pearson", "spearman"])
def test_a_subject_without_judgements_is_named(rng, value, told, how):
    subjects = rng.uniform(size=(4, 6))
    subjects[2, : 3 if np.isnan(value) else 6] = value
    with pytest.raises(ValueError, match=f"subject 2 of 4 has {told}"):
        noise_ceiling(subjects, how)
