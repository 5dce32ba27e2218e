"""The dense engine against float64 brute force, and what its results must not depend on."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel import ablate_units
from tests.references import heads, mlp, mnist


@pytest.fixture(autouse=True)
def products_in_float32(request, monkeypatch):
    """As with many classes; the trained networks have few, and float64."""
    if "data" not in request.keywords:
        monkeypatch.setattr("jaxsel.ablation.dense.FEW_OUTPUTS", 0)


# Units, hidden units and classes. Every shape compiles programs: these are shared.
SHAPES = [(1, 2, 12), (9, 1, 2), (40, 40, 5)]
N_IMAGES = 12
# Errors are measured against the sum over images of a unit's absolute changes; in networks
# at random with a few images, of what the changes are before they cancel between classes.
# 1e-6 are 17 roundings to float32.
MOST = 1e-6
# What may differ between two ways of summing the same products, likewise.
LAST_BITS = 8 * 2.0**-24


def assert_exact(effects, labels, truth, *, ties=0.0):
    """Every unit within a millionth and within its own error estimate; ranks are equal.

    But for a share of `ties` of the pairs: a lead below 16 roundings of its change counts as
    a tie, which in trained networks is about one pair in a million.
    """
    members = np.eye(len(effects.baseline.images))[labels]
    total, size = truth.change.sum(0), truth.size.sum(0)
    error = np.maximum(np.abs(effects.total() - total) - truth.rounding.sum(0), 0)
    assert (error <= MOST * size).all(), (error / np.where(size == 0, 1, size)).max()
    assert (error <= effects.error).all(), (error - effects.error).max()
    nothing = truth.unchanged.all(0)
    np.testing.assert_array_equal(effects.error[nothing], 0)
    np.testing.assert_array_equal(effects.loss_change[nothing], 0)
    np.testing.assert_allclose(
        effects.loss_change, truth.change.T @ members, rtol=0,
        atol=MOST * size.max() + truth.rounding.sum(0).max(),
    )  # fmt: skip
    for k, found in ((1, effects.top1_change), (5, effects.top5_change)):
        was, is_now = (rank < k for rank in (truth.before[:, None], truth.after))
        wrong = np.abs(found - (is_now * 1 - was * 1).T @ members).sum()
        assert wrong <= ties * truth.after.size
    if effects.per_image is not None:
        np.testing.assert_array_equal(effects.per_image[truth.unchanged], 0)


def replacement_of(kind, data, network):
    """0, a number, or the mean response of every unit, in float32 as `record` gives it."""
    if kind != "means":
        return kind
    responses = data.images
    responses = np.where(responses > 0, responses, network.slope * responses)
    return responses.mean(0, dtype=np.float64).astype(np.float32)


def cases(shapes):
    """What a network, its images and a replacement are made of."""
    return {
        "shape": shapes,
        "seed": st.integers(0, 2**32),
        "n_layers": st.sampled_from([1, 2]),
        "leaky": st.booleans(),
        "silent": st.sampled_from([0, 0.5, 0.9, 1]),
        "kind": st.sampled_from([0.0, 0.7, -2.0, "means"]),
    }


def check_case(network, data, kind, folder):
    n_units, replacement = data.images.shape[1], replacement_of(kind, data, network)
    effects = ablate_units(
        network, data, "site", replacement=replacement, per_image=folder / "pairs.npy"
    )
    assert effects.engine == "dense"
    truth = heads.ablate(network, data, range(n_units), replacement)
    assert_exact(effects, data.labels, truth)


def check_random(folder, biased, shape, seed, n_layers, leaky, silent, kind):
    (n_units, n_hidden, n_classes), rng = shape, np.random.default_rng(seed)
    widths = (n_units, n_hidden, n_classes) if n_layers == 2 else (n_units, n_classes)
    slope = 0.125 if leaky else 1.0
    network = heads.random_head(rng, *widths, biased=biased, slope=slope)
    data = heads.random_data(rng, N_IMAGES, n_units, n_classes, silent=silent, negative=leaky)
    check_case(network, data, kind, folder)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(**cases(st.sampled_from(SHAPES)))
def test_random_heads_equal_brute_force(tmp_path_factory, **case):
    check_random(tmp_path_factory.getbasetemp(), True, **case)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**cases(st.sampled_from(SHAPES)))
def test_random_heads_without_biases_equal_brute_force(tmp_path_factory, **case):
    """Without its only active unit an image has all hidden columns, and all logits, at 0."""
    check_random(tmp_path_factory.getbasetemp(), False, **case)


ANY_SHAPE = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(2, 12))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(biased=st.booleans(), **cases(ANY_SHAPE))
def test_random_heads_of_any_width_equal_brute_force(tmp_path_factory, biased, **case):
    check_random(tmp_path_factory.getbasetemp(), biased, **case)


@pytest.mark.parametrize("hidden", [(), (200,)], ids=["one layer", "two layers"])
@pytest.mark.parametrize("kind", [0.0, "means"])
def test_hundreds_of_units_and_classes_equal_brute_force(hidden, kind, rng, tmp_path):
    """More than 512 classes, and more than one block of rows of the weights."""
    network = heads.random_head(rng, 300, *hidden, 600)
    data = heads.random_data(rng, 6, 300, 600)
    check_case(network, data, kind, tmp_path)


@pytest.mark.parametrize("kind", [0.0, 0.7, "means"])
@pytest.mark.parametrize("hidden", [(), (40,)], ids=["one layer", "two layers"])
def test_dense_and_generic_engine_agree_within_their_error_estimates(hidden, kind, rng):
    network = heads.random_head(rng, 40, *hidden, 5)
    data = heads.random_data(rng, N_IMAGES, 40, 5)
    replacement = replacement_of(kind, data, network)
    one, other = (
        ablate_units(network, data, "site", replacement=replacement, engine=engine)
        for engine in ("dense", "generic")
    )
    assert (one.engine, other.engine) == ("dense", "generic")
    assert (np.abs(one.total() - other.total()) <= one.error + other.error).all()
    assert np.median(np.abs(one.total())) > 1e3 * np.median(one.error + other.error)
    np.testing.assert_array_equal(one.top1_change, other.top1_change)
    np.testing.assert_array_equal(one.top5_change, other.top5_change)
    np.testing.assert_array_equal(one.baseline.loss, other.baseline.loss)


# --- what must not matter -----------------------------------------------------------------


@pytest.fixture(scope="module", params=[(), (40,)], ids=["one layer", "two layers"])
def network(request):
    return heads.random_head(np.random.default_rng(1), 40, *request.param, 5)


@pytest.fixture(scope="module")
def data():
    return heads.random_data(np.random.default_rng(2), 37, 40, 5)


def pairs_of(network, data, folder, **settings):
    """Effects, and the pairs as an array in memory."""
    effects = ablate_units(
        network, data, "site", per_image=folder / "pairs.npy", engine="dense", **settings
    )
    return effects, np.array(effects.per_image, np.float64)


def assert_same(one, other):
    """Loss changes up to the last bits of the unit's largest change, counts exactly."""
    size = LAST_BITS * np.abs(one.loss_change).max(1, keepdims=True)
    assert (np.abs(other.loss_change - one.loss_change) <= size + 1e-300).all()
    np.testing.assert_allclose(other.error, one.error, rtol=1e-5)
    np.testing.assert_array_equal(other.top1_change, one.top1_change)
    np.testing.assert_array_equal(other.top5_change, one.top5_change)
    np.testing.assert_allclose(other.baseline.loss, one.baseline.loss, rtol=1e-14)
    np.testing.assert_array_equal(other.baseline.images, one.baseline.images)


