"""The channel engine: sites of every kind, silent maps, groups, batches, errors, weights.

Small networks of the tests' own, against the same networks run again in float64.
"""

import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxsel import Dataset, ablate_groups, ablate_units
from jaxsel.ablation import channel
from jaxsel.ablation.checks import asked_for
from tests.references import brute_force, mlp

N_CLASSES = 7  # more than five: or else nothing enters or leaves the top five
NAMES = tuple("abcdefg")


def numbers(*shape, seed=0):
    """Weights that keep the size of what they are multiplied with."""
    scale = np.sqrt(2 / max(np.prod(shape[:-1]), 1))
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def conv(x, kernel, stride=1, padding="SAME", **settings):
    """Channels last; kernels (..., in, out)."""
    places = "HW"[: x.ndim - 2]
    layout = (f"N{places}C", f"{places}IO", f"N{places}C")
    strides = (stride,) * len(places)
    kernel = jnp.asarray(kernel, x.dtype)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, **settings
    )


def head(x, seed=9):
    """The mean over places, and one dense layer."""
    x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
    return x @ jnp.asarray(numbers(x.shape[-1], N_CLASSES, seed=seed), x.dtype)


class Small(nnx.Module):
    """Two convolutions with leaky ReLU, each with a site, five and four channels wide.

    The biases at the end keep logits apart where nothing responds.
    """

    sites = ("first", "second")

    def __init__(self, seed=0, slope=0.0):
        self.slope = slope
        self.first = nnx.Param(jnp.asarray(numbers(3, 3, 2, 5, seed=seed)))
        self.bias = nnx.Param(jnp.asarray(np.float32([-0.3, -0.2, -0.1, -0.2, -0.3])))
        self.second = nnx.Param(jnp.asarray(numbers(3, 3, 5, 4, seed=seed + 1)))
        self.out = nnx.Param(jnp.asarray(3 * numbers(4, N_CLASSES, seed=seed + 2)))
        self.last = nnx.Param(jnp.asarray(numbers(N_CLASSES, seed=seed + 3)))

    def __call__(self, images, tap):
        x = conv(images, self.first[...]) + self.bias[...].astype(images.dtype)
        x = tap("first", jax.nn.leaky_relu(x, self.slope))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        x = tap("second", jax.nn.leaky_relu(conv(x, self.second[...]), self.slope))
        return x.mean((1, 2)) @ self.out[...].astype(x.dtype) + self.last[...].astype(x.dtype)


def some_images(n, *shape, seed=3):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return Dataset(images, rng.integers(0, N_CLASSES, n), NAMES)


@pytest.fixture(scope="module")
def small():
    return Small()


@pytest.fixture(scope="module")
def dataset():
    """13 images: no batch but 1 and 13 goes into that."""
    return some_images(13, 5, 6, 2)


def truth_of(model, dataset, site, masks=None, values=0.0):
    """Brute force with these masks, by default of every unit."""
    run, images = brute_force.of_jax(model), dataset.inputs(slice(None))
    if masks is None:
        masks = np.eye(brute_force.activations(run, images)[1][site].shape[-1], dtype=bool)
    return brute_force.ablate(run, images, dataset.labels, site, masks, values)


def mean_responses(model, dataset, site):
    run = brute_force.of_jax(model)
    return brute_force.means(brute_force.activations(run, dataset.inputs(slice(None)))[1][site])


@pytest.fixture(scope="module")
def truth(small, dataset):
    return truth_of(small, dataset, "first")


def assert_alike(found, expected, truth):
    """Pairs differ by roundings at most: 1e-6 of the largest change of a logit of theirs.

    Half of what `brute_force.assert_exact` allows: these networks are shallow.
    """
    difference = np.abs(np.asarray(found, np.float64) - expected)
    print(f"differ by {(difference / truth.largest.clip(1e-30)).max():.1e}")
    assert (difference <= 1e-6 * truth.largest).all()


# --- sites of every kind ----------------------------------------------------------------


def inside_a_residual_block(images, tap):
    x = jax.nn.relu(conv(images, numbers(3, 3, 2, 4)))
    inner = tap("site", jax.nn.relu(conv(x, numbers(3, 3, 4, 4, seed=1))))
    return head(jax.nn.relu(conv(inner, numbers(3, 3, 4, 4, seed=2)) + x))


