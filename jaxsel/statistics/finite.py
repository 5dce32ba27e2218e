"""What every statistic asks of its numbers."""

import numpy as np
from jaxtyping import Float


def finite(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The values in float64.

    Raises:
        ValueError: a value is NaN or infinite.

    >>> finite(np.ones(1, np.float32)).dtype
    dtype('float64')
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum()} of {values.size} values are no numbers"
        )
    return values
