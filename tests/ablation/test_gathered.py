"""The gathered engine for groups: against float64 loops and plain masks, either way it goes."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel import Dataset, ablate_groups, ablate_in_order, mixture_curve, models
from jaxsel.ablation import gathered
from tests.references import heads, mlp, mnist

# Float64's roundings, as `heads.rounding` has them, in float32.
SINGLE = 2.0**29
WAYS = {"by group": False, "by image": True}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request, monkeypatch):
    force(monkeypatch, request.param)
    return request.param


def force(monkeypatch, by_image):
    """Whatever the cost: the lines are responses of images, or masks of groups."""
    monkeypatch.setattr(
        gathered._Lines,
        "cost",
        lambda lines: 0.0 if (lines.of_lines.dtype != bool) == by_image else 1.0,
    )


def loop(network, data, keep):
    """Loss, rank, what float32 leaves open in the loss, and leads it may turn: in float64.

    Of every group and image. A lead is off by what the loss of an image is that the network
    has wrong.
    """
    layers = [
        (np.float64(w), np.zeros(w.shape[1]) if b is None else np.float64(b))
        for w, b in network.layers
    ]
    found = []
    for mask in keep:
        responses = np.where(mask, np.float64(data.images), 0)
        logits, _ = mlp.forward(layers, responses)
        loss = mlp.losses(logits, data.labels)
        off = SINGLE * heads.rounding(layers, responses, loss)
        lead = np.abs(logits - np.take_along_axis(logits, data.labels[:, None], 1))
        np.put_along_axis(lead, data.labels[:, None], np.inf, 1)
        wrong = np.full(len(loss), 40.0)  # nats
        unsure = lead.min(1) <= SINGLE * heads.rounding(layers, responses, wrong)
        found.append((loss, mlp.ranks(logits, data.labels), off, unsure))
    return tuple(np.stack(one) for one in zip(*found, strict=True))


def by_class(values, labels, n_classes):
    return values.astype(np.float64) @ np.eye(n_classes)[labels]


def assert_equals_loop(effects, network, data, keep):
    """Losses to the roundings of what is kept, ranks but for images whose lead is of them."""
    loss, rank, off, unsure = loop(network, data, keep)
    n = len(data.class_names)
    error = np.abs(effects.loss - by_class(loss, data.labels, n))
    assert (error <= by_class(off, data.labels, n)).all()
    slack = by_class(unsure, data.labels, n)
    for k, right in ((1, effects.top1), (5, effects.top5)):
        assert (np.abs(right - by_class(rank < k, data.labels, n)) <= slack).all()


# Units, hidden units (none: one layer) and classes; every shape compiles programs.
SHAPES = [(24, 20, 7), (24, None, 7), (9, None, 70)]


@pytest.mark.parametrize("by_image", WAYS.values(), ids=WAYS.keys())
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32),
    silent=st.sampled_from([0, 0.5, 0.9, 1]),
    kept=st.sampled_from([0, 0.25, 0.7, 1]),
    giant=st.booleans(),
    sizes=st.sampled_from([(256, 16), (4, 3)]),
)
def test_random_heads_equal_a_loop(by_image, shape, seed, silent, kept, giant, sizes):
    """A unit a million times the others costs no digits where it is ablated."""
    (n_units, n_hidden, n_classes), rng = shape, np.random.default_rng(seed)
    widths = (n_units, n_classes) if n_hidden is None else (n_units, n_hidden, n_classes)
    network = heads.random_head(rng, *widths)
    data = heads.random_data(rng, 13, n_units, n_classes, silent=silent)
    keep = rng.random((6, n_units)) < kept
    if giant:
        data.images[:, 0] *= 1e6
        keep[::2, 0] = False
    with pytest.MonkeyPatch.context() as patch:
        force(patch, by_image)
        patch.setattr(gathered, "MANY", 8)  # several blocks of images, parts of the groups
        effects = ablate_groups(
            network, data, {"site": keep}, batch_size=sizes[0], chunk=sizes[1]
        )
    assert effects.engine == "gathered"
    assert_equals_loop(effects, network, data, keep)


@pytest.mark.parametrize("hidden", [(), (200,)], ids=["one layer", "two layers"])
def test_gathered_equals_plain_masks(hidden, rng, way):
    """Both are float32 sums of the same terms: each loss to some roundings of logits near 5."""
    network = heads.random_head(rng, 300, *hidden, 100)
    data = heads.random_data(rng, 40, 300, 100)
    keep = rng.random((9, 300)) < 0.25
    one, other = (
        ablate_groups(network, data, {"site": keep}, engine=engine)
        for engine in ("gathered", "masks")
    )
    assert (one.engine, other.engine) == ("gathered", "masks")
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
    np.testing.assert_array_equal(one.top1, other.top1)
    np.testing.assert_array_equal(one.top5, other.top5)
    np.testing.assert_array_equal(one.baseline.loss, other.baseline.loss)


def test_batches_and_chunks_change_the_last_bits_at_most(rng, way, monkeypatch):
    network = heads.random_head(rng, 24, 20, 7)
    data, keep = heads.random_data(rng, 30, 24, 7), rng.random((11, 24)) < 0.4
    monkeypatch.setattr(gathered, "MANY", 16)
    first, *others = (
        ablate_groups(network, data, {"site": keep}, batch_size=batch_size, chunk=chunk)
        for batch_size, chunk in ((256, 16), (8, 2), (7, 5), (1, 1), (30, 1))
    )
    for other in others:
        # Losses near 2 of up to 30 images, each off by some roundings.
        np.testing.assert_allclose(other.loss, first.loss, rtol=2e-6)
        np.testing.assert_array_equal(other.top1, first.top1)
        np.testing.assert_array_equal(other.top5, first.top5)


@pytest.mark.parametrize("batch_size, chunk", [(4, 2), (3, 5), (1, 1), (64, 1)])
def test_no_more_pairs_are_in_memory_than_batch_size_times_chunk(
    batch_size, chunk, rng, way, monkeypatch
):
    network = heads.random_head(rng, 12, 9, 5)
    data, keep = heads.random_data(rng, 40, 12, 5), rng.random((33, 12)) < 0.4
    judged, pairs = gathered._judged, []

    def counted(many, rows, *rest):
        pairs.append(many.shape[1] * len(rows))
        return judged(many, rows, *rest)

    counted.lower = judged.lower
    monkeypatch.setattr(gathered, "_judged", counted)
    ablate_groups(network, data, {"site": keep}, batch_size=batch_size, chunk=chunk)
    assert max(pairs) <= min(batch_size, 40) * chunk


def test_few_units_kept_go_by_group_and_few_that_respond_by_image(rng, monkeypatch):
    network, seen = heads.random_head(rng, 64, 32, 5), []
    jobs = gathered._jobs
    monkeypatch.setattr(
        gathered, "_jobs", lambda lines, *a: seen.append(lines) or jobs(lines, *a)
    )
    for silent, kept in ((0.1, 0.25), (0.9, 0.5)):
        data = heads.random_data(rng, 100, 64, 5, silent=silent)
        ablate_groups(network, data, {"site": rng.random((100, 64)) < kept})
    assert [lines.of_lines.dtype for lines in seen] == [bool, np.float32]


def test_units_that_never_respond_and_groups_without_units_need_no_rows(rng, way):
    network = heads.random_head(rng, 10, 6, 5)
    data, keep = heads.random_data(rng, 7, 10, 5, silent=1), np.zeros((3, 10), bool)
    keep[1:] = True
    effects = ablate_groups(network, data, {"site": keep})
    assert_equals_loop(effects, network, data, keep)


def kept_overflow(first):
    """Two responses that cancel; float32 cannot hold what either is alone."""
    weight = np.array([[3e38, 0], [-3e38, 0]])
    network = heads.head(weight, None, np.eye(2), None) if first else heads.head(weight, None)
    data = heads.dataset(np.full((3, 2), 100), [0, 1, 0], 2)
    return network, data, np.array([[True, True], [False, True], [True, False]])


@pytest.mark.parametrize("engine", ["gathered", "masks"])
@pytest.mark.parametrize("first", [True, False], ids=["two layers", "one layer"])
def test_a_group_whose_loss_is_no_number_is_refused(engine, first, way):
    network, data, keep = kept_overflow(first)
    with pytest.raises(FloatingPointError, match="a group is NaN or infinite"):
        ablate_groups(network, data, {"site": keep}, engine=engine)


def test_responses_that_are_no_numbers_are_refused_though_every_group_ablates_them(way):
    """The intact network's logits tell."""
    images = np.array([[1.0, 0.0], [1.0, 1.0]], np.float32)
    data = Dataset(images, np.array([0, 1]), ("a", "b"))

    def model(images, tap):
        return tap("site", images / images) @ np.eye(2, dtype=np.float32)  # 0 / 0

    with pytest.raises(ValueError, match="logits of image 0 are NaN"):
        ablate_groups(model, data, {"site": np.array([[True, False]])}, engine="gathered")


