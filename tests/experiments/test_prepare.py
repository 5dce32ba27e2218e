"""`python -m experiments.prepare`: from a file, from a server of the test's own, bad input."""

import hashlib
import http.server
import io
import sys
import tarfile
import threading

import numpy as np
import pytest

from experiments import prepare as command
from experiments.prepare import Config, main
from jaxsel.data import tfds

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
LABELS = np.arange(12) % 10
TITLES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
WRITTEN = [
    "cifar10-test.array_record-00000", "cifar10-train.array_record-00000",
    "dataset_info.json", "features.json", "label.labels.txt",
]  # fmt: skip


def packed():
    """The archive as published, with two images in each of its files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for number, title in enumerate(TITLES):
            content = b"".join(
                bytes([LABELS[row]]) + IMAGES[row].transpose(2, 0, 1).tobytes()
                for row in (2 * number, 2 * number + 1)
            )
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{title}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


CONTENT = packed()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves what the server's `content` is, and counts."""

    def do_GET(self):
        self.server.count += 1
        if self.server.content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        """Nothing on the terminal."""


@pytest.fixture
def server(monkeypatch):
    """The address and the checksum that are published are this server's."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.count = CONTENT, 0
    address = f"http://127.0.0.1:{server.server_port}/files/some.tar.gz"
    monkeypatch.setattr(command, "ADDRESS", address)
    monkeypatch.setattr(command, "SHA256", SHA256)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(CONTENT)
    return path


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
    command.cli.run(main, Config, "prepare")


def refusal(arguments, monkeypatch, capsys):
    """The one sentence that bad input ends in; nothing is printed beside it."""
    with pytest.raises(SystemExit) as stop:
        run(arguments, monkeypatch)
    assert "\n" not in str(stop.value)
    assert capsys.readouterr() == ("", "")
    return str(stop.value)


def tree(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def check(data_dir):
    """Train and test are the images that were packed, in order."""
    for split, rows in (("train", slice(0, 10)), ("test", slice(10, 12))):
        dataset = tfds("cifar10", split, data_dir=data_dir)
        np.testing.assert_array_equal(dataset.inputs(slice(None)), IMAGES[rows])
        assert dataset.labels.tolist() == LABELS[rows].tolist()


def test_a_file_is_prepared_where_the_library_looks_for_it(
    archive, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    run(["cifar10", "--file", archive], monkeypatch)
    place = tmp_path / "data" / "cifar10" / "3.0.2"
    assert capsys.readouterr() == (
        f"{place}: 10 training and 2 test images; read it by --data tfds:cifar10 --split test\n"
        "the archive is not the published one, by its sha256\n",
        "",
    )
    assert tree(tmp_path / "data") == [f"cifar10/3.0.2/{name}" for name in WRITTEN]
    check(tmp_path / "data")


def test_another_folder_is_used_and_named_when_asked_for(
    archive, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "unused"))
    run(["cifar10", "--file", archive, "--data-dir", tmp_path / "asked"], monkeypatch)
    assert f"with TFDS_DATA_DIR={tmp_path / 'asked'}\n" in capsys.readouterr().out
    assert not (tmp_path / "unused").exists()
    check(tmp_path / "asked")


def test_the_published_archive_is_recognised_by_its_checksum(
    archive, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "SHA256", SHA256)
    run(["cifar10", "--file", archive, "--data-dir", tmp_path / "data"], monkeypatch)
    assert capsys.readouterr().out.endswith("the archive is the published one, by its sha256\n")


def test_a_download_is_prepared_and_kept(server, tmp_path, monkeypatch, capsys):
    run(["cifar10", "--download", "--data-dir", tmp_path / "data"], monkeypatch)
    assert server.count == 1
    assert capsys.readouterr().out.endswith("the archive is the published one, by its sha256\n")
    kept = tmp_path / "data" / "downloads" / "some.tar.gz"
    assert kept.read_bytes() == CONTENT
    written = [f"cifar10/3.0.2/{name}" for name in WRITTEN]
    assert tree(tmp_path / "data") == [*written, "downloads/some.tar.gz"]
    check(tmp_path / "data")


def test_an_archive_that_was_kept_is_not_downloaded_again(server, tmp_path, monkeypatch):
    (tmp_path / "data" / "downloads").mkdir(parents=True)
    (tmp_path / "data" / "downloads" / "some.tar.gz").write_bytes(CONTENT)
    run(["cifar10", "--download", "--data-dir", tmp_path / "data"], monkeypatch)
    assert server.count == 0
    check(tmp_path / "data")


@pytest.mark.parametrize(
    "content, message, left",
    [
        (None, "some.tar.gz cannot be downloaded: Not Found", []),
        (bytes(len(CONTENT)), "was removed", []),
        (CONTENT[:1000], "Run it again to go on", ["downloads/some.tar.gz.part"]),
    ],
    ids=["missing", "another file", "cut off"],
)
def test_a_download_that_fails_is_not_prepared(
    server, tmp_path, monkeypatch, capsys, content, message, left
):
    server.content = content
    arguments = ["cifar10", "--download", "--data-dir", tmp_path]
    assert message in refusal(arguments, monkeypatch, capsys)
    assert tree(tmp_path) == left


def test_what_is_prepared_already_is_not_touched_nor_downloaded(
    server, archive, tmp_path, monkeypatch, capsys
):
    data_dir = tmp_path / "data"
    run(["cifar10", "--file", archive, "--data-dir", data_dir], monkeypatch)
    capsys.readouterr()
    before = {name: (data_dir / name).read_bytes() for name in tree(data_dir)}
    for source in (["--download"], ["--file", archive]):
        arguments = ["cifar10", *source, "--data-dir", data_dir]
        message = refusal(arguments, monkeypatch, capsys)
        assert "cifar10/3.0.2 is there already and not empty" in message
    assert server.count == 0
    assert {name: (data_dir / name).read_bytes() for name in tree(data_dir)} == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give either --file cifar-10-binary.tar.gz or --download"),
        (["--file", "a", "--download"], "give either --file cifar-10-binary.tar.gz or"),
        (["--file", "missing.tar.gz"], "there is no file missing.tar.gz"),
        (["--file", "."], "there is no file ."),
        (["--file", "text.txt"], "text.txt is no tar, or is compressed or damaged"),
        (["--file", "good.tar.gz", "--data-dir", "text.txt"], "cannot be written"),
    ],
    ids=["neither", "both", "missing", "folder", "no archive", "no data folder"],
)
def test_bad_input_ends_in_one_sentence(
    tmp_path, monkeypatch, capsys, server, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "text.txt").write_text("no archive")
    (tmp_path / "good.tar.gz").write_bytes(CONTENT)
    assert message in refusal(["cifar10", *arguments], monkeypatch, capsys)
    assert tree(tmp_path) == ["good.tar.gz", "text.txt"]
    assert server.count == 0


def test_another_data_set_is_refused_by_the_command_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(["mnist", "--download"], monkeypatch)
    assert stop.value.code == 2
    assert "cifar10" in capsys.readouterr().err
