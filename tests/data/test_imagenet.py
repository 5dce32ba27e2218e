"""`imagenet-val:PATH`: tars as published, folders, label lists."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from jaxsel.data import PREPROCESS, imagenet_classes, imagenet_val, load
from tests.references.validation_tars import (
    CONTENTS,
    ONE,
    SYNSETS,
    build,
    check_images,
    images,
    listing,
    member,
    name,
    pil,
    refusal,
    write_labels,
)

# --- what is read ---


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (3, 1, 4, 2)], ids=str)
def test_images_come_in_the_order_of_their_numbers_whatever_the_tars_is(
    tmp_path, labels, order
):
    check_images(imagenet_val(build(tmp_path / "val.tar", images(order)), labels))


def test_a_folder_gives_what_the_tar_gives(tmp_path, labels):
    place = tmp_path / "val"
    place.mkdir()
    for number in (3, 1, 4, 2):
        (place / name(number)).write_bytes(CONTENTS[number - 1])
    (place / "README.txt").write_text("passed over")
    (place / "ILSVRC2012_val_00000005.JPEG.part").write_text("passed over")
    check_images(imagenet_val(place, labels))


def test_load_hands_labels_preprocessing_and_path_on(tar, labels):
    preprocess = PREPROCESS["warp_torchvision"]
    dataset = load(f"imagenet-val:{tar}", labels=labels, preprocess=preprocess)
    check_images(dataset)
    expected = [preprocess(pil(content)[None])[0] for content in CONTENTS]
    np.testing.assert_array_equal(dataset.inputs(slice(None)), expected)


def test_images_of_several_sizes_need_a_preprocessing(tar, labels):
    with pytest.raises(
        ValueError, match=rf"{name(2)} is 10x9x3, {ONE} is 9x9x3: images of diff"
    ):
        imagenet_val(tar, labels).inputs(slice(None))


@pytest.mark.parametrize(
    "how",
    [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT],
    ids=["ustar", "GNU", "PAX"],
)
@pytest.mark.parametrize(
    "prefix",
    ["", "./", "val/", "a/b/c/", "with space/", "d" * 90 + "/" + "e" * 60 + "/"],
    ids=["none", "dot", "folder", "deep", "space", "long"],
)
def test_every_format_of_tar_is_read_with_or_without_folders(tmp_path, labels, how, prefix):
    """Names beyond 100 characters are written otherwise in each of the three formats."""
    members = images((2, 1, 3, 4), prefix)
    if prefix:
        members.insert(0, member(prefix.rstrip("/"), kind=tarfile.DIRTYPE))
    check_images(imagenet_val(build(tmp_path / "val.tar", members, how), labels))


def test_a_tar_with_everything_that_a_writer_may_add_is_read(tmp_path, labels):
    """PAX headers for times and owners, a global header, names beyond all limits."""
    path = tmp_path / "val.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"a": "é"}) as tar:
        for number in (1, 2, 3, 4):
            info, content = member("f" * 300 + "/" + name(number), CONTENTS[number - 1])
            info.mtime, info.uname = 1339772400.123456, "ü"
            info.pax_headers = {"comment": "x" * 1000, "SCHILY.xattr.user.a": "b"}
            tar.addfile(info, io.BytesIO(content))
    check_images(imagenet_val(path, labels))


def test_a_tar_that_python_writes_from_files_is_read(tmp_path, labels):
    for number in (1, 2, 3, 4):
        (tmp_path / name(number)).write_bytes(CONTENTS[number - 1])
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for number in (2, 4, 1, 3):
            tar.add(tmp_path / name(number), name(number))
    check_images(imagenet_val(tmp_path / "val.tar", labels))


def test_nothing_is_written_anywhere(tar, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    check_images(imagenet_val(tar, labels))
    assert listing(tmp_path) == before


# --- classes and labels ---


def test_the_classes_are_the_thousand_synsets_sorted():
    classes = imagenet_classes()
    assert len(set(classes)) == len(classes) == 1000
    assert list(classes) == sorted(classes)
    assert (classes[0], classes[-1]) == ("n01440764", "n15075141")  # tench, toilet tissue


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A tar of all 50,000 names without any contents, and the progress that was told."""
    path = tmp_path_factory.mktemp("imagenet") / "val.tar"
    header = bytearray(tarfile.TarInfo(name(0)).tobuf(tarfile.USTAR_FORMAT))
    total = int(header[148:154], 8) - 8 * ord("0")  # of all bytes but the number's
    with open(path, "wb") as stream:
        for number in range(1, 50_001):
            digits = b"%08d" % number
            header[15:23] = digits
            header[148:154] = b"%06o" % (total + sum(digits))
            stream.write(header)
        stream.write(bytes(1024))
    told = []
    return imagenet_val(path, progress=lambda *report: told.append(report)), told


