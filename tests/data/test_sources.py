"""Where images come from: `.npz` files, whole and broken, the digits, and `load`."""

import numpy as np
import pytest
import sklearn.datasets

from jaxsel.data import digits, load, npz, sixteenths, unit_range
from jaxsel.data.npz import read_arrays

IMAGES = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
LABELS = np.array([2, 0, 1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.npz"


def first_batch(dataset):
    return next(dataset.batches(len(dataset))).images


# --- npz ---


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_labels_and_names_come_back(path, save):
    save(path, images=IMAGES, labels=LABELS, class_names=np.array(["cat", "dog", "emu"]))
    dataset = npz(path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.preprocess is None


def test_a_split_is_the_part_of_that_name(path):
    np.savez(
        path,
        train_images=IMAGES,
        train_labels=LABELS,
        test_images=IMAGES[:2] + 100,
        test_labels=np.array([1, 0]),
    )
    dataset = npz(path, "test", unit_range)
    assert dataset.labels.tolist() == [1, 0]
    # Exact: the quotient of two small integers, rounded once.
    np.testing.assert_array_equal(
        first_batch(dataset), (IMAGES[:2] + 100).astype("f4") / np.float32(255)
    )


def test_classes_are_those_of_every_split(path):
    """A test split without the last class still has as many classes as the network."""
    np.savez(
        path,
        train_images=IMAGES,
        train_labels=np.array([0, 4, 1], np.uint8),
        test_images=IMAGES[:1],
        test_labels=np.array([1], np.uint8),
    )
    assert npz(path, "test").class_names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    "keys, split, message",
    [
        (("images",), None, "has no labels: its keys are images"),
        (("x", "y"), None, "has no images and no labels: its keys are x, y"),
        ((), None, "its keys are none"),
        (
            ("train_images", "train_labels"),
            None,
            "has no images and no labels.*possible splits are train",
        ),
        (
            ("train_images", "train_labels", "test_images", "test_labels"),
            "val",
            "has no val_images and no val_labels.*possible splits are test, train",
        ),
    ],
    ids=["no labels", "other names", "nothing", "needs a split", "another split"],
)
def test_missing_keys_are_named_with_those_that_are_there(path, keys, split, message):
    np.savez(path, **dict.fromkeys(keys, LABELS))
    with pytest.raises(KeyError, match=message):
        npz(path, split)


@pytest.mark.parametrize(
    "arrays, error, message",
    [
        ({"labels": LABELS[:2]}, ValueError, "3 images but 2 labels"),
        ({"labels": LABELS - 1}, ValueError, "labels outside the classes"),
        ({"labels": LABELS / 2}, TypeError, "one integer per image"),
        ({"images": IMAGES * np.nan}, ValueError, "image 0 has pixels that are NaN"),
        ({"images": IMAGES.astype(str)}, TypeError, "images must be numbers"),
        ({"class_names": np.array(["only"])}, ValueError, "possible are 0 to 0"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, ValueError, "the data set is empty"),
    ],
    ids=["lengths", "negative", "float labels", "NaN", "text", "too few names", "empty"],
)
def test_arrays_that_are_no_data_set_are_refused(path, arrays, error, message):
    np.savez(path, **{"images": IMAGES, "labels": LABELS, **arrays})
    with pytest.raises(error, match=message):
        npz(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*some\.npz"):
        npz(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        npz(path.parent)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"images,labels\n", b"\x93NUMPY\x01\x00", bytes(1000)],
    ids=["empty", "first bytes only", "text", "npy", "zeros"],
)
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.npz is no \.npz file, or is torn"):
        npz(path)


class Trap:
    """Says so if it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickled object was executed",)


def test_pickled_objects_are_refused_and_not_executed(path):
    np.savez(path, images=IMAGES, labels=np.array([Trap()], object))
    with pytest.raises(ValueError, match=r"cannot be read as .npz: .*allow_pickle=False"):
        npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_torn_file_is_refused_wherever_it_ends(path, save):
    save(path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"some\.npz"):
            read_arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("flip", [0x01, 0x80], ids=hex)
def test_a_flipped_bit_is_refused_or_does_no_harm(path, save, flip):
    """Many bits of a zip file say nothing that is read: dates, for example."""
    save(path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    written, refused = read_arrays(path), 0
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= flip
        path.write_bytes(broken)
        try:
            found = read_arrays(path)
        except ValueError:
            refused += 1
            continue
        for key, array in found.items():
            np.testing.assert_array_equal(array, written[key], err_msg=f"byte {place}")
    assert refused > len(content) / 2  # pixels, labels and headers are more than half


# --- digits ---


def test_digits_are_the_1797_of_the_test_set():
    """Images per class as the data set's own description counts them."""
    dataset = digits()
    assert len(dataset) == 1797
    counts = np.bincount(dataset.labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(counts, np.bincount(sklearn.datasets.load_digits().target))
    assert dataset.class_names == tuple("0123456789")


def test_digits_go_into_a_network_between_zero_and_one():
    images = first_batch(digits())
    assert images.shape == (1797, 8, 8, 1)
    # Sixteenths are exact in float32.
    np.testing.assert_array_equal(images[..., 0], sklearn.datasets.load_digits().images / 16)
    assert (images.min(), images.max()) == (0, 1)


# --- load ---


def test_load_knows_digits():
    dataset = load("digits")
    np.testing.assert_array_equal(dataset.labels, digits().labels)
    assert dataset.preprocess is sixteenths


def test_load_knows_npz_with_split_and_preprocessing(path):
    np.savez(path, test_images=IMAGES, test_labels=LABELS)
    dataset = load(f"npz:{path}", split="test", preprocess=unit_range)
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.preprocess is unit_range


def test_load_takes_another_preprocessing_for_digits():
    assert load("digits", preprocess=unit_range).preprocess is unit_range


@pytest.mark.parametrize("source", ["", "mnist", "npz", "npz:", "Digits", "digits:all", "x:y"])
def test_load_refuses_what_it_does_not_know_and_says_what_it_does(source):
    with pytest.raises(
        ValueError,
        match=r"unknown data source .* possible are digits, npz:PATH, folder:PATH, tfds:NAME",
    ):
        load(source)


def test_load_refuses_a_split_of_digits():
    with pytest.raises(ValueError, match="digits has no split 'test'"):
        load("digits", split="test")


def test_load_names_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"some\.npz"):
        load(f"npz:{path}")
