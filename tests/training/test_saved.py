"""Checkpoints of a training: gone on from, refused, or passed over when damaged."""

import dataclasses
import errno
import json
import os

import numpy as np
import pytest
from flax import nnx

from jaxsel import checkpoint
from jaxsel.training import Layout, Recipe, Replica, chosen, finish, group_of
from jaxsel.training.group import beginning, fetched
from jaxsel.training.saved import _found, resume
from tests.training.small import bytes_of, furthest, small

REPLICAS = [Replica(0, -1.0), Replica(1, 0.5)]
RECIPE = Recipe(epochs=4, batch_size=24, learning_rate=0.05, drops=(2,), augment="flip")
SETTINGS = {"batch_size": 24}


@pytest.fixture(scope="module")
def group():
    return group_of(small, bytes_of(60), bytes_of(30, 1), REPLICAS, RECIPE)


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def stopped(group, folder, epoch):
    """A run that ends after so many epochs, each with its checkpoint."""

    def stop(standing):
        if standing.epoch == epoch + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        finish(group, small, folder, SETTINGS, share=1e9, on_epoch=stop)


def whole(group, folder):
    return finish(group, small, folder, SETTINGS, share=1e9)


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def final(folder):
    arrays = checkpoint.named(checkpoint.read(folder / "epoch00004")[1])
    return {k: v.tobytes() for k, v in arrays.items()}, (folder / "curves.jsonl").read_bytes()


def test_a_run_that_was_stopped_ends_with_the_same_bits(group, tmp_path):
    whole(group, tmp_path / "whole")
    stopped(group, tmp_path / "stopped", 2)
    assert kept(tmp_path / "stopped") == ["epoch00001", "epoch00002"]
    # As a kill in the middle of a line, and of a save, leaves them.
    with (tmp_path / "stopped/curves.jsonl").open("a") as file:
        file.write('{"epoch": 3, "se')
    (tmp_path / "stopped/.epoch00003.unfinished-abc/arrays").mkdir(parents=True)
    whole(group, tmp_path / "stopped")
    assert final(tmp_path / "stopped") == final(tmp_path / "whole")
    assert kept(tmp_path / "stopped") == ["epoch00003", "epoch00004"]


def test_curves_have_a_line_per_epoch_and_replica(group, tmp_path):
    one, _ = whole(group, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["seed"]) for line in lines] == [
        (epoch, seed) for epoch in (1, 2, 3, 4) for seed in (0, 1)
    ]
    assert [line["train_loss"] for line in lines[::2]] == one.curves["train_loss"].tolist()
    assert list(lines[0]["validation_index"]) == ["conv1", "conv2", "fc"]


@pytest.mark.parametrize("file", ["manifest.json", "arrays"])
def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(group, tmp_path, file):
    whole(group, tmp_path / "whole")
    stopped(group, tmp_path / "torn", 3)
    victim = tmp_path / "torn/epoch00003" / file
    if victim.is_dir():
        victim = max((f for f in victim.rglob("*") if f.is_file()), key=os.path.getsize)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.warns(UserWarning, match="not gone on from: .*epoch00003"):
        whole(group, tmp_path / "torn")
    assert kept(tmp_path / "torn") == ["epoch00003", "epoch00004"]
    assert final(tmp_path / "torn") == final(tmp_path / "whole")


def test_nothing_is_begun_anew_where_all_checkpoints_are_damaged(group, tmp_path):
    stopped(group, tmp_path, 2)
    for path in tmp_path.glob("epoch*"):
        (path / "manifest.json").write_text("{}")
    with (
        pytest.warns(UserWarning, match="not gone on from"),
        pytest.raises(ValueError, match=r"none of the 2 checkpoints .* can be read"),
    ):
        whole(group, tmp_path)


def test_other_settings_are_refused_by_name(group, tmp_path):
    stopped(group, tmp_path, 1)
    with pytest.raises(ValueError, match="batch_size = 24, this run has 32"):
        finish(group, small, tmp_path, {"batch_size": 32})