def before_a_residual_block(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    inner = jax.nn.relu(conv(x, numbers(3, 3, 4, 4, seed=1)))
    return head(jax.nn.relu(conv(inner, numbers(3, 3, 4, 4, seed=2)) + x))


def read_again_at_the_end(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    y = jax.nn.relu(conv(x, numbers(3, 3, 4, 4, seed=1)))
    return head(y) + head(jnp.square(x), seed=5)


def branches_side_by_side(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    branches = [
        conv(x, numbers(1, 1, 4, 3, seed=1)),
        conv(x, numbers(3, 3, 4, 2, seed=2)),
        x,
    ]
    return head(jax.nn.relu(jnp.concatenate(branches, axis=-1) - 0.2))


def branches_added(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    one, other = conv(x, numbers(1, 1, 4, 3, seed=1)), conv(x, numbers(3, 3, 4, 3, seed=2))
    return head(jax.nn.relu(one + other))


def squeezed_and_excited(images, tap):
    """Every map times what all maps together decide."""
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    gate = jax.nn.sigmoid(x.mean((1, 2)) @ jnp.asarray(numbers(4, 4, seed=4), x.dtype))
    return head(x * gate[:, None, None])


def mean_and_logits(images, tap):
    return head(tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4)))))


def maps_flattened(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4)))).reshape(len(images), -1)
    return x @ jnp.asarray(numbers(x.shape[-1], N_CLASSES, seed=6), x.dtype)


def tokens_with_attention(images, tap):
    x = tap("site", jax.nn.relu(images @ jnp.asarray(numbers(3, 6), images.dtype)))
    q, k, v = (x @ jnp.asarray(numbers(6, 6, seed=i), x.dtype) for i in (1, 2, 3))
    weights = jax.nn.softmax(jnp.einsum("nif,njf->nij", q, k) / 6**0.5)
    return head(jax.nn.gelu(weights @ v + x))


def sounds(images, tap):
    """Convolutions in one dimension, strided and dilated."""
    x = tap("site", jax.nn.relu(conv(images, numbers(4, 2, 5), 2)))
    return head(jax.nn.relu(conv(x, numbers(3, 5, 4, seed=1), rhs_dilation=(2,))))


def volumes(images, tap):
    """Images of three dimensions, averaged after the site without any convolution."""
    x = tap("site", jax.nn.relu(images @ jnp.asarray(numbers(2, 5), images.dtype)))
    return head(jnp.sqrt(x + 1))


def every_channel_by_itself(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    return head(jax.nn.relu(conv(x, numbers(3, 3, 1, 8, seed=1), feature_group_count=4)))


def channels_turned_first(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4)))).transpose(0, 3, 1, 2)
    layout = ("NCHW", "OIHW", "NCHW")
    kernel = jnp.asarray(numbers(3, 4, 3, 3, seed=1) / 3, x.dtype)
    x = lax.conv_general_dilated(x, kernel, (2, 1), "SAME", dimension_numbers=layout)
    return head(jax.nn.relu(x).transpose(0, 2, 3, 1))


def windows_too_large_to_write_out(images, tap):
    x = tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
    return head(jax.nn.relu(conv(x, numbers(9, 9, 4, 3, seed=1))))


SITES = {
    **{
        f.__name__: (f, (5, 6, 2))
        for f in (
            inside_a_residual_block,
            before_a_residual_block,
            read_again_at_the_end,
            branches_side_by_side,
            branches_added,
            squeezed_and_excited,
            mean_and_logits,
            maps_flattened,
            every_channel_by_itself,
            channels_turned_first,
            windows_too_large_to_write_out,
        )
    },
    "tokens_with_attention": (tokens_with_attention, (5, 3)),
    "sounds": (sounds, (11, 2)),
    "volumes": (volumes, (3, 2, 4, 2)),
}


@pytest.mark.parametrize("model, shape", SITES.values(), ids=SITES)
def test_sites_of_every_kind_equal_brute_force(model, shape):
    dataset = some_images(5, *shape)
    replacement = mean_responses(model, dataset, "site")
    replacement[0] = 0
    effects = ablate_units(model, dataset, "site", replacement=replacement)
    assert effects.engine == "channel"
    truth = truth_of(model, dataset, "site", values=replacement)
    assert np.abs(truth.change).max() > 1e-2
    brute_force.assert_exact(effects, truth, dataset.labels)


def test_a_site_that_is_the_output_equals_brute_force():
    def model(images, tap):
        return tap("logits", 2 * images)

    dataset = some_images(9, N_CLASSES)
    effects = ablate_units(model, dataset, "logits", engine="channel", replacement=-0.5)
    truth = truth_of(model, dataset, "logits", values=-0.5)
    brute_force.assert_exact(effects, truth, dataset.labels)


