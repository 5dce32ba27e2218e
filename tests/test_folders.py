"""A folder is there whole or not at all; one that replaces another, or that other."""

from pathlib import Path

import pytest

from jaxsel.folders import finished_folder, replaced_folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def write(path, text="new"):
    with finished_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "result.txt").write_text(text)


def everything(folder):
    """All that is below a folder, hidden names too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_was_written_is_there_and_nothing_else(tmp_path, path):
    write(path)
    assert everything(tmp_path) == ["run", "run/sub", "run/sub/result.txt"]
    assert (path / "sub" / "result.txt").read_text() == "new"


def test_nothing_is_there_before_the_end(path):
    with finished_folder(path) as folder:
        (folder / "result.txt").write_text("half of it")
        assert not path.exists()
        assert folder.parent == path.parent  # on the same disk, or a rename would copy
    assert path.is_dir()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_or_interrupt_leaves_nothing(tmp_path, path, error):
    with pytest.raises(error), finished_folder(path) as folder:  # noqa: PT012
        (folder / "result.txt").write_text("half of it")
        raise error
    assert everything(tmp_path) == []


def test_after_an_error_the_folder_can_be_written(path):
    with pytest.raises(RuntimeError), finished_folder(path):
        raise RuntimeError
    write(path)
    assert (path / "sub").is_dir()


def test_parents_are_made(path):
    write(path / "a" / "b")
    assert everything(path) == ["a", "a/b", "a/b/sub", "a/b/sub/result.txt"]


def test_a_relative_path_stays_where_it_began(tmp_path, monkeypatch):
    """Though the working directory changes while the folder is written."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with finished_folder(Path("run")) as folder:
        (folder / "result.txt").write_text("new")
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert everything(tmp_path) == ["elsewhere", "run", "run/result.txt"]


def test_the_folder_can_be_read_by_others(path):
    """Temporary folders are private: 0o700."""
    write(path)
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_filled(path):
    path.mkdir()
    write(path)
    assert everything(path) == ["sub", "sub/result.txt"]


@pytest.mark.parametrize("taken_by", ["a file in it", "a folder in it", "a hidden file in it"])
def test_a_folder_that_is_not_empty_is_refused_and_kept(tmp_path, path, taken_by):
    path.mkdir()
    match taken_by:
        case "a file in it":
            (path / "old.txt").write_text("old")
        case "a folder in it":
            (path / "old").mkdir()
        case "a hidden file in it":
            (path / ".old").write_text("old")
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match="there already and not empty"):
        write(path)
    assert everything(tmp_path) == before


def test_a_file_in_its_place_is_refused_and_kept(tmp_path, path):
    path.write_text("old")
    with pytest.raises(FileExistsError, match="there already"):
        write(path)
    assert everything(tmp_path) == ["run"]
    assert path.read_text() == "old"


def test_what_came_in_between_is_kept(tmp_path, path):
    """Of two that write the same folder the first to finish stays."""
    with pytest.raises(FileExistsError), finished_folder(path) as folder:  # noqa: PT012
        (folder / "result.txt").write_text("late")
        write(path, "early")
    assert everything(tmp_path) == ["run", "run/sub", "run/sub/result.txt"]
    assert (path / "sub" / "result.txt").read_text() == "early"


def test_a_parent_that_is_a_file_is_an_error_of_the_system(tmp_path, path):
    path.write_text("old")
    with pytest.raises(OSError, match="run"):
        write(path / "below")
    assert everything(tmp_path) == ["run"]


def test_a_name_too_long_for_the_disk_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("x" * 300))
    assert everything(tmp_path) == []


def test_parents_made_on_the_way_go_with_a_failure(tmp_path):
    with pytest.raises(ValueError, match="stop"), finished_folder(tmp_path / "a" / "b" / "c"):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_parents_with_something_else_in_them_stay(tmp_path):
    def written_beside():
        with finished_folder(tmp_path / "a" / "b"):
            (tmp_path / "a" / "mine").write_text("")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        written_beside()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["mine"]


def test_a_link_to_nowhere_is_not_written_over(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), finished_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def replaced(path, text):
    with replaced_folder(path) as folder:
        (folder / "result.txt").write_text(text)


def test_a_folder_takes_the_place_of_an_earlier_one(tmp_path, path):
    for text in ("first", "second"):
        replaced(path, text)
        assert everything(tmp_path) == ["run", "run/result.txt"]
        assert (path / "result.txt").read_text() == text


def test_an_error_keeps_the_earlier_folder(tmp_path, path):
    replaced(path, "first")
    with pytest.raises(RuntimeError), replaced_folder(path):
        raise RuntimeError
    assert everything(tmp_path) == ["run", "run/result.txt"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_at_any_rename_one_of_the_two_is_there_at_the_next_call(
    tmp_path, path, monkeypatch, step
):
    replaced(path, "first")
    rename, calls = Path.replace, []

    def killed(self, target):
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            replaced(path, "second")
    with replaced_folder(path) as folder:
        assert (path / "result.txt").read_text() == "first"
        (folder / "result.txt").write_text("third")
    assert (path / "result.txt").read_text() == "third"
    assert everything(tmp_path) == ["run", "run/result.txt"]
