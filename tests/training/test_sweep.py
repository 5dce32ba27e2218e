"""Sweeps: groups that fit into memory, and layouts that say what they are."""

import jax
import pytest

from jaxsel.memory import LimitError
from jaxsel.training import Layout, Recipe, Replica, chosen, group_of, in_groups
from jaxsel.training.sweep import replicas_that_fit
from tests.training.small import bytes_of, small

RECIPE = Recipe(epochs=1, batch_size=24, drops=(), augment="none")
REPLICAS = [Replica(seed) for seed in range(40)]


@pytest.fixture(scope="module", params=[False, True], ids=["in turn", "stacked"])
def group(request):
    layout = chosen(stacked=request.param)
    return group_of(small, bytes_of(60), bytes_of(30), REPLICAS, RECIPE, layout=layout)


def test_all_replicas_fit_where_there_is_memory(group):
    assert replicas_that_fit(group, small) == 40


def test_fewer_fit_into_less(group):
    # A replica's state, twice, is 4.5 KB; a step needs 115 KB, whoever is stacked 87 KB each.
    fewer = replicas_that_fit(group, small, (800 if group.layout.stacked else 200) * 2**10)
    assert 1 <= fewer < 40
    assert fewer == pytest.approx({True: 8, False: 17}[group.layout.stacked], abs=2)


def test_a_limit_that_none_keeps_to_is_said(group):
    with pytest.raises(LimitError, match="one alone needs"):
        replicas_that_fit(group, small, 1000)


def test_groups_are_all_replicas_in_their_order():
    groups = in_groups(REPLICAS, 7)
    assert [one for group in groups for one in group] == REPLICAS
    assert max(map(len, groups)) == 7
    with pytest.raises(ValueError, match="at least 1 replica; found 0"):
        in_groups(REPLICAS, 0)


def test_the_cpu_takes_replicas_one_after_another():
    layout = chosen(devices=jax.devices()[:1])
    assert str(layout) == "replicas one after another on one device"
    assert str(chosen(stacked=True, devices=jax.devices()[:1])).startswith("replicas stacked")


@pytest.mark.parametrize("width, stacked, lanes", [
    (1, False, [[0], [1], [2]]),
    (1, True, [[0, 1, 2]]),
    (2, False, [[0, 1], [2, 2]]),
    (2, True, [[0, 1, 2, 2]]),
    (8, True, [[0, 1, 2, 2, 2, 2, 2, 2]]),
])  # fmt: skip
def test_lanes_have_a_replica_for_every_device(width, stacked, lanes):
    assert Layout(stacked, tuple(range(width))).lanes(3) == lanes


@pytest.mark.parametrize("settings, told", [
    ({"over": "layers"}, "replicas or batch; found 'layers'"),
    ({"parallel": "xmap"}, "pmap or shard_map; found 'xmap'"),
    ({"devices": []}, "at least one device"),
])  # fmt: skip
def test_layouts_that_there_are_not_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        chosen(**settings)
