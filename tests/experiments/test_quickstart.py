"""The quickstart as a user meets it: a finished page, the same bytes again, clear errors."""

import base64
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments import cli, quickstart
from experiments.kanda.measure import MEANINGS
from jaxsel.ablation.kept import Kept

ROOT = Path(__file__).parents[2]
FIGURES = {
    "report": [
        f"figure_{name}"
        for name in ("1a", "1b", "1c", "1d", "2", "3", "4", "5", "6", "6_others")
    ],
    "controls": [f"control_{number}" for number in (1, 2, 3, 4)],
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One run on all test images, with few trials."""
    out = tmp_path_factory.mktemp("quickstart") / "run"
    quickstart.main(quickstart.Config(trials=4, out=out))
    return out


def files(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_folder_holds_what_is_promised(result):
    expected = {"config.json", "units.parquet", "summary.json", "claims.json"}
    expected |= {"report.html", "controls.html", "controls.parquet"}
    expected |= {
        f"figures/{name}.{kind}"
        for names in FIGURES.values()
        for name in names
        for kind in ("svg", "png")
    }
    assert files(result).keys() == expected


def test_the_network_is_good_enough_to_be_analysed(result):
    summary = json.loads((result / "summary.json").read_text())
    assert summary["table_1.all.top1"]["value"] >= 0.97
    assert summary["table_1.all.images"]["value"] == 449
    assert json.loads((result / "config.json").read_text())["validation_accuracy"] >= 0.975


def test_every_unit_has_a_row_and_every_column_a_meaning(result):
    table = pq.read_table(result / "units.parquet")
    assert table.column_names == list(MEANINGS)
    assert all(field.metadata[b"meaning"] for field in table.schema)
    counts = dict(zip(*np.unique(table["site"].to_numpy(), return_counts=True), strict=True))
    assert counts == {
        "conv1": 32,
        **dict.fromkeys(["conv2", "conv3", "conv4", "conv5"], 64),
        "fc6": 512,
        "fc7": 512,
    }


def test_silent_units_have_no_index_and_no_effect(result):
    table = pq.read_table(result / "units.parquet").to_pydict()
    dead = np.array(table["dead"])
    assert dead.sum() > 50
    assert np.isnan(np.array(table["csi"])[dead]).all()
    assert (np.array(table["loss_change"])[dead] == 0).all()
    assert (np.array(table["verdict"])[dead] == "zero").all()
    assert (np.array(table["verdict"])[~dead] != "zero").all()


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_is_self_contained_and_holds_every_number(result, name):
    page = (result / f"{name}.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    images = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    svgs = [(result / "figures" / f"{figure}.svg").read_bytes() for figure in FIGURES[name]]
    assert [base64.b64decode(image) for image in images] == svgs
    summary = json.loads((result / "summary.json").read_text())
    of_page = {key for key in summary if key.startswith("control_") == (name == "controls")}
    assert of_page
    assert set(re.findall(r"<code>((?:figure|table|control)_[^<]*)</code>", page)) == of_page
    assert all(entry["meaning"] and entry["unit"] for entry in summary.values())


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes(result, tmp_path):
    again = tmp_path / "again"
    quickstart.main(quickstart.Config(trials=4, out=again))
    first, second = files(result), files(again)
    assert {name for name in first if first[name] != second.get(name)} == set()


def npz(path, n=30, **changed):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
    arrays = {"images": images, "labels": np.arange(n) % 10}
    np.savez(path, **(arrays | changed))
    return f"npz:{path}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of a small random mlp, made by the port."""
    from ports.__main__ import main

    folder = tmp_path_factory.mktemp("weights")
    rng = np.random.default_rng(0)
    arrays = {}
    for depth, (n_in, n_out) in enumerate([(784, 24), (24, 16), (16, 10)]):
        arrays[f"linears.{depth}.weight"] = (
            rng.normal(size=(n_out, n_in)).astype(np.float32) / 5
        )
        arrays[f"linears.{depth}.bias"] = rng.normal(size=n_out).astype(np.float32) / 5
    np.savez(folder / "mlp.npz", **arrays)
    main(["mlp", "--file", str(folder / "mlp.npz"), "--out", str(folder / "mlp")])
    return folder / "mlp"


def call(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["quickstart", *map(str, flags)])
    cli.run(quickstart.main, quickstart.Config, "")


def test_a_ported_network_is_analysed_and_only_the_place_of_the_page_is_printed(
    tmp_path, weights
):
    """On the five best images of each of ten classes; in another process, to the same bytes."""
    source = npz(tmp_path / "images.npz", n=100)
    command = [sys.executable, "-m", "experiments.quickstart", "--data", source]
    command += ["--weights", str(weights), "--trials", "2", "--out", str(tmp_path / "run")]
    command += ["--images", "best", "--no-controls"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == f"report: {tmp_path / 'run' / 'report.html'}\n"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["preprocess"], config["n_analysed"]) == ("unit_range", 50)
    again = quickstart.Config(
        data=source, weights=weights, trials=2, images="best", controls=False,
        out=tmp_path / "again",
    )  # fmt: skip
    quickstart.main(again)
    first, second = files(tmp_path / "run"), files(tmp_path / "again")
    assert {name for name in first if first[name] != second.get(name)} == set()


NAN = np.full((30, 28, 28), np.nan, np.float32)
BAD_DATA = {
    "labels and images of different lengths": ({"labels": np.zeros(7, int)}, "30 images but 7"),
    "labels beyond the network's classes": ({"labels": np.arange(30)}, "possible are 0 to 9"),
    "negative labels": ({"labels": np.full(30, -1)}, "labels outside the classes: found -1"),
    "labels outside the named classes": (
        {"class_names": np.array(["a", "b"])},
        "possible are 0 to 1",
    ),
    "NaN pixels": ({"images": NAN}, "image 0 has pixels that are NaN"),
    "an empty data set": ({"images": NAN[:0], "labels": np.zeros(0, int)}, "it has no images"),
    "images of another size": (
        {"images": np.zeros((30, 5, 5), "u1")},
        "784 numbers; found 5x5",
    ),
    "one class only": ({"labels": np.zeros(30, int)}, "all of one class"),
    "a label of a billion": ({"labels": np.full(30, 10**9)}, "largest label is 1000000000"),
    "labels that are one number": ({"labels": np.array(3)}, "labels (images,); found"),
    "pixels that are scaled already": (
        {"images": np.full((30, 784), 0.5)},
        "whole numbers 0 to 255; found float64",
    ),
    "labels that are no integers": ({"labels": np.zeros(30)}, "labels must be one integer"),
}


@pytest.mark.parametrize("changed, message", BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_gets_one_sentence(monkeypatch, tmp_path, weights, changed, message):
    source = npz(tmp_path / "bad.npz", **changed)
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, "--data", source, "--weights", weights, "--out", out)
    assert message in str(stop.value.code)
    assert "\n" not in str(stop.value.code)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]