@pytest.mark.parametrize("factor", [1.1, np.linspace(1, 2, N_CLASSES)], ids=["one", "each"])
def test_ranks_are_right_where_the_logits_end_in_a_product(factor):
    """The label does not lead itself, by no rounding of the product either."""
    dataset = some_images(40, 2, 2, N_CLASSES)

    def model(images, tap):
        return tap("in", images).mean((1, 2)) * jnp.asarray(factor, images.dtype)

    effects = ablate_units(model, dataset, "in", engine="channel")
    truth = truth_of(lambda im, tap: model(im, tap), dataset, "in")
    brute_force.assert_exact(effects, truth, dataset.labels)


def test_a_network_with_constant_kernels_runs_in_float64(dataset):
    """The run-time checks of types are TypeErrors: they must not look like a network's own."""
    effects = ablate_units(inside_a_residual_block, dataset, "site")
    assert effects.precision == "float32 changes of float64 values"


def test_a_small_change_of_a_large_response_keeps_its_digits():
    """Responses 5 + 1e-6 and their replacement 5: in float32 two numbers that are alike."""
    dataset = some_images(5, 3, 3, 4)

    def model(images, tap):
        return head(jax.nn.relu(conv(tap("in", 5 + 1e-6 * images), numbers(2, 2, 4, 5))))

    effects = ablate_units(model, dataset, "in", replacement=5.0)
    brute = truth_of(model, dataset, "in", values=5.0)
    total, size = brute.change.sum(0), brute.largest.sum(0)
    assert 0 < size.max() < 1e-5
    # The truth subtracts losses: 1e-15 of them is 1e-9 of such a change.
    assert (np.abs(effects.total() - total) <= 1e-6 * size + 1e-14).all()


def test_a_site_that_the_output_ignores_has_no_effect_at_all(small, dataset):
    def model(images, tap):
        x = tap("unused", jax.nn.relu(images))
        del x
        return head(images)

    effects = ablate_units(model, dataset, "unused")
    assert effects.engine == "channel"
    for effect in (effects.loss_change, effects.error, effects.top1_change):
        np.testing.assert_array_equal(effect, np.zeros_like(effect))
    assert effects.verdict() == ["zero", "zero"]


def test_a_site_that_is_never_reached_is_refused_with_a_list_of_the_sites(small, dataset):
    with pytest.raises(KeyError, match="unknown site third: this network has first, second"):
        ablate_units(small, dataset, "third", engine="channel")


def test_a_map_with_an_operation_without_a_rule_is_refused_by_name(dataset):
    with pytest.raises(ValueError, match="no rule for the primitive 'sin'"):
        ablate_units(lambda im, tap: head(jnp.sin(tap("in", im))), dataset, "in")


def test_a_network_that_stays_in_float32_is_ablated_in_float32(dataset):
    """A convolution of XLA's takes no float64 images with a float32 kernel."""
    kernels = [jnp.asarray(numbers(3, 3, *ends)) for ends in ((2, 4), (4, 3))]
    layout = ("NHWC", "HWIO", "NHWC")

    def model(images, tap, kernels=kernels):
        x = lax.conv_general_dilated(
            images, kernels[0], (1, 1), "SAME", dimension_numbers=layout
        )
        x = tap("site", jax.nn.relu(x))
        x = lax.conv_general_dilated(x, kernels[1], (1, 1), "SAME", dimension_numbers=layout)
        return head(jax.nn.relu(x))

    effects = ablate_units(model, dataset, "site")
    assert (effects.engine, effects.precision) == (
        "channel",
        "float32 changes of float32 values",
    )
    with jax.enable_x64(True):
        widened = [jnp.asarray(kernel, np.float64) for kernel in kernels]
    truth = truth_of(lambda im, tap: model(im, tap, widened), dataset, "site")
    error = np.abs(effects.total() - truth.change.sum(0))
    assert (error <= effects.error).all()
    # Responses themselves are off by some roundings of the largest one.
    assert (error <= 1e-5 * truth.largest.sum(0)).all()


def test_a_network_that_casts_to_float32_after_its_site_is_ablated_in_float32(dataset):
    def model(images, tap, kind=np.float32):
        return head(jax.nn.relu(tap("site", images).astype(kind) - 0.25))

    effects = ablate_units(model, dataset, "site")
    assert (effects.engine, effects.precision) == (
        "channel",
        "float32 changes of float32 values",
    )
    truth = truth_of(lambda im, tap: model(im, tap, np.float64), dataset, "site")
    assert (np.abs(effects.total() - truth.change.sum(0)) <= effects.error).all()


