"""A network from a site on is the same network, without what comes before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsel import adapters, forward, models, starting_at
from jaxsel.sites import untouched

from .test_checkpoint import random_parameters

relu = jax.nn.relu
IMAGE = (6, 6, 2)


def weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (3, 3, 2, 4), "conv2": (3, 3, 4, 5), "fc": (180, 7), "head": (7, 3)}
    return {name: rng.normal(size=s).astype(np.float32) / 4 for name, s in shapes.items()}


def convolved(x, kernel):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)


def network(w, images, tap):
    x = tap("conv1", relu(convolved(images, w["conv1"])))
    x = tap("conv2", relu(convolved(x, w["conv2"])))
    x = tap("fc", relu(x.reshape(len(x), -1) @ w["fc"]))
    return x @ w["head"]


def plain(images, tap=untouched):
    return network(weights(), images, tap)


model = adapters.with_parameters(network, weights())


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.normal(size=(5, *IMAGE)), jnp.float32)


@pytest.mark.parametrize("whole", [plain, model], ids=["function", "tree"])
@pytest.mark.parametrize("site", ["conv1", "conv2", "fc"])
def test_what_follows_a_site_is_the_same(whole, site, images):
    logits, seen = forward(whole, images)
    rest = starting_at(whole, site, IMAGE)
    found, after = jax.jit(lambda x: forward(rest, x))(seen[site])
    later = ["conv1", "conv2", "fc"][["conv1", "conv2", "fc"].index(site) :]
    assert list(rest.sites) == later
    assert sorted(after) == sorted(later)
    # Compiled otherwise, sums may be in another order: some roundings of float32.
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
    for name in later:
        np.testing.assert_allclose(after[name], seen[name], rtol=1e-5, atol=1e-5)


def test_units_of_the_site_itself_can_be_silenced(images):
    keep = jnp.array([True, False, True, True, True, False, True])

    def silence(name, x):
        return jnp.where(keep, x, 0) if name == "fc" else x

    logits, _ = forward(plain, images, silence)
    activation = forward(plain, images)[1]["fc"]
    rest = starting_at(plain, "fc", IMAGE)
    np.testing.assert_allclose(rest(activation, silence), logits, rtol=1e-5, atol=1e-5)


def test_weights_are_arguments_of_a_compiled_program():
    """One program serves other weights, and holds nothing that comes before the site."""
    traced = []

    @jax.jit
    def run(rest, x):
        traced.append(None)
        return rest(x)

    x = jnp.ones((2, 7))
    for seed in (0, 1):
        w = weights(seed)
        rest = starting_at(adapters.with_parameters(network, w), "fc", IMAGE)
        np.testing.assert_allclose(run(rest, x), x @ w["head"], rtol=1e-5)
    assert len(traced) == 1
    program = run.lower(rest, x).compile().as_text()
    assert "convolution" not in program


def test_sites_are_the_networks_own_and_the_others_are_extra():
    class Named(nnx.Module):
        sites = ("a", "c")
        extra_sites = ("b",)

        def __call__(self, images, tap=untouched):
            x = tap("c", tap("b", tap("a", images) + 1) * 2)
            return tap("unlisted", x)

    for site, sites, extra in (
        ("a", ("a", "c"), ("b", "unlisted")),
        ("b", ("c",), ("b", "unlisted")),
        ("unlisted", (), ("unlisted",)),
    ):
        rest = starting_at(Named(), site, (3,))
        assert (rest.sites, rest.extra_sites) == (sites, extra)


@pytest.mark.parametrize("at, ways", [("conv", True), ("inside", False), ("added", True)])
def test_a_shortcut_around_the_site_is_refused(at, ways):
    def residual(images, tap):
        x = tap("conv", images * 2)
        y = tap("inside", jnp.sin(x))
        return tap("added", x + y)

    if ways:
        assert starting_at(residual, at, (3,))(jnp.ones((1, 3))).shape == (1, 3)
    else:
        with pytest.raises(ValueError, match="by another way than through inside"):
            starting_at(residual, at, (3,))


def test_a_resnet_starts_where_everything_passes_through():
    network = models.assemble("resnet20", {}, random_parameters("resnet20", {}))
    for site in ("conv1", "block1_conv2", "block9_conv2"):
        assert starting_at(network, site, (32, 32, 3)).sites[0] == site
    with pytest.raises(ValueError, match="shortcut"):
        starting_at(network, "block1_conv1", (32, 32, 3))


def test_a_site_beside_the_way_to_the_logits_is_left_out():
    """It would be what the network makes of images that are all 0."""

    def model(images, tap):
        x = tap("main", images * 2)
        tap("beside", images + 7)
        return tap("end", x + 1)

    rest = starting_at(model, "main", (3,))
    assert rest.sites == ("main", "end")
    assert list(forward(rest, jnp.ones((1, 3)))[1]) == ["main", "end"]


def test_a_network_that_computes_shorter_goes_on_shorter():
    def model(images, tap):
        x = tap("short", (images * 3).astype(jnp.bfloat16))
        return x * x

    rest = starting_at(model, "short", (1,))
    x = jnp.array([[1.01]])
    found = rest(forward(model, x)[1]["short"].astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, model(x, untouched))


def test_a_part_of_a_part_is_a_part(images):
    one = starting_at(model, "conv1", IMAGE)
    two = starting_at(one, "fc", (6, 6, 4))
    assert two.sites == ("fc",)
    x = jnp.ones((2, 7))
    np.testing.assert_array_equal(two(x), starting_at(model, "fc", IMAGE)(x))


def test_training_the_network_on_leaves_its_part_as_it_was():
    net = models.build("mlp", n_inputs=4, widths=[3], n_classes=2)
    rest, x = starting_at(net, "fc1", (4,)), jnp.ones((1, 3))
    before = rest(x)
    net.layers[1].kernel.set_value(net.layers[1].kernel.get_value() + 1)
    np.testing.assert_array_equal(rest(x), before)
    assert not np.array_equal(starting_at(net, "fc1", (4,))(x), before)


def test_an_unknown_site_is_named():
    with pytest.raises(KeyError, match=r"unknown site fc9.*conv1, conv2, fc"):
        starting_at(plain, "fc9", IMAGE)