def test_the_published_labels_belong_to_the_images(everything):
    """The classes of the first twelve, as they are in Caffe's val.txt and tensorflow/models."""
    dataset, _ = everything
    first = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332, 109, 286]
    assert dataset.labels[:12].tolist() == first
    assert np.bincount(dataset.labels).tolist() == [50] * 1000
    assert dataset.class_names == imagenet_classes()


@pytest.mark.data
def test_the_published_labels_are_those_of_another_copy(everything, data_folder):
    place = data_folder / "imagenet_val"
    synsets = (place / "ilsvrc2012_val_synsets.txt").read_text().split()
    classes = (place / "wnids_sorted_1000.txt").read_text().split()
    assert list(imagenet_classes()) == classes
    index = {synset: number for number, synset in enumerate(classes)}
    assert everything[0].labels.tolist() == [index[synset] for synset in synsets]


def test_an_image_without_contents_is_found_when_it_is_decoded(everything):
    with pytest.raises(ValueError, match=r"ILSVRC2012_val_00050000\.JPEG cannot be decoded"):
        everything[0].images[49_999]


def test_progress_is_told_every_thousand_images(everything):
    assert everything[1] == [(done, 50_000) for done in range(1000, 50_001, 1000)]


def test_without_a_list_there_must_be_all_the_images(tar):
    assert "has 4 validation images, but the label list 50,000 lines" in refusal(tar, None)


def test_lines_may_end_as_windows_ends_them(tar, tmp_path):
    (tmp_path / "crlf.txt").write_bytes("\r\n".join(SYNSETS).encode())
    check_images(imagenet_val(tar, tmp_path / "crlf.txt"))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has 4 validation images, but the label list 0 lines"),
        (b"n01751748\n" * 3, "has 4 validation images, but the label list 3 lines"),
        (b"n01751748\n" * 5, "has 4 validation images, but the label list 5 lines"),
        (b"n01751748\nn00000000\n", "line 2 .*is 'n00000000', not one of the 1,000 classes"),
        (b"65\n970\n230\n809\n", "line 1 .* is '65', not a synset: line i has the synset"),
        (b"n01751748 65\n", "line 1 .* is 'n01751748 65', not a synset"),
        (f"{ONE} 65\n".encode(), f"line 1 .* is '{ONE} 65', not a synset"),
        (b"n01751748\n\nn01751748\n", "line 2 .* is '', not a synset"),
        (b"N01751748\n", "line 1 .* is 'N01751748', not a synset"),
        (b"n01751748\n" + bytes(range(256)), "line 2 .*not a synset"),
        (b"n" * 10_000, "line 1 .* is 'n{40}', not a synset"),
        (b"\xff\xfen\x000\x001\x00", "line 1 .*not a synset"),
    ],
    ids=["empty", "short", "long", "unknown", "numbers", "synset and number", "Caffe's",
         "blank line", "capital", "binary", "long line", "UTF-16"],
)  # fmt: skip
def test_a_list_that_does_not_say_the_synset_of_every_image_is_refused(
    tar, tmp_path, content, message
):
    (tmp_path / "list.txt").write_bytes(content)
    refused = refusal(tar, tmp_path / "list.txt")
    with pytest.raises(ValueError, match=message):
        raise ValueError(refused)