@pytest.mark.parametrize("precision, digits", [("tensorfloat32", 2**-11), ("bfloat16", 2**-8)])
def test_products_of_less_precision_stay_within_their_estimate(
    small, dataset, truth, precision, digits
):
    """Off by more than float32 would be, and by a few roundings of theirs at most."""
    effects = ablate_units(small, dataset, "first", precision=precision)
    error = np.abs(effects.total() - truth.change.sum(0))
    assert (error <= effects.error).all()
    assert 0.01 * digits < (error / truth.largest.sum(0)).max() < 2 * digits
    assert effects.precision == f"{precision} changes of float64 values"


# --- what does not move -----------------------------------------------------------------


def test_maps_that_are_the_replacement_already_change_nothing(tmp_path):
    """Unit 0 is silent on all images, 1 on some, 2 is 1 everywhere, and 3 is never either.

    An image of zeros silences all units but 2 and 3.
    """
    rng = np.random.default_rng(2)
    images = rng.uniform(0.1, 1, (7, 4, 4, 1)).astype(np.float32)
    images[[1, 4]] = 0
    images[5] = -images[5]
    images[0, 1:3, 2] = 0  # silent in some places: not a silent map
    dataset = Dataset(images, np.arange(7) % N_CLASSES, NAMES)

    def model(images, tap):
        x = jnp.concatenate([-abs(images), images, images + 5, abs(images) / 4 + 0.25], -1)
        return head(jax.nn.relu(conv(tap("in", jnp.clip(x, 0, 1)), numbers(3, 3, 4, 5)) - 0.1))

    silent = np.zeros((7, 4), bool)
    silent[:, 0] = silent[[1, 4, 5], 1] = True
    ones = np.zeros((7, 4), bool)
    ones[:, 2] = True
    for value, still in ((0.0, silent), (1.0, ones), (0.5, np.zeros((7, 4), bool))):
        file = tmp_path / "pairs.npy"
        effects = ablate_units(model, dataset, "in", replacement=value, per_image=file)
        np.testing.assert_array_equal(np.load(file) == 0, still)
        np.testing.assert_array_equal(effects.error == 0, still.all(0))
        zero = np.array(effects.verdict()) == "zero"
        np.testing.assert_array_equal(zero, still.all(0))
        truth = truth_of(model, dataset, "in", values=value)
        np.testing.assert_array_equal(truth.change[still], 0)
        assert_alike(np.load(file), truth.change, truth)


def test_images_without_any_response_change_nothing(small, tmp_path):
    """With biases below 0, images of zeros: all of them, or all but one of a batch."""
    zeros = Dataset(np.zeros((3, 5, 6, 2), np.float32), np.arange(3), NAMES)
    effects = ablate_units(small, zeros, "first", per_image=tmp_path / "none.npy")
    for effect in (effects.loss_change, effects.error, effects.top5_change, effects.per_image):
        np.testing.assert_array_equal(effect, np.zeros_like(effect))
    assert effects.verdict() == ["zero"] * 5
    logits = np.tile(np.float64(small.last[...]), (3, 1))
    np.testing.assert_allclose(
        effects.baseline.loss[:3], mlp.losses(logits, np.arange(3)), rtol=1e-14
    )
    images = np.array(zeros.images)
    images[1] = some_images(1, 5, 6, 2).images
    one = Dataset(images, np.arange(3), NAMES)
    effects = ablate_units(small, one, "first", per_image=tmp_path / "one.npy")
    np.testing.assert_array_equal((effects.per_image != 0).any(1), [False, True, False])


def test_where_no_image_of_the_first_group_moves_the_later_ones_do(
    small, dataset, truth, monkeypatch
):
    """How many pairs go through a program at a time is decided on the first images."""
    monkeypatch.setattr(channel, "MOST_IMAGES", 2)
    images = np.concatenate([np.zeros((4, 5, 6, 2), np.float32), dataset.images])
    labels = np.concatenate([np.zeros(4, int), dataset.labels])
    effects = ablate_units(small, Dataset(images, labels, NAMES), "first")
    assert_alike(
        effects.total(), truth.change.sum(0), truth._replace(largest=truth.largest.sum(0))
    )


# --- batches, chunks, threads -----------------------------------------------------------


