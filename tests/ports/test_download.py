"""Downloads from a server of the test's own: whole, cut off, resumed, false, and offline."""

import hashlib
import http.server
import threading

import pytest

from ports.download import download

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; how it behaves is in the server's `how`, what was asked in `ranges`."""

    def do_GET(self):
        how, asked = self.server.how, self.headers.get("Range")
        self.server.ranges.append(asked)
        if how == "missing":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        if how == "no ranges":
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = start + 1_500_000 if how == "cut off" else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_):
        """Nothing on the terminal."""


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.how, server.ranges = "well", []
    server.url = f"http://127.0.0.1:{server.server_port}/net-{SHA256[:8]}.pth"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_its_progress_is_told(server, tmp_path):
    told = []
    path = download(server.url, tmp_path / "new" / "net", SHA256[:8], lambda *n: told.append(n))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [there for there, _ in told] == sorted(there for there, _ in told)
    assert len(told) >= 3
    assert names(tmp_path / "new") == ["net"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "net").write_bytes(CONTENT)
    download(server.url, tmp_path / "net", SHA256)
    assert server.ranges == []


def test_a_file_of_that_name_with_other_contents_is_replaced(server, tmp_path):
    (tmp_path / "net").write_bytes(b"an older one")
    download(server.url, tmp_path / "net", SHA256)
    assert (tmp_path / "net").read_bytes() == CONTENT


def test_a_download_that_was_cut_off_goes_on_where_it_was(server, tmp_path):
    server.how = "cut off"
    with pytest.raises(OSError, match="Run it again to go on"):
        download(server.url, tmp_path / "net", SHA256)
    assert names(tmp_path) == ["net.part"]
    server.how = "well"
    download(server.url, tmp_path / "net", SHA256)
    assert server.ranges == [None, "bytes=1500000-"]
    assert (tmp_path / "net").read_bytes() == CONTENT
    assert names(tmp_path) == ["net"]


def test_a_server_that_cannot_go_on_begins_anew(server, tmp_path):
    (tmp_path / "net.part").write_bytes(CONTENT[:1000])
    server.how = "no ranges"
    download(server.url, tmp_path / "net", SHA256)
    assert (tmp_path / "net").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "net.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "net", SHA256)
    assert names(tmp_path) == ["net"]


@pytest.mark.parametrize("part", [None, b"something else"], ids=["from the start", "resumed"])
def test_a_file_with_another_checksum_is_refused_and_removed(server, tmp_path, part):
    if part is not None:
        (tmp_path / "net.part").write_bytes(part)
    expected = "00000000" if part is None else SHA256
    with pytest.raises(ValueError, match=f"does not begin with {expected}: it was removed"):
        download(server.url, tmp_path / "net", expected)
    assert names(tmp_path) == []


def test_an_address_without_the_file_is_named(server, tmp_path):
    server.how = "missing"
    with pytest.raises(OSError, match=f"{server.url} cannot be downloaded: Not Found"):
        download(server.url, tmp_path / "net", SHA256)
    assert names(tmp_path) == []


def test_a_server_that_does_not_answer_is_named(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"cannot be downloaded: .*refused"):
        download(server.url, tmp_path / "net", SHA256)
    assert names(tmp_path) == []
