"""`imagenet-val:PATH`: tars as published, torn, disguised and damaged; folders; label lists."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxsel.data import PREPROCESS, imagenet_classes, imagenet_val, load

SYNSETS = ("n01751748", "n09193705", "n02105855", "n04263257")  # of the first four images
CLASSES = (65, 970, 230, 809)  # their numbers, as published
ONE = "ILSVRC2012_val_00000001.JPEG"


def jpeg(seed):
    """Random pixels as a JPEG; every image has another size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed, 9, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


CONTENTS = tuple(jpeg(number) for number in range(1, 5))


def name(number):
    return f"ILSVRC2012_val_{number:08}.JPEG"


def member(title, content=b"", kind=tarfile.REGTYPE, **fields):
    """What `build` takes: a header and what comes after it."""
    info = tarfile.TarInfo(title)
    info.size, info.type = len(content), kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def images(numbers=(1, 2, 3, 4), prefix=""):
    return [member(prefix + name(number), CONTENTS[number - 1]) for number in numbers]


def build(path, members, how=tarfile.GNU_FORMAT, end=True):
    """A tar from headers and contents as they are: no size is corrected, nothing checked."""
    with open(path, "wb") as stream:
        for info, content in members:
            stream.write(info.tobuf(how))
            stream.write(content + bytes(-len(content) % 512))
        stream.write(bytes(1024 if end else 0))
    return path


def write_labels(path, synsets=SYNSETS):
    path.write_text("".join(f"{synset}\n" for synset in synsets))
    return path


@pytest.fixture
def tar(tmp_path):
    return build(tmp_path / "val.tar", images())


@pytest.fixture
def labels(tmp_path):
    return write_labels(tmp_path / "labels.txt")


def pil(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def check_images(dataset):
    assert len(dataset) == len(CONTENTS)
    assert dataset.labels.tolist() == list(CLASSES)
    for row, content in enumerate(CONTENTS):
        assert dataset.images.name(row) == name(row + 1)
        np.testing.assert_array_equal(dataset.images[row], pil(content))


def refusal(path, labels, error=ValueError):
    """The one sentence that a tar or folder is refused with."""
    with pytest.raises(error) as raised:
        imagenet_val(path, labels)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    return message


def listing(path):
    return sorted((p, p.stat().st_size, p.stat().st_mtime_ns) for p in path.rglob("*"))


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


# --- tars that are refused ---


def test_a_cut_tar_is_refused_wherever_it_ends(tmp_path, tar, labels):
    """Only zeros after the last image's last byte may be missing."""
    whole = tar.read_bytes()
    last = whole.index(CONTENTS[-1]) + len(CONTENTS[-1])
    edges = {place for edge in range(0, len(whole), 512) for place in range(edge - 2, edge + 3)}
    cut = tmp_path / "cut.tar"
    for end in sorted({*range(0, last, 7), *edges} & {*range(last)}):
        cut.write_bytes(whole[:end])
        assert refusal(cut, labels).startswith(f"{cut} ")
    for end in sorted(
        {*range(last, len(whole), 41), *edges, last, len(whole)}
        & {*range(last, len(whole) + 1)}
    ):
        cut.write_bytes(whole[:end])
        try:
            dataset = imagenet_val(cut, labels)
        except ValueError:
            assert end < last + 512  # within the block of the last byte it may be refused
        else:
            check_images(dataset)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_tar_cut_exactly_between_members_is_refused(tmp_path, labels, n):
    path = build(tmp_path / "val.tar", images(range(1, n + 1)), end=False)
    message = f"{path} has {n} validation images, but the label list 4 lines"
    assert refusal(path, labels) == message


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_a_compressed_tar_is_refused(tmp_path, labels, kind):
    path = tmp_path / f"val.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as tar:
        for info, content in images():
            tar.addfile(info, io.BytesIO(content))
    assert "is no tar, or is compressed or damaged" in refusal(path, labels)


@pytest.mark.parametrize(
    "content",
    [b"", b"ustar", b"PK\x03\x04" + bytes(2000), b"n01751748\n" * 100, CONTENTS[0] * 3,
     bytes(range(256)) * 8],
    ids=["empty", "short", "zip", "text", "JPEG", "bytes"],
)  # fmt: skip
def test_a_file_that_is_no_tar_is_refused(tmp_path, labels, content):
    (tmp_path / "val.tar").write_bytes(content)
    assert "val.tar is no tar, or is compressed" in refusal(tmp_path / "val.tar", labels)


@pytest.mark.parametrize(
    "title",
    [f"../{ONE}", f"/etc/{ONE}", f"a/../../{ONE}", f"a/../{ONE}", f"//{ONE}", f"./../{ONE}"],
)
@pytest.mark.parametrize("how", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["GNU", "PAX"])
def test_a_member_that_points_outside_is_refused(tmp_path, labels, title, how):
    info, content = member(title, CONTENTS[0])
    if how == tarfile.PAX_FORMAT:
        info.name, info.pax_headers = ONE, {"path": title}
    path = build(tmp_path / "val.tar", [(info, content), *images((2, 3, 4))], how)
    message = f"{path} has a member that points outside it: {title!r}"
    assert refusal(path, labels) == message


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        b"Z",
    ],
    ids=["symbolic link", "hard link", "character device", "block device", "FIFO", "unknown"],
)
def test_links_and_devices_are_refused(tmp_path, labels, kind):
    """A link named as an image: the target is never looked at."""
    link = member(ONE, kind=kind, linkname=f"../{name(2)}")
    path = build(tmp_path / "val.tar", [link, *images((2, 3, 4))])
    assert f"has a member {ONE!r} that is no validation image" in refusal(path, labels)


