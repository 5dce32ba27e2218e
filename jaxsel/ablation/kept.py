"""How far a run has come, on disk, so that one that was killed can go on.

A file per pass, replaced as a whole after every batch: at any moment it holds what some number
of whole batches found. Its name says which network, images and settings it is of.
"""

import json
import operator
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import fingerprint
from ..data.dataset import Dataset
from ..locks import locked
from ..sites import Model, Tap
from .baseline import BaselineSums
from .pairs import is_whole, kept_pairs
from .sums import GroupSums, Sums

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
        content: dict[str, Any] = {
            **arrays,
            "said": np.array(json.dumps(said, default=operator.index)),
        }
        try:
            beside, lock = self._begun()
        except OSError as error:
            raise self._told(error) from error
        with lock:
            try:
                beside.chmod(0o644)  # mkstemp makes it private
                with beside.open("wb") as file:
                    np.savez(file, **content)
                beside.replace(self.path)
            except OSError as error:
                raise self._told(error) from error
            finally:
                beside.unlink(missing_ok=True)

    def restore(self, sums: Sums | GroupSums, intact: BaselineSums) -> dict[str, Any] | None:
        """Set sums to what they were; what was said of them, None where nothing is kept.

        Warns:
            UserWarning: as `read`.
        """
        if (found := self.read()) is None:
            return None
        arrays, said = found
        intact.sums = arrays.pop("intact")
        sums.restore(arrays)
        return said

    def keep(
        self, sums: Sums | GroupSums, intact: BaselineSums, said: Mapping[str, Any]
    ) -> None:
        """Put sums, and what is said of them, in place of what was kept before.

        Raises:
            OSError: as `write`.
        """
        self.write(sums.arrays() | {"intact": intact.sums}, said)

    def _begun(self) -> tuple[Path, BinaryIO]:
        """A file of its own, locked, so that nobody takes it for one that was left behind."""
        while True:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self._prefix())
            os.close(handle)
            lock = locked(Path(name), without_locks=True)
            if lock is not None:  # or else it was just cleared away
                return Path(name), lock

    def _told(self, error: OSError) -> OSError:
        return OSError(error.errno, f"{error.strerror}: {self.path} cannot be written")

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
    engine: str,
    network: Model,
    sites: Sequence[str],
    dataset: Dataset,
    settings: Sequence[Any],
) -> str:
    """What tells a run from every other one whose bits may differ.

    Args:
        engine: its name.
        network: as `traceable` gives it.
        sites: where units are ablated.
        dataset: images and labels.
        settings: the ablations, and whatever else counts.
    """
    image = dataset.inputs(slice(0, 1)).shape[1:]
    return fingerprint.of(
        [
            *(version("jaxsel"), jax.__version__, jax.devices()[0].device_kind),
            jnp.zeros(0).dtype,  # another where float64 is switched on for all
            *(engine, *sites, fingerprint.of_network(_marked(network, sites), image)),
            fingerprint.of_images(dataset),
            *(dataset.labels, len(dataset.class_names)),
            list(settings),
        ]
    )


def _marked(network: Model, sites: Sequence[str]) -> Model:
    """The network with an operation at each site that is nowhere else.

    So it also counts where in the network the sites are: before or after a ReLU, or on which
    of two ways.
    """

    def run(network: Model, images: Array, tap: Tap) -> Array:
        def marking(name: str, x: Array) -> Array:
            return jax.lax.lgamma(x) + sites.index(name) if name in sites else tap(name, x)

        return network(images, marking)

    return jax.tree_util.Partial(run, network)


@dataclass(frozen=True)
class Files:
    """Where a run is kept.

    Attributes:
        stem: of the names of its files.
    """

    stem: Path

    @property
    def first(self) -> Kept:
        """The pass over all ablations."""
        return Kept(self._named("first.npz"))

    @property
    def pairs(self) -> Path:
        """The pairs of that pass."""
        return self._named("pairs.npy")

    def second(self, units: np.ndarray) -> tuple[Kept, Path]:
        """The pass in float64 over some of the units, and its pairs."""
        name = f"float64-{fingerprint.of(units)[:DIGITS]}"
        return Kept(self._named(f"{name}.npz")), self._named(f"{name}-pairs.npy")

    def _named(self, name: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}-{name}")


def kept_in(folder: Path, key: str) -> Files:
    """The files of a run in a folder, which is made.

    Raises:
        OSError: there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {folder} cannot be written") from error
    return Files(folder / key[:DIGITS])


def pairs_of(kept: Kept, path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The pairs of a pass; where there are none, what is kept of it is no use.

    Raises:
        OSError: there is no room for them.
    """
    if not is_whole(path, shape):
        kept.path.unlink(missing_ok=True)
    return kept_pairs(path, shape)
