"""How much a program needs, what fits, and that less memory gives the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.benchmarks import signs
from jaxsel import Dataset, ablate_groups, ablate_units, adapters, evaluate, memory
from jaxsel.ablation import channel, dense, gathered, generic, groups, masked, passes
from tests.references import heads


def out_of_memory():
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")


# --- what fits ------------------------------------------------------------------------------


def test_a_program_needs_its_results_and_what_it_keeps_on_its_way():
    """A sorted copy, which no fusion avoids, beside the sum: 4,000 and 4 bytes at least."""
    x = jax.ShapeDtypeStruct((1000,), np.float32)
    needed = memory.program_bytes(jax.jit(lambda x: jnp.sum(jnp.sort(x)[::2] * x[::2])), x)
    assert 4004 <= needed <= 50_000


def test_asking_what_a_program_needs_does_not_run_it():
    calls = []

    @jax.jit
    def program(x):
        jax.debug.callback(lambda: calls.append(1))
        return x

    memory.program_bytes(program, np.ones(3, np.float32))
    assert calls == []
    program(np.ones(3, np.float32))
    jax.effects_barrier()
    assert calls == [1]


@given(per=st.integers(1, 1000), fixed=st.integers(0, 10_000), limit=st.integers(1, 10**6))
def test_what_is_found_to_fit_does_fit(per, fixed, limit):
    tried = []

    def needs(size):
        tried.append(size)
        return per * size + fixed

    if per + fixed > limit:
        with pytest.raises(MemoryError, match="of the images, one alone needs"):
            memory.fitting(needs, 256, limit, "images")
        return
    size = memory.fitting(needs, 256, limit, "images")
    assert needs(size) <= limit
    # Each try compiles a program. By proportion, every second one at least halves the rest.
    assert size == 256 or len(tried) > 1
    assert len(tried) < 40


def test_the_limit_is_half_of_what_is_free_at_most(monkeypatch):
    monkeypatch.setattr(memory, "_free_on_host", lambda: 10 * 2**30)
    monkeypatch.setattr(memory, "_free_on_device", lambda: 10 * 2**30)
    assert memory.host_limit.__wrapped__() == 4 * 2**30
    monkeypatch.setattr(memory, "_free_on_host", lambda: None)
    monkeypatch.setattr(memory, "_free_on_device", lambda: None)
    assert memory.host_limit.__wrapped__() == memory.FALLBACK / 2


# --- ablations with little memory -------------------------------------------------------------


def case_of(kind):
    case = signs.drawn(kind, 12, np.random.default_rng(11))
    arrays = [jnp.asarray(weight) for weight in case.weights]
    return adapters.with_parameters(signs.network, arrays), case.dataset


def assert_alike(found, plain):
    """To the last bits of float32, of the sum of absolute changes of each class."""
    size = np.abs(plain.loss_change).sum(axis=1, keepdims=True)
    assert (
        np.abs(found.loss_change - plain.loss_change) <= 2e-6 * size + found.error[:, None]
    ).all()
    np.testing.assert_array_equal(found.top1_change, plain.top1_change)
    assert found.verdict() == plain.verdict()


# Bytes that are enough for a part of what would go through at once, and those that are not.
LIMITS = {"dense": (60_000, 5_000), "generic": (60_000, 3_000), "channel": (30_000, 1_000)}


@pytest.mark.parametrize(
    "kind", ["dense", "generic", pytest.param("channel", marks=pytest.mark.slow)]
)
def test_less_memory_makes_smaller_programs_and_the_same_results(kind, monkeypatch):
    model, dataset = case_of(kind)
    chunks = []
    halved = {"dense": dense, "generic": generic, "channel": channel}[kind]

    def fitting(needs, most, limit, what):
        found = memory.fitting(needs, most, limit, what)
        chunks.append((what, most, found))
        return found

    plain = ablate_units(model, dataset, "in", engine=kind)
    monkeypatch.setattr(halved, "fitting", fitting)
    enough, too_little = LIMITS[kind]
    found = ablate_units(model, dataset, "in", engine=kind, memory=enough)
    print(kind, chunks)
    assert any(size < most for _, most, size in chunks)
    assert_alike(found, plain)
    with pytest.raises(MemoryError, match=r"but the limit is .*: allow more memory"):
        ablate_units(model, dataset, "in", engine=kind, memory=too_little)


@pytest.mark.parametrize("kind", ["generic", "channel"])
def test_when_memory_runs_out_the_work_goes_on_in_halves(kind, monkeypatch):
    model, dataset = case_of(kind)
    plain = ablate_units(model, dataset, "in", engine=kind, recompute=False)
    sizes, started = [], passes.started

    def short(engine, ablations, precision, sizes_now, **settings):
        run = started(engine, ablations, precision, sizes_now, **settings)

        def until_it_is_small(batch):
            found = run(batch)

            def blocks():
                for block in found.blocks:
                    yield block
                    sizes.append(sizes_now["chunk"])
                    if sizes_now["chunk"] > 8:  # after some of the batch was done
                        raise out_of_memory()

            return found._replace(blocks=blocks())

        return until_it_is_small

    monkeypatch.setattr(passes, "started", short)
    found = ablate_units(model, dataset, "in", engine=kind, recompute=False)
    assert sizes[0] > 8
    assert sizes[-1] <= 8
    assert_alike(found, plain)


def test_other_errors_and_programs_of_one_are_not_halved(monkeypatch):
    model, dataset = case_of("generic")
    for error in (out_of_memory(), jax.errors.JaxRuntimeError("INTERNAL: broken")):

        def failing(*arguments, error=error, **settings):
            def run(batch):
                raise error

            return run

        monkeypatch.setattr(passes, "started", failing)
        with pytest.raises(type(error), match=str(error)[:8]):
            ablate_units(model, dataset, "in", engine="generic", chunk=1)


# --- the intact pass --------------------------------------------------------------------------


def network(images, tap):
    x = tap("maps", jax.nn.relu(images @ jnp.ones((3, 50), jnp.float32)))
    return x.mean((1, 2)) @ jnp.ones((50, 4), jnp.float32) * jnp.arange(4)


def test_a_batch_that_does_not_fit_goes_through_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    dataset = Dataset(rng.random((10, 8, 8, 3), np.float32), rng.integers(0, 4, 10), "abcd")
    plain = evaluate(network, dataset)
    sizes = []

    def limited(needs, most, limit, what):
        found = memory.fitting(needs, most, needs(4), what)
        sizes.append(found)
        return found

    from jaxsel import intact

    monkeypatch.setattr(intact, "fitting", limited)
    found = evaluate(network, dataset)
    assert sizes == [4]
    np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-14)


def test_a_network_that_mixes_the_images_of_a_batch_is_not_cut():
    def mixing(images, tap):
        x = tap("in", images)
        return x - x.mean(axis=0)

    images = np.ones((100, 50), np.float32)
    from jaxsel.intact import intact_pass

    with pytest.raises(MemoryError, match="as it mixes the images of a batch"):
        intact_pass(mixing, images, (), memory=30_000)


# --- groups -----------------------------------------------------------------------------------


def head_and_masks():
    rng = np.random.default_rng(0)
    network, dataset = heads.random_head(rng, 24, 20, 7), heads.random_data(rng, 30, 24, 7)
    return network, dataset, {"site": rng.random((16, 24)) < 0.4}


def assert_groups_alike(found, plain):
    """Float32 losses of a few nats, each off by some roundings."""
    np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-5)
    np.testing.assert_array_equal(found.top1, plain.top1)
    np.testing.assert_array_equal(found.top5, plain.top5)
    assert found.engine == plain.engine


@pytest.mark.parametrize(
    "engine, enough, too_little", [("masks", 10_000, 1_000), ("gathered", 6_000, 1_000)]
)
def test_less_memory_makes_smaller_programs_of_groups_and_the_same_results(
    engine, enough, too_little, monkeypatch
):
    case, settings = head_and_masks(), {"batch_size": 8, "engine": engine}
    chunks = []

    def fitting(needs, most, limit, what):
        chunks.append(memory.fitting(needs, most, limit, what))
        assert needs(chunks[-1]) <= limit
        return chunks[-1]

    monkeypatch.setattr({"masks": masked, "gathered": gathered}[engine], "fitting", fitting)
    plain, found = (ablate_groups(*case, memory=m, **settings) for m in (None, enough))
    assert chunks[0] == 16 > chunks[1]
    assert_groups_alike(found, plain)
    with pytest.raises(MemoryError, match=r"one alone needs .*, but the limit is 1000 bytes"):
        ablate_groups(*case, memory=too_little, **settings)


@pytest.mark.parametrize("engine", ["masks", "gathered"])
def test_when_memory_runs_out_groups_go_on_in_halves(engine, monkeypatch):
    case, settings = head_and_masks(), {"batch_size": 8, "engine": engine}
    plain = ablate_groups(*case, **settings)
    name, chunks, seen = f"{engine}_engine".replace("masks", "masked"), [], []
    engine_of = getattr(groups, name)

    def short(*arguments):
        run, sizes = engine_of(*arguments), arguments[-2]

        def until_it_is_small(batches):
            found = run(batches)

            def blocks():
                for block in found.blocks:
                    yield block
                    chunks.append(sizes["chunk"])
                    if sizes["chunk"] > 4:  # after some of the images were done
                        raise out_of_memory()

            return found._replace(blocks=blocks())

        return until_it_is_small

    monkeypatch.setattr(groups, name, short)
    found = ablate_groups(*case, progress=seen.append, **settings)
    assert (chunks[0], chunks[-1]) == (16, 4)
    assert seen[-1] == 30 * 16
    assert_groups_alike(found, plain)
