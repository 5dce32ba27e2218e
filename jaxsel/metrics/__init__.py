"""One number per unit: how selective it is, and how often it fires."""

from .class_means import class_means as class_means
from .class_selectivity import class_selectivity_index as class_selectivity_index
from .controls import cross_validated_csi as cross_validated_csi
from .controls import shuffled_csi as shuffled_csi
from .csi import category_selectivity_index as category_selectivity_index
from .dead import dead_units as dead_units
from .discriminability import d_prime as d_prime
from .information import mutual_information as mutual_information
from .poz import percentage_of_zeros as percentage_of_zeros
from .precision import precision as precision
from .sparseness import sparseness as sparseness
from .sparseness import sparseness_from_sums as sparseness_from_sums
