"""`imagenet-val:PATH`: tars that are torn, disguised or damaged."""

import io
import os
import tarfile
import tracemalloc

import numpy as np
import pytest

from jaxsel.data import imagenet_val, without_corrupt
from tests.references.validation_tars import (
    CONTENTS,
    ONE,
    build,
    check_images,
    images,
    member,
    name,
    pil,
    refusal,
)

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


def test_a_header_that_says_gigabytes_is_not_read(tmp_path, labels):
    """A sparse file: the long name of four gigabytes is there, and would be taken in."""
    path = tmp_path / "val.tar"
    path.write_bytes(header(b"x", 2**32))
    with open(path, "ab") as stream:
        stream.truncate(2**32 + 2048)
    tracemalloc.start()
    assert str(path) in refusal(path, labels)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize("row", [1, 3])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, labels, row):
    parts = [build(tmp_path / "one.tar", [one], end=False).read_bytes() for one in images()]
    broken = bytearray(parts[row])
    broken[0] ^= 1
    parts[row] = bytes(broken)
    (tmp_path / "val.tar").write_bytes(b"".join(parts) + bytes(1024))
    assert f"cut off after {row} of its files" in refusal(tmp_path / "val.tar", labels)


def test_an_enormous_member_is_refused_before_it_is_read(tmp_path, labels):
    path = tmp_path / "val.tar"
    info, _ = member(name(4), size=2**28 + 1)
    whole = build(tmp_path / "three.tar", images((1, 2, 3)), end=False).read_bytes()
    path.write_bytes(whole + info.tobuf(tarfile.GNU_FORMAT))
    with open(path, "ab") as stream:
        stream.truncate(len(whole) + 512 + 2**28 + 512 + 1024)
    dataset = imagenet_val(path, labels)
    with pytest.raises(ValueError, match=f"{name(4)} cannot be decoded: it has 268,435,457"):
        dataset.images[3]
    assert without_corrupt(dataset)[1] == (name(4),)
