"""Fingerprints: the same for the same thing anywhere, another for anything that counts."""

import io
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from jaxsel import adapters, fingerprint, models
from jaxsel.data import PREPROCESS, Dataset
from jaxsel.data.dataset import Rows
from jaxsel.data.encoded import EncodedImages

ROOT = Path(__file__).parent.parent
NAMES = ("cat", "dog")


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3, 5), (5, 2))]


def two_layers(w):
    """A plain function whose weights are constants."""

    def model(images, tap):
        x = tap("fc1", jax.nn.relu(images @ w[0]))
        x = tap("fc2", jax.nn.relu(x @ w[1]))
        return x @ w[2]

    return model


def as_tree(w):
    return adapters.with_parameters(lambda w, images, tap: two_layers(w)(images, tap), w)


def last_bit(array):
    """The array with its first number moved by one unit in the last place."""
    changed = array.copy()
    changed.flat[0] = np.nextafter(changed.flat[0], np.float32(np.inf))
    return changed


# --- networks ---


@pytest.mark.parametrize("make", [two_layers, as_tree])
@pytest.mark.parametrize(
    "layer, sites", [(0, {"fc1", "fc2", None}), (1, {"fc2", None}), (2, {None})]
)
def test_the_last_bit_of_a_weight_counts_up_to_where_it_is_used(make, layer, sites):
    before, after = weights(), weights()
    after[layer] = last_bit(after[layer])
    changed = {
        site
        for site in ("fc1", "fc2", None)
        if fingerprint.of_network(make(before), (4,), site)
        != fingerprint.of_network(make(after), (4,), site)
    }
    assert changed == sites


def test_a_network_made_again_has_the_same_fingerprint():
    found = {fingerprint.of_network(two_layers(weights()), (4,), "fc2") for _ in range(3)}
    assert len(found) == 1


def test_traced_before_or_not_a_network_has_the_same_fingerprint():
    """JAX keeps what it traced, and then prints shared parts another way."""
    model = as_tree(weights())
    before = fingerprint.of_network(model, (4,))
    jax.jit(lambda x: model(x, lambda _, x: x))(jnp.ones((2, 4)))
    after = fingerprint.of_network(model, (4,))
    jax.clear_caches()
    assert before == after == fingerprint.of_network(model, (4,))


def test_sites_and_sizes_of_images_differ():
    def model(images, tap):
        return tap("twice", tap("same", images) * 2)

    found = [
        fingerprint.of_network(model, (3,), "same"),
        fingerprint.of_network(model, (3,), "twice"),
        fingerprint.of_network(model, (4,), "same"),
    ]
    assert len(set(found)) == 3
    assert fingerprint.of_network(model, (3,)) == found[1]  # the logits are what "twice" is


def scaled(by):
    return lambda images, tap: tap("x", images * by)


def looped(by):
    """A constant inside of what is repeated."""
    offset = np.arange(3, dtype=np.float32) * by

    def model(images, tap):
        return tap("x", jax.lax.fori_loop(0, 3, lambda i, x: x + offset, images))

    return model


def nested_constant(by):
    """A constant of a function that is compiled by itself."""
    array = jnp.full((3,), by)
    return lambda images, tap: tap("x", jax.jit(lambda x: x * array)(images))


def branch(by):
    def model(images, tap):
        return tap("x", jax.lax.cond(images.sum() > 0, lambda x: x * by, lambda x: x, images))

    return model


@pytest.mark.parametrize("make", [scaled, looped, nested_constant, branch])
def test_constants_count_wherever_they_are(make):
    by = [1.0, float(np.nextafter(np.float32(1), np.float32(2)))]
    found = [fingerprint.of_network(make(by), (3,), "x") for by in (*by, by[0])]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("kind", [float, np.float64, np.array])
def test_all_digits_of_a_number_count(kind):
    """The pass is float64: more digits than arrays are printed with."""
    found = [fingerprint.of_network(scaled(kind(by)), (3,)) for by in (0.1, 0.1 + 1e-15)]
    assert found[0] != found[1]


def test_operands_of_an_operation_are_not_exchanged():
    a = fingerprint.of_network(lambda images, tap: images - jnp.sin(images), (3,))
    b = fingerprint.of_network(lambda images, tap: jnp.sin(images) - images, (3,))
    assert a != b