BAD_FLAGS = {
    "an unknown source": (["--data", "imagenet"], "possible are digits, npz:PATH"),
    "an unknown site": (["--sites", "fc9"], "this network has conv1, conv2, conv3"),
    "a missing file": (["--data", "npz:nowhere.npz"], "no file nowhere.npz"),
    "no such checkpoint": (["--weights", "nowhere"], "nowhere is no checkpoint"),
    "a split that is not there": (["--split", "test"], "digits has no split 'test'"),
    "no trials": (["--trials", "0"], "at least 1; found 0"),
    "a negative seed": (["--seed", "-1"], "0 or more; found -1"),
}


@pytest.mark.parametrize("flags, message", BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_bad_flags_get_one_sentence(monkeypatch, tmp_path, flags, message):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *flags, "--out", tmp_path / "run")
    assert message in str(stop.value.code)
    assert "\n" not in str(stop.value.code)
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"file/run cannot be written"):
        call(monkeypatch, "--out", tmp_path / "file" / "run")


def test_a_result_is_never_overwritten(monkeypatch, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(SystemExit, match="not empty"):
        call(monkeypatch, "--out", tmp_path / "run")
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_writes_the_same_bytes(
    tmp_path, weights, monkeypatch
):
    """Killed after both hidden layers and a mixture; or at the last of the controls."""
    settings = {"data": npz(tmp_path / "images.npz"), "weights": weights, "trials": 2}
    quickstart.main(quickstart.Config(**settings, out=tmp_path / "plain"))
    write, written, stop = Kept.write, [], [0]

    def writing(self, arrays, said):
        write(self, arrays, said)
        written.append(self.path)
        if len(written) == stop[0]:
            raise SystemExit

    monkeypatch.setattr(Kept, "write", writing)
    for name, at in (("first", 3), ("last", None)):
        stop[0] = at or len(written)
        written.clear()
        out = tmp_path / name
        config = quickstart.Config(**settings, resume=tmp_path / f"kept {name}", out=out)
        with pytest.raises(SystemExit):
            quickstart.main(config)
        assert not out.exists()
        quickstart.main(config)
        assert len(set(written)) == len(written) > 3  # nothing twice
        assert files(out) == files(tmp_path / "plain")


@pytest.mark.parametrize(
    "stopped_by, at",
    [
        pytest.param(signal.SIGINT, "/figures", marks=pytest.mark.slow),
        (signal.SIGTERM, ""),
        (signal.SIGKILL, ""),
    ],
    ids=["ctrl-c while it draws", "term", "kill"],
)
def test_an_interrupted_run_leaves_no_result(tmp_path_factory, weights, stopped_by, at):
    tmp_path = tmp_path_factory.mktemp("interrupted")
    source = npz(tmp_path_factory.mktemp("images") / "images.npz")
    # A shell's background jobs ignore ctrl-c and hand that on: undone first.
    program = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("experiments.quickstart", run_name="__main__")
"""
    command = [sys.executable, "-c", program, "--out", str(tmp_path / "run")]
    command += ["--data", source, "--weights", str(weights)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob(f".run.unfinished-*{at}")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(stopped_by)
    out, error = process.communicate()
    assert process.returncode != 0
    assert out == ""
    assert not (tmp_path / "run").exists()
    if stopped_by != signal.SIGKILL:
        assert error == "interrupted: no result was written\n"
        assert list(tmp_path.iterdir()) == []
