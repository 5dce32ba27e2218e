"""Finite changes by subtraction in so many digits that nothing is lost."""

from decimal import Decimal, localcontext

DIGITS = 120  # 40 down to the smallest float32, 62 that the series of erf loses at 12, and some


def exact_change(name, x, dx):
    """f(x + dx) - f(x) of a function of this table, x and dx as they stand."""
    with localcontext() as context:
        context.prec = DIGITS
        x, dx = Decimal(float(x)), Decimal(float(dx))
        return float(FUNCTIONS[name](x + dx) - FUNCTIONS[name](x))


def power(exponent):
    """x^p; of a negative number with a whole exponent only."""
    if exponent == int(exponent):
        return lambda x: x ** int(exponent)
    return lambda x: x ** Decimal(exponent) if x else Decimal(0)


def logistic(x):
    return 1 / (1 + (-x).exp())


def erf(x):
    """2 / sqrt(pi) times the sum of (-1)^n x^(2n+1) / (n! (2n+1)).

    Beyond 12 it is 1 to 64 digits.
    """
    if abs(x) > 12:
        return Decimal(1).copy_sign(x)
    term, total, n = x, x, 0
    while abs(term) > Decimal(10) ** -(DIGITS - 60):
        n += 1
        term *= -x * x / n
        total += term / (2 * n + 1)
    return 2 * total / _pi().sqrt()


def _pi():
    """16 arctan(1/5) - 4 arctan(1/239)."""
    return 16 * _arctan_of_reciprocal(5) - 4 * _arctan_of_reciprocal(239)


def _arctan_of_reciprocal(n):
    power, total, k = Decimal(1) / n, Decimal(1) / n, 1
    while abs(power) > Decimal(10) ** -DIGITS:
        power /= -n * n
        k += 2
        total += power / k
    return total


FUNCTIONS = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.exp(),
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: 1 / x.sqrt(),
    "square": lambda x: x * x,
    "logistic": logistic,
    "tanh": lambda x: 2 * logistic(2 * x) - 1,
    "erf": erf,
    "erfc": lambda x: -erf(x),
    **{f"x^{p}": power(p) for p in (2, 3, 4, 5, 6, -1, -2, 0.75, 0.5, -1.5)},
}