@pytest.mark.parametrize(
    "batch_size, chunk", [(1, None), (5, 1), (256, 3), (6, 1000), (256, 10)]
)
def test_batches_and_chunks_change_the_last_bits_at_most(
    small, dataset, truth, batch_size, chunk, tmp_path, monkeypatch
):
    """Ten pairs are two images of five units: the seven of a group take four programs."""
    monkeypatch.setattr(channel, "n_threads", lambda: 2)
    one, other = (
        ablate_units(small, dataset, "first", per_image=tmp_path / name, **settings)
        for name, settings in (
            ("one.npy", {}),
            ("other.npy", {"batch_size": batch_size, "chunk": chunk}),
        )
    )
    assert_alike(other.per_image, one.per_image, truth)
    assert_alike(other.per_image, truth.change, truth)
    np.testing.assert_allclose(other.error, one.error, rtol=1e-5)
    np.testing.assert_array_equal(other.top1_change, one.top1_change)
    np.testing.assert_array_equal(other.top5_change, one.top5_change)
    np.testing.assert_allclose(other.baseline.loss, one.baseline.loss, rtol=1e-13)


def test_every_pair_has_its_place_in_the_file_and_the_sums_are_those_of_the_file(
    small, dataset, truth, tmp_path
):
    effects = ablate_units(
        small, dataset, "first", per_image=tmp_path / "p.npy", batch_size=6, chunk=4
    )
    brute_force.assert_exact(effects, truth, dataset.labels)
    assert_alike(effects.per_image, truth.change, truth)
    members = np.eye(N_CLASSES)[dataset.labels]
    # The same numbers, float32 in both: only the order of a float64 sum may differ.
    np.testing.assert_allclose(
        effects.loss_change, np.float64(effects.per_image).T @ members, rtol=1e-12, atol=1e-16
    )


def test_an_image_alone_has_the_effects_that_it_has_among_others(small, dataset, truth):
    for i in (0, 7, 12):
        alone = ablate_units(small, dataset.take(np.array([i])), "first")
        of_image = truth._replace(largest=truth.largest[i])
        assert_alike(alone.total(), truth.change[i], of_image)


def test_units_may_be_named_in_any_order_and_twice(small, dataset, truth):
    chosen, values = np.array([3, 0, 0, 4, 3]), np.array([0.0, 0.0, 0.5, 0.0, -1.0])
    effects = ablate_units(small, dataset, "first", units=chosen, replacement=values)
    np.testing.assert_array_equal(effects.units, chosen)
    for i, (unit, value) in enumerate(zip(chosen, values, strict=True)):
        mask = np.arange(5)[None] == unit
        one = truth_of(small, dataset, "first", mask, value)
        largest = one.largest.sum(0)
        assert_alike(effects.total()[i], one.change.sum(0), one._replace(largest=largest))


@pytest.mark.parametrize("threads", [1, 5])
def test_the_same_settings_give_the_same_bits(small, dataset, truth, threads, monkeypatch):
    """The order in which groups of images are done changes nothing."""
    monkeypatch.setattr(channel, "n_threads", lambda: threads)
    one, other = (ablate_units(small, dataset, "first", chunk=4) for _ in range(2))
    np.testing.assert_array_equal(one.loss_change, other.loss_change)
    np.testing.assert_array_equal(one.error, other.error)
    brute_force.assert_exact(one, truth, dataset.labels)
    monkeypatch.setattr(channel, "MOST_IMAGES", 1)  # groups that no number of threads changes
    several = ablate_units(small, dataset, "first", chunk=4)
    monkeypatch.setattr(channel, "n_threads", lambda: 1)
    alone = ablate_units(small, dataset, "first", chunk=4)
    np.testing.assert_array_equal(several.loss_change, alone.loss_change)
    np.testing.assert_array_equal(several.error, alone.error)


@pytest.mark.parametrize("batch_size", [256, 5, 1])
def test_progress_counts_all_pairs_once(small, dataset, batch_size, monkeypatch):
    """Also those that do not move."""
    monkeypatch.setattr(channel, "n_threads", lambda: 3)
    done = []
    ablate_units(small, dataset, "first", batch_size=batch_size, progress=done.append)
    assert done == sorted(set(done))
    assert done[-1] == 13 * 5
    assert len(done) == {256: 3, 5: 8, 1: 13}[batch_size]  # groups of 5; of 2; of 1


# --- groups -----------------------------------------------------------------------------


