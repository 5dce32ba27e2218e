"""Which models the dense engine is for, and that it reads their weights rightly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsel import Dataset, ablate_units, forward
from jaxsel.ablation.head import dense_head

N_UNITS, N_HIDDEN, N_CLASSES, N_IMAGES = 6, 5, 4, 3


def normal(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


A, B = normal(N_UNITS, N_HIDDEN, seed=1), normal(N_HIDDEN, N_CLASSES, seed=2)
C = normal(N_UNITS, N_CLASSES, seed=3)
D = normal(N_HIDDEN, N_HIDDEN, seed=4)
BIAS_A, BIAS_B = normal(N_HIDDEN, seed=5), normal(N_CLASSES, seed=6)
IMAGES = normal(N_IMAGES, N_UNITS, seed=7)
DATASET = Dataset(IMAGES, np.arange(N_IMAGES), tuple("abcd"))


class Module(nnx.Module):
    """Dense, ReLU, Dropout and Dense as most write them."""

    def __init__(self, middle=None, n_hidden=N_HIDDEN):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(N_UNITS, n_hidden, rngs=rngs)
        self.middle = nnx.List([] if middle is None else [middle])
        self.second = nnx.Linear(n_hidden, N_CLASSES, rngs=rngs)
        self.first.bias[...] = jnp.asarray(BIAS_A)
        self.second.bias[...] = jnp.asarray(BIAS_B)

    def __call__(self, images, tap):
        x = nnx.relu(self.first(tap("site", nnx.relu(images))))
        for layer in self.middle:
            x = layer(x)
        return self.second(x)


def evaluated(module):
    module.eval()
    return module


def after(function):
    """A model of which the function is what follows the site."""
    return lambda images, tap: function(tap("site", jax.nn.relu(images)))


def with_images(function):
    return lambda images, tap: function(images, tap("site", jax.nn.relu(images)))


def relu(x):
    return jnp.maximum(x, 0)


def widened(x):
    """To the precision of the weights: float32, whatever came in."""
    return (x.astype(jnp.float32) @ A).astype(jnp.float32)


def transposed(x, weight):
    """x @ weight from the weight as PyTorch stores it, `(out, in)`."""
    return jax.lax.dot_general(x, weight.T.astype(x.dtype), (((1,), (1,)), ((), ())))


RECOGNISED = {
    "an nnx module": (2, Module()),
    "dropout in evaluation": (2, evaluated(Module(nnx.Dropout(0.5, rngs=nnx.Rngs(1))))),
    "one layer": (1, after(lambda x: x @ C)),
    "one layer with a bias": (1, after(lambda x: x @ C + BIAS_B)),
    "a bias in front": (1, after(lambda x: BIAS_B + x @ C)),
    "a bias taken away": (1, after(lambda x: x @ C - BIAS_B)),
    "a bias twice": (1, after(lambda x: (x @ C + BIAS_B) + 2 * BIAS_B)),
    "a number as bias": (1, after(lambda x: x @ C + 0.25)),
    "a bias per image that is the same": (1, after(lambda x: x @ C + BIAS_B[None])),
    "two layers without biases": (2, after(lambda x: relu(x @ A) @ B)),
    "first bias only": (2, after(lambda x: relu(x @ A + BIAS_A) @ B)),
    "second bias only": (2, after(lambda x: relu(x @ A) @ B + BIAS_B)),
    "jax.nn.relu": (2, after(lambda x: jax.nn.relu(x @ A + BIAS_A) @ B + BIAS_B)),
    "maximum of 0 and x": (2, after(lambda x: jnp.maximum(0.0, x @ A + BIAS_A) @ B)),
    "jit around all of it": (2, after(jax.jit(lambda x: jax.nn.relu(x @ A + BIAS_A) @ B))),
    "jit within jit": (2, after(jax.jit(lambda x: jax.jit(relu)(x @ A) @ B + BIAS_B))),
    "checkpoint": (2, after(jax.checkpoint(lambda x: relu(x @ A + BIAS_A) @ B))),
    "transposed kernels": (2, after(lambda x: relu(x @ A.T.copy().T) @ jnp.asarray(B.T).T)),
    "einsum": (2, after(lambda x: jnp.einsum("bi,io->bo", relu(x @ A), B))),
    "contraction with axis 1": (2, after(lambda x: transposed(relu(transposed(x, A)), B))),
    "weights that are computed": (2, after(lambda x: relu(x @ jax.nn.relu(A)) @ jnp.tanh(B))),
    "a wider type": (2, after(lambda x: relu(widened(x)) @ B + BIAS_B)),
    "a copy and a reshape to the same": (1, after(lambda x: jnp.copy(x.reshape(x.shape)) @ C)),
    "no gradient": (1, after(lambda x: jax.lax.stop_gradient(x) @ C)),
}


def found(model, site="site", dataset=DATASET):
    image = dataset.inputs(slice(0, 1))
    _, activations = jax.eval_shape(lambda x: forward(model, x, sites=(site,)), image)
    return dense_head(model, image, site, activations[site])


@pytest.mark.parametrize("name", RECOGNISED)
def test_dense_layers_are_recognised_and_their_weights_give_the_logits(name):
    n_layers, model = RECOGNISED[name]
    layers = found(model)
    assert layers is not None
    assert len(layers) == n_layers
    logits, activations = forward(model, jnp.asarray(IMAGES), sites=("site",))
    x = np.float64(activations["site"])
    for depth, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if depth else x) @ np.float64(weight) + np.float64(bias)
    # Sums of six products of about 1 in float32.
    np.testing.assert_allclose(logits, x, rtol=0, atol=2e-6)


def test_a_recognised_model_is_ablated_by_the_dense_engine():
    for name in ("an nnx module", "dropout in evaluation", "transposed kernels"):
        one = ablate_units(RECOGNISED[name][1], DATASET, "site")
        other = ablate_units(RECOGNISED[name][1], DATASET, "site", engine="generic")
        assert (one.engine, other.engine) == ("dense", "generic")
        assert (np.abs(one.total() - other.total()) <= one.error + other.error).all()


def test_a_bias_of_each_batch_is_not_taken_for_one_of_the_layer():
    """Every image of a batch has its own: the first one's is not the others'."""
    model = after(lambda x: x @ C + 3 * jnp.eye(len(x), N_CLASSES))
    one, other = (ablate_units(model, DATASET, "site", engine=e) for e in (None, "generic"))
    np.testing.assert_allclose(one.baseline.loss, other.baseline.loss, rtol=1e-6)
    assert (np.abs(one.total() - other.total()) <= one.error + other.error).all()


# --- what it is not for -------------------------------------------------------------------


def one_then(function):
    return after(lambda x: function(x @ A + BIAS_A) @ B)


def ends_with(function):
    return after(lambda x: function(relu(x @ A) @ B))


class Convolutional(nnx.Module):
    """A convolution with one position: 4-D before it is flat."""

    def __init__(self):
        self.conv = nnx.Conv(N_UNITS, N_CLASSES, (1, 1), rngs=nnx.Rngs(0))

    def __call__(self, images, tap):
        x = tap("site", nnx.relu(images))
        return self.conv(x[:, None, None]).reshape(len(images), -1)


OTHER = {
    "three layers": after(lambda x: relu(relu(x @ A) @ D) @ B),
    "two layers without a ReLU": after(lambda x: (x @ A) @ B),
    "no layer": after(lambda x: x[:, :N_CLASSES]),
    "the logits are the responses": after(lambda x: x),
    "leaky ReLU": one_then(jax.nn.leaky_relu),
    "gelu": one_then(jax.nn.gelu),
    "tanh": one_then(jnp.tanh),
    "logistic": one_then(jax.nn.sigmoid),
    "swish": one_then(jax.nn.silu),
    "ReLU squared": one_then(lambda x: relu(x) ** 2),
    "ReLU of 6": one_then(jax.nn.relu6),
    "a maximum with 1": one_then(lambda x: jnp.maximum(x, 1)),
    "a maximum with another number per column": one_then(lambda x: jnp.maximum(x, BIAS_A)),
    "a minimum with 0": one_then(lambda x: jnp.minimum(x, 0)),
    "ReLU and a bias after it": one_then(lambda x: relu(x) + BIAS_A),
    "a path around both layers": after(lambda x: relu(x @ A) @ B + x @ C),
    "a path around the second layer": one_then(lambda x: relu(x) + x),
    "the site itself added": after(lambda x: x @ normal(N_UNITS, N_UNITS, seed=8) + x),
    "the sum of the images": with_images(lambda i, x: x @ C + i.sum()),
    "logits of the images": with_images(lambda i, x: x @ C + i @ C),
    "weights from the images": with_images(lambda i, x: x @ (C * i.sum())),
    "a threshold from the images": with_images(
        lambda i, x: jnp.maximum(x @ A, i[:, :N_HIDDEN]) @ B
    ),
    "scaling": ends_with(lambda x: 2 * x),
    "scaling of the hidden layer": one_then(lambda x: 0.5 * relu(x)),
    "division": ends_with(lambda x: x / 3),
    "a bias less the logits": after(lambda x: BIAS_B - x @ C),
    "a bias before the first layer": after(lambda x: (x + 1) @ C),
    "a mean over the batch": after(lambda x: x @ C - (x @ C).mean(0)),
    "a convolution": Convolutional(),
    "BatchNorm": evaluated(
        Module(nnx.BatchNorm(N_HIDDEN, use_running_average=True, rngs=nnx.Rngs(0)))
    ),
    "softmax at the end": ends_with(jax.nn.softmax),
    "log of the softmax at the end": ends_with(jax.nn.log_softmax),
    "a ReLU at the end": ends_with(relu),
    "a ReLU after the only layer": after(lambda x: relu(x @ C)),
    "a ReLU at once and one layer": after(lambda x: relu(x) @ C),
    "a ReLU at once and two layers": after(lambda x: relu(relu(x) @ A) @ B),
    "classes in another order": after(lambda x: (x @ C)[:, ::-1]),
    "some of the classes": after(lambda x: (x @ A)[:, :N_CLASSES]),
    "units in another order": after(lambda x: x[:, ::-1] @ C),
    "shorter numbers on the way": one_then(
        lambda x: relu(x).astype(jnp.bfloat16).astype(jnp.float32)
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_anything_else_is_not_recognised(name):
    assert found(OTHER[name]) is None


@pytest.mark.filterwarnings("ignore:delta has no rule")
@pytest.mark.parametrize(
    "name",
    ["three layers", "leaky ReLU", "a maximum with 1", "a path around both layers", "scaling",
     "logits of the images", "a ReLU at once and one layer", "softmax at the end", "BatchNorm",
     "a convolution"],
)  # fmt: skip
def test_anything_else_goes_to_the_generic_engine(name):
    effects = ablate_units(OTHER[name], DATASET, "site")
    assert effects.engine == "generic"
    assert np.abs(effects.total()).max() > 0


@pytest.mark.parametrize("name", OTHER)
def test_anything_else_is_refused_by_the_dense_engine_in_one_sentence(name):
    with pytest.raises(ValueError, match=r"dense engine is for one or two .* site") as refusal:
        ablate_units(OTHER[name], DATASET, "site", engine="dense")
    assert "\n" not in str(refusal.value)
    assert ". " not in str(refusal.value)


def test_maps_are_not_recognised_even_where_a_dense_layer_follows():
    images = normal(2, 3, 3, 2, seed=9)
    dataset = Dataset(images, np.arange(2), tuple("abcd"))
    weight = normal(18, N_CLASSES, seed=10)
    model = after(lambda x: x.reshape(len(x), -1) @ weight)
    assert found(model, dataset=dataset) is None
    assert ablate_units(model, dataset, "site").engine == "channel"


@pytest.mark.parametrize("site, n_layers", [("fc1", 0), ("fc2", 2), ("fc3", 1)])
def test_only_the_last_two_sites_of_a_network_are_recognised(site, n_layers):
    def model(images, tap):
        x = tap("fc1", relu(images))
        x = tap("fc2", relu(x @ normal(N_UNITS, 7, seed=11)))
        x = tap("fc3", relu(x @ normal(7, N_HIDDEN, seed=12)))
        return x @ B

    assert len(found(model, site) or ()) == n_layers


def test_a_product_that_is_rounded_to_bfloat16_is_not_recognised():
    model = after(lambda x: jnp.dot(x, C, preferred_element_type=jnp.bfloat16))
    assert found(model) is None


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("engine", [None, "dense"])
def test_dense_layers_shorter_than_float32_are_refused(dtype, engine):
    def model(images, tap):
        return tap("site", relu(images).astype(dtype)) @ jnp.asarray(C, dtype)

    with pytest.raises(ValueError, match="ablation needs float32"):
        ablate_units(model, DATASET, "site", engine=engine)


def test_a_print_after_the_site_stops_nothing(capsys):
    def model(images, tap):
        x = tap("site", relu(images))
        jax.debug.print("{x}", x=x)
        return x @ C

    assert np.isfinite(ablate_units(model, DATASET, "site").total()).all()