def test_an_ablated_response_that_float32_cannot_hold_does_no_harm(way):
    """In float64, as in the intact network, it is 1e60."""
    data = heads.dataset(np.ones((3, 20)), [0, 1, 0], 2)
    keep = np.arange(20) > np.array([[0], [4]])

    def model(images, tap):
        scale = jnp.where(jnp.arange(20) == 0, 1e30, 1)
        return tap("site", images * scale * scale) @ np.eye(20, 2, dtype=np.float32)

    found = ablate_groups(model, data, {"site": keep}, engine="gathered")
    np.testing.assert_allclose(
        found.loss, ablate_groups(model, data, {"site": keep}, engine="masks").loss, rtol=1e-6
    )


@pytest.fixture(scope="module")
def small():
    model = models.build("mlp", n_inputs=8, widths=(6, 5, 4), n_classes=3, seed=2)
    images = np.random.default_rng(5).normal(size=(9, 8)).astype(np.float32)
    return model, Dataset(images, np.arange(9) % 3, tuple("abc"))


def masks_of(**n_units):
    return {site: np.arange(n) < np.array([[1], [3]]) for site, n in n_units.items()}


@pytest.mark.parametrize(
    "keep, message",
    [
        (masks_of(fc1=6), "between them: something else follows fc1"),
        (masks_of(fc2=5, fc3=4), "one site .*: found fc2, fc3"),
    ],
    ids=["three layers", "two sites"],
)
def test_what_the_gathered_engine_is_not_for_goes_to_masks_and_is_refused_if_asked_for(
    small, keep, message
):
    assert ablate_groups(*small, keep).engine == "masks"
    with pytest.raises(ValueError, match=message) as refusal:
        ablate_groups(*small, keep, engine="gathered")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("site, n", [("fc2", 5), ("fc3", 4)])
