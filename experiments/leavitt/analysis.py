"""The analysis of Leavitt and Morcos, from nothing to a folder with a page."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from jaxsel import models, plotting
from jaxsel.data import Dataset
from jaxsel.folders import replaced_folder

from .. import cli, train
from ..told import refuse_no_result
from ..training import settings as training
from ..training.group import watched_sites
from ..training.images import divided
from .about import About, less_than_the_paper
from .causal import causal
from .distances import MEANINGS as OF_DISTANCES
from .distances import distances, evenly
from .figures import drawn
from .measure import Counting, measured
from .result import write_result
from .settings import Config
from .tables import NETWORK, OF_TRAINING, Columns, Tables, stacked, summarised

RESULT = "result"
Progress = Callable[[str, int], Counting]


def run(config: Config) -> None:
    """Train or go on, measure, compare, ablate, draw, write."""
    config.check()
    folder = config.folder
    sweeps = config.sweeps()
    for name, sweep in sweeps.items():
        print(f"training: {name} ({sweep.network})", flush=True)
        train.main(sweep)
    images = {name: divided(sweep) for name, sweep in sweeps.items()}
    with cli.progress() as bars:

        def progress(description: str, total: int) -> Counting:
            bar = bars.add_task(description, total=total)

            def count(done: int) -> None:
                bars.update(bar, completed=done, visible=done < total)

            return count

        tables = tabled(config, sweeps, images["first"][2], progress)
    notes = {
        name: less_than_the_paper(
            len(set(sweep.alphas)),
            len(set(sweep.seeds)),
            sweep.epochs,
            len(images[name][0]),
            len(images[name][2]),
            sweep.data,
        )
        for name, sweep in sweeps.items()
    }
    written(config, sweeps, tables, notes, len(images["first"][2]), folder)
    print(f"report: {folder / RESULT / 'report.html'}")


def tabled(
    config: Config, sweeps: dict[str, training.Config], test: Dataset, progress: Progress
) -> Tables:
    """Every network measured, and those of the first sweep compared."""
    parts, trained, sites = [], [], {}
    ablated_on = test.take(evenly(len(test), config.causal_images))
    for name, sweep in sweeps.items():
        assert sweep.out is not None
        networks = sweep.out / "networks"
        example = models.load(networks / str(sweep.replicas[0]))
        sites[name] = watched_sites(sweep, example, test)
        for replica in sweep.replicas:
            is_causal = name == "first" and replica.seed in config.causal_seeds
            parts.append(
                measured(
                    config.folder / "units" / name,
                    name,
                    replica,
                    networks,
                    sites[name],
                    test,
                    ablated_on if is_causal else None,
                    progress,
                )
            )
        table = pq.read_table(sweep.out / "replicas.parquet")
        keys = ("seed", "alpha", "slope")
        trained.append({k: table[k].to_numpy() for k in (*keys, *OF_TRAINING)})
    units = stacked(parts)
    replicas = dict(summarised(units, NETWORK))
    networks_of = {name: sweep.network for name, sweep in sweeps.items()}
    replicas["network"] = np.array([networks_of[name] for name in replicas["sweep"].tolist()])
    of_training = stacked(trained)
    for name in ("seed", "alpha", "slope"):  # the same networks in the same order
        if not np.array_equal(replicas[name], of_training[name]):
            raise ValueError(f"{config.folder}: the tables of training are of other networks")
    replicas |= {name: of_training[name] for name in OF_TRAINING}
    first = sweeps["first"]
    assert first.out is not None
    apart: Columns = {name: np.zeros(0) for name in OF_DISTANCES}
    if len(set(first.seeds)) > 1 and config.cca_reduce != "none":
        apart = distances(
            config,
            first.out / "networks",
            sites["first"],
            test,
            config.folder / "cca",
            progress,
        )
    return Tables(units, summarised(units, (*NETWORK, "site")), replicas, apart)


def written(
    config: Config,
    sweeps: dict[str, training.Config],
    tables: Tables,
    notes: dict[str, str],
    n_test: int,
    folder: Path,
) -> None:
    """All figures and tables, in place of those of an earlier call."""
    refuse_no_result(folder / RESULT)
    with replaced_folder(folder / RESULT) as place:
        (figures := place / "figures").mkdir()
        names = {name: sweep.network for name, sweep in sweeps.items()}
        if "leaky" in names:
            names["leaky"] = f"{names['leaky']} with leaky ReLUs"
        n_ablated = min(config.causal_images or n_test, n_test)
        about = About(tables, names, notes, figures, n_ablated)
        with plotting.look():
            found = drawn(about, config)
            if np.isfinite(tables.units["loss_ratio"]).any():
                found.append(causal(about))
        write_result(config, about, found, place)