def test_what_is_computed_for_nothing_does_not_count():
    def model(images, tap):
        jnp.sin(images) * np.float32(7)
        return images * 2

    plain = fingerprint.of_network(lambda images, tap: images * 2, (3,))
    assert fingerprint.of_network(model, (3,)) == plain


def test_batchnorm_statistics_count():
    class Net(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

        def __call__(self, images, tap):
            return tap("norm", self.norm(images))

    net = Net()
    net.eval()
    before = fingerprint.of_network(net, (3,))
    net.norm.mean.set_value(net.norm.mean.get_value().at[0].set(1e-30))
    assert fingerprint.of_network(net, (3,)) != before


def test_an_unknown_site_is_named():
    with pytest.raises(KeyError, match="fc9"):
        fingerprint.of_network(two_layers(weights()), (4,), "fc9")


def test_a_network_that_calls_back_to_python_is_refused():
    def model(images, tap):
        shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
        return jax.pure_callback(np.sin, shape, images)

    with pytest.raises(ValueError, match="calls back to Python"):
        fingerprint.of_network(model, (3,))


def test_a_network_that_float64_breaks_has_one_too():
    def model(images, tap):
        start = jnp.zeros(images.shape, jnp.float32)
        return tap("x", jax.lax.fori_loop(0, 2, lambda i, x: x + images, start))

    assert len(fingerprint.of_network(model, (3,), "x")) == 64


ELSEWHERE = """
from functools import partial
from pathlib import Path
import sys
sys.path.insert(0, sys.argv[1])
from tests.test_fingerprint import everything
print(*everything())
"""


def everything():
    """Of each kind one."""
    images = np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    dataset = Dataset(images, np.array([0, 1]), NAMES, partial(shifted, by=2))
    settings = {
        "sites": {"a", "b", "c", "d"},
        "values": [1, 0.1, None, np.ones(3)],
        "at": shifted,
    }
    return [
        fingerprint.of_network(models.build("mlp", n_inputs=4, widths=[3], n_classes=2), (4,)),
        fingerprint.of_network(two_layers(weights()), (4,), "fc2"),
        fingerprint.of_images(dataset),
        fingerprint.of(settings),
    ]


def test_another_process_finds_the_same():
    """Strings are hashed from another seed there, and nothing has been traced before."""
    out = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == everything()


# --- images ---


def shifted(images, by=1):
    return images.astype(np.float32) + by


def data(images, preprocess=None):
    return Dataset(images, np.zeros(len(images), int), NAMES, preprocess)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 4, 4, 3)).astype(np.uint8)


def test_every_image_counts(images):
    found = {fingerprint.of_images(data(images))}
    for row in range(len(images)):
        changed = images.copy()
        changed[row, 3, 3, 2] ^= 1
        found.add(fingerprint.of_images(data(changed)))
    assert len(found) == 1 + len(images)


def test_order_number_type_and_shape_of_images_count(images):
    others = [
        images,
        images[::-1],
        images[:6],
        images.astype(np.int16),
        images.reshape(7, 4, 2, 6),
        images.astype(np.float32),
    ]
    assert len({fingerprint.of_images(data(other)) for other in others}) == len(others)


def test_labels_do_not_count(images):
    one, other = (Dataset(images, np.full(7, label), NAMES) for label in (0, 1))
    assert fingerprint.of_images(one) == fingerprint.of_images(other)


def test_the_parts_that_are_read_do_not_matter(images, monkeypatch):
    found = []
    for most in (1, 100, 2**24):
        monkeypatch.setattr(fingerprint, "MOST_BYTES", most)
        found.append(fingerprint.of_images(data(images)))
    assert len(set(found)) == 1


class Source:
    """Anything that gives a batch for a slice or for indices."""

    def __init__(self, images):
        self.images, self.most = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, which):
        found = self.images[which]
        self.most = max(self.most, len(found))
        return found


def test_any_source_of_the_same_images_has_the_same_fingerprint(images):
    rows = np.arange(7)
    sources = [
        images,
        Source(images),
        Rows(images, rows),
        Rows(Source(images[::-1]), rows[::-1]),
    ]
    assert len({fingerprint.of_images(data(source)) for source in sources}) == 1


