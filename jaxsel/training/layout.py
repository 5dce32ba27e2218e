"""Where replicas are computed: one after another or together, on one device or on many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

# The mapped axis: of devices.
AXIS = "devices"
PARALLEL = ("pmap", "shard_map")
OVER = ("replicas", "batch")


@dataclass(frozen=True)
class Layout:
    """How the replicas of a group lie on devices, and which programs run them.

    Attributes:
        stacked: whether the replicas of a device are one program under `vmap`, a whole epoch
            of it a `scan`; otherwise Python loops over replicas and over steps.
        devices: what is computed on; with one, nothing is mapped over devices.
        over: what several devices share: `replicas`, or the images of every `batch`.
        parallel: what maps over devices: `pmap` or `shard_map`.
    """

    stacked: bool
    devices: tuple[Any, ...]
    over: str = "replicas"
    parallel: str = "pmap"

    def __post_init__(self) -> None:
        for name, known in (("over", OVER), ("parallel", PARALLEL)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be {' or '.join(known)}; found {getattr(self, name)!r}"
                )
        if not self.devices:
            raise ValueError("a layout needs at least one device")

    def __str__(self) -> str:
        """What was chosen, for a result's record."""
        together = "stacked" if self.stacked else "one after another"
        if len(self.devices) == 1:
            return f"replicas {together} on one device"
        shared = "replicas" if self.over == "replicas" else "the images of a batch"
        return (
            f"replicas {together}, {shared} spread over {len(self.devices)} devices by "
            f"{self.parallel}"
        )

    @property
    def axis_name(self) -> str | None:
        """The axis over which a batch is spread, if it is."""
        spread = self.over == "batch" and len(self.devices) > 1
        return AXIS if spread else None

    def lanes(self, n_replicas: int) -> list[list[int]]:
        """The replicas that run in one call, each list of one length.

        Where there are too few for the devices, the last of them run twice; the copy is left
        out of every result.
        """
        width = len(self.devices) if self.over == "replicas" else 1
        size = -(-n_replicas // width) * width if self.stacked else width
        whole = [*range(n_replicas), *[n_replicas - 1] * (-n_replicas % size)]
        return [whole[i : i + size] for i in range(0, len(whole), size)]

    def program(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A compiled function of a lane, made of one of a single replica.

        Args:
            function: called as `function(state, own, shared, *scalars)` with what is a
                replica's (the memory of `state` is used again), what all share, and numbers.

        Returns:
            The same of what `placed` and `shared` give.
        """
        run = function
        if self.stacked:
            run = _over_replicas(run)
        if len(self.devices) == 1:
            return jax.jit(run, donate_argnums=0)
        if self.parallel == "pmap":
            return _pmapped(run, self.devices)
        return jax.jit(_shard_mapped(run, self.mesh), donate_argnums=0)

    @property
    def mesh(self) -> Mesh:
        """The devices in a row."""
        return Mesh(np.array(self.devices), (AXIS,))

    def placed(self, replicas: Sequence[Any]) -> Any:
        """Trees of one lane's replicas as its programs take them."""
        return jax.tree.map(lambda *leaves: self._own(np.stack(leaves)), *replicas)

    def _own(self, leaves: np.ndarray) -> Any:
        if len(self.devices) == 1:
            own = leaves if self.stacked else leaves[0]
            return jax.device_put(own, self.devices[0])
        if self.over == "replicas":
            lead = (len(self.devices), -1) if self.stacked else (len(self.devices),)
            return self._on_devices(leaves.reshape(*lead, *leaves.shape[1:]))
        return self.shared(leaves if self.stacked else leaves[0])

    def shared(self, tree: Any) -> Any:
        """A tree that every device has whole."""
        if len(self.devices) == 1:
            return jax.tree.map(partial(jax.device_put, device=self.devices[0]), tree)
        n = len(self.devices)
        return jax.tree.map(
            lambda x: self._on_devices(np.broadcast_to(np.asarray(x), (n, *np.shape(x)))), tree
        )

    def _on_devices(self, array: np.ndarray) -> Any:
        sharding = NamedSharding(self.mesh, Spec(AXIS))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def fetched(self, tree: Any, lane: Sequence[int]) -> list[Any]:
        """The trees of a lane's replicas on the host, copies included."""
        whole = jax.tree.map(self._host, tree)
        if len(self.devices) == 1 or self.over == "batch":
            if not self.stacked:
                return [whole]
        elif self.stacked:
            whole = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), whole)
        return [jax.tree.map(lambda x, i=i: x[i], whole) for i in range(len(lane))]

    def _host(self, array: Any) -> np.ndarray:
        if len(self.devices) == 1:
            return np.asarray(array)
        if self.over == "batch":  # the same on every device
            return np.asarray(array.addressable_data(0))[0]
        if array.is_fully_addressable and jax.process_count() == 1:
            return np.asarray(array)
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def chosen(
    *,
    stacked: bool | None = None,
    devices: Sequence[Any] | None = None,
    over: str = "replicas",
    parallel: str = "pmap",
) -> Layout:
    """The layout for the machine: this is where the backend decides.

    On GPU and TPU replicas are stacked. On the CPU they run one after another, step by step:
    there, a convolution with stacked weights costs 3 to 8 times as much per replica, and its
    gradient inside a loop 8 times and more.

    Args:
        stacked: overrides that.
        devices: what to compute on; by default all that JAX has.
        over: what several devices share, `replicas` or the images of a `batch`.
        parallel: `pmap` or `shard_map`.

    Raises:
        ValueError: another `over` or `parallel`.

    >>> chosen(devices=jax.devices("cpu")[:1]).stacked
    False
    """
    found = tuple(jax.devices() if devices is None else devices)
    by_backend = bool(found) and found[0].platform != "cpu"
    return Layout(by_backend if stacked is None else stacked, found, over, parallel)


def _over_replicas(function):
    def together(state, own, shared, *scalars):
        def one(state, own):
            return function(state, own, shared, *scalars)

        return jax.vmap(one)(state, own)

    return together


def _pmapped(function, devices):
    def mapped(state, own, shared, *scalars):
        axes = (0, 0, 0, *(None for _ in scalars))
        key = len(scalars)
        if key not in programs:
            programs[key] = jax.pmap(
                function, AXIS, in_axes=axes, devices=devices, donate_argnums=0
            )
        return programs[key](state, own, shared, *scalars)

    programs: dict[int, Callable[..., Any]] = {}
    return mapped


def _shard_mapped(function, mesh):
    def of_device(state, own, shared, *scalars):
        first = jax.tree.map(lambda x: x[0], (state, own, shared))
        return jax.tree.map(lambda x: x[None], function(*first, *scalars))

    def mapped(state, own, shared, *scalars):
        specs = (Spec(AXIS), Spec(AXIS), Spec(AXIS), *(Spec() for _ in scalars))
        # What leaves a device is what it computed, also where all have computed the same.
        return jax.shard_map(
            of_device, mesh=mesh, in_specs=specs, out_specs=Spec(AXIS), check_vma=False
        )(state, own, shared, *scalars)

    return mapped
