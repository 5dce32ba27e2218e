"""Checkpoints: orbax behind one door, with a manifest that says what is in them.

A checkpoint is a folder with `arrays/` (orbax) and `manifest.json`. The manifest names the
network, its settings and its source, and gives shape and SHA-256 of every array and every
file, so that a torn, mixed up or edited checkpoint is refused instead of analysed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from .folders import finished_folder

FORMAT = 1


def write(path: Path, arrays: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write a tree of arrays and its manifest; whole or not at all.

    Args:
        path: the folder to make; it must not hold anything yet.
        arrays: nested dictionaries of arrays.
        manifest: `network`, `settings` and whatever else is known; the list of arrays and
            the parameter count are added.

    Returns:
        The manifest as written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder) / "weights"
    ...     arrays = {"head": {"bias": np.zeros(3, np.float32)}}
    ...     written = write(place, arrays, {"network": "mlp", "settings": {}})
    ...     manifest, found = read(place)
    >>> written["parameters"], manifest == written, found["head"]["bias"].shape
    (3, True, (3,))
    """
    arrays = jax.tree.map(np.asarray, dict(arrays))
    listed = {name: _fingerprint(array) for name, array in named(arrays).items()}
    full = {
        "format": FORMAT,
        **manifest,
        "parameters": sum(int(np.prod(entry["shape"])) for entry in listed.values()),
        "arrays": listed,
    }
    with finished_folder(path) as folder:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / "arrays", arrays)
        full["files"] = _files(folder / "arrays")
        (folder / "manifest.json").write_text(json.dumps(full, indent=2) + "\n")
    return full


def read_manifest(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: a manifest that cannot be read or is of another format.
    """
    file = Path(path) / "manifest.json"
    if not file.is_file():
        raise FileNotFoundError(f"{path} is no checkpoint: there is no {file}")
    try:
        manifest = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    needed = {"format", "network", "settings", "arrays", "files"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys():
        raise ValueError(f"{file} is no manifest of jaxsel's")
    if not all(isinstance(manifest[key], dict) for key in ("settings", "arrays")):
        raise ValueError(f"{file} is damaged: its settings and arrays are no tables")
    if manifest["format"] != FORMAT:
        raise ValueError(f"{file} has format {manifest['format']!r}; possible is {FORMAT}")
    return manifest


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and arrays of a checkpoint, checked against each other.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: a file or an array is missing, not listed, or not what the manifest
            says.
    """
    manifest = read_manifest(path)
    # Before orbax reads them: its threads complain at length of a file that is torn.
    if _files(Path(path) / "arrays") != manifest["files"]:
        raise ValueError(f"{path}: the files in arrays/ are not those that the manifest lists")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore((Path(path) / "arrays").absolute())
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the arrays of {path} cannot be read: {error}") from error
    arrays = jax.tree.map(np.asarray, arrays)
    found = {name: _fingerprint(array) for name, array in named(arrays).items()}
    listed = manifest["arrays"]
    for name in sorted(found.keys() | listed.keys()):
        if found.get(name) != listed.get(name):
            raise ValueError(f"{path}: the array {name} is not what the manifest says")
    return manifest, arrays


def named(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested dictionaries by path, such as `layers/0/kernel`.

    >>> named({"layers": {0: {"bias": 1}}})
    {'layers/0/bias': 1}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in the folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _fingerprint(array: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(array)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(data.tobytes()).hexdigest(),
    }
