"""An array on disk is whole or made again, whatever happened on the way."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from jaxsel import locks, stored, storing
from jaxsel.storing import stored_array

ROOT = Path(__file__).parent.parent
ROWS, BLOCK = 10, 3
SHAPE = (ROWS, 4)
FLOAT64 = np.dtype(np.float64)
ABOUT = {"network": "a", "images": "b"}


def row(number):
    return np.random.default_rng(number).normal(size=SHAPE[1:])


WHOLE = np.stack([row(number) for number in range(ROWS)])


def blocks(start):
    for first in range(start, ROWS, BLOCK):
        yield WHOLE[first : first + BLOCK]


def nothing(start):
    raise AssertionError(f"rows are computed again, from {start} on")


def store(path, blocks=blocks, about=ABOUT, progress=None, block=BLOCK):
    return stored_array(path, about, SHAPE, FLOAT64, block, blocks, progress)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "fc6"


@pytest.fixture
def made(path):
    store(path)
    return path


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


COMPLETE = ["fc6", "fc6/array.npy", "fc6/manifest"]


# --- what is there ---


def test_rows_come_back_bit_for_bit(made):
    found = store(made, nothing)
    assert found.precision == FLOAT64
    assert found[:].tobytes() == WHOLE.tobytes()
    assert found[2:7].tobytes() == WHOLE[2:7].tobytes()
    chosen = np.array([7, 1, 1])
    assert found[chosen].tobytes() == WHOLE[chosen].tobytes()
    assert len(found) == ROWS


def test_numpy_opens_the_file(made):
    found = np.load(made / "array.npy", mmap_mode="r")
    np.testing.assert_array_equal(found, WHOLE)


def test_nothing_else_is_left(made):
    assert everything(made.parent) == COMPLETE


def test_blocks_of_another_size_read_the_same(made):
    assert store(made, nothing, block=7)[:].tobytes() == WHOLE.tobytes()


def test_progress_counts_the_rows_made_and_checked(path):
    for source in (blocks, nothing):
        done = []
        store(path, source, progress=done.append)
        assert done == [3, 6, 9, 10]


def test_what_is_read_stays_readable_when_it_is_made_again(made):
    found = store(made, nothing)
    shutil.rmtree(made)
    assert found[:].tobytes() == WHOLE.tobytes()


# --- what is damaged ---


def flipped(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def edited(path, **changes):
    first, *rest = (path / "manifest").read_text().split("\n")
    text = json.dumps(json.loads(first) | changes)
    (path / "manifest").write_text("\n".join([text, *rest]))


def foreign(path, array=WHOLE):
    np.save(path / "array.npy", array)


def with_line(path, place, line):
    lines = (path / "manifest").read_text().split("\n")
    lines[place] = line
    (path / "manifest").write_text("\n".join(lines))


def file_in_its_place(path):
    shutil.rmtree(path)
    path.write_text("mine")


def folder_for_array(path):
    (path / "array.npy").unlink()
    (path / "array.npy").mkdir()


def link_to_nowhere(path):
    shutil.rmtree(path)
    path.symlink_to(path.parent / "nowhere")


def swapped(path):
    """Two whole blocks, and their digests stay where they are."""
    foreign(path, np.concatenate([WHOLE[3:6], WHOLE[:3], WHOLE[6:]]))


DAMAGE = {
    "the array is cut": lambda p: os.truncate(p / "array.npy", 200),
    "the array is empty": lambda p: os.truncate(p / "array.npy", 0),
    "the array is cut in its header": lambda p: os.truncate(p / "array.npy", 20),
    "the array is longer": lambda p: os.truncate(p / "array.npy", 1000),
    "a bit of a number": lambda p: flipped(p / "array.npy", -100),
    "a bit of the last number": lambda p: flipped(p / "array.npy", -1),
    "a bit of the header": lambda p: flipped(p / "array.npy", 30),
    "another file's magic": lambda p: flipped(p / "array.npy", 1),
    "no array": lambda p: (p / "array.npy").unlink(),
    "an array that is a folder": folder_for_array,
    "no manifest": lambda p: (p / "manifest").unlink(),
    "an empty manifest": lambda p: (p / "manifest").write_text(""),
    "a manifest that is no JSON": lambda p: with_line(p, 0, "{"),
    "a manifest that is no table": lambda p: with_line(p, 0, "[]"),
    "a manifest in another encoding": lambda p: (p / "manifest").write_bytes(b"\xff\xfe"),
    "a manifest without its last block": lambda p: with_line(p, 4, ""),
    "a digest of something else": lambda p: with_line(p, 2, "0" * 64),
    "of another network": lambda p: edited(p, network="c"),
    "of other images": lambda p: edited(p, images="c"),
    "of another format": lambda p: edited(p, format=0),
    "of another shape": lambda p: edited(p, shape=[ROWS, 5]),
    "of another type": lambda p: edited(p, type="<f4"),
    "blocks of no size": lambda p: edited(p, block=0),
    "blocks of a size that is no number": lambda p: edited(p, block=None),
    "an array of another type": lambda p: foreign(p, WHOLE.astype(np.float32)),
    "an array of the other byte order": lambda p: foreign(p, WHOLE.astype(">f8")),
    "an array that lies by columns": lambda p: foreign(p, np.asfortranarray(WHOLE)),
    "an array of another shape": lambda p: foreign(p, WHOLE.T.copy()),
    "another array": lambda p: foreign(p, WHOLE + 1e-15),
    "an array of objects": lambda p: foreign(p, np.array([None] * ROWS)),
    "blocks in another order": swapped,
    "an empty folder": lambda p: [shutil.rmtree(p), p.mkdir()],
    "a file": file_in_its_place,
    "a link to nowhere": link_to_nowhere,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_what_was_written_is_made_again_and_said(made, damage):
    DAMAGE[damage](made)
    with pytest.warns(UserWarning, match="fc6 is made again: .*"):
        found = store(made)
    assert found[:].tobytes() == WHOLE.tobytes()
    assert everything(made.parent) == COMPLETE
    store(made, nothing)  # and now it is whole


def test_a_flipped_bit_anywhere_is_noticed(made):
    """But in the size of the blocks and the padding of NumPy's header nothing may change."""
    for file in sorted(made.iterdir()):
        original = file.read_bytes()
        for place in range(0, len(original), 7):
            flipped(file, place)
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                assert store(made)[:].tobytes() == WHOLE.tobytes()
            if not seen:  # what was changed means nothing
                file.write_bytes(original)
    store(made, nothing)


