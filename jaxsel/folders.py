"""A folder that is there whole or not at all, also where it replaces another."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def finished_folder(path: Path) -> Iterator[Path]:
    """Write a folder beside its place and rename it when it is finished.

    Whoever sees `path` sees it complete. An error or an interrupt removes what was
    written; a killed process leaves at most a hidden `.NAME.unfinished-*` beside it.

    Args:
        path: where the finished folder is to be; its parents are made.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: `path` is a file, or a folder that is not empty.
        OSError: it cannot be written there.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with finished_folder(Path(parent) / "run") as folder:
    ...         _ = (folder / "config.json").write_text("{}")
    ...     sorted(p.name for p in (Path(parent) / "run").iterdir())
    ['config.json']
    """
    path = Path(path).absolute()
    refuse_taken(path)
    made = [parent for parent in path.parents if not parent.exists()]  # innermost first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.unfinished-", dir=path.parent))
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error
    try:
        unfinished.chmod(0o755)  # mkdtemp makes it private; a result is to be shared
        yield unfinished
        refuse_taken(path)
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Write a folder that takes the place of an earlier one when it is finished.

    Whoever sees `path` sees one of the two, complete; for the moment between two renames,
    neither. What a process leaves that is killed just then (hidden `.NAME.old` and `.NAME.new`)
    the next call puts right: the earlier folder is never lost.

    Args:
        path: the folder, there or not.

    Yields:
        The folder to write into.

    Raises:
        OSError: it cannot be written there.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     for text in ("first", "second"):
    ...         with replaced_folder(Path(parent) / "run") as folder:
    ...             _ = (folder / "name").write_text(text)
    ...     [p.name for p in Path(parent).iterdir()], (Path(parent) / "run/name").read_text()
    (['run'], 'second')
    """
    path = Path(path).absolute()
    old, new = (path.with_name(f".{path.name}.{age}") for age in ("old", "new"))
    if old.exists() and not path.exists():
        old.replace(path)
    for left in (old, new):
        shutil.rmtree(left, ignore_errors=True)
    with finished_folder(new) as folder:
        yield folder
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def refuse_taken(path: Path) -> None:
    """Raise `FileExistsError` if something is at `path` that a rename would destroy."""
    dangling = path.is_symlink() and not path.exists()
    if dangling or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise FileExistsError(
            f"{path} is there already and not empty: remove it or name another folder"
        )
