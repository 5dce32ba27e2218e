"""From the settings of any of the three experiments to its result."""

from pathlib import Path

from ..asked import asked
from ..told import Progress, Told, refuse_other, tell
from .categories import categories
from .initialisations import initialisations, trained
from .objects import objects
from .settings import Categories, Config, Initialisations


def run(config: Config) -> None:
    """Measure, draw, write; an earlier result of the same settings is replaced."""
    config.check()
    refuse_other(config.folder, config.preset, asked(config))
    networks = trained(config) if isinstance(config, Initialisations) else []

    def measure(figures: Path, progress: Progress) -> Told:
        if isinstance(config, Initialisations):
            return initialisations(config, networks, figures, progress)
        if isinstance(config, Categories):
            return categories(config, figures, progress)
        return objects(config, figures, progress)

    tell(config.folder, config.preset, asked(config), measure)