@pytest.mark.parametrize("damage", ["the array is cut", "of another network", "a file"])
def test_the_warning_says_what_was_found(made, damage):
    DAMAGE[damage](made)
    reason = {
        "the array is cut": r"array.npy has 200 bytes and not 448",
        "of another network": r"its manifest says network 'c' and not 'a'",
        "a file": r"Not a directory",
    }
    with pytest.warns(UserWarning, match=reason[damage]):
        store(made)


# --- what is not finished ---


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the library catches it."""


def killed_after(n_blocks):
    def some(start):
        for number, rows in enumerate(blocks(start)):
            if number == n_blocks:
                raise KilledError
            yield rows

    return some


def test_a_killed_run_is_gone_on_with(path):
    for _ in range(3):
        with pytest.raises(KilledError):
            store(path, killed_after(1))
    starts = []
    store(path, lambda start: starts.append(start) or blocks(start))
    assert starts == [9]
    assert everything(path.parent) == COMPLETE


def unfinished(path):
    (work,) = path.parent.glob(".fc6.unfinished-*")
    return work


@pytest.mark.parametrize(
    "damage, start",
    [
        (lambda w: flipped(w / "array.npy", -SHAPE[1] * 8 * 6 - 1), 3),
        (lambda w: with_line(w, 3, "0" * 30), 6),
        (lambda w: with_line(w, 1, "0" * 64), 0),
        (lambda w: with_line(w, 3, "torn"), 6),
        (lambda w: os.truncate(w / "manifest", (w / "manifest").stat().st_size - 1), 6),
        (lambda w: (w / "array.npy").unlink(), 0),
        (lambda w: (w / "manifest").write_text(""), 0),
        (lambda w: edited(w, network="c"), 0),
        (lambda w: os.truncate(w / "array.npy", 300), 0),
    ],
    ids=[
        "a bit of the second block",
        "half of the last digest",
        "the first digest",
        "no digest",
        "all but the end of the last line",
        "no array",
        "an empty manifest",
        "another network",
        "half of the array",
    ],
)
def test_of_an_unfinished_array_only_what_is_right_is_kept(path, damage, start):
    with pytest.raises(KilledError):
        store(path, killed_after(3))
    damage(unfinished(path))
    starts = []
    found = store(path, lambda start: starts.append(start) or blocks(start))
    assert starts == [start]
    assert found[:].tobytes() == WHOLE.tobytes()
    assert everything(path.parent) == COMPLETE


def test_blocks_of_another_size_begin_anew(path):
    """Other batches may give other last bits: one array is not made of both."""
    with pytest.raises(KilledError):
        store(path, killed_after(2))
    starts = []

    def in_fives(start):
        starts.append(start)
        yield from (WHOLE[:5], WHOLE[5:])

    store(path, in_fives, block=5)
    assert starts == [0]
    assert everything(path.parent) == COMPLETE


def test_an_error_leaves_nothing_and_an_interrupt_what_is_done(path):
    def failing(error):
        def some(start):
            yield WHOLE[:3]
            raise error

        return some

    with pytest.raises(ValueError, match="stop"):
        store(path, failing(ValueError("stop")))
    assert everything(path.parent) == []
    with pytest.raises(KeyboardInterrupt):
        store(path, failing(KeyboardInterrupt()))
    starts = []
    store(path, lambda start: starts.append(start) or blocks(start))
    assert starts == [3]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_killed_at_any_line_the_next_run_ends_with_the_same(tmp_path):
    """A run that ends at its first line, its second, and so on, until one gets through."""
    files = {module.__file__ for module in (locks, stored, storing)}

    def run_until(last, path):
        lines = 0

        def trace(frame, event, _):
            nonlocal lines
            if frame.f_code.co_filename not in files:
                return None
            lines += event == "line"
            if lines == last:
                sys.settrace(None)
                raise KilledError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            store(path)
        except KilledError:
            return False
        finally:
            sys.settrace(before)
        return True

    for last in range(1, 2000):
        path = tmp_path / str(last) / "fc6"
        finished = run_until(last, path)
        if not finished and path.parent.is_dir():
            assert path.exists() <= (everything(path) == ["array.npy", "manifest"])
        assert store(path, nothing if finished else blocks)[:].tobytes() == WHOLE.tobytes()
        # At most an empty folder, if the run ended when it had just been made.
        left = [p for p in path.parent.iterdir() if p != path]
        assert not any(any(p.iterdir()) for p in left)
        if finished:
            return
    pytest.fail("no run got through")


# --- several runs ---


def test_two_runs_at_once_do_not_meet(path):
    """The second one begins and ends while the first is between two blocks."""
    inner = []

    def disturbed(start):
        for rows in blocks(start):
            yield rows
            if not inner:
                inner.append(store(path)[:])

    found = store(path, disturbed)
    assert inner[0].tobytes() == found[:].tobytes() == WHOLE.tobytes()
    assert everything(path.parent) == COMPLETE


# These files need nothing else of the package: a process starts in a tenth of a second.
CHILD = """
import sys, time, types
package = types.ModuleType("jaxsel")
package.__path__ = [sys.argv[1] + "/jaxsel"]
sys.modules["jaxsel"] = package
import hashlib, resource
from pathlib import Path
import numpy as np
from jaxsel.storing import stored_array

