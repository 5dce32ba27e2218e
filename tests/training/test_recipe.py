"""Recipes: the learning rate by epochs, weight decay, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsel.training import Recipe, Replica


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_steps_are_those_of_pytorch(rng, optimiser):
    """Three epochs of two steps, the rate dropped after each; float32, as both have it."""
    recipe = Recipe(
        epochs=3, batch_size=5, learning_rate=0.1, drops=(1, 2), optimiser=optimiser
    )
    transformation = recipe.transformation(9)
    start = rng.normal(size=4).astype(np.float32)
    ours, theirs = jnp.asarray(start), torch.tensor(start.copy(), requires_grad=True)
    peer = (
        torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=1e-4)
        if optimiser == "sgd"
        else torch.optim.Adam([theirs], 0.1, weight_decay=1e-4)
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(peer, [1, 2], gamma=0.1)
    state = transformation.init(ours)
    for _ in range(3):
        for _ in range(2):
            gradient = rng.normal(size=4).astype(np.float32)
            updates, state = transformation.update(jnp.asarray(gradient), state, ours)
            ours = ours + updates
            theirs.grad = torch.tensor(gradient)
            peer.step()
        schedule.step()
    # Six steps of a few roundings each.
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_images, steps", [(1, 1), (256, 1), (257, 2), (45_000, 176)])
def test_the_last_step_has_what_is_left(n_images, steps):
    assert Recipe().steps(n_images) == steps


@pytest.mark.parametrize("settings, told", [
    ({"epochs": 0}, "epochs must be at least 1; found 0"),
    ({"batch_size": -1}, "batch_size must be at least 1"),
    ({"learning_rate": float("nan")}, "learning_rate must be a number"),
    ({"momentum": -0.1}, "momentum must be a number"),
    ({"optimiser": "lion"}, "sgd or adam; found 'lion'"),
    ({"augment": "mixup"}, "none, crop, flip, crop_flip; found 'mixup'"),
    ({"best_by": "luck"}, "accuracy or loss; found 'luck'"),
])  # fmt: skip
def test_what_is_no_recipe_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Recipe(**settings)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"seed": -1}, "0 to 2.*; found -1"),
        ({"seed": 2**32}, "found 4294967296"),
        ({"alpha": float("nan")}, "alpha must be a finite number"),
        ({"slope": float("inf")}, "slope must be a finite number"),
    ],
)
def test_what_is_no_replica_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Replica(**({"seed": 0} | settings))


def test_replicas_have_names_that_tell_them_apart():
    replicas = [
        Replica(0, -30.0),
        Replica(0, 0.1),
        Replica(0, 0.1, 0.5),
        Replica(10),
        Replica(1, 0.12345678),
    ]
    assert [str(one) for one in replicas] == [
        *(
            "seed0_alpha-30",
            "seed0_alpha0.1",
            "seed0_alpha0.1_slope0.5",
            "seed10_alpha0",
            "seed1_alpha0.12345678",
        ),
    ]
