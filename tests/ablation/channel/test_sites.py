"""Sites of every kind, against float64 brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel import ablate_units
from tests.references import brute_force

from .networks import (
    N_CLASSES,
    conv,
    head,
    mean_and_logits,
    mean_responses,
    numbers,
    some_images,
    truth_of,
)


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
