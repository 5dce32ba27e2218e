"""How far a run has come, on disk, so that one that was killed can go on.

A file per pass, replaced as a whole after every batch: at any moment it holds what some number
of whole batches found. Its name says which network, images and settings it is of.
"""

import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import fingerprint
from ..data.dataset import Dataset
from ..locks import locked
from .ablations import Ablations
from .engines import Engine

DIGITS = 16  # of a key, in the name of a file
# A file that is no such file, or not whole.
DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Kept:
    """A file that a pass is kept in.

    Attributes:
        path: of the file.
    """

    path: Path

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The arrays, and what was said of them; None where nothing is kept.

        Warns:
            UserWarning: a file that cannot be read; it is as if it were not there.
        """
        self._clear()
        try:
            with self.path.open("rb") as file, np.load(file) as found:
                arrays = {name: found[name] for name in found.files}
            return arrays, json.loads(arrays.pop("said").item())
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            warnings.warn(f"{self.path} is damaged, the run begins anew: {error}", stacklevel=2)
            return None

    def write(self, arrays: Mapping[str, np.ndarray], said: Mapping[str, Any]) -> None:
        """Put this in place of what was kept before.

        Raises:
            OSError: it cannot be written; what was kept before is still there.
        """
        content: dict[str, Any] = {**arrays, "said": np.array(json.dumps(said))}
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self._prefix())
        os.close(handle)
        beside = Path(name)
        try:
            beside.chmod(0o644)  # mkstemp makes it private
            with beside.open("wb") as file, locked(beside, without_locks=True) or nullcontext():
                np.savez(file, **content)
            beside.replace(self.path)
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: {self.path} cannot be written"
            ) from error
        finally:
            beside.unlink(missing_ok=True)

    def _prefix(self) -> str:
        return f".{self.path.name}.unfinished-"

    def _clear(self) -> None:
        """Remove what processes left that were killed while they wrote."""
        for left in self.path.parent.glob(f"{self._prefix()}*"):
            lock = locked(left, without_locks=False)
            if lock is not None:
                with lock:
                    left.unlink(missing_ok=True)


def run_key(
    engine: Engine, dataset: Dataset, ablations: Ablations, settings: Sequence[Any]
) -> str:
    """What tells a run from every other one whose bits may differ.

    Args:
        engine: with the network.
        dataset: images and labels.
        ablations: units or groups of them.
        settings: whatever else counts.
    """
    return fingerprint.of(
        [
            *(version("jaxsel"), jax.__version__, jax.default_backend()),
            *(engine.name, engine.site, fingerprint.of_network(engine.network, engine.image)),
            fingerprint.of_images(dataset),
            *(dataset.labels, len(dataset.class_names)),
            *map(np.asarray, ablations),
            list(settings),
        ]
    )


def kept_in(folder: Path, key: str) -> tuple[Path, Kept, Kept]:
    """Where the pairs, the pass in float32 and the one in float64 of a run are kept.

    Raises:
        OSError: there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {folder} cannot be written") from error
    short = key[:DIGITS]
    first, second = (Kept(folder / f"{short}-{name}.npz") for name in ("first", "float64"))
    return folder / f"{short}-pairs.npy", first, second