@pytest.mark.parametrize("name", ["recipe", "sites", "network"])
def test_another_recipe_site_or_network_is_refused(group, tmp_path, name):
    """Also where the settings that were given are the same."""
    stopped(group, tmp_path, 1)
    images, build = (bytes_of(60), bytes_of(30, 1)), small
    recipe, sites = RECIPE, None
    if name == "recipe":
        recipe = dataclasses.replace(RECIPE, learning_rate=0.1)
    elif name == "sites":
        sites = ("fc",)
    else:

        def build(seed):
            network = small(seed)
            network.head = nnx.Linear(5, 6, rngs=nnx.Rngs(seed))
            return network

    other = group_of(build, *images, REPLICAS, recipe, sites=sites)
    told = {"network": "of a network of another shape"}.get(name, f"was written with {name} =")
    with pytest.raises(ValueError, match=told):
        finish(other, build, tmp_path, SETTINGS)


def test_settings_may_be_what_json_gives_back_as_lists(group, tmp_path):
    settings = {"widths": (32,)}
    finish(group, small, tmp_path, settings)
    assert len(finish(group, small, tmp_path, settings)) == 2


def test_checkpoints_are_in_the_order_of_their_epochs_not_of_their_names(tmp_path):
    for name in ("epoch99999", "epoch100000", "epoch00004", "epochs"):
        (tmp_path / name).mkdir()
    assert [path.name for path in _found(tmp_path)] == [
        *("epoch00004", "epoch99999", "epoch100000"),
    ]


def test_other_replicas_are_refused(group, tmp_path):
    stopped(group, tmp_path, 1)
    others = group_of(small, bytes_of(60), bytes_of(30, 1), [Replica(7)], RECIPE)
    with pytest.raises(ValueError, match="is of other replicas"):
        finish(others, small, tmp_path, SETTINGS)


def test_a_second_run_in_the_folder_is_refused(group, tmp_path):
    def meet(standing):
        if standing.epoch == 1:
            with pytest.raises(RuntimeError, match="another run is at work"):
                whole(group, tmp_path)
            raise StoppedError

    with pytest.raises(StoppedError):
        finish(group, small, tmp_path, SETTINGS, on_epoch=meet)


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(group, tmp_path, monkeypatch):
    stopped(group, tmp_path, 2)
    before = {f: f.read_bytes() for f in (tmp_path / "epoch00002").rglob("*") if f.is_file()}

    def full(path, arrays):
        (path / "part").write_bytes(b"as far as it went")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_save", lambda path, arrays: full(path.parent, arrays))
    told = "epoch00003 cannot be written: No space left on device; epoch00002 is whole"
    with pytest.raises(OSError, match=told):
        whole(group, tmp_path)
    assert {f: f.read_bytes() for f in before} == before
    assert not list(tmp_path.glob(".epoch*"))
    monkeypatch.undo()
    assert [one.curves["train_loss"].shape for one in whole(group, tmp_path)] == [(4,), (4,)]


def test_a_folder_that_cannot_be_written_is_named(group, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        finish(group, small, tmp_path / "file/run", SETTINGS)


def test_a_run_goes_on_in_another_layout(group, tmp_path):
    """Stacked after one by one: to the roundings of three epochs, in float32."""
    one_by_one = whole(group, tmp_path / "whole")
    stopped(group, tmp_path / "moved", 1)
    layout = chosen(stacked=True)
    stacked = group_of(small, bytes_of(60), bytes_of(30, 1), REPLICAS, RECIPE, layout=layout)
    assert isinstance(layout, Layout)
    moved = finish(stacked, small, tmp_path / "moved", SETTINGS)
    for a, b in zip(moved, one_by_one, strict=True):
        # The first epoch is the checkpoint's, to the bit; the others are computed otherwise.
        assert a.curves["train_loss"][0] == b.curves["train_loss"][0]
        assert furthest(a.curves["train_loss"], b.curves["train_loss"]) < 1e-3


def test_an_empty_folder_has_nothing_to_go_on_from(group, tmp_path):
    outline = fetched(group, beginning(group, small))[0]
    assert resume(tmp_path, group, SETTINGS, outline) is None


def test_the_best_epoch_is_kept_although_later_ones_are_worse(group, tmp_path):
    for one in whole(group, tmp_path):
        best = one.curves["validation_accuracy"].argmax()
        assert one.best_epoch == best + 1
        assert np.isfinite(one.curves["train_loss"]).all()
