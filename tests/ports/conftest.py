"""What becomes of a weight file that is read in a process of its own."""

import pytest

from tests.references import weight_files


@pytest.fixture(scope="session")
def apart():
    reader = weight_files.Apart()
    yield reader
    reader.close()


@pytest.fixture
def outcome(apart, tmp_path):
    """A function from a file's content and suffix to what became of it."""

    def read(content, suffix):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        return apart.read(path)

    return read
