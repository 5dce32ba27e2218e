"""Selectivity of the units of vision networks, and what a network loses without them."""

from . import adapters as adapters
from . import data as data
from . import models as models
from . import statistics as statistics
from .ablation import UnitEffects as UnitEffects
from .ablation import ablate_by_masks as ablate_by_masks
from .ablation import ablate_groups as ablate_groups
from .ablation import ablate_units as ablate_units
from .ablation import first_order as first_order
from .ablation import mixture_curve as mixture_curve
from .data import Dataset as Dataset
from .delta import cross_entropy as cross_entropy
from .delta import cross_entropy_change as cross_entropy_change
from .delta import delta as delta
from .evaluation import best_images as best_images
from .evaluation import evaluate as evaluate
from .metrics import category_selectivity_index as category_selectivity_index
from .metrics import class_means as class_means
from .metrics import class_selectivity_index as class_selectivity_index
from .metrics import dead_units as dead_units
from .metrics import percentage_of_zeros as percentage_of_zeros
from .metrics import precision as precision
from .metrics import sparseness as sparseness
from .recording import forward as forward
from .recording import record as record
from .recording import unit_responses as unit_responses
