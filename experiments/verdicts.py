"""What becomes of a paper's claim: it holds, it does not, or it cannot be told."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxsel.report import Table

HOLDS, DOES_NOT, CANNOT = "holds", "does not hold", "cannot be told"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        claim: in the words of this project.
        figure: of the paper.
        paper: what it reports.
        verdict: `HOLDS`, `DOES_NOT` or `CANNOT`.
        why: one sentence: what is found here.
    """

    claim: str
    figure: str
    paper: str
    verdict: str
    why: str


def table(found: Sequence[Claim], sentence: str) -> Table:
    """For a page.

    Args:
        found: all claims.
        sentence: when one holds.
    """
    return Table(
        "What the paper claims, and what is found here",
        ["claim", "figure", "paper", "here", "because"],
        [[one.claim, one.figure, one.paper, one.verdict, one.why] for one in found],
        f"{counted([one.verdict for one in found])}. {sentence}",
    )


def judged(value: float, p: float, level: float) -> str:
    """What a number says to a claim.

    Args:
        value: above 0 where the claim is right.
        p: of its test against 0.
        level: of significance.

    >>> judged(0.4, 0.001, 0.05), judged(-0.4, 0.001, 0.05), judged(0.4, 0.2, 0.05)
    ('holds', 'does not hold', 'cannot be told')
    """
    if not p < level or value == 0:
        return CANNOT
    return HOLDS if value > 0 else DOES_NOT


def together(verdicts: Sequence[str]) -> str:
    """Of a claim with several parts: all must hold; one that does not is enough.

    >>> together(["holds", "holds"]), together(["holds", "does not hold"])
    ('holds', 'does not hold')
    >>> together(["holds", "cannot be told"]), together([])
    ('cannot be told', 'cannot be told')
    """
    if DOES_NOT in verdicts:
        return DOES_NOT
    return HOLDS if set(verdicts) == {HOLDS} else CANNOT


def counted(verdicts: Sequence[str]) -> str:
    """How many claims hold, for a page.

    >>> counted(["holds", "cannot be told", "holds"])
    'Of 3, 2 hold, 0 do not, 1 cannot be told'
    >>> counted(["holds", "does not hold"])
    'Of 2, 1 holds, 1 does not, 0 cannot be told'
    """
    words = (
        (HOLDS, "holds", "hold"),
        (DOES_NOT, "does not", "do not"),
        (CANNOT, "cannot be told", "cannot be told"),
    )
    said = [
        f"{n} {one if n == 1 else many}"
        for kind, one, many in words
        for n in [verdicts.count(kind)]
    ]
    return f"Of {len(verdicts)}, {', '.join(said)}"
