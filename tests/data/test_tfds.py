"""`tfds:NAME`: prepared data of many kinds, and all of it damaged."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as library
from PIL import Image
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from jaxsel.data import default_data_dir, load, tfds
from tests.references.cifar10_archive import NAMES, TEST, TRAIN, check

FILES = [
    "cifar10-test.array_record-00000", "cifar10-train.array_record-00000",
    "dataset_info.json", "features.json", "label.labels.txt",
]  # fmt: skip


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    stream.seek(0)
    return stream


def write(data_dir, features, splits, name="some", version="1.0.0", config=None):
    """A data set as tensorflow-datasets' own writer writes it."""
    folder = data_dir / name / (config or "") / version
    folder.mkdir(parents=True)
    identity = DatasetIdentity(
        name=name, version=library.core.Version(version), data_dir=str(folder),
        module_name="tests", config_name=config,
    )  # fmt: skip
    info = library.core.DatasetInfo(
        builder=identity, features=library.features.FeaturesDict(features)
    )
    writer = library.core.SequentialWriter(info, 10, file_format="array_record")
    writer.initialize_splits(list(splits))
    for split, examples in splits.items():
        writer.add_examples({split: examples})
    writer.close_all()
    return folder


def classes(*names):
    return library.features.ClassLabel(names=names)


def grey_image(shape=(None, None, 1)):
    return library.features.Image(shape=shape)


def one_grey(value):
    """A split of a single image of 2 x 2 pixels of one grey level."""
    return [{"image": png(np.full((2, 2), value, np.uint8)), "label": 0}]


GREY = {"image": grey_image(), "label": classes("a", "b")}


# --- other prepared data ---


def test_grey_images_keep_their_one_channel(tmp_path, rng):
    """As MNIST: one channel, from the shape that the features record."""
    pixels = rng.integers(0, 256, (12, 6, 5), np.uint8)
    examples = [{"image": png(image), "label": n % 2} for n, image in enumerate(pixels)]
    write(tmp_path, {"image": grey_image((6, 5, 1)), "label": classes("a", "b")},
          {"test": examples}, "mnist")  # fmt: skip
    dataset = tfds("mnist", data_dir=tmp_path)
    assert dataset.images[0].shape == (6, 5, 1)
    check(dataset, pixels[..., None], np.arange(12) % 2)
    assert dataset.class_names == ("a", "b")


def test_several_shards_are_read_in_order(tmp_path):
    """The writer begins a new file after every 10 records."""
    examples = [one_grey(value)[0] | {"label": value % 2} for value in range(37)]
    folder = write(tmp_path, GREY, {"train": examples})
    assert len(list(folder.glob("*array_record*"))) == 4
    dataset = tfds("some", data_dir=tmp_path)
    assert dataset.inputs(slice(None))[:, 0, 0, 0].tolist() == list(range(37))
    assert dataset.labels.tolist() == [value % 2 for value in range(37)]


def test_progress_of_the_labels_is_told(tmp_path):
    write(tmp_path, GREY, {"train": one_grey(3) * 2100})
    told = []
    tfds("some", data_dir=tmp_path, progress=lambda *report: told.append(report))
    assert told == [(1000, 2100), (2000, 2100), (2100, 2100)]