def test_only_a_part_of_the_images_is_read_at_a_time(images, monkeypatch):
    monkeypatch.setattr(fingerprint, "MOST_BYTES", 2 * images[0].nbytes)
    source = Source(images)
    fingerprint.of_images(data(source))
    assert source.most == 2


def encoded(images, mode="RGB"):
    def read(number):
        stream = io.BytesIO()
        Image.fromarray(images[number]).save(stream, "PNG")
        return stream.getvalue()

    return EncodedImages(read, "image {}".format, np.arange(len(images)), mode)


def test_encoded_images_count_by_their_bytes_and_their_mode(images):
    changed = images.copy()
    changed[5, 0, 0, 0] ^= 1
    everything = [
        data(encoded(images)),
        data(encoded(changed)),
        data(encoded(images, "L")),
        data(encoded(images)).take(np.arange(6)),
        data(encoded(images)).take(np.array([0, 2, 1, 3, 4, 5, 6])),
    ]
    found = [fingerprint.of_images(dataset) for dataset in everything]
    assert len(set(found)) == len(found)
    assert fingerprint.of_images(data(encoded(images))) == found[0]


def test_preprocessing_counts(images):
    """Also where it makes the same of these images, as a larger bound does."""
    ways = [
        None,
        shifted,
        partial(shifted, by=2),
        partial(shifted, by=3),
        *(lambda x, most=most: np.minimum(x * 1.0, most) for most in (500, 600)),
        *map(bounded, (500, 600)),
        *map(Bounded, (500, 600)),
        PREPROCESS["cifar10_resnet"],
        PREPROCESS["unit_range"],
    ]
    found = [fingerprint.of_images(data(images, way)) for way in ways]
    assert len(set(found)) == len(ways)
    again = [fingerprint.of_images(data(images, way)) for way in (bounded(500), Bounded(500))]
    assert again == [found[6], found[8]]


def bounded(most):
    return lambda images: np.minimum(images * 1.0, most)


class Bounded:
    def __init__(self, most):
        self.most = np.array(most)

    def __call__(self, images):
        return np.minimum(images * 1.0, self.most)


def test_preprocessings_that_resize_to_other_sizes_differ(rng):
    images = encoded(rng.integers(0, 256, (2, 20, 30, 3)).astype(np.uint8))
    names = ("warp", "caffe", "torchvision", "warp_torchvision")
    found = {fingerprint.of_images(data(images, PREPROCESS[name])) for name in names}
    assert len(found) == 4


def test_progress_counts_the_images(images):
    for source in (images, encoded(images)):
        done = []
        fingerprint.of_images(data(source), done.append)
        assert done[-1] == 7
        assert done == sorted(done)


def test_images_that_are_no_numbers_are_refused():
    class Objects(Source):
        pass

    source = Objects(np.array([None, "x"], object))
    with pytest.raises(TypeError, match="images must be numbers"):
        fingerprint.of_images(data(source))


# --- settings ---


def test_values_that_look_alike_differ():
    values = [
        *(
            0,
            0.0,
            -0.0,
            False,
            "0",
            None,
            (),
            [],
            {},
            "",
            b"",
            (0,),
            [0],
            [[0]],
            [0, 0],
            {0: 0},
        ),
        *(np.zeros(1), np.zeros((1, 1)), np.zeros(1, np.float32), np.zeros(1, ">f8"), "array"),
    ]
    assert len({fingerprint.of(value) for value in values}) == len(values)


def test_the_order_of_a_table_does_not_count():
    assert fingerprint.of({"a": 1, "b": 2}) == fingerprint.of({"b": 2, "a": 1})


def test_arrays_count_by_what_they_hold_not_by_how_they_lie(rng):
    array = rng.normal(size=(4, 6))
    same = [array, np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2]]
    assert len({fingerprint.of(one) for one in same}) == 1
    assert fingerprint.of(jnp.ones(3)) == fingerprint.of(np.ones(3, np.float32))
    assert (
        len({fingerprint.of(x) for x in (jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16))})
        == 2
    )


def test_a_function_that_holds_itself_has_a_fingerprint():
    def recursive(n):
        return n and recursive(n - 1)

    assert fingerprint.of(recursive) == fingerprint.of(recursive)
