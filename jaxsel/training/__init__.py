"""Train a network."""

from .losses import selectivity_loss as selectivity_loss
from .recipe import Recipe as Recipe
from .recipe import Replica as Replica
from .supervised import Fit as Fit
from .supervised import fit as fit
