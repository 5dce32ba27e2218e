"""What many tests share: a seeded generator, and the real networks and images."""

import os
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def unchecked():
    """Annotations of shapes are not checked, as outside the tests: the function's own refusal
    is what is tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """What a module compiled is forgotten after it: thousands of programs fill the memory."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real networks and images; tests that need it skip aloud without it."""
    folder = os.environ.get("JAXSEL_TEST_DATA")
    if not folder:
        pytest.skip("JAXSEL_TEST_DATA is not set: the real networks and images are not here")
    assert Path(folder).is_dir(), f"JAXSEL_TEST_DATA names no folder: {folder}"
    return Path(folder)