def test_other_features_do_not_matter_and_names_of_these_neither(tmp_path):
    features = {
        "picture": grey_image(), "coarse": library.features.Text(), "fine": classes("x", "y"),
        "number": library.features.Scalar(np.int32),
    }  # fmt: skip
    example = {"picture": png(np.full((2, 2), 9, np.uint8)), "coarse": "é", "fine": 1,
               "number": 5}  # fmt: skip
    write(tmp_path, features, {"train": [example]})
    dataset = tfds("some", data_dir=tmp_path)
    assert (dataset.images[0] == 9).all()
    assert (dataset.labels.tolist(), dataset.class_names) == ([1], ("x", "y"))


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Versions and configurations that differ in the grey level of their one image."""
    data_dir = tmp_path_factory.mktemp("several")
    for level, version in enumerate(["9.0.0", "10.0.0", "10.0.0.bak", "9.10.0", "2.0.0"]):
        if version.endswith("bak"):
            (data_dir / "some" / version).mkdir()
        else:
            write(data_dir, GREY, {"train": one_grey(level)}, version=version)
    (data_dir / "some" / "11.0.0").mkdir()  # nothing is in it
    write(data_dir, GREY, {"train": one_grey(5)}, "two", "1.0.0", "small")
    write(data_dir, GREY, {"train": one_grey(6)}, "two", "1.2.3", "small")
    write(data_dir, GREY, {"train": one_grey(7)}, "two", "1.0.0", "b.ig-1")
    return data_dir


@pytest.mark.parametrize(
    "name, level",
    [("some", 1), ("some:10.0.0", 1), ("some:9.0.0", 0), ("some:9.10.0", 3), ("two/small", 6),
     ("two/small:1.0.0", 5), ("two/b.ig-1", 7)],
)  # fmt: skip
def test_the_newest_version_is_read_unless_another_is_named(several, monkeypatch, name, level):
    monkeypatch.setenv("TFDS_DATA_DIR", str(several))
    assert load(f"tfds:{name}").images[0].max() == level


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "some:8.0.0",
            r"some:8\.0\.0 is not prepared in .*there is 10.0.0, 2.0.0, 9.0.0, 9.10",
        ),
        ("some:11.0.0", "is not prepared in"),
        ("two", "prepared in several ways: possible are tfds:two/b.ig-1, tfds:two/small$"),
        ("two/large", r"builder\('two/large', file_format='array_record'\)\.download_and_prep"),
        ("two/small:3.0.0", "is not prepared"),
        ("mnist", "where TensorFlow is installed, .*; TFDS_DATA_DIR names another folder$"),
        ("cifar10", "python -m experiments.prepare cifar10 does it, .*without TensorFlow"),
    ],
)
def test_what_is_not_prepared_is_said_with_how_to(several, name, message):
    with pytest.raises(FileNotFoundError, match=message) as raised:
        tfds(name, data_dir=several)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    ["..", "../some", "some/..", "some/../some", "/some", "some/", "some:", "some:1",
     "some:1.*.*", "some:latest", "some name", "some\n", "sómé", ".", "some/a/b", "some[x]"],
)  # fmt: skip
def test_a_name_is_never_a_path(several, name):
    with pytest.raises(ValueError, match="names no data set: possible are NAME, NAME/CONFIG"):
        tfds(name, data_dir=several / "some")


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not prepared in .*nowhere"):
        tfds("cifar10", "test", data_dir=tmp_path / "nowhere")


@pytest.mark.parametrize("value", [None, "", "some/place"])
def test_the_data_folder_is_the_librarys(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("TFDS_DATA_DIR", value)
    assert default_data_dir() == Path(value or tmp_path / "tensorflow_datasets")


@pytest.mark.parametrize(
    "split, message",
    [
        (None, "needs a split: possible are"),
        ("val", "has no split 'val': possible are"),
        ("train+test", "has no split 'train.test': possible are"),
        ("train[:3]", "has no split 'train.:3.': possible are"),
        ("", "has no split '': possible are"),
        ("../train", "has no split '../train': possible are"),
    ],
)
def test_another_split_is_refused_and_the_splits_are_listed(prepared, split, message):
    with pytest.raises(ValueError, match=f"tfds:cifar10 {message} (train, test|test, train)$"):
        tfds("cifar10", split, data_dir=prepared)


def test_a_single_split_need_not_be_named(tmp_path):
    write(tmp_path, GREY, {"validation": one_grey(3)})
    assert tfds("some", data_dir=tmp_path).images.name(0) == "some validation 0"
    with pytest.raises(ValueError, match=r"has no split 'train': possible are validation$"):
        tfds("some", "train", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["tfrecord", "riegeli", "parquet", None, 3, ["array_record"]])
def test_data_prepared_in_another_format_are_refused_with_what_to_do(data_dir, kind):
    """Where none is recorded, it is tfrecord: what the library wrote before it had others."""
    file = data_dir / "cifar10/3.0.2/dataset_info.json"
    about = json.loads(file.read_text())
    del about["fileFormat"]
    file.write_text(json.dumps(about if kind is None else about | {"fileFormat": kind}))
    with pytest.raises(ValueError, match=r"needs TensorFlow: .*download_and_prepare") as e:
        tfds("cifar10", "test", data_dir=data_dir)
    assert "\n" not in str(e.value)
    assert ("is prepared as tfrecord" in str(e.value)) == (kind in ("tfrecord", None))


LABEL = {"label": classes("a")}
IMAGE = {"image": grey_image()}


@pytest.mark.parametrize(
    "features, example",
    [
        (IMAGE, {}),
        (LABEL, {"label": 0}),
        (IMAGE | {"label": library.features.Scalar(np.int64)}, {"label": 0}),
        (IMAGE | LABEL | {"other": classes("b")}, {"label": 0, "other": 0}),
        (IMAGE | LABEL | {"mask": grey_image()}, {"label": 0, "mask": None}),
    ],
    ids=["no label", "no image", "a number", "two labels", "two images"],
)
def test_records_without_one_image_and_one_label_are_refused(tmp_path, features, example):
    image = {
        key: png(np.zeros((2, 2), np.uint8)) for key in ("image", "mask") if key in features
    }
    write(tmp_path, features, {"train": [example | image]})
    with pytest.raises(
        ValueError, match="has not one image and one label per record: its"
    ) as e:
        tfds("some", data_dir=tmp_path)
    assert all(key in str(e.value) for key in features)


def test_images_without_known_labels_are_refused(tmp_path):
    """Test sets whose labels are secret have -1."""
    write(tmp_path, GREY, {"test": [one_grey(1)[0] | {"label": -1}]})
    with pytest.raises(ValueError, match="labels outside the classes: found -1"):
        tfds("some", data_dir=tmp_path)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    torn = io.BytesIO(png(TEST[0][0, ..., 0]).getvalue()[:500])
    write(tmp_path, GREY, {"test": [*one_grey(1), {"image": torn, "label": 0}]})
    dataset = tfds("some", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"^some test 1 cannot be decoded"):
        dataset.images[1]
    assert dataset.images[0].max() == 1


# --- damage ---


def damaged(content, rng):
    """A cut, flipped bits, another byte, a piece lost, inserted or overwritten."""
    broken = bytearray(content)
    place, length = int(rng.integers(len(broken))), int(rng.integers(1, 30))
    what = rng.integers(6)
    if what == 0:
        return bytes(broken[:place])
    if what == 1:
        broken[place] ^= 1 << rng.integers(8)
    elif what == 2:
        broken[place] = rng.choice([*b'0123456789"{}[],-'])
    elif what == 3:
        del broken[place : place + length]
    elif what == 4:
        broken[place:place] = rng.bytes(length)
    else:
        broken[place : place + length] = rng.bytes(len(broken[place : place + length]))
    return bytes(broken)


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_refused_or_does_no_harm(data_dir, rng, file):
    """Names of classes are the one thing that nothing protects."""
    path = data_dir / "cifar10/3.0.2" / file
    whole = path.read_bytes()
    split, expected = ("train", TRAIN) if "train" in file else ("test", TEST)
    for _ in range(50):
        path.write_bytes(damaged(whole, rng))
        try:
            dataset = tfds("cifar10", split, data_dir=data_dir)
            images = dataset.inputs(slice(None))
        except ValueError as error:
            refused = str(error)
            assert "damaged" in refused or "labels outside the classes" in refused, refused
        else:
            np.testing.assert_array_equal(images, expected[0])
            np.testing.assert_array_equal(dataset.labels, expected[1])


@pytest.mark.parametrize("file", ["cifar10-test.array_record-00000", "features.json"])
@pytest.mark.parametrize("content", [None, b"", bytes(5000)], ids=["missing", "empty", "zeros"])
def test_a_file_that_is_missing_or_empty_is_refused(data_dir, file, content):
    path = data_dir / "cifar10/3.0.2" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cifar10/3\.0\.2 is damaged"):
        tfds("cifar10", "test", data_dir=data_dir)


def test_a_renamed_feature_is_refused(data_dir):
    for old, new in ((b'"image"', b'"imagf"'), (b'"label"', b'"labem"')):
        path = data_dir / "cifar10/3.0.2/features.json"
        whole = path.read_bytes()
        at = whole.index(old)  # the first is the name, the second the kind
        path.write_bytes(whole[:at] + new + whole[at + len(old) :])
        with pytest.raises(ValueError, match=r"cifar10.3\.0\.2 is damaged"):
            tfds("cifar10", "test", data_dir=data_dir)
        path.write_bytes(whole)


def test_features_that_have_no_names_are_refused(data_dir):
    path = data_dir / "cifar10/3.0.2/features.json"
    features = json.loads(path.read_text())
    path.write_text(json.dumps(features["featuresDict"]["features"]["id"]))
    with pytest.raises(ValueError, match=r"has no named features|is damaged"):
        tfds("cifar10", "test", data_dir=data_dir)


def test_a_file_of_another_length_is_refused(data_dir):
    """Training images in the place of the test's would else be read in part."""
    folder = data_dir / "cifar10/3.0.2"
    train, test = (
        folder / f"cifar10-{split}.array_record-00000" for split in ("train", "test")
    )
    test.write_bytes(train.read_bytes())
    with pytest.raises(ValueError, match=r"hold \[23\] records instead of \[7\]"):
        tfds("cifar10", "test", data_dir=data_dir)


def test_every_class_must_have_a_name(data_dir):
    (data_dir / "cifar10/3.0.2/label.labels.txt").write_text("\n".join([*NAMES, "eel"]))
    with pytest.raises(ValueError, match="is damaged: 11 names for 10 classes"):
        tfds("cifar10", "test", data_dir=data_dir)
