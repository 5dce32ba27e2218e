"""One self-contained page: figures, a sentence under each, and a table of every number."""

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2


@dataclass(frozen=True)
class Number:
    """A number of the result.

    Attributes:
        key: its name in `summary.json`.
        figure: where it belongs, such as `Figure 2`.
        meaning: what it is, in words.
        value: the number; None if there is none.
        unit: of the number; `1` for what has none.
        paper: what the paper reports for the same quantity, in its own network; or empty.
    """

    key: str
    figure: str
    meaning: str
    value: float | int | None
    unit: str
    paper: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        name: stem of its files, such as `figure_2`; None where there is nothing to draw.
        title: heading.
        sentence: what is seen, and how it compares.
        details: further statements, shown as a list.
    """

    name: str | None
    title: str
    sentence: str
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """A small table of the page: a heading, column names, rows of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentence: str


def write_page(
    path: Path,
    *,
    title: str,
    introduction: Sequence[str],
    tables: Sequence[Table],
    drawings: Sequence[Drawing],
    figures: Path,
    numbers: Sequence[Number],
    note: str,
    settings: Sequence[tuple[str, str]],
) -> None:
    """Write the page; the figures are put inside it.

    Args:
        path: the `.html` file.
        title: of the page.
        introduction: paragraphs.
        tables: shown before the figures.
        drawings: in order.
        figures: the folder with an `.svg` file for every drawing.
        numbers: all of them.
        note: what the reader must know of the column with the paper's values.
        settings: name and value of what the result depends on.
    """
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    images = {
        drawing.name: base64.b64encode((figures / f"{drawing.name}.svg").read_bytes()).decode()
        for drawing in drawings
        if drawing.name is not None
    }
    page = template.render(
        title=title,
        introduction=introduction,
        tables=tables,
        drawings=drawings,
        images=images,
        numbers=[
            (figure, [(number, shown(number.value)) for number in members])
            for figure, members in itertools.groupby(numbers, key=lambda number: number.figure)
        ],
        note=note,
        settings=settings,
    )
    path.write_text(page, encoding="utf-8")


def shown(value: float | int | None) -> str:
    """A number as text: integers whole, others to four digits.

    >>> shown(1797), shown(0.97123), shown(None), shown(1.5e-9)
    ('1,797', '0.9712', 'none', '1.5e-09')
    """
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
