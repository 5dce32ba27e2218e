"""What a network loses when units are taken away."""

from .ablated import Ablated as Ablated
from .ablated import ablated as ablated
from .effects import Baseline as Baseline
from .effects import GroupEffects as GroupEffects
from .effects import UnitEffects as UnitEffects
from .first_order import first_order as first_order
from .first_order import first_orders as first_orders
from .groups import ablate_groups as ablate_groups
from .in_order import RemovalCurve as RemovalCurve
from .in_order import ablate_in_order as ablate_in_order
from .masks import ablate_by_masks as ablate_by_masks
from .mixture import MixtureCurve as MixtureCurve
from .mixture import default_keep as default_keep
from .mixture import mixture_curve as mixture_curve
from .planner import Plan as Plan
from .planner import plan_units as plan_units
from .related import related_loss_ratios as related_loss_ratios
from .units import ablate_units as ablate_units
from .verify import Verification as Verification
