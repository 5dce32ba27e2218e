"""One number per unit: how selective it is, and how often it fires."""

from .class_means import class_means as class_means
from .class_selectivity import class_selectivity_index as class_selectivity_index
from .csi import category_selectivity_index as category_selectivity_index
from .dead import dead_units as dead_units
from .poz import percentage_of_zeros as percentage_of_zeros
from .precision import precision as precision
from .sparseness import sparseness as sparseness
from .sparseness import sparseness_from_sums as sparseness_from_sums
