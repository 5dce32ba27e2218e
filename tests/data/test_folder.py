"""`folder:PATH`: which files are images of which class, and what the errors say."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxsel.data import PREPROCESS, folder, load, unit_range


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "images"
    path.mkdir()
    return path


def put(file, size=(5, 4), seed=0):
    """Write a random image, of the format that the suffix says; return its file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def names(dataset):
    return [dataset.images.name(number) for number in range(len(dataset))]


def put_all(place, paths):
    for seed, path in enumerate(paths):
        put(place / path, seed=seed)


# --- classes and files ---


def test_classes_and_files_come_in_the_order_of_their_code_points(place):
    """Capitals before small letters, 10 before 9, letters with accents last."""
    files = ["b/2.png", "b/10.png", "B/z.png", "a/x.png", "é/1.png", "a/X.png", "b/é.png"]
    put_all(place, files)
    dataset = folder(place)
    assert dataset.class_names == ("B", "a", "b", "é")
    assert names(dataset) == [
        "B/z.png", "a/X.png", "a/x.png", "b/10.png", "b/2.png", "b/é.png", "é/1.png",
    ]  # fmt: skip
    assert dataset.labels.tolist() == [0, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(
    "suffix", ["bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"]
)
def test_a_suffix_counts_in_any_case(place, suffix):
    """Small, capital and mixed; the formats are those of PIL's own choice by suffix."""
    for name in (suffix, suffix.upper(), suffix.title()):
        Image.new("L", (3, 2), 77).save(put(place / "cat" / "x.png").with_name(f"i.{name}"))
    (place / "cat" / "x.png").unlink()
    dataset = folder(place)
    assert sorted(names(dataset)) == sorted(
        f"cat/i.{name}" for name in {suffix, suffix.upper(), suffix.title()}
    )
    for row in range(len(dataset)):
        image = dataset.images[row]
        assert image.shape == (2, 3, 3)
        np.testing.assert_allclose(image, 77.0, atol=2)  # what lossy formats make of it


def test_hidden_files_and_files_that_are_no_images_are_passed_over(place):
    put_all(place, ["cat/1.png", "cat/.2.png", ".hidden/1.png", "stray.png"])
    (place / "README.txt").write_text("no class")
    for name in (".DS_Store", "Thumbs.db", "1.png.txt", "notes", "x.npy", "png", ".png"):
        (place / "cat" / name).write_text("no image")
    (place / "cat" / "folder.png").mkdir()
    put(place / "cat" / "inner" / "deep.png")
    (place / "cat" / "nowhere.png").symlink_to(place / "missing.png")
    dataset = folder(place)
    assert dataset.class_names == ("cat",)
    assert names(dataset) == ["cat/1.png"]


def test_links_to_folders_and_files_are_followed(place, tmp_path):
    put(tmp_path / "elsewhere" / "1.png", seed=1)
    put(place / "cat" / "1.png", seed=2)
    (place / "ant").symlink_to(tmp_path / "elsewhere")
    (place / "cat" / "2.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    dataset = folder(place)
    assert dataset.class_names == ("ant", "cat")
    assert names(dataset) == ["ant/1.png", "cat/1.png", "cat/2.png"]
    np.testing.assert_array_equal(dataset.images[0], dataset.images[2])
    assert (dataset.images[0] != dataset.images[1]).any()


def test_the_folder_itself_may_be_a_link(place, tmp_path):
    put(place / "cat" / "1.png")
    (tmp_path / "link").symlink_to(place)
    assert names(folder(tmp_path / "link")) == ["cat/1.png"]


@pytest.mark.parametrize(
    "name",
    ["with space", " ", "日本", "e\u0301", "a\nb", "a:b", "%s{}", "-x", "a\\b", "x" * 200],
    ids=["space", "only a space", "Japanese", "combining", "line break", "colon", "format",
         "hyphen", "backslash", "long"],
)  # fmt: skip
def test_names_of_all_sorts_are_read(place, name):
    file = put(place / name / f"{name}.png")
    dataset = load(f"folder:{place}")
    assert dataset.class_names == (name,)
    np.testing.assert_array_equal(dataset.images[0], np.asarray(Image.open(file)))


def test_names_that_are_no_utf8_are_read(place):
    folder_name = os.fsencode(place) + b"/c\xe9t"
    os.mkdir(folder_name)
    put(place / "x.png").rename(os.fsdecode(folder_name + b"/\xff.png"))
    dataset = folder(place)
    assert dataset.class_names == (os.fsdecode(b"c\xe9t"),)
    assert dataset.images[0].shape == (4, 5, 3)


# --- splits ---


def test_a_split_is_the_sub_folder_of_that_name(place):
    put_all(place, ["train/cat/1.png", "test/cat/2.png", "test/ant/3.png"])
    dataset = load(f"folder:{place}", split="test")
    assert dataset.class_names == ("ant", "cat")
    assert names(dataset) == ["ant/3.png", "cat/2.png"]


@pytest.mark.parametrize(
    "split",
    ["../other", "..", ".", "", "./test", "test/", "test/cat", "/", ".hidden", "Test", "file"],
)
def test_a_split_is_a_name_and_never_a_path(place, tmp_path, split):
    put_all(place, ["train/cat/1.png", "test/cat/cat/2.png", ".hidden/cat/3.png"])
    put(tmp_path / "other" / "cat" / "4.png")
    (place / "file").write_text("no folder")
    with pytest.raises(
        FileNotFoundError,
        match=r"images has no folder for the split .*: possible are test, train$",
    ):
        folder(place, split)


def test_an_absolute_split_does_not_leave_the_folder(place, tmp_path):
    put(place / "cat" / "1.png")
    put(tmp_path / "other" / "cat" / "4.png")
    with pytest.raises(FileNotFoundError, match=r"possible are cat$"):
        folder(place, str(tmp_path / "other"))


def test_a_split_of_a_folder_without_folders_has_no_possible_name(place):
    with pytest.raises(FileNotFoundError, match=r"split 'test': possible are none$"):
        folder(place, "test")


def test_a_forgotten_split_is_suggested(place):
    put_all(place, ["train/cat/1.png", "test/cat/2.png"])
    with pytest.raises(
        ValueError, match=r"no images: it has folders; name it as the split test\?"
    ):
        folder(place)


# --- what is refused ---


def test_an_empty_class_folder_is_refused_and_named(place):
    """Without it the numbers of the later classes would be others than the network's."""
    put(place / "cat" / "1.png")
    (place / "ant").mkdir()
    (place / "ant" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"the class folder .*images/ant has no images$"):
        folder(place)


def test_a_folder_without_class_folders_is_refused(place):
    put(place / "1.png")
    with pytest.raises(ValueError, match=r"has no class folders: .* from .*images/CLASS$"):
        folder(place)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_missing_folder_is_named(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileNotFoundError, match=rf"there is no folder .*{name}$"):
        folder(tmp_path / name)


def test_a_damaged_image_is_named_by_class_and_file(place):
    put(place / "ant" / "1.png")
    (place / "cat").mkdir()
    (place / "cat" / "torn.png").write_bytes((place / "ant" / "1.png").read_bytes()[:60])
    dataset = folder(place)
    with pytest.raises(ValueError, match=r"cat/torn\.png cannot be decoded"):
        dataset.inputs(slice(None))


def test_an_image_that_has_gone_since_is_an_error(place):
    file = put(place / "cat" / "1.png")
    dataset = folder(place)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        dataset.images[0]


# --- pixels ---


def test_images_are_what_pil_reads(place):
    files = [
        put(place / name, seed=seed)
        for seed, name in enumerate(
            ["ant/1.png", "ant/2.jpg", "cat/1.bmp", "cat/2.webp", "cat/3.gif", "cat/4.ppm"]
        )
    ]
    dataset = folder(place)
    inputs = dataset.inputs(slice(None))
    for row, file in enumerate(files):
        with Image.open(file) as image:
            expected = np.asarray(image.convert("RGB"))
        assert dataset.images[row].dtype == np.uint8
        np.testing.assert_array_equal(dataset.images[row], expected)
        np.testing.assert_array_equal(inputs[row], expected.astype("f4"))


def test_every_image_meets_its_own_label_in_every_batch(place):
    """Class k has images of grey level 10 k, one more image than the class before."""
    for label, name in enumerate("abcd"):
        (place / name).mkdir()
        for number in range(label + 1):
            image = Image.new("RGB", (3, 3), (10 * label,) * 3)
            image.save(place / name / f"{number}.png")
    dataset = folder(place, preprocess=unit_range)
    assert np.bincount(dataset.labels).tolist() == [1, 2, 3, 4]
    for batch in dataset.batches(4):
        # Exact: the quotient of two small integers, rounded once.
        grey = (10 * batch.labels).astype("f4") / np.float32(255)
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], grey)