def _dense(weights, images, tap):
    one, two, three, bias = (w.astype(images.dtype) for w in weights)
    x = tap("vector", jax.nn.relu(images.reshape(len(images), -1) @ one))
    return jax.nn.gelu(x @ two) @ three + bias


# A vector of eight, and two dense layers with something between that is no ReLU.
dense = jax.tree_util.Partial(
    _dense,
    [jnp.asarray(numbers(*shape)) for shape in ((60, 8), (8, 6), (6, N_CLASSES), (N_CLASSES,))],
)


def some_groups(n_units):
    """Two of one unit, all, none, and three at random."""
    masks = np.zeros((7, n_units), bool)
    masks[0, 1] = masks[1, 3] = masks[2] = True
    masks[4:] = np.random.default_rng(4).random((3, n_units)) < 0.5
    return masks


@pytest.mark.parametrize(
    "site, engine, replacement",
    [
        *(("first", None, value) for value in (0.0, -0.4, "one per unit")),
        *(("vector", "channel", value) for value in (0.0, "one per unit")),
        ("first", "generic", "one per unit"),
        ("vector", None, "one per unit"),
    ],
)
def test_groups_equal_brute_force(small, dataset, site, engine, replacement):
    model = dense if site == "vector" else small
    if replacement == "one per unit":
        replacement = mean_responses(model, dataset, site)
        replacement[0] = 0
    masks = some_groups(8 if site == "vector" else 5)
    effects = ablate_units(
        model, dataset, site, groups=masks, replacement=replacement, engine=engine, batch_size=8
    )
    assert effects.engine == engine or {"first": "channel", "vector": "generic"}[site]
    truth = truth_of(model, dataset, site, masks, replacement)
    brute_force.assert_exact(effects, truth, dataset.labels)
    np.testing.assert_array_equal(effects.units, np.arange(7))
    np.testing.assert_array_equal(effects.groups, masks)
    # The empty group.
    np.testing.assert_array_equal(effects.loss_change[3], np.zeros(N_CLASSES))
    assert (effects.error[3], effects.verdict()[3]) == (0, "zero")


def test_a_group_of_one_unit_is_that_unit(small, dataset, truth):
    values = np.array([0.0, 0.3, -0.2, 0.0, 1.0])
    groups, units = (
        ablate_units(small, dataset, "first", replacement=values, **which)
        for which in ({"groups": np.eye(5, dtype=bool)}, {})
    )
    assert units.groups is None
    moved = truth_of(small, dataset, "first", values=values)
    largest = moved.largest.sum(0)
    assert_alike(groups.total(), units.total(), moved._replace(largest=largest))
    np.testing.assert_array_equal(groups.top1_change, units.top1_change)
    np.testing.assert_array_equal(groups.top5_change, units.top5_change)