def sparse_gnu():
    """GNU's old form: the map of the holes is in the header itself."""
    info, content = member(ONE, CONTENTS[0], tarfile.GNUTYPE_SPARSE)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    size = b"%011o\0" % len(content)
    header[386:410] = b"%011o\0" % 0 + size
    header[483:495] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return header, content


def sparse_pax(**fields):
    headers = {f"GNU.sparse.{key}": value for key, value in fields.items()}
    info, content = member(ONE, CONTENTS[0], pax_headers=headers)
    return info.tobuf(tarfile.PAX_FORMAT), content


SIZE = str(len(CONTENTS[0]))


@pytest.mark.parametrize(
    "header, content",
    [
        sparse_gnu(),
        sparse_pax(size=SIZE, numblocks="1", offset="0", numbytes=SIZE),
        sparse_pax(size=SIZE, map=f"0,{SIZE}"),
    ],
    ids=["GNU", "PAX 0.0", "PAX 0.1"],
)
def test_sparse_members_are_refused(tmp_path, labels, header, content):
    """Their bytes do not lie in one piece."""
    path = build(tmp_path / "val.tar", images((2, 3, 4)), end=False)
    rest = path.read_bytes()
    path.write_bytes(header + content + bytes(-len(content) % 512) + rest + bytes(1024))
    with tarfile.open(path) as tar:
        assert [info.name for info in tar if info.issparse()] == [ONE]
    assert f"has a member {ONE!r} that is no validation image" in refusal(path, labels)


@pytest.mark.parametrize(
    "title",
    ["README", "val/labels.txt", "ILSVRC2012_val_00000001.jpeg", "ILSVRC2012_val_1.JPEG",
     f"{ONE}.txt", f"x{ONE}", f"{ONE}/inner", "ILSVRC2012_test_00000001.JPEG",
     "ILSVRC2012_val_000000001.JPEG", f"{ONE}\n", "n01440764/n01440764_10026.JPEG"],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, labels, title):
    """Such a tar is not the published one, and nobody knows what else it is."""
    path = build(tmp_path / "val.tar", [*images(), member(title, b"x")])
    message = refusal(path, labels)
    assert f"has a member {title[-60:]!r} that is no validation image" in message


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**62)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, b"Z"])
def test_a_negative_size_is_refused(tmp_path, labels, size, kind):
    """Believed, it would lead back to the same header for ever."""
    path = build(tmp_path / "val.tar", [*images(), member(name(5), b"", kind, size=size)])
    assert refusal(path, labels) == f"{path} is damaged: a size is negative"


def test_a_folder_of_negative_size_is_refused(tmp_path, labels):
    members = [member("val", kind=tarfile.DIRTYPE, size=-1024), *images()]
    path = build(tmp_path / "val.tar", members)
    assert refusal(path, labels) == f"{path} is damaged: a size is negative"


@pytest.mark.parametrize("size", [10_000, 2**33, 2**62, 2**80])
@pytest.mark.parametrize("place", [0, 2])
def test_a_size_beyond_the_end_is_refused(tmp_path, labels, size, place):
    members = images()
    members[place][0].size = size
    path = build(tmp_path / "val.tar", members)
    assert refusal(path, labels) == f"{path} is cut off within {name(place + 1)}"


