"""What Kanda et al. leave open, each point with its default here."""

from dataclasses import dataclass, fields
from typing import Literal

NAMES = {"csi": "category selectivity index", "sparseness": "sparseness"}
SHORT = {"csi": "CSI", "sparseness": "sparseness"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the paper is read."""

    reduce: Literal["mean", "max", "centre"] = "mean"
    """response of a feature map: its mean, its largest number, or the place in its middle"""
    replacement: Literal["zero", "mean"] = "zero"
    """what an ablated response is set to: 0, or the unit's mean response"""
    category: Literal["image", "class"] = "image"
    """a unit's category in figure 5: of the image with the largest response, or the class with
    the largest mean response"""
    index: Literal["csi", "sparseness"] = "csi"
    """units are selective by this index, in figures 5 and 6"""
    above: float = 0.5
    """units are selective whose index is above this quantile of a site's; 0.5: the median"""

    silent: Literal["out", "zero"] = "out"
    """units without any response: left out, or with an index of 0"""

    def check(self) -> None:
        """Whether the numbers make sense.

        Raises:
            ValueError: one that does not.
        """
        if not 0 < self.above < 1:
            raise ValueError(f"above must be a share between 0 and 1; found {self.above}")

    def reading(self) -> "Reading":
        """This alone, of settings that say more."""
        return Reading(**{field.name: getattr(self, field.name) for field in fields(Reading)})

    @property
    def bound(self) -> str:
        """What selective units are above of, in words.

        >>> Reading().bound, Reading(index="sparseness", above=0.75).bound
        ('a CSI above the median', 'a sparseness above the quantile 0.75')
        """
        quantile = "median" if self.above == 0.5 else f"quantile {self.above:g}"
        return f"a {SHORT[self.index]} above the {quantile}"

    @property
    def silent_words(self) -> str:
        """What becomes of units without any response, in words.

        >>> Reading().silent_words
        'Silent units are left out.'
        """
        what = {"out": "are left out", "zero": "have an index of 0"}[self.silent]
        return f"Silent units {what}."


DEFAULTS = Reading()