def test_groups_agree_with_plain_masks(small, dataset):
    """Float32 losses near 2 nats, subtracted: each known to some roundings, 13 of them."""
    masks = some_groups(5)
    groups = ablate_units(small, dataset, "first", groups=masks)
    plain = ablate_groups(small, dataset, {"first": ~masks})
    change = plain.loss - plain.baseline.loss
    np.testing.assert_allclose(groups.loss_change, change, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(groups.top1_change, plain.top1 - plain.baseline.top1)
    np.testing.assert_array_equal(groups.top5_change, plain.top5 - plain.baseline.top5)


def test_a_group_that_leaves_all_logits_alike_leaves_the_first_class_the_first():
    """Without any response all logits are 0: a tie, decided by the number of the class.

    A lead of a rounding counts as none only beside the changes of the two logits that it is
    between; their roundings are those of the largest.
    """
    dataset = some_images(60, 4, 4, 2)
    every = np.ones((1, 4), bool)
    effects = ablate_units(mean_and_logits, dataset, "site", groups=every)
    images = effects.baseline.images
    right = effects.baseline.top5 + effects.top5_change[0]
    np.testing.assert_array_equal(right, np.where(np.arange(N_CLASSES) < 5, images, 0))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"groups": np.ones((2, 4), bool)}, r"groups of first .*\(groups, 5\); found bool"),
        ({"groups": np.ones((0, 5), bool)}, r"at least one mask.*found bool of shape \(0, 5\)"),
        ({"groups": np.eye(5, dtype=bool), "units": np.arange(5)}, "units and groups cannot"),
        ({"groups": np.eye(5, dtype=bool), "engine": "dense"}, "single units"),
        ({"engine": "dense"}, "the dense engine is for one or two dense layers"),
    ],
    ids=str,
)
def test_groups_that_do_not_fit_are_refused_in_one_sentence(small, dataset, settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        ablate_units(small, dataset, "first", **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "groups, replacement, message",
    [
        (np.ones(5, bool), 0.0, r"found bool of shape \(5,\)"),
        (np.ones((2, 5), int), 0.0, r"found int64 of shape \(2, 5\)"),
        (np.ones((2, 5)), 0.0, "found float64"),
        (np.ones((2, 5), bool), np.zeros(2), r"one per unit, 5 here; found shape \(2,\)"),
    ],
    ids=str,
)
def test_masks_of_other_types_are_refused_in_one_sentence(groups, replacement, message):
    """Where it is checked: `ablate_units` is called with what its annotations allow."""
    with pytest.raises(ValueError, match=message) as refused:
        asked_for(None, groups, replacement, 5, "first")
    assert "\n" not in str(refused.value)


def test_groups_before_dense_layers_are_refused_by_the_dense_engine():
    """Single units of that site it would take."""
    dataset = some_images(3, N_CLASSES)

    def model(images, tap):
        x = tap("in", images)
        return x @ jnp.asarray(numbers(N_CLASSES, N_CLASSES), x.dtype)

    assert ablate_units(model, dataset, "in").engine == "dense"
    with pytest.raises(ValueError, match="single units"):
        ablate_units(model, dataset, "in", groups=np.eye(7, dtype=bool), engine="dense")


# --- engines ----------------------------------------------------------------------------


def test_the_engines_agree_on_vectors_and_on_maps(small, dataset, tmp_path):
    for model, site in ((dense, "vector"), (small, "second")):
        truth = truth_of(model, dataset, site)
        found = {}
        for engine in ("channel", "generic"):
            file = tmp_path / f"{site} {engine}.npy"
            effects = ablate_units(model, dataset, site, engine=engine, per_image=file)
            assert effects.engine == engine
            brute_force.assert_exact(effects, truth, dataset.labels)
            found[engine] = effects
        assert_alike(found["channel"].per_image, found["generic"].per_image, truth)
        np.testing.assert_allclose(found["channel"].error, found["generic"].error, rtol=1e-4)
        silent = found["generic"].error == 0
        np.testing.assert_array_equal(found["channel"].error == 0, silent)


# --- errors -----------------------------------------------------------------------------


def workers():
    return [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


@pytest.fixture
def many():
    """25 images in batches of 12, groups of 2, three threads."""
    return some_images(25, 5, 6, 2)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(channel, "n_threads", lambda: 3)
    monkeypatch.setattr(channel, "MOST_IMAGES", 2)


def interrupted(small, many, after, error, tmp_path, held):
    """How many calls of `progress` there were, and that nothing is left."""
    calls = []

    def progress(done):
        calls.append(done)
        if len(calls) == after:
            held.append(sys._getframe(1))
            raise error("enough")

    before = workers()
    with pytest.raises(error, match="enough"):
        ablate_units(
            small, many, "first", batch_size=12, per_image=tmp_path / "p", progress=progress
        )
    assert len(calls) == after
    assert list(tmp_path.iterdir()) == []
    return [thread for thread in workers() if thread not in before]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("after", [1, 2, 9])
def test_a_run_that_is_interrupted_ends(small, many, after, error, tmp_path):
    class Nothing:
        append = staticmethod(lambda frame: None)

    assert interrupted(small, many, after, error, tmp_path, Nothing()) == []


@pytest.mark.usefixtures("three_threads")
def test_a_run_that_is_interrupted_ends_although_its_traceback_is_kept(small, many, tmp_path):
    """A debugger, a notebook or a log keeps the frames: the threads must not go on for them."""
    assert interrupted(small, many, 9, KeyboardInterrupt, tmp_path, []) == []


@pytest.mark.usefixtures("three_threads")
def test_an_error_inside_a_thread_ends_the_run(small, many, tmp_path, monkeypatch):
    effects_of, rows_seen = channel._effects, []

    def fails_at_image_8(programs, known, kept, moves, pairs, rows):
        rows_seen.append(rows[0])
        if rows[0] == 8:
            raise MemoryError("no room for image 8")
        return effects_of(programs, known, kept, moves, pairs, rows)

    monkeypatch.setattr(channel, "_effects", fails_at_image_8)
    before = workers()
    with pytest.raises(MemoryError, match="image 8"):
        ablate_units(small, many, "first", batch_size=12, per_image=tmp_path / "p")
    assert max(rows_seen) <= 10  # the batch of the error is the last
    assert list(tmp_path.iterdir()) == []
    assert workers() == before


def nan_where_a_pixel_is_50(images, tap):
    x = tap("in", jax.nn.relu(images))
    return head(jax.nn.relu(conv(x, numbers(3, 3, 2, 4)))) + jnp.where(
        images[:, :1, 0, 0] == 50, jnp.nan, 0
    )


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    "at, silent",
    [
        (19, False),
        (24, False),
        (0, False),
        (19, True),
        (24, True),
    ],
)
def test_logits_that_are_no_numbers_are_refused_by_the_number_of_the_image(
    many, at, silent, tmp_path
):
    """Silent: with a replacement that the image's maps already are."""
    images = np.array(many.images)
    if silent:
        images[at] = 50
    images[at, 0, 0, 0] = 50
    broken = Dataset(images, many.labels, NAMES)
    before = workers()
    with pytest.raises(ValueError, match=rf"logits of image {at} are NaN"):
        ablate_units(
            nan_where_a_pixel_is_50,
            broken,
            "in",
            replacement=50.0 if silent else 0.0,
            batch_size=12,
            per_image=tmp_path / "p",
        )
    assert list(tmp_path.iterdir()) == []
    assert workers() == before


def test_an_effect_that_is_no_number_is_refused_by_the_unit_and_the_site(dataset):
    """Float32 ends at 3.4e38: a change by 9 times 3e38 is none of its numbers."""
    weight = np.zeros((2, N_CLASSES), np.float32)
    weight[1] = 5e37 * np.arange(N_CLASSES)

    def model(images, tap):
        return tap("in", jax.nn.relu(images)).mean((1, 2)) @ jnp.asarray(weight, images.dtype)

    with pytest.raises(FloatingPointError, match="of unit 1 of in is NaN or infinite"):
        ablate_units(model, dataset, "in", units=np.array([1, 0]), replacement=-9.0)


def test_labels_beyond_the_classes_of_the_network_are_refused(small, dataset):
    more = Dataset(dataset.images, np.arange(13) % 8, tuple("abcdefgh"))
    with pytest.raises(ValueError, match="labels reach 7, but the network has 7 classes"):
        ablate_units(small, more, "first")


# --- weights ----------------------------------------------------------------------------


def test_weights_changed_between_two_calls_are_never_the_old_ones(dataset):
    network = Small()
    for scale in (1, 2):
        network.second[...] = scale * network.second[...]
        effects = ablate_units(network, dataset, "first")
        truth = truth_of(network, dataset, "first")
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_networks_of_one_structure_keep_to_their_own_weights(small, dataset, truth):
    """The second uses the first one's programs, with its own arrays; then the first again."""
    other = Small(seed=5)
    right = truth_of(other, dataset, "first")
    assert np.abs(right.change - truth.change).max() > 0.1
    for network, expected in ((small, truth), (other, right), (small, truth)):
        effects = ablate_units(network, dataset, "first")
        brute_force.assert_exact(effects, expected, dataset.labels)


def test_networks_that_differ_in_no_array_are_not_taken_for_each_other(dataset):
    """The slope of the ReLU is a number of the object's own."""
    for slope in (0.0, 0.5):
        network = Small(slope=slope)
        truth = truth_of(network, dataset, "first")
        effects = ablate_units(network, dataset, "first")
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_replacements_and_units_of_one_call_are_not_those_of_the_next(small, dataset):
    for unit, value in ((1, 0.0), (2, 0.0), (2, 0.7)):
        effects = ablate_units(
            small, dataset, "first", units=np.array([unit]), replacement=value
        )
        truth = truth_of(small, dataset, "first", np.arange(5)[None] == unit, value)
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_plain_functions_see_the_arrays_that_they_close_over_as_they_are_now(dataset):
    arrays = {"kernel": numbers(3, 3, 2, 4), "bias": numbers(N_CLASSES)}

    def model(images, tap):
        x = jax.nn.relu(conv(tap("in", jax.nn.relu(images)), arrays["kernel"]))
        return head(x) + jnp.asarray(arrays["bias"], x.dtype)

    for change in (
        {},
        {"kernel": numbers(3, 3, 2, 4, seed=8)},
        {"bias": numbers(N_CLASSES, seed=8)},
    ):
        arrays |= change
        effects = ablate_units(model, dataset, "in")
        truth = truth_of(model, dataset, "in")
        brute_force.assert_exact(effects, truth, dataset.labels)
