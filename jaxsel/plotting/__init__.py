"""Figures, one function each: arrays and axes in, nothing out."""

from .ablation import correlations_by_row as correlations_by_row
from .ablation import correlations_by_site as correlations_by_site
from .ablation import loss_ratio_box as loss_ratio_box
from .ablation import loss_ratio_histogram as loss_ratio_histogram
from .ablation import mixture_lines as mixture_lines
from .ablation import selectivity_scatter as selectivity_scatter
from .ablation import share_grid as share_grid
from .selectivity import boxes_by_site as boxes_by_site
from .selectivity import index_histogram as index_histogram
from .selectivity import rank_curve as rank_curve
from .style import look as look
from .style import panels as panels
from .style import save as save