def test_a_missing_tar_or_list_is_named(tar, tmp_path, labels):
    missing = tmp_path / "missing"
    assert refusal(missing, labels, FileNotFoundError) == f"there is no tar or folder {missing}"
    for path in (missing, tmp_path):
        message = refusal(tar, path, FileNotFoundError)
        assert message == f"there is no label list {path}"


# --- which images there are ---


COUNTED = {
    "one fewer": ((1, 2, 3), "has 3 validation images, but the label list 4 lines"),
    "none": ((), "has 0 validation images, but the label list 4 lines"),
    "one more": ((1, 2, 3, 4, 5), "has 5 validation images, but the label list 4 lines"),
    "number 0 too": ((0, 1, 2, 3, 4), "has 5 validation images, but the label list 4 lines"),
    "number 0": ((0, 1, 2, 3), f"has no {name(4)}, of 4 images"),
    "a gap": ((1, 2, 4, 5), f"has no {name(3)}, of 4 images"),
    "far away": ((1, 2, 3, 99_999_999), f"has no {name(4)}, of 4 images"),
}
TWICE = {
    "instead of another": ((1, 2, 3, 3), f"has {name(3)} twice"),
    "and all others": ((1, 2, 3, 4, 1), f"has {ONE} twice"),
}


@pytest.mark.parametrize("case", [*COUNTED, *TWICE])
def test_a_tar_must_have_one_image_for_every_label(tmp_path, labels, case):
    numbers, message = (COUNTED | TWICE)[case]
    members = [member(name(number), CONTENTS[0]) for number in numbers]
    path = build(tmp_path / "val.tar", members)
    assert refusal(path, labels) == f"{path} {message}"


@pytest.mark.parametrize("case", COUNTED)
def test_a_folder_must_have_one_image_for_every_label(tmp_path, labels, case):
    numbers, message = COUNTED[case]
    path = tmp_path / "val"
    path.mkdir()
    for number in numbers:
        (path / name(number)).write_bytes(CONTENTS[0])
    assert refusal(path, labels) == f"{path} {message}"


def test_an_image_twice_in_different_folders_is_refused(tmp_path, labels):
    path = build(tmp_path / "val.tar", images((1, 2, 3)) + images((2,), "copy/"))
    assert refusal(path, labels) == f"{path} has {name(2)} twice"


def test_an_image_that_cannot_be_decoded_is_named(tmp_path, labels):
    members = [*images((1, 2, 4)), member(name(3), CONTENTS[2][:100])]
    dataset = imagenet_val(build(tmp_path / "val.tar", members), labels)
    with pytest.raises(ValueError, match=rf"^{name(3)} cannot be decoded"):
        dataset.images[2]
    np.testing.assert_array_equal(dataset.images[3], pil(CONTENTS[3]))


# --- the real images ---


@pytest.mark.data
def test_the_first_ten_real_images_are_what_pil_reads(tmp_path, data_folder):
    place = data_folder / "imagenet_val"
    with zipfile.ZipFile(place / "ilsvrc2012_val_10.zip") as archive:
        contents = {
            entry.rpartition("/")[2]: archive.read(entry) for entry in archive.namelist()
        }
    synsets = (place / "ilsvrc2012_val_synsets.txt").read_text().split()[:10]
    labels = write_labels(tmp_path / "labels.txt", synsets)
    members = [member(title, content) for title, content in sorted(contents.items())]
    path = build(tmp_path / "val.tar", members[::-1])
    (tmp_path / "val").mkdir()
    for title, content in contents.items():
        (tmp_path / "val" / title).write_bytes(content)
    preprocess = PREPROCESS["torchvision"]
    from_tar, from_folder = (
        imagenet_val(source, labels, preprocess) for source in (path, tmp_path / "val")
    )
    assert from_tar.labels.tolist() == [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
    for row in range(10):
        expected = pil(contents[name(row + 1)])
        np.testing.assert_array_equal(from_tar.images[row], expected)
        np.testing.assert_array_equal(from_folder.images[row], expected)
    inputs = from_tar.inputs(slice(None))
    assert inputs.shape == (10, 224, 224, 3)
    np.testing.assert_array_equal(inputs, from_folder.inputs(slice(None)))
