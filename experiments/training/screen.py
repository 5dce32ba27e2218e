"""What is seen of a training while it runs: a bar, and curves for TensorBoard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rich.progress

from jaxsel.training import Group, Standing


class Speed(rich.progress.ProgressColumn):
    """Images per second, all replicas counted."""

    def render(self, task: rich.progress.Task) -> str:
        """The text of the column."""
        return f"{task.speed:,.0f} images/s" if task.speed else ""


def described(group: Group, standing: Standing, name: str) -> str:
    """The group, its epoch, and the validation accuracy over its replicas."""
    text = f"{name}epoch {standing.epoch}/{group.recipe.epochs}"
    if not standing.epoch:
        return text
    accuracy = 100 * standing.curves["validation_accuracy"][-1]
    if len(accuracy) == 1:
        return f"{text}, {accuracy[0]:.1f} % right"
    return (
        f"{text}, {np.mean(accuracy):.1f} % right ({min(accuracy):.1f} to {max(accuracy):.1f})"
    )


def tensorboard(folder: Path) -> Callable[[Group, Standing], None] | None:
    """Writes the curves of every replica for TensorBoard; None without its extra."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    writers: dict[Any, Any] = {}

    def write(group: Group, standing: Standing) -> None:
        for i, replica in enumerate(group.replicas):
            is_new = replica not in writers
            if is_new:
                # What a run that was killed wrote beyond its checkpoint does not count.
                place = str(folder / str(replica))
                writers[replica] = SummaryWriter(place, purge_step=standing.epoch + 1)
            writer = writers[replica]
            if standing.epoch and not is_new:
                for name, values in standing.curves.items():
                    writer.add_scalar(name, float(np.mean(values[-1][i])), standing.epoch)
                writer.flush()

    return write
