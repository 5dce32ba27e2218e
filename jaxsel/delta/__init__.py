"""Exact finite changes: what a function's output does when its input changes."""

from .loss import cross_entropy as cross_entropy
from .loss import cross_entropy_change as cross_entropy_change
from .loss import cross_entropy_change_error as cross_entropy_change_error
from .loss import label_rank as label_rank
from .rules import RULES as RULES
from .transform import delta as delta
