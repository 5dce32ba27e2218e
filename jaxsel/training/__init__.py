"""Train a network."""

from .supervised import Fit as Fit
from .supervised import fit as fit