def header(kind, size=0):
    """A header that says that something long follows, with a right checksum."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        header(b"x", 10**11),
        header(b"L", 2**62),
        header(b"L", -512),
        header(b"g", -1),
        header(b"L") * 3000,
        header(b"g") * 3000,
    ],
    ids=[
        "100 GB of PAX",
        "2^62 bytes of name",
        "negative name",
        "negative PAX",
        "names",
        "PAX",
    ],
)
def test_headers_that_send_a_reader_astray_are_refused(tmp_path, labels, content):
    path = tmp_path / "val.tar"
    path.write_bytes(content)
    assert str(path) in refusal(path, labels)
    path.write_bytes(build(tmp_path / "whole.tar", images(), end=False).read_bytes() + content)
    assert "after 4 of its files" in refusal(path, labels)


def test_a_named_pipe_is_no_tar(tmp_path, labels):
    """Opened, it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert "there is no tar or folder" in refusal(tmp_path / "pipe", labels, FileNotFoundError)


def test_a_tar_in_place_of_the_label_list_is_refused(tmp_path, tar):
    path = tmp_path / "large"
    with open(path, "wb") as stream:
        stream.truncate(2**24 + 1)
    assert refusal(tar, path) == f"{path} is no label list: it has 16,777,217 bytes"


def test_digits_of_other_scripts_are_no_numbers(tmp_path, labels):
    arabic = "ILSVRC2012_val_\N{ARABIC-INDIC DIGIT ZERO}0000002.JPEG"
    members = [*images((1, 3, 4)), member(arabic, CONTENTS[1])]
    path = build(tmp_path / "val.tar", members)
    assert "that is no validation image" in refusal(path, labels)


# --- random damage ---


def damaged(content, rng):
    """Bytes changed, blocks lost, doubled or exchanged; checksums of headers often right."""
    blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content), 512)]
    headers = [number for number, block in enumerate(blocks) if block[257:262] == b"ustar"]
    for _ in range(rng.integers(1, 4)):
        what = rng.integers(10)
        number = int(rng.choice(headers) if what < 8 else rng.integers(len(blocks)))
        block = blocks[number]
        if what < 7:  # a byte of a header, with the checksum that belongs to it
            fields = [(0, 100), (124, 136), (156, 157), (257, 265), (345, 500), (0, 512)]
            block[rng.integers(*fields[rng.integers(len(fields))])] = rng.choice(
                [*b"\0/.01234567xgLKSZ \xff\x80", int(rng.integers(256))]
            )
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        elif what == 7:
            block[rng.integers(len(block))] ^= 1 << rng.integers(8)
        elif what == 8:
            blocks[number] = bytearray(rng.bytes(512))
        else:
            other = int(rng.integers(len(blocks)))
            blocks[number], blocks[other] = [
                (blocks[other], block), (bytearray(), block), (block, block),
            ][rng.integers(3)]  # fmt: skip
    return b"".join(blocks)


@pytest.mark.parametrize(
    "how",
    [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT],
    ids=["ustar", "GNU", "PAX"],
)
def test_a_damaged_tar_is_refused_or_gives_what_is_in_it(tmp_path, labels, rng, how):
    """What is accepted must be what Python's `tarfile` and PIL find under the same name."""
    members = images((2, 1, 4, 3), "p" * 120 + "/")
    if how == tarfile.USTAR_FORMAT:
        members = images((2, 1, 4, 3))
    content = build(tmp_path / "whole.tar", members, how).read_bytes()
    path = tmp_path / "val.tar"
    refused, undecodable, n_accepted = [], [], 0
    for _ in range(200):
        path.write_bytes(damaged(content, rng))
        try:
            dataset = imagenet_val(path, labels)
        except ValueError as error:
            refused.append(str(error))
            continue
        n_accepted += 1
        with tarfile.open(path) as tar:
            inside = {
                info.name.rpartition("/")[2]: tar.extractfile(info).read()
                for info in tar
                if info.isreg()
            }
        for row in range(4):
            try:
                image = dataset.images[row]
            except ValueError as error:
                undecodable.append(str(error))
            else:
                np.testing.assert_array_equal(image, pil(inside[name(row + 1)]))
    assert all(message.startswith(f"{path} ") for message in refused)
    assert all("_val_" in message and "cannot be decoded" in message for message in undecodable)
    assert len(refused) > 40
    assert n_accepted > 20


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
