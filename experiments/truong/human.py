"""People's similarity matrices, from files as they come."""

import csv
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from jaxsel.data.folder import SUFFIXES
from jaxsel.similarity import upper_triangle

from .named import named


def matrices(
    path: Path, names: Sequence[str], images: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """The upper triangle of every category's matrix, images in the order of their names.

    A `.npz` or `.mat` file has an array for every category: `(images, images)`, or `(subjects,
    images, images)`, of which the mean is taken. A folder has `CATEGORY.csv`: numbers only, or
    with the images' names (of files, with or without suffix) in the first row and column, by
    which they are put in order. Without names, images must be in the order of the names, and
    that must not differ from their order by number.

    Args:
        path: file or folder.
        names: of the categories.
        images: names of the images of every category, in order.

    Raises:
        FileNotFoundError: no such file, or none for a category.
        KeyError: no array for a category.
        ValueError: a matrix of other size, with names of other images, or not symmetric; all
            judgements missing (NaN is otherwise a pair that was not judged).
    """
    read = {".npz": npz_arrays, ".mat": _mat}.get(path.suffix)
    if read is None and not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        raise ValueError(f"{path} is no .npz or .mat file, nor a folder with .csv files")
    arrays = read(path) if read is not None else None
    found = {}
    for name, files in zip(names, images, strict=True):
        if arrays is None:
            matrix = _csv(path / f"{name}.csv", files)
        elif name not in arrays:
            raise KeyError(
                f"{path} has no array {name!r} for the category: it has {', '.join(arrays)}"
            )
        else:
            _refuse_unclear_order(name, files)
            matrix = arrays[name]
        with named(name):
            found[name] = _checked(np.asarray(matrix), len(files))
    return found


def _checked(matrix: np.ndarray, n_images: int) -> np.ndarray:
    if matrix.dtype.kind not in "iuf":
        raise ValueError(f"people's matrix is of {matrix.dtype}, not of real numbers")
    fits = matrix.ndim in (2, 3) and matrix.shape[-2:] == (n_images, n_images)
    if not fits or len(matrix) == 0:
        raise ValueError(
            f"people's matrix has shape {matrix.shape}, but there are {n_images} images"
        )
    matrix = matrix.astype(np.float64)
    several = matrix if matrix.ndim == 3 else matrix[None]
    each = np.stack([upper_triangle(one) for one in several])
    if np.isinf(each).any():
        raise ValueError("people's matrix has infinite values")
    counts = np.isfinite(each).sum(axis=0)
    sums = np.nansum(each, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _refuse_unclear_order(name: str, files: Sequence[str]) -> None:
    """Whether rows without names could be in another order than the files: 1, 2, 10."""
    stems = [_stem(file) for file in files]
    if (by_letter := sorted(stems, key=str.casefold)) != stems:
        swapped = next(i for i, stem in enumerate(stems) if stem != by_letter[i])
        raise ValueError(
            f"{name}: is image {swapped} of people's matrix {stems[swapped]} (capital letters "
            f"first) or {by_letter[swapped]}? Give a .csv with names, or name the files in "
            "small letters"
        )
    by_number = sorted(stems, key=lambda stem: [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", stem)
    ])  # fmt: skip
    if by_number != stems:
        swapped = next(i for i, stem in enumerate(stems) if stem != by_number[i])
        raise ValueError(
            f"{name}: is image {swapped} of people's matrix {stems[swapped]} (order of names) "
            f"or {by_number[swapped]} (order of numbers)? Give a .csv with names, or name the "
            "files with as many digits each"
        )


def _stem(name: str) -> str:
    """The name of an image's file without its suffix, if it has one."""
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _mat(path: Path) -> dict[str, np.ndarray]:
    try:
        found = scipy.io.loadmat(path)
    except NotImplementedError as error:  # what scipy says of HDF5
        raise ValueError(
            f"{path} is of MATLAB 7.3 (HDF5): save it with -v7, or as .npz"
        ) from error
    except (ValueError, TypeError, MatReadError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return {name: array for name, array in found.items() if not name.startswith("__")}


def _csv(path: Path, files: Sequence[str]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with people's matrix")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8") from error
    named = len(rows) == len(files) + 1  # one row more
    if {len(row) for row in rows} != {len(rows)}:
        raise ValueError(
            f"{path} is no square table of {len(files)} images with commas between: it has "
            f"{len(rows)} rows of {', '.join(map(str, sorted({len(row) for row in rows})))} "
            "cells"
        )
    order = list(range(len(files)))
    if named:
        columns, rows = rows[0][1:], rows[1:]
        order = _order(path, columns, [row[0] for row in rows], files)
        rows = [row[1:] for row in rows]
    else:
        _refuse_unclear_order(path.stem, files)
    try:
        numbers = [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows]
    except ValueError as error:
        raise ValueError(f"{path} is no matrix of numbers: {error}") from error
    matrix = np.array(numbers)
    return matrix[np.ix_(order, order)] if named else matrix


def _order(
    path: Path, columns: Sequence[str], rows: Sequence[str], files: Sequence[str]
) -> list[int]:
    """Where each image is in the file."""
    stems, of_rows = ([_stem(name.strip()) for name in one] for one in (columns, rows))
    if stems != of_rows:
        raise ValueError(f"{path} has other images in its first row than in its first column")
    wanted = [_stem(name) for name in files]
    if sorted(stems) != sorted(wanted) or len(set(stems)) < len(stems):
        others = sorted(set(stems) ^ set(wanted))
        raise ValueError(
            f"{path} is of other images than the folder: {', '.join(others[:3]) or 'repeated'}"
        )
    return [stems.index(name) for name in wanted]