@pytest.mark.parametrize("batch_size", [1, 7, 36])
def test_batch_size_changes_the_last_bits_at_most(network, data, batch_size, tmp_path):
    """Beside all in one; 36 leaves a last batch of one image and 35 copies of it."""
    one, pairs = pairs_of(network, data, tmp_path)
    other, others = pairs_of(network, data, tmp_path, batch_size=batch_size)
    assert_same(one, other)
    np.testing.assert_allclose(others, pairs, rtol=0, atol=LAST_BITS * np.abs(pairs).max())
    assert one.baseline.images.sum() == 37


def test_order_of_images_changes_the_last_bits_at_most(network, data, tmp_path):
    order = np.random.default_rng(3).permutation(37)
    one, pairs = pairs_of(network, data, tmp_path, batch_size=7)
    other, others = pairs_of(network, data.take(order), tmp_path, batch_size=7)
    assert_same(one, other)
    np.testing.assert_allclose(
        others, pairs[order], rtol=0, atol=LAST_BITS * np.abs(pairs).max()
    )


def test_more_images_change_nothing_for_those_before(network, data, tmp_path):
    some, few = pairs_of(network, data.take(np.arange(20)), tmp_path)
    more, all_of_them = pairs_of(network, data, tmp_path)
    np.testing.assert_allclose(
        all_of_them[:20], few, rtol=0, atol=LAST_BITS * np.abs(few).max()
    )
    rest, _ = pairs_of(network, data.take(np.arange(20, 37)), tmp_path)
    np.testing.assert_allclose(
        some.loss_change + rest.loss_change, more.loss_change, rtol=0,
        atol=LAST_BITS * np.abs(more.loss_change).max(),
    )  # fmt: skip
    np.testing.assert_array_equal(some.top1_change + rest.top1_change, more.top1_change)


