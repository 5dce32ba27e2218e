"""What an experiment will take, said before anything long begins: `--plan`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsel.ablation import Plan, plan_units
from jaxsel.data import Dataset
from jaxsel.memory import in_words
from jaxsel.sites import Model

# Sites with maps that are tried; the others lie between them.
TRIED = 3
# Images that a step is timed on.
SAMPLE = 64


@dataclass(frozen=True)
class Step:
    """A part of an experiment.

    Attributes:
        what: is done.
        seconds: that it will take, compiling included.
        pairs: of image and unit, or group of units.
        flop: of the products that follow the site, were they done for every pair.
        result_bytes: that it keeps.
        program_bytes: of its largest program.
    """

    what: str
    seconds: float
    pairs: int | None = None
    flop: float | None = None
    result_bytes: int | None = None
    program_bytes: int | None = None


def timed(work: Callable[[Dataset], Any], dataset: Dataset) -> tuple[float, float]:
    """Seconds of compiling, and of doing something with all images, from a few of them.

    Args:
        work: does it for any images, in a time that grows with their number.
        dataset: all images.
    """
    n = min(SAMPLE, len(dataset))
    some = dataset.take(np.random.default_rng(0).permutation(len(dataset))[:n])
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        work(some)
        taken.append(time.perf_counter() - begun)
    return max(taken[0] - taken[1], 0.0), taken[1] * len(dataset) / n


def ablations(
    model: Model,
    dataset: Dataset,
    sites: Sequence[str],
    memory: int | None = None,
    *,
    units: Mapping[str, np.ndarray] | None = None,
    replacement: Mapping[str, np.ndarray] | None = None,
) -> list[Step]:
    """The ablation of every unit of some sites, or of some of their units.

    All sites without maps are tried and three of those with them; what a pair takes at the
    others is interpolated by its operations.

    Args:
        model: the network.
        dataset: the images analysed.
        sites: in network order.
        memory: bytes that one program may use.
        units: those of some sites, instead of all.
        replacement: of the responses of all units of a site, instead of 0.
    """

    def planned(site: str, run: bool = True) -> Plan:
        settings: dict[str, Any] = {"memory": memory, "run": run}
        some = (units or {}).get(site)
        if some is not None:
            settings["units"] = some
        if replacement is not None:
            values = replacement[site]
            settings["replacement"] = values if some is None else values[some]
        return plan_units(model, dataset, site, **settings)

    quick = {site: planned(site, run=False) for site in sites}
    maps = [site for site in sites if quick[site].engine != "dense"]
    at = np.unique(np.linspace(0, len(maps) - 1, min(TRIED, len(maps))).round().astype(int))
    tried = {maps[i] for i in at} | set(sites) - set(maps)
    found = {site: planned(site) for site in sites if site in tried}
    known = sorted(
        (per_pair(plan.flop, plan), per_pair(plan.seconds - plan.compile_seconds, plan))
        for site, plan in found.items()
        if site in maps
    )
    steps = []
    for site, plan in quick.items():
        what = f"ablating the units of {site}"
        counts: dict[str, Any] = {"pairs": plan.pairs, "flop": plan.flop}
        counts["result_bytes"] = plan.result_bytes
        if site in found:
            counts["program_bytes"] = found[site].program_bytes
            steps.append(Step(what, found[site].seconds, **counts))
        else:
            flop, seconds = np.array(known).T
            each = float(np.interp(per_pair(plan.flop, plan), flop, seconds))
            compiling = np.median([found[one].compile_seconds for one in found if one in maps])
            steps.append(Step(what, float(compiling) + each * plan.pairs, **counts))
    return steps


def per_pair(amount: float, plan: Plan) -> float:
    """Of one pair of image and unit."""
    return amount / plan.pairs


def table(steps: Sequence[Step]) -> str:
    """The plan as text: a line for each step, and what all of them take.

    >>> print(table([Step("evaluating", 3.0), Step("ablating", 90.0, 2000, 4e9, 640, 2**21)]))
    step        pairs  operations    results  program     time
    evaluating      -           -          -        -      3 s
    ablating    2,000       4e+09  640 bytes  2.0 MiB  1.5 min
    all         2,000       4e+09  640 bytes  2.0 MiB  1.6 min
    """
    header = ("step", "pairs", "operations", "results", "program", "time")
    total = Step(
        "all",
        sum(step.seconds for step in steps),
        sum(step.pairs or 0 for step in steps),
        sum(step.flop or 0 for step in steps),
        sum(step.result_bytes or 0 for step in steps),
        max((step.program_bytes or 0 for step in steps), default=0),
    )
    rows = [header, *(_row(step) for step in (*steps, total))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    )


def _row(step: Step) -> tuple[str, ...]:
    return (
        step.what,
        "-" if step.pairs is None else f"{step.pairs:,}",
        "-" if step.flop is None else f"{step.flop:.0e}",
        "-" if step.result_bytes is None else in_words(step.result_bytes),
        "-" if step.program_bytes is None else in_words(step.program_bytes),
        _duration(step.seconds),
    )


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
