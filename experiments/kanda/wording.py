"""How numbers and comparisons are put into sentences."""

import math

from jaxsel.report import Number

ALPHA = 0.01  # the paper's threshold


def p_value(p: float) -> str:
    """P as the paper prints it.

    >>> p_value(0.0002), p_value(0.034), p_value(float("nan"))
    ('P < .001', 'P = 0.034', 'no P')
    """
    if math.isnan(p):
        return "no P"
    return "P < .001" if p < 0.001 else f"P = {p:.3f}"


def compared(value: float, p: float, paper: int) -> str:
    """Whether a signed effect goes the paper's way.

    Args:
        value: the effect.
        p: its P.
        paper: sign of the effect in the paper, 1 or -1.

    >>> compared(-0.4, 0.0001, -1)
    'the same direction as in the paper'
    """
    if math.isnan(value) or math.isnan(p):
        return "too few units to compare with the paper"
    if p >= ALPHA:
        return "no effect at the paper's threshold of P < .01"
    same = value * paper > 0
    return (
        "the same direction as in the paper"
        if same
        else "the opposite of the paper's direction"
    )


def number(
    key: str, figure: str, meaning: str, value: float, unit: str, paper: str = ""
) -> Number:
    """A number of the result; NaN becomes none."""
    if isinstance(value, float) and not math.isfinite(value):
        return Number(key, figure, meaning, None, unit, paper)
    return Number(key, figure, meaning, value, unit, paper)