path, pause = Path(sys.argv[2]), float(sys.argv[6])
rows, width, block = map(int, sys.argv[3:6])

def blocks(start):
    for first in range(start, rows, block):
        time.sleep(pause)
        yield np.random.default_rng(first).random((min(block, rows - first), width))

print("ready", flush=True)
found = stored_array(path, {"kind": "test"}, (rows, width), np.dtype(float), block, blocks)
total = hashlib.sha256()
for first in range(0, rows, block):
    total.update(found[first : first + block])
print(total.hexdigest(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def child(path, rows, width, block, pause=0.0):
    arguments = [str(argument) for argument in (ROOT, path, rows, width, block, pause)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    digest, memory = out.split()[-2:]
    return digest, int(memory) * 1024


needs_locks = pytest.mark.skipif(locks.fcntl is None, reason="this system has no fcntl")


@needs_locks
def test_twenty_kills_at_random_moments_and_the_same_bytes(tmp_path, rng):
    size = 1000, 100, 10
    expected, _ = result(child(tmp_path / "undisturbed" / "fc6", *size))
    path = tmp_path / "killed" / "fc6"
    progress = []
    for wait in rng.uniform(0, 0.06, 20):
        process = child(path, *size, 0.005)
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.kill()
        process.communicate()
        assert not path.exists()
        manifests = list(path.parent.glob(".fc6.unfinished-*/manifest"))
        progress.append(sum(len(m.read_bytes().splitlines()) for m in manifests))
    assert progress[-1] > 20  # blocks of several runs were kept
    assert len(list(path.parent.iterdir())) == 1
    assert result(child(path, *size))[0] == expected
    files = [folder / "fc6" / "array.npy" for folder in (tmp_path / "undisturbed", path.parent)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert everything(path.parent) == COMPLETE


@needs_locks
def test_two_processes_on_one_array_both_end_with_the_right_one(tmp_path):
    size = 200, 100, 10
    expected, _ = result(child(tmp_path / "alone" / "fc6", *size))
    path = tmp_path / "together" / "fc6"
    both = [child(path, *size, 0.01) for _ in range(2)]
    assert [result(process)[0] for process in both] == [expected] * 2
    assert everything(path.parent) == COMPLETE


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """16 and 128 MB in blocks of 1 MB; both times made, checked and read."""
    peaks = [result(child(tmp_path / str(rows), rows, 1250, 100))[1] for rows in (1600, 12_800)]
    again = result(child(tmp_path / "12800", 12_800, 1250, 100))[1]
    assert max(peaks[1], again) - peaks[0] < 10e6


# --- a full disk ---


def refuse_to_reserve(*_):
    raise OSError(errno.EOPNOTSUPP, "not here")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "jaxsel-test", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def large(path, started=None):
    """Of 4 MB, in four blocks."""

    def quarters(start):
        if started is not None:
            started.append(start)
        for _ in range(4):
            yield np.ones((100, 1250))

    return stored_array(path, {}, (400, 1250), FLOAT64, 100, quarters)


def test_a_disk_that_is_too_small_is_known_before_anything_is_computed(small_disk):
    started = []
    with pytest.raises(OSError, match="No space left on device: 4,000,000 bytes") as found:
        large(small_disk / "fc6", started)
    assert found.value.errno == errno.ENOSPC
    assert started == []
    assert everything(small_disk) == []


def test_a_disk_that_fills_on_the_way_leaves_nothing(small_disk, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", refuse_to_reserve, raising=False)
    with pytest.raises(OSError, match="No space left on device") as found:
        large(small_disk / "fc6")
    assert found.value.errno == errno.ENOSPC
    assert everything(small_disk) == []
    store(small_disk / "fc6")  # what is smaller fits


@pytest.mark.parametrize("at", range(1, 10))
def test_a_write_that_fails_leaves_nothing(path, monkeypatch, at):
    """The first, of the manifest, the second, of a block, and so on."""
    write, calls = storing._write, []

    def failing(file, content):
        calls.append(None)
        if len(calls) == at:
            write(file, memoryview(content)[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, content)

    monkeypatch.setattr(storing, "_write", failing)
    with pytest.raises(OSError, match="No space left on device: 320 bytes cannot be kept in"):
        store(path)
    assert everything(path.parent) == []


def test_a_file_that_may_not_grow_so_far_is_told_like_a_full_disk(path, monkeypatch):
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large: 4,000,000 bytes cannot be kept"):
            large(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert everything(path.parent) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists: 320 bytes cannot be kept in"):
        store(tmp_path / "file" / "fc6")


def cannot_lock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("kind", ["system", "file system"])
def test_without_locks_it_is_made_too(path, monkeypatch, kind):
    """What was begun is left alone then: somebody may be writing it."""
    if kind == "system":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        fcntl = pytest.importorskip("fcntl")
        monkeypatch.setattr(fcntl, "flock", cannot_lock)
    with pytest.raises(KilledError):
        store(path, killed_after(2))
    before = unfinished(path)
    assert store(path)[:].tobytes() == WHOLE.tobytes()
    assert store(path, nothing)[:].tobytes() == WHOLE.tobytes()
    assert unfinished(path) == before
