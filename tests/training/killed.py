"""Run by test_killed.py, which kills it: trains a small group in a folder to its end."""

import sys
from pathlib import Path

import jax

from jaxsel.training import Recipe, Replica, finish, group_of
from tests.training.small import bytes_of, small

EPOCHS = 100
REPLICAS = [Replica(0, -1.0), Replica(1, 0.5, 0.2)]
RECIPE = Recipe(
    epochs=EPOCHS,
    batch_size=24,
    learning_rate=0.05,
    drops=(50,),
    augment="crop_flip",
    padding=1,
)


def trained(folder, *, share=0.5):
    group = group_of(small, bytes_of(60), bytes_of(30, 1), REPLICAS, RECIPE)
    return finish(
        group,
        small,
        Path(folder),
        {"batch_size": 24},
        share=share,
        on_epoch=lambda standing: print(standing.epoch, flush=True),
    )


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", sys.argv[2])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    trained(sys.argv[1])
