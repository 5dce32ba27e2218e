"""What an experiment has to say, and the folder that it is written to."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import plotting, report
from jaxsel.folders import replaced_folder
from jaxsel.report import Drawing, Number

from . import cli, verdicts
from .verdicts import Claim

Counting = Callable[[int], None]
Progress = Callable[[str, int], Counting]
RESULT, FIGURES, ABOUT = "result", "figures", "config.json"


@dataclass(frozen=True, eq=False)
class Columns:
    """A table with a row for each of many things.

    Attributes:
        values: by column.
        meanings: of the columns.
    """

    values: Mapping[str, np.ndarray]
    meanings: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Told:
    """The result of an experiment; its drawings are in the folder already.

    Attributes:
        title: of the page.
        introduction: paragraphs.
        claims: of the paper.
        judged: when one holds.
        drawings: in order.
        numbers: all.
        tables: by the stem of their files.
        note: what the paper's values are of.
    """

    title: str
    introduction: Sequence[str]
    claims: Sequence[Claim]
    judged: str
    drawings: Sequence[Drawing]
    numbers: Sequence[Number]
    tables: Mapping[str, Columns]
    note: str


def tell(
    folder: Path,
    preset: str,
    settings: Mapping[str, Any],
    measure: Callable[[Path, Progress], Told],
) -> None:
    """Measure, draw, write; an earlier result in the folder is replaced when all is there.

    Args:
        folder: of the run; what is written is in its folder `result`.
        preset: its name.
        settings: all others, as JSON has them.
        measure: takes the folder for drawings and what makes progress bars: called with a
            description and a total, it returns what takes the count.
    """
    refuse_other(folder, preset, settings)
    with replaced_folder(folder / RESULT) as place:
        (figures := place / FIGURES).mkdir()
        with cli.progress() as bars, plotting.look():

            def progress(description: str, total: int) -> Counting:
                bar = bars.add_task(description, total=total)

                def count(done: int) -> None:
                    bars.update(bar, completed=done, visible=done < total)

                return count

            told = measure(figures, progress)
        _write(told, preset, settings, place)
    print(f"report: {folder / RESULT / 'report.html'}")


def refuse_other(folder: Path, preset: str, settings: Mapping[str, Any]) -> None:
    """Only a result of the same command is replaced.

    Args:
        folder: of the run.
        preset: its name.
        settings: all others.

    Raises:
        FileExistsError: there is something else in the result's place, or a file in the
            folder's.
        ValueError: there is a result with other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder by --out")
    refuse_no_result(folder / RESULT)
    if not (folder / RESULT).exists():
        return
    known = json.loads((folder / RESULT / ABOUT).read_text())
    now = json.loads(json.dumps({"preset": preset, **settings}))
    then = {"preset": known.get("preset"), **known.get("settings", {})}
    for name in sorted(now.keys() | then.keys()):
        if now.get(name) != then.get(name):
            raise ValueError(
                f"{folder} has a result with {name} = {then.get(name)!r}, this run has "
                f"{now.get(name)!r}: name another folder by --out, or remove that one"
            )


def refuse_no_result(place: Path) -> None:
    """What is replaced must be a result.

    Raises:
        FileExistsError: it is something else.
    """
    if place.exists() and not (place / ABOUT).is_file():
        raise FileExistsError(
            f"{place} is there already and is no result of this command: name another folder "
            "by --out"
        )


def _write(told: Told, preset: str, settings: Mapping[str, Any], folder: Path) -> None:
    for name, table in told.tables.items():
        path = folder / f"{name}.parquet"
        report.write_parquet(path, dict(table.values), dict(table.meanings))
    summary = {number.key: dataclasses.asdict(number) for number in told.numbers}
    report.write_json(folder / "summary.json", summary)
    claims = [dataclasses.asdict(one) for one in told.claims]
    report.write_json(folder / "claims.json", claims)
    environment = report.environment()
    about = {"preset": preset, "settings": dict(settings), "environment": environment}
    report.write_json(folder / ABOUT, about)
    versions = ", ".join(f"{name} {v}" for name, v in environment["versions"].items())
    report.write_page(
        folder / "report.html",
        title=told.title,
        introduction=told.introduction,
        tables=[verdicts.table(told.claims, told.judged)] if told.claims else [],
        drawings=told.drawings,
        figures=folder / FIGURES,
        numbers=told.numbers,
        note=told.note,
        settings=[
            ("preset", preset),
            *((name, "by default" if v is None else str(v)) for name, v in settings.items()),
            ("device", environment["device"]),
            ("versions", f"Python {environment['python']}, {versions}"),
            ("commit", environment["git_commit"] or "not run from a checkout"),
        ],
    )