def test_units_in_any_order_and_repeated_are_the_same_units(network, data, tmp_path):
    chosen = np.array([39, 3, 3, 0, 17, 3])
    values = np.linspace(-1, 1, 40)
    every, pairs = pairs_of(network, data, tmp_path, replacement=values)
    some, few = pairs_of(network, data, tmp_path, units=chosen, replacement=values[chosen])
    size = LAST_BITS * np.abs(pairs).max()
    np.testing.assert_allclose(few, pairs[:, chosen], rtol=0, atol=size)
    np.testing.assert_allclose(
        some.loss_change, every.loss_change[chosen], rtol=0, atol=37 * size
    )
    np.testing.assert_array_equal(some.top1_change, every.top1_change[chosen])


def test_a_unit_with_two_replacements_gets_both(network, data, tmp_path):
    """The columns that are possible are possible for either."""
    values = np.array([0.0, 30.0, -30.0])
    effects, _ = pairs_of(
        network, data, tmp_path, units=np.array([5, 5, 5]), replacement=values
    )
    assert_exact(effects, data.labels, heads.ablate(network, data, [5, 5, 5], values))


def test_same_settings_give_the_same_bytes(network, data, tmp_path):
    one, pairs = pairs_of(network, data, tmp_path, batch_size=10)
    other, others = pairs_of(network, data, tmp_path, batch_size=10)
    for name in ("loss_change", "error", "top1_change", "top5_change"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert pairs.tobytes() == others.tobytes()


def test_file_of_pairs_sums_to_the_effects(network, data, tmp_path):
    """The file has float32, the sums what was summed: half a unit in the last place."""
    effects, pairs = pairs_of(network, data, tmp_path, batch_size=8)
    expected = pairs.T @ np.eye(5)[data.labels]
    bound = 2.0**-24 * np.abs(pairs).T @ np.eye(5)[data.labels]
    assert (np.abs(effects.loss_change - expected) <= bound + 1e-15).all()


def test_progress_counts_every_pair_once(network, data, tmp_path):
    done = []
    pairs_of(network, data, tmp_path, batch_size=10, progress=done.append)
    assert done == [10 * 40, 20 * 40, 30 * 40, 37 * 40]


def test_responses_cast_to_float32_at_the_site_equal_brute_force(rng):
    """What the network itself rounds is no error: the truth starts from the same numbers."""
    network = heads.random_head(rng, 40, 40, 5)
    data = heads.random_data(rng, N_IMAGES, 40, 5)

    def model(images, tap):
        return network(images, lambda site, x: tap(site, x.astype(jnp.float32)))

    effects = ablate_units(model, data, "site")
    found = effects.engine, effects.precision
    assert found == ("dense", "float32 changes of float32 values")
    assert_exact(effects, data.labels, heads.ablate(network, data, range(40)))


# --- trained networks ---------------------------------------------------------------------


def check_trained(data_folder, fraction, depth, dataset, units):
    """Median and worst error of units of a layer; signs and ranks of all of them."""
    network, layers = mnist.network(data_folder, fraction), mnist.layers(data_folder, fraction)
    effects = ablate_units(network, dataset, f"fc{depth + 1}", units=units, engine="dense")
    images, labels = dataset.inputs(slice(None)), dataset.labels
    change, before, after = mlp.ablate_by_update(layers, images, labels, depth, units)
    # The truth subtracts two losses of logits near 10, each 1e-15 of those off at most.
    rounding = np.where(change == 0, 0, 1e-14)
    truth = heads.Truth(change, np.abs(change), rounding, change == 0, before, after)
    total, size = change.sum(0), np.abs(change).sum(0)
    found, moved = effects.total(), np.abs(change).sum(0) > 0
    error = np.maximum(np.abs(found - total) - rounding.sum(0), 0)[moved]
    median, worst = np.median(error / np.abs(total[moved])), (error / size[moved]).max()
    used = (error / effects.error[moved]).max()
    estimate = np.median(effects.error[moved] / np.abs(total[moved]))
    print(
        f"{fraction} fc{depth + 1}, {len(dataset)} images: median {median:.1e}, "
        f"worst {worst:.1e}, {used:.2f} of the estimate, which is {estimate:.1e} (median)"
    )
    assert median <= 1e-6
    sure = np.abs(total) > effects.error
    np.testing.assert_array_equal(np.sign(found)[sure], np.sign(total)[sure])
    assert sure[moved].mean() > 0.95
    assert_exact(effects, labels, truth, ties=2e-6)


NETWORKS = pytest.mark.parametrize(
    "fraction, depth", [(name, depth) for name in mnist.FRACTIONS for depth in (0, 1)]
)


@pytest.mark.data
@NETWORKS
def test_units_of_trained_networks_are_right_to_a_millionth(data_folder, fraction, depth):
    """Every fourth unit: most of the time goes into the float64 truth."""
    dataset = mnist.images(data_folder, "test").take(np.arange(1000))
    check_trained(data_folder, fraction, depth, dataset, np.arange(0, 512, 4))


@pytest.mark.data
@pytest.mark.slow
@NETWORKS
@pytest.mark.parametrize("split", ["test", "train"])
def test_units_are_right_to_a_millionth_on_all_test_and_many_training_images(
    data_folder, fraction, depth, split
):
    """Training images with the labels trained on, most of them wrong in the last network."""
    if split == "test":
        dataset = mnist.images(data_folder, "test")
    else:
        dataset = mnist.training_images(data_folder, fraction).take(np.arange(6500))
    check_trained(data_folder, fraction, depth, dataset, np.arange(512))


def test_with_few_classes_the_products_are_float64(monkeypatch):
    """Two hidden columns that nearly cancel: float32 would leave seven digits of either."""
    monkeypatch.setattr("jaxsel.ablation.dense.FEW_OUTPUTS", 2)
    network = heads.head([[0.3, 0.7]], None, [[1, 0], [-3 / 7, 0]], None)
    data = heads.dataset([[0.77]], [0], 2)
    truth = heads.ablate(network, data, [0]).change.sum()
    effects = ablate_units(network, data, "site", engine="dense")
    assert effects.precision == "float64 changes of float64 values"
    np.testing.assert_allclose(effects.total(), [truth], rtol=0, atol=1e-15)
