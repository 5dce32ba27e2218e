"""Runs that were killed end with the same bits; what is kept is used by its own run alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import signs
from jaxsel import (
    Dataset,
    ablate_groups,
    ablate_in_order,
    ablate_units,
    adapters,
    mixture_curve,
)
from jaxsel.ablation import kept, passes
from tests.references import heads

SETTINGS = {"batch_size": 5}


def case_of(kind, seed=2):
    case = signs.drawn(kind, 17, np.random.default_rng(seed))
    arrays = [jnp.asarray(weight) for weight in case.weights]
    return adapters.with_parameters(signs.network, arrays), case.dataset


def assert_same_bits(found, expected):
    for name in ("loss_change", "top1_change", "top5_change", "error", "recomputed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("loss", "top1", "top5", "images"):
        np.testing.assert_array_equal(
            getattr(found.baseline, name), getattr(expected.baseline, name)
        )
    assert found.precision == expected.precision
    if expected.per_image is not None:
        np.testing.assert_array_equal(found.per_image, expected.per_image)


class Killed(BaseException):
    """What a signal is, in a test."""


def stop_after(n, monkeypatch):
    """Nothing more happens after the n-th file was written."""
    write, done = kept.Kept.write, []

    def writing(self, arrays, said):
        write(self, arrays, said)
        done.append(said["start"])
        if len(done) == n:
            raise Killed

    monkeypatch.setattr(kept.Kept, "write", writing)
    return done


@pytest.mark.parametrize("kind", signs.KINDS)
def test_a_run_goes_on_where_it_was_killed_and_ends_with_the_same_bits(
    kind, tmp_path, monkeypatch
):
    model, dataset = case_of(kind)
    plain = ablate_units(
        model, dataset, "in", engine=kind, per_image=tmp_path / "plain.npy", **SETTINGS
    )
    settings = {"engine": kind, "resume": tmp_path / "kept", **SETTINGS}
    with monkeypatch.context() as patch:
        done = stop_after(2, patch)
        with pytest.raises(Killed):
            ablate_units(model, dataset, "in", per_image=tmp_path / "pairs.npy", **settings)
        assert done == [5, 10]
    assert not (tmp_path / "pairs.npy").exists()
    done = stop_after(-1, monkeypatch)
    found = ablate_units(model, dataset, "in", per_image=tmp_path / "pairs.npy", **settings)
    assert done[:2] == [15, 17]  # the first ten images were not done again
    assert_same_bits(found, plain)
    # And once more: nothing is computed.
    del done[:]
    again = ablate_units(model, dataset, "in", per_image=tmp_path / "pairs.npy", **settings)
    assert done == []
    assert_same_bits(again, plain)


def test_a_run_that_is_killed_while_it_computes_in_float64_goes_on_there(tmp_path, monkeypatch):
    """In bfloat16 some units are undecided."""
    model, dataset = case_of("generic")
    settings = {"engine": "generic", "precision": "bfloat16", **SETTINGS}
    plain = ablate_units(model, dataset, "in", **settings)
    assert len(plain.recomputed) > 0
    with monkeypatch.context() as patch:
        stop_after(6, patch)  # four batches, then two
        with pytest.raises(Killed):
            ablate_units(model, dataset, "in", resume=tmp_path, **settings)
    done = stop_after(-1, monkeypatch)
    found = ablate_units(model, dataset, "in", resume=tmp_path, **settings)
    assert done == [15, 17]
    assert_same_bits(found, plain)


# --- groups -----------------------------------------------------------------------------------


def head_and_data(seed=0):
    rng = np.random.default_rng(seed)
    return heads.random_head(rng, 24, 20, 7), heads.random_data(rng, 17, 24, 7)


def assert_same_groups(found, expected):
    for name in ("loss", "top1", "top5"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(
            getattr(found.baseline, name), getattr(expected.baseline, name)
        )


@pytest.mark.parametrize("engine", ["gathered", "masks"])
def test_groups_go_on_where_they_were_killed_and_end_with_the_same_bits(
    engine, tmp_path, monkeypatch
):
    model, dataset = head_and_data()
    keep = {"site": np.random.default_rng(1).random((9, 24)) < 0.4}
    settings = {"engine": engine, "batch_size": 5, "chunk": 1}
    plain = ablate_groups(model, dataset, keep, **settings)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            ablate_groups(model, dataset, keep, resume=tmp_path, **settings)
    done, seen = stop_after(-1, monkeypatch), []
    settings |= {"resume": tmp_path, "progress": seen.append}
    assert_same_groups(ablate_groups(model, dataset, keep, **settings), plain)
    assert done == [15, 17]
    assert (min(seen) > 10 * 9, seen[-1]) == (True, 17 * 9)
    del done[:]
    assert_same_groups(ablate_groups(model, dataset, keep, **settings), plain)
    assert done == []
    # Other masks are another run, and so are those of another network.
    other = {"site": ~keep["site"]}
    found = ablate_groups(model, dataset, other, **settings)
    settings |= {"resume": None}
    assert_same_groups(found, ablate_groups(model, dataset, other, **settings))


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    file = kept.Kept(tmp_path / "file.npz")
    file.write({"sums": np.ones(2)}, {"chunk": np.int64(2)})
    arrays, said = file.read()
    assert (arrays["sums"].tolist(), said) == ([1, 1], {"chunk": 2})


def test_two_sites_that_swap_their_names_are_another_run(tmp_path):
    """Their masks, by name, are the same; what is computed before them is, too."""
    w, v = (np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in (0, 1))

    def network(first, second):
        def run(images, tap):
            return tap(second, jax.nn.relu(tap(first, images) @ w)) @ v

        return run

    dataset = Dataset(np.eye(4, dtype=np.float32), np.arange(4), tuple("abcd"))
    keep = {"a": np.eye(4) == 0, "b": np.eye(4) == 1}
    ablate_groups(network("a", "b"), dataset, keep, resume=tmp_path)
    found = ablate_groups(network("b", "a"), dataset, keep, resume=tmp_path)
    assert_same_groups(found, ablate_groups(network("b", "a"), dataset, keep))


def test_curves_go_on_where_they_were_killed(tmp_path, monkeypatch):
    model, dataset = head_and_data()
    first = np.arange(24) < 12

    def mixture(resume):
        rng = np.random.default_rng(3)
        pools = (first, ~first)
        return mixture_curve(
            model, dataset, "site", *pools, rng=rng, trials=2, batch_size=5, resume=resume
        )

    def removal(resume):
        order = np.arange(24)[::-1]
        return ablate_in_order(model, dataset, "site", order, batch_size=5, resume=resume)

    curves, removals = mixture(None), removal(None)
    for run in (mixture, removal):
        with monkeypatch.context() as patch:
            stop_after(1, patch)
            with pytest.raises(Killed):
                run(tmp_path)
    done = stop_after(-1, monkeypatch)
    again = mixture(tmp_path)
    np.testing.assert_array_equal(again.loss_ratio, curves.loss_ratio)
    np.testing.assert_array_equal(again.accuracy, curves.accuracy)
    assert_same_groups(removal(tmp_path).effects, removals.effects)
    assert done == []  # all batches were one step, which was done


# --- what is another run ---------------------------------------------------------------------


def changed(what, model, dataset, settings):
    """The arguments of a run that differs in one thing."""
    other_model, other_dataset = case_of("dense", 3)
    labels = np.roll(dataset.labels, 1)
    twice = Dataset(dataset.images, dataset.labels, dataset.class_names, lambda x: x * 2)
    return {
        "network": (other_model, dataset, settings),
        "images": (model, other_dataset, settings),
        "labels": (model, Dataset(dataset.images, labels, dataset.class_names), settings),
        "preprocessing": (model, twice, settings),
        "units": (model, dataset, settings | {"units": np.arange(5)}),
        "replacement": (model, dataset, settings | {"replacement": 0.5}),
        "batches": (model, dataset, settings | {"batch_size": 4}),
        "precision": (model, dataset, settings | {"precision": "bfloat16"}),
        "chunk": (model, dataset, settings | {"chunk": 3}),
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        *("network", "images", "labels", "preprocessing", "units", "replacement"),
        *("batches", "precision", "chunk"),
    ],
)
def test_what_another_run_left_is_not_used(what, tmp_path):
    model, dataset = case_of("dense")
    ablate_units(model, dataset, "in", resume=tmp_path, **SETTINGS)
    model, dataset, settings = changed(what, model, dataset, SETTINGS)
    plain = ablate_units(model, dataset, "in", **settings)
    found = ablate_units(model, dataset, "in", resume=tmp_path, **settings)
    assert_same_bits(found, plain)


def test_where_the_site_is_in_the_network_counts(tmp_path):
    """Before or after the ReLU: the same logits, and other effects of a replacement below 0."""
    w, v = (np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in (0, 1))

    def after(images, tap):
        return tap("h", jax.nn.relu(images @ w)) @ v

    def before(images, tap):
        return jax.nn.relu(tap("h", images @ w)) @ v

    dataset = Dataset(np.eye(4, dtype=np.float32), np.arange(4), tuple("abcd"))
    settings = {"replacement": -1.0, "engine": "generic"}
    ablate_units(after, dataset, "h", resume=tmp_path, **settings)
    found = ablate_units(before, dataset, "h", resume=tmp_path, **settings)
    assert_same_bits(found, ablate_units(before, dataset, "h", **settings))


def test_another_limit_of_memory_goes_on_with_smaller_programs(tmp_path, monkeypatch):
    model, dataset = case_of("generic")
    settings = {"engine": "generic", **SETTINGS}
    plain = ablate_units(model, dataset, "in", **settings)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            ablate_units(model, dataset, "in", resume=tmp_path, **settings)
    done = stop_after(-1, monkeypatch)
    found = ablate_units(model, dataset, "in", resume=tmp_path, memory=60_000, **settings)
    assert done[:2] == [15, 17]
    np.testing.assert_allclose(found.total(), plain.total(), rtol=1e-4)


def test_pairs_that_were_computed_in_float64_stay_it_when_the_first_pass_is_lost(tmp_path):
    model, dataset = case_of("generic")
    settings = {"engine": "generic", "precision": "bfloat16", **SETTINGS}
    plain = ablate_units(model, dataset, "in", per_image=tmp_path / "a.npy", **settings)
    assert len(plain.recomputed) > 0
    settings |= {"resume": tmp_path / "kept", "per_image": tmp_path / "b.npy"}
    ablate_units(model, dataset, "in", **settings)
    (first,) = (tmp_path / "kept").glob("*-first.npz")
    first.unlink()
    assert_same_bits(ablate_units(model, dataset, "in", **settings), plain)


def test_a_run_beside_another_with_the_same_file_of_pairs_writes_its_own(tmp_path, monkeypatch):
    model, dataset = case_of("dense")
    path = tmp_path / "pairs.npy"
    plain = ablate_units(model, dataset, "in", per_image=tmp_path / "plain.npy", **SETTINGS)
    add, begun = passes.BaselineSums.add, []

    def another_runs_meanwhile(self, logits, batch):
        add(self, logits, batch)
        if not begun:
            begun.append(True)
            other, its_dataset = case_of("dense", 3)
            ablate_units(other, its_dataset, "in", per_image=path, **SETTINGS)

    monkeypatch.setattr(passes.BaselineSums, "add", another_runs_meanwhile)
    assert_same_bits(ablate_units(model, dataset, "in", per_image=path, **SETTINGS), plain)
    np.testing.assert_array_equal(np.load(path), plain.per_image)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pairs.npy", "plain.npy"]


@pytest.mark.parametrize("damage", ["cut", "one bit", "empty", "text", "no pairs"])
def test_damage_is_noticed_and_the_run_begins_anew(damage, tmp_path):
    model, dataset = case_of("dense")
    pairs = {"per_image": tmp_path / "pairs.npy", "resume": tmp_path / "kept"}
    plain = ablate_units(model, dataset, "in", per_image=tmp_path / "plain.npy", **SETTINGS)
    ablate_units(model, dataset, "in", **pairs, **SETTINGS)
    (file,) = (tmp_path / "kept").glob("*-first.npz")
    content = bytearray(file.read_bytes())
    if damage == "no pairs":
        (kept_pairs,) = (tmp_path / "kept").glob("*-pairs.npy")
        kept_pairs.unlink()
        found = ablate_units(model, dataset, "in", **pairs, **SETTINGS)
        assert_same_bits(found, plain)
        return
    if damage == "one bit":  # in the first array
        content[200] ^= 1
    torn = {"cut": content[: len(content) // 2], "empty": b"", "text": b"no file"}
    file.write_bytes(torn.get(damage, content))
    with pytest.warns(UserWarning, match="is damaged, the run begins anew"):
        found = ablate_units(model, dataset, "in", **pairs, **SETTINGS)
    assert_same_bits(found, plain)


def test_a_full_disk_is_one_sentence_and_what_was_kept_stays(tmp_path, monkeypatch):
    model, dataset = case_of("dense")
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(Killed):
            ablate_units(model, dataset, "in", resume=tmp_path, **SETTINGS)
    (file,) = tmp_path.glob("*.npz")
    before = file.read_bytes()

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kept.np, "savez", full)
        with pytest.raises(OSError, match=r"No space left on device: .*npz cannot be written"):
            ablate_units(model, dataset, "in", resume=tmp_path, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before
    plain = ablate_units(model, dataset, "in", **SETTINGS)
    assert_same_bits(ablate_units(model, dataset, "in", resume=tmp_path, **SETTINGS), plain)


def test_no_room_for_the_pairs_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    """Written through a map, a full disk would end the process."""
    model, dataset = case_of("dense")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(passes, "started", None)
    for settings in ({}, {"resume": tmp_path / "kept"}):
        with pytest.raises(OSError, match=r"No space left on device: 6,528 bytes cannot"):
            ablate_units(
                model, dataset, "in", per_image=tmp_path / "pairs.npy", **settings, **SETTINGS
            )
        assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob(".*"))


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    model, dataset = case_of("dense")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        ablate_units(model, dataset, "in", resume=tmp_path / "file")


# --- killed, really -------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from jaxsel import ablate_units
from tests.ablation.test_resume import case_of

model, dataset = case_of("generic")
out = Path(sys.argv[1])
effects = ablate_units(
    model, dataset, "in", engine="generic", batch_size=1, resume=out / "kept",
    per_image=out / f"{sys.argv[2]}.npy",
)
np.savez(out / f"{sys.argv[2]}.npz", change=effects.loss_change, error=effects.error)
"""


def begun(folder: Path, name: str) -> subprocess.Popen:
    program = [sys.executable, "-c", PROGRAM, str(folder), name]
    return subprocess.Popen(program, cwd=Path(__file__).parent.parent.parent)


def results(folder: Path, name: str) -> list[bytes]:
    return [(folder / f"{name}.{kind}").read_bytes() for kind in ("npz", "npy")]


@pytest.mark.slow
def test_killed_at_random_moments_and_two_at_once_the_bytes_are_the_same(tmp_path):
    plain, other = tmp_path / "plain", tmp_path / "killed"
    plain.mkdir()
    other.mkdir()
    assert begun(plain, "a").wait() == 0
    rng, kills = np.random.default_rng(0), 0
    while kills < 8:
        process = begun(other, "a")
        time.sleep(rng.uniform(1, 8))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    pair = [begun(other, name) for name in ("a", "b")]
    assert [process.wait() for process in pair] == [0, 0]
    assert results(other, "a") == results(other, "b") == results(plain, "a")
    assert not list((other / "kept").glob(".*"))
