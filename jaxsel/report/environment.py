"""Where and with what a result was computed."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    *("jaxsel", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy"),
    *("scikit-learn", "matplotlib", "pyarrow", "pillow", "tensorflow-datasets"),
)


def environment() -> dict[str, Any]:
    """Versions, the commit of the checkout, and the device.

    Returns:
        A dictionary for a result's `config.json`. No time and no path: the same command
        on the same machine is to give the same bytes.
    """
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "device": " ".join(dict.fromkeys((device.platform, device.device_kind))),
        "n_devices": jax.device_count(),
    }


def git_commit() -> str | None:
    """The commit of the checkout jaxsel runs from, `+changes` if edited; None without one."""
    here = Path(__file__).parent
    try:
        # An installed copy may lie inside somebody else's checkout.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
