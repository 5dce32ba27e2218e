"""One number per unit: how selective it is, and how often it fires."""

from .class_means import class_means as class_means
from .class_selectivity import class_selectivity_index as class_selectivity_index
from .controls import cross_validated_csi as cross_validated_csi
from .controls import shuffled_csi as shuffled_csi
from .csi import category_selectivity_index as category_selectivity_index
from .dead import dead_units as dead_units
from .discriminability import d_prime as d_prime
from .information import mutual_information as mutual_information
from .orientation import (
    global_orientation_selectivity_index as global_orientation_selectivity_index,
)
from .orientation import orientation_selectivity_index as orientation_selectivity_index
from .orientation import preferred_orientation as preferred_orientation
from .orientation import tuning_curves as tuning_curves
from .orientation import tuning_reliability as tuning_reliability
from .poz import percentage_of_zeros as percentage_of_zeros
from .precision import precision as precision
from .shift import shift_invariance as shift_invariance
from .sparseness import sparseness as sparseness
from .sparseness import sparseness_from_sums as sparseness_from_sums
from .von_mises import TuningFit as TuningFit
from .von_mises import fit_tuning as fit_tuning