def test_nothing_is_written_into_the_folder(place):
    put_all(place, ["ant/1.png", "cat/2.png"])
    before = sorted(place.rglob("*"))
    folder(place).inputs(slice(None))
    assert sorted(place.rglob("*")) == before


def test_an_enormous_file_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    with open(tmp_path / "cat" / "huge.jpg", "wb") as stream:
        stream.truncate(2**28 + 1)
    with pytest.raises(
        ValueError, match=r"^cat/huge\.jpg cannot be decoded: it has 268,435,457"
    ):
        folder(tmp_path).images[0]


@pytest.mark.parametrize(
    "names, refused",
    [
        (["0", "1", "2"], False),
        (["0", "1", "10", "2"], True),
        (["00", "01", "02", "10"], False),
    ],
    ids=str,
)
def test_numbers_as_names_must_be_in_their_order(tmp_path, names, refused):
    """Or else class 2 of the network would be the images of class 10."""
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    if refused:
        with pytest.raises(
            ValueError, match="10 comes before 2 by name: name them with leading"
        ):
            folder(tmp_path)
    else:
        assert folder(tmp_path).class_names == tuple(names)


def test_a_preprocessing_that_refuses_an_image_names_it(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (1, 20_000)).save(tmp_path / "cat" / "strip.png")
    dataset = folder(tmp_path, preprocess=PREPROCESS["torchvision"])
    with pytest.raises(
        ValueError, match=r"^cat/strip\.png: an image of 1 x 20000 pixels is too"
    ):
        dataset.inputs(slice(None))


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(tmp_path / "pictures" / "cat" / "1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load("folder:~/pictures")) == 1
