"""Effects of single units: by hand, and by float64 brute force, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel import Dataset, ablate_units, best_images, evaluate, models
from jaxsel.data import digits
from tests.references import alexnet_digits, mlp, mnist, parameters


def assert_exact(effects, per_image, labels, truth):
    """The effects are those of brute force.

    Only the change is rounded, never the loss, so that errors scale with the changes of
    the unit itself. A median unit is right to 1e-5 of its effect; the effect of a unit
    whose images cancel may be smaller than its rounding, so that the worst is held to 1e-5
    of the sum of the absolute changes, and every unit to its own error estimate. The truth
    is a difference of two losses in float64, each a few roundings of logits near 10 off.
    """
    change, rank_before, rank_after = truth
    n_classes = len(effects.baseline.images)
    members = np.eye(n_classes)[labels]
    total, size = change.sum(0), np.abs(change).sum(0)
    error = np.maximum(np.abs(effects.total() - total) - 1e-14 * len(labels), 0)
    moved = size > 0
    median = np.median(error[moved] / np.abs(total[moved]))
    worst = (error[moved] / size[moved]).max()
    of_estimate = (error[moved] / effects.error[moved]).max()
    print(f"error: median {median:.1e}, worst {worst:.1e}, {of_estimate:.2f} of the estimate")
    assert np.isfinite(effects.loss_change).all()
    assert median <= 1e-5
    assert (error <= 1e-5 * size).all()
    assert (error <= effects.error).all()
    np.testing.assert_allclose(
        effects.loss_change, change.T @ members, rtol=0, atol=1e-5 * size.max()
    )
    for k, found, before in [
        (1, effects.top1_change, effects.baseline.top1),
        (5, effects.top5_change, effects.baseline.top5),
    ]:
        was, is_now = (rank_before < k).astype(int), (rank_after < k).astype(int)
        np.testing.assert_array_equal(found, (is_now - was[:, None]).T @ members)
        np.testing.assert_array_equal(before, was @ members)
    if per_image is not None:
        pairs = np.load(per_image)
        assert (np.abs(pairs - change) <= 1e-5 * np.maximum(np.abs(change), size)).all()
        # The file has float32; the sums may be of numbers with more digits.
        np.testing.assert_allclose(
            effects.loss_change, pairs.T.astype(np.float64) @ members, rtol=0,
            atol=2.0**-24 * size.max() + 1e-300,
        )  # fmt: skip


# --- by hand ----------------------------------------------------------------------------


def two_units(images, tap):
    """Two units and two classes: the logits are the responses."""
    return tap("hidden", jnp.maximum(images, 0))


@pytest.fixture
def by_hand():
    """Logits (ln 3, 0), (0, ln 7) and (0, 0); all labels are 0."""
    images = np.array([[np.log(3), -1], [-2, np.log(7)], [-1, -1]], np.float32)
    return Dataset(images, np.zeros(3, int), ("a", "b"))


def test_effects_by_hand(by_hand):
    """Losses ln 4/3, ln 8, ln 2; without unit 0 the first is ln 2, without 1 the second.

    Of two equal logits the lower class counts, so the second image becomes right.
    """
    effects = ablate_units(two_units, by_hand, "hidden")
    intact = np.log([4 / 3, 8, 2]).sum()
    expected = [np.log(2) - np.log(4 / 3), np.log(2) - np.log(8)]
    # The logits are float32: ln 3 and ln 7 are off by 2**-24 of themselves.
    np.testing.assert_allclose(
        effects.loss_change, [[expected[0], 0], [expected[1], 0]], rtol=1e-6
    )
    np.testing.assert_allclose(effects.total(), expected, rtol=1e-6)
    np.testing.assert_allclose(effects.baseline.loss, [intact, 0], rtol=1e-7)
    np.testing.assert_allclose(
        effects.loss_ratio(), 100 * np.array(expected) / intact, rtol=1e-6
    )
    np.testing.assert_array_equal(effects.top1_change, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(effects.top5_change, [[0, 0], [0, 0]])
    np.testing.assert_array_equal(effects.baseline.top1, [2, 0])
    np.testing.assert_array_equal(effects.baseline.top5, [3, 0])
    np.testing.assert_array_equal(effects.baseline.images, [3, 0])
    np.testing.assert_array_equal(effects.units, [0, 1])
    assert (effects.site, effects.replacement, effects.per_image) == ("hidden", 0.0, None)
    assert effects.verdict() == ["harms", "improves"]


def test_replacement_by_hand(by_hand):
    """Unit 0 becomes ln 7 everywhere: losses ln 8/7, ln 2 and ln 8/7."""
    effects = ablate_units(
        two_units, by_hand, "hidden", units=np.array([0]), replacement=float(np.log(7))
    )
    expected = np.log([8 / 7, 2, 8 / 7]).sum() - np.log([4 / 3, 8, 2]).sum()
    np.testing.assert_allclose(effects.total(), [expected], rtol=1e-6)


def test_verdicts():
    """Units: the label's, the other class's, a silent one, and one that moves both logits
    equally: walked by `delta` its rounding is in doubt, before the logits nothing is.
    """
    weight = jnp.array([[1.0, 0], [0, 1], [1, 0], [1, 1]])
    dataset = Dataset(np.array([[1, 1, 0, 1]], np.float32), np.array([0]), ("a", "b"))
    for engine, last in (("generic", "undecided"), ("dense", "zero")):
        effects = ablate_units(
            lambda images, tap: tap("hidden", images) @ weight.astype(images.dtype),
            dataset,
            "hidden",
            engine=engine,
        )
        assert effects.verdict() == ["harms", "improves", "zero", last]
        np.testing.assert_array_equal(effects.error > 0, [True, True, False, last != "zero"])
        np.testing.assert_array_equal(effects.total()[2:], [0, 0])


def test_no_ratio_to_a_loss_of_zero():
    """Past 745 nats of lead even a float64 loss is 0."""
    dataset = Dataset(np.array([[900, 0]], np.float32), np.array([0]), ("a", "b"))
    effects = ablate_units(two_units, dataset, "hidden")
    np.testing.assert_allclose(effects.total(), [np.log(2), 0], rtol=1e-6)
    with pytest.raises(ZeroDivisionError, match="exactly 0"):
        effects.loss_ratio()


# --- against brute force ----------------------------------------------------------------


@pytest.fixture(scope="module")
def alexnet():
    """Kernels 1.7 times the usual: losses of some nats, and units that matter."""
    network = models.build("alexnet_digits", seed=3)
    return parameters.with_random_biases(network, gain=1.7, seed=13)


@pytest.fixture(scope="module")
def some_digits():
    return digits().take(np.arange(100, 124))


# The others are of the same kinds, and take as long again.
QUICK_SITES = ("conv2", "conv5", "fc6")


@pytest.mark.parametrize(
    "site",
    [
        pytest.param(site, marks=() if site in QUICK_SITES else pytest.mark.slow)
        for site in alexnet_digits.SITES
    ],
)
def test_every_unit_of_a_convolutional_network_equals_brute_force(
    alexnet, some_digits, site, tmp_path
):
    file = tmp_path / "pairs.npy"
    effects = ablate_units(alexnet, some_digits, site, per_image=file, batch_size=12)
    truth = alexnet_digits.ablate(
        parameters.as_dictionary(alexnet),
        some_digits.inputs(slice(None)),
        some_digits.labels,
        site,
        effects.units,
    )
    assert_exact(effects, file, some_digits.labels, truth)
    assert np.abs(truth[0]).max() > 1e-3  # units that matter


@pytest.fixture(scope="module")
def network():
    """40 inputs, 12 and 9 units, 7 classes."""
    network = models.build("mlp", n_inputs=40, widths=(12, 9), n_classes=7, seed=2)
    return parameters.with_random_biases(network)


@pytest.fixture(scope="module")
def layers(network):
    return parameters.dense_layers(network)


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(5)
    images = 2 * rng.normal(size=(37, 40)).astype(np.float32)
    return Dataset(images, rng.integers(0, 7, 37), tuple("abcdefg"))


def hidden(layers, dataset, depth):
    return mlp.forward(layers, dataset.images)[1][depth]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("replacement", [0.0, 0.75, -3.0, "means"])
def test_replacements_equal_brute_force(network, layers, dataset, depth, replacement, tmp_path):
    if replacement == "means":
        replacement = hidden(layers, dataset, depth).mean(0).astype(np.float32)
    file = tmp_path / "pairs.npy"
    effects = ablate_units(
        network, dataset, f"fc{depth + 1}", replacement=replacement, per_image=file
    )
    units = range(len(effects.units))
    per_unit = np.broadcast_to(np.float64(replacement), len(units))
    one_by_one = [
        mlp.ablate(layers, dataset.images, dataset.labels, depth, [u], per_unit[u])
        for u in units
    ]
    truth = (
        np.concatenate([change for change, _, _ in one_by_one], 1),
        one_by_one[0][1],
        np.concatenate([after for _, _, after in one_by_one], 1),
    )
    assert_exact(effects, file, dataset.labels, truth)
    np.testing.assert_array_equal(effects.replacement, replacement)


@pytest.mark.parametrize("depth", [0, 1])
def test_the_two_ways_of_brute_force_agree(layers, dataset, depth):
    """What the real networks are compared with below, against running the network again."""
    args = layers, dataset.images, dataset.labels, depth, range(9), 0.3
    for found, expected in zip(mlp.ablate_by_update(*args), mlp.ablate(*args), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("batch_size, chunk", [(1, 3), (8, 5), (37, 1), (256, 100)])
def test_batches_and_chunks_change_the_last_bits_at_most(
    network, dataset, batch_size, chunk, tmp_path
):
    files = tmp_path / "one.npy", tmp_path / "other.npy"
    one = ablate_units(network, dataset, "fc1", per_image=files[0])
    other = ablate_units(
        network, dataset, "fc1", per_image=files[1], batch_size=batch_size, chunk=chunk
    )
    size = np.abs(one.per_image).sum()
    np.testing.assert_allclose(other.loss_change, one.loss_change, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(other.per_image, one.per_image, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(other.error, one.error, rtol=1e-5)
    np.testing.assert_allclose(other.baseline.loss, one.baseline.loss, rtol=1e-12)
    for name in ("top1", "top5", "images"):
        np.testing.assert_array_equal(
            getattr(other.baseline, name), getattr(one.baseline, name)
        )
    np.testing.assert_array_equal(other.top1_change, one.top1_change)
    np.testing.assert_array_equal(other.top5_change, one.top5_change)


def test_same_settings_give_the_same_bits(network, dataset):
    one, other = (ablate_units(network, dataset, "fc1", batch_size=10) for _ in range(2))
    np.testing.assert_array_equal(one.loss_change, other.loss_change)


def test_a_subset_of_units_in_any_order(network, dataset):
    every = ablate_units(network, dataset, "fc1", replacement=np.arange(12.0))
    chosen = np.array([7, 2, 2, 11])
    some = ablate_units(
        network, dataset, "fc1", units=chosen, replacement=chosen.astype(np.float64)
    )
    np.testing.assert_array_equal(some.units, chosen)
    np.testing.assert_allclose(
        some.loss_change, every.loss_change[chosen], rtol=1e-5, atol=1e-6
    )


def test_pairs_whose_response_is_the_replacement_already_change_nothing(
    network, layers, dataset, tmp_path
):
    effects = ablate_units(network, dataset, "fc1", per_image=tmp_path / "pairs.npy")
    silent = hidden(layers, dataset, 0) == 0
    assert 0.2 < silent.mean() < 0.8
    np.testing.assert_array_equal(effects.per_image[silent], np.zeros(silent.sum()))
    assert (effects.per_image[~silent] != 0).mean() > 0.9


def test_progress_counts_pairs(network, dataset):
    done = []
    ablate_units(network, dataset, "fc2", batch_size=20, chunk=4, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 37 * 9


def test_a_network_without_active_units_gives_an_exact_tie():
    """Without its only unit and without biases every logit is 0: class 0 has the tie."""
    network = models.build("mlp", n_inputs=3, widths=(1, 50), n_classes=8, seed=0)
    layers = parameters.dense_layers(network)
    images = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    images = images[mlp.forward(layers, images)[1][0][:, 0] > 0]
    dataset = Dataset(images, np.arange(len(images)) % 8, tuple("abcdefgh"))
    effects = ablate_units(network, dataset, "fc1", batch_size=7)
    right = effects.baseline.top1 + effects.top1_change[0]
    np.testing.assert_array_equal(
        right, np.where(np.arange(8) == 0, effects.baseline.images, 0)
    )


# --- the file of pairs ------------------------------------------------------------------


def test_file_of_pairs_is_there_only_when_it_is_finished(network, dataset, tmp_path):
    file, seen = tmp_path / "pairs.npy", []
    ablate_units(
        network, dataset, "fc2", per_image=file, batch_size=10,
        progress=lambda done: seen.append(file.exists()),
    )  # fmt: skip
    assert not any(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.npy"]


def test_an_interrupted_run_leaves_nothing(network, dataset, tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate_units(
            network, dataset, "fc2", per_image=tmp_path / "pairs.npy", progress=interrupt
        )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_earlier_file(network, dataset, tmp_path):
    file = tmp_path / "pairs.npy"
    before = np.array(ablate_units(network, dataset, "fc2", per_image=file).per_image)

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate_units(network, dataset, "fc2", per_image=file, progress=interrupt)
    np.testing.assert_array_equal(np.load(file), before)


# --- other models, and what is refused --------------------------------------------------


def test_a_plain_function_with_arrays_of_its_own(rng):
    """A float32 convolution after the site: such a model runs in float32 throughout."""
    kernel = rng.normal(size=(2, 2, 3, 4)).astype(np.float32)
    images = rng.normal(size=(9, 4, 4, 3)).astype(np.float32)
    dataset = Dataset(images, rng.integers(0, 4, 9), tuple("abcd"))

    def model(images, tap):
        x = tap("in", jnp.maximum(images, 0))
        x = lax.conv_general_dilated(
            x, jnp.asarray(kernel), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.maximum(x, 0).sum((1, 2)) / 8

    def logits(x):
        patches = [x[:, i : i + 3, j : j + 3] for i in range(2) for j in range(2)]
        kernels = np.float64(kernel).reshape(4, 3, 4)
        maps = sum(patch @ k for patch, k in zip(patches, kernels, strict=True))
        return np.maximum(maps, 0).sum((1, 2)) / 8

    x = np.maximum(np.float64(images), 0)
    labels = dataset.labels
    new = [logits(x * (np.arange(3) != unit)) for unit in range(3)]
    truth = (
        np.stack([mlp.losses(one, labels) - mlp.losses(logits(x), labels) for one in new], 1),
        mlp.ranks(logits(x), labels),
        np.stack([mlp.ranks(one, labels) for one in new], 1),
    )
    effects = ablate_units(model, dataset, "in")
    assert effects.precision == "float32 changes of float32 values"
    assert_exact(effects, None, labels, truth)


def test_labels_beyond_the_classes_of_the_network_are_refused(network, dataset):
    more = Dataset(dataset.images, np.arange(37) % 8, tuple("abcdefgh"))
    with pytest.raises(ValueError, match="labels reach 7, but the network has 7 classes"):
        ablate_units(network, more, "fc1")


def test_class_names_beyond_the_classes_of_the_network_have_no_images(network, dataset):
    more = Dataset(dataset.images, dataset.labels, tuple("abcdefghij"))
    effects, plain = (ablate_units(network, data, "fc1") for data in (more, dataset))
    np.testing.assert_array_equal(effects.loss_change[:, :7], plain.loss_change)
    np.testing.assert_array_equal(effects.loss_change[:, 7:], np.zeros((12, 3)))


def test_unknown_site_is_refused_with_a_list_of_the_sites(network, dataset):
    with pytest.raises(KeyError, match="unknown site fc3: this network has fc1, fc2"):
        ablate_units(network, dataset, "fc3")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"units": np.array([0, 12])}, "units 0 to 11; found 0 to 12"),
        ({"units": np.array([-1, 3])}, "found -1 to 3"),
        ({"units": np.array([], np.int64)}, "at least one"),
        ({"replacement": np.zeros(11)}, r"12 here; found shape \(11,\)"),
        ({"replacement": float("nan")}, "NaN"),
        ({"replacement": np.array([np.inf] * 12)}, "infinite"),
        ({"batch_size": 0}, "batch_size"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"chunk": -1}, "chunk must be at least 1"),
        ({"engine": "Dense"}, "engine must be dense, channel, generic or None; found 'Dense'"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(network, dataset, settings, message):
    with pytest.raises(ValueError, match=message):
        ablate_units(network, dataset, "fc1", **settings)


def test_a_network_that_gives_no_numbers_is_refused(dataset, tmp_path):
    broken = models.build("mlp", n_inputs=40, widths=(12,), n_classes=7)
    broken.layers[1].bias[...] = jnp.full(7, jnp.nan)
    with pytest.raises(ValueError, match="image 0 are NaN"):
        ablate_units(broken, dataset, "fc1", per_image=tmp_path / "pairs.npy")
    assert list(tmp_path.iterdir()) == []


def test_an_effect_that_is_no_number_is_refused(dataset):
    """Logit 0 is 3e38 - 3e38, and -6e38 without unit 3: float32 ends at 3.4e38."""
    weight = np.zeros((4, 7), np.float32)
    weight[3, 0] = 3e38

    def model(images, tap):
        x = tap("hidden", jnp.ones((len(images), 4), images.dtype))
        return x @ jnp.asarray(weight, x.dtype) - weight[3]

    with pytest.raises(FloatingPointError, match="unit 3 of hidden"):
        ablate_units(model, dataset, "hidden", replacement=-1.0, engine="generic")
    # Float64 goes further: the logit is the label's where the loss changes.
    assert np.isfinite(ablate_units(model, dataset, "hidden", replacement=-1.0).total()).all()


def test_a_primitive_without_a_rule_is_refused_by_name(dataset):
    with pytest.raises(ValueError, match="no rule for the primitive 'sin'"):
        ablate_units(lambda images, tap: jnp.sin(tap("hidden", images)), dataset, "hidden")


@pytest.mark.parametrize("site", ["fc1", "fc2"])
def test_units_of_an_image_may_go_in_several_parts(network, dataset, site, monkeypatch):
    """With mean replacement every unit moves: twelve in three parts."""
    means = np.full(len(ablate_units(network, dataset, site).units), 0.3)
    whole = ablate_units(network, dataset, site, replacement=means, engine="dense")
    monkeypatch.setattr("jaxsel.ablation.dense.MOST_ROWS", 5)
    parts = ablate_units(network, dataset, site, replacement=means, engine="dense")
    np.testing.assert_allclose(
        parts.loss_change, whole.loss_change, rtol=0, atol=1e-6 * np.abs(whole.total()).max()
    )
    np.testing.assert_array_equal(parts.top1_change, whole.top1_change)


def test_weights_in_float64_keep_their_digits():
    """Two logits whose weights differ by 1e-12: the effect is known to that."""
    weight = np.array([[1.0, 1.0 + 1e-12]])
    dataset = Dataset(np.ones((1, 1), np.float32), np.array([0]), ("a", "b"))
    with jax.enable_x64(True):
        matrix = jnp.asarray(weight)
        effects = ablate_units(lambda im, tap: tap("in", im) @ matrix, dataset, "in")
    np.testing.assert_allclose(effects.total(), [-5e-13], rtol=1e-3)
    assert effects.verdict() == ["improves"]


# --- real networks ----------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    "fraction",
    [
        "0.0",
        pytest.param("0.2", marks=pytest.mark.slow),
        pytest.param("1.0", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("depth", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_units_of_trained_networks_equal_brute_force(data_folder, fraction, depth):
    """The first 500 test images and the 50 that the network without shuffling does best on.

    The best images are the hard ones: their losses are 1e-9 nats and below, and the sign of
    a change is lost first there.
    """
    images = mnist.images(data_folder, "test")
    best = best_images(evaluate(mnist.network(data_folder, "0.0"), images), images.labels)
    assert len(best) == 50
    model, layers = mnist.network(data_folder, fraction), mnist.layers(data_folder, fraction)
    for chosen in (np.arange(500), best):
        dataset = images.take(chosen)
        effects = ablate_units(model, dataset, f"fc{depth + 1}")
        truth = mlp.ablate_by_update(
            layers, dataset.inputs(slice(None)), dataset.labels, depth, effects.units
        )
        assert_exact(effects, None, dataset.labels, truth)
        total = truth[0].sum(0)
        decided = np.abs(total) > 1e-5 * np.abs(truth[0]).sum(0)
        np.testing.assert_array_equal(
            np.sign(effects.total())[decided], np.sign(total)[decided]
        )
        assert decided[np.abs(total) > 0].mean() > 0.99
        assert np.isfinite(effects.loss_ratio()).all()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("fraction", mnist.FRACTIONS)
@pytest.mark.parametrize("depth", [0, 1])
def test_units_of_trained_networks_equal_brute_force_on_all_test_images(
    data_folder, fraction, depth
):
    """Measured: medians of 2e-8 to 2e-7, the worst unit 2e-6 of its absolute changes."""
    dataset = mnist.images(data_folder, "test")
    effects = ablate_units(mnist.network(data_folder, fraction), dataset, f"fc{depth + 1}")
    truth = mlp.ablate_by_update(
        mnist.layers(data_folder, fraction),
        dataset.inputs(slice(None)),
        dataset.labels,
        depth,
        effects.units,
    )
    assert_exact(effects, None, dataset.labels, truth)
    assert np.isfinite(effects.loss_ratio()).all()


# --- models that are not ours -------------------------------------------------------------


@pytest.mark.parametrize("how", ["a plain function", "an object"])
def test_weights_changed_between_two_calls_are_never_the_old_ones(dataset, how):
    weights = {"out": np.ones((64, 10), np.float32)}

    class Network:
        def __call__(self, images, tap):
            return tap("in", images.reshape(len(images), -1)[:, :64]) @ weights["out"]

    network = Network()
    model = network if how == "an object" else lambda images, tap: network(images, tap)
    flat = Dataset(np.ones((3, 64), np.float32), np.arange(3), dataset.class_names)
    assert evaluate(model, flat).loss.sum() == pytest.approx(3 * np.log(10))
    assert (ablate_units(model, flat, "in").total() == 0).all()
    weights["out"] = np.eye(64, 10, dtype=np.float32)
    assert evaluate(model, flat).loss.sum() == pytest.approx(3 * np.log(10))
    # Ablating unit 0 lowers logit 0 by 1: one of the three images has that label.
    lowered = np.log(9 + np.exp(-1)) - np.log(10)
    expected = [3 * lowered + 1, 3 * lowered + 1, 3 * lowered + 1, 3 * lowered]
    np.testing.assert_allclose(ablate_units(model, flat, "in").total()[:4], expected, rtol=1e-6)


def test_a_network_that_casts_to_float32_after_its_site_is_ablated_in_float32():
    kernel = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)

    def model(images, tap):
        return tap("in", images).astype(jnp.float32) @ kernel

    images = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    labels = np.array([0, 2])
    effects = ablate_units(model, Dataset(images, labels, tuple("abc")), "in")
    assert effects.precision == "float64 changes of float64 values"
    logits = np.float64(images) @ np.float64(kernel)
    for unit in range(4):
        ablated = np.float64(images * (np.arange(4) != unit)) @ np.float64(kernel)
        change = (mlp.losses(ablated, labels) - mlp.losses(logits, labels)).sum()
        np.testing.assert_allclose(effects.total()[unit], change, rtol=1e-6, atol=1e-9)


def test_a_network_in_bfloat16_is_refused_in_one_sentence():
    def model(images, tap):
        return tap("in", images.astype(jnp.bfloat16))

    dataset = Dataset(np.ones((2, 3), np.float32), np.arange(2), tuple("abc"))
    with pytest.raises(ValueError, match="is bfloat16: ablation needs float32"):
        ablate_units(model, dataset, "in")
