"""Train a network, or many that differ in seed, selectivity and slope."""

from .group import CURVES as CURVES
from .group import Group as Group
from .group import Standing as Standing
from .group import group_of as group_of
from .indices import INDICES as INDICES
from .indices import Index as Index
from .indices import by_class_means as by_class_means
from .indices import class_selectivity as class_selectivity
from .layout import Layout as Layout
from .layout import chosen as chosen
from .losses import selectivity_loss as selectivity_loss
from .recipe import Recipe as Recipe
from .recipe import Replica as Replica
from .replicas import Trained as Trained
from .replicas import assess as assess
from .replicas import networks_now as networks_now
from .replicas import train_replicas as train_replicas
from .supervised import Fit as Fit
from .supervised import fit as fit
from .sweep import agreed as agreed
from .sweep import finish as finish
from .sweep import in_groups as in_groups
from .sweep import replicas_that_fit as replicas_that_fit