def test_the_last_two_sites_go_to_the_gathered_engine(small, site, n):
    assert ablate_groups(*small, masks_of(**{site: n})).engine == "gathered"


def test_maps_go_to_masks():
    weight = jnp.ones((8, 2), jnp.float32)
    data = Dataset(np.ones((2, 2, 2, 2), np.float32), np.array([0, 1]), ("a", "b"))

    def model(images, tap):
        return tap("map", images).reshape(len(images), -1) @ weight

    assert ablate_groups(model, data, {"map": np.eye(2, dtype=bool)}).engine == "masks"


@pytest.mark.parametrize("engine", ["gathered", "masks"])
@pytest.mark.parametrize("name", ["batch_size", "chunk"])
def test_sizes_below_one_are_refused(small, engine, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; found 0"):
        ablate_groups(*small, masks_of(fc3=4), engine=engine, **{name: 0})


def test_an_engine_that_there_is_not_is_refused(small):
    with pytest.raises(
        ValueError, match="engine must be gathered, masks or None; found 'dense'"
    ):
        ablate_groups(*small, masks_of(fc3=4), engine="dense")


@pytest.mark.parametrize("engine", ["gathered", "masks"])
def test_curves_take_an_engine_and_do_not_depend_on_it(small, engine):
    order, first = np.array([3, 0, 1]), np.arange(4) < 2
    usual = ablate_in_order(*small, "fc3", order)
    found = ablate_in_order(*small, "fc3", order, engine=engine)
    assert (usual.effects.engine, found.effects.engine) == ("gathered", engine)
    # Losses near 1, each off by some roundings.
    np.testing.assert_allclose(found.effects.loss, usual.effects.loss, rtol=1e-6)
    one, other = (
        mixture_curve(
            *small, "fc3", first, ~first, rng=np.random.default_rng(1), k=1, trials=3, engine=e
        )
        for e in (engine, None)
    )
    np.testing.assert_array_equal(one.accuracy, other.accuracy)
    np.testing.assert_allclose(one.loss_ratio, other.loss_ratio, rtol=0, atol=1e-4)  # percent
    with pytest.raises(ValueError, match="something else follows fc1"):
        ablate_in_order(*small, "fc1", order, engine="gathered")


@pytest.mark.data
@pytest.mark.parametrize("site", ["fc1", "fc2"])
def test_trained_networks_with_a_quarter_of_their_units_equal_plain_masks(
    data_folder, site, rng
):
    """Losses of up to 20 nats an image: in two float32 sums equal to a few roundings."""
    model = mnist.network(data_folder, "0.2")
    data = mnist.images(data_folder, "test").take(np.arange(1000))
    keep = np.zeros((12, 512), bool)
    for mask in keep:
        mask[rng.choice(512, 128, replace=False)] = True
    one, other = (
        ablate_groups(model, data, {site: keep}, engine=engine)
        for engine in ("gathered", "masks")
    )
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
    np.testing.assert_array_equal(one.top1, other.top1)
    np.testing.assert_array_equal(one.top5, other.top5)
