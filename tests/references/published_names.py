"""The arrays of `torch_networks` under the names and in the layouts of published files."""

import numpy as np


def pytorch(net, dtype=np.float64):
    """A PyTorch file: the module's own names, counters of BatchNorm included."""
    arrays = {key: array.numpy() for key, array in net.state_dict().items()}
    return {key: a.astype(dtype) if a.dtype == np.float64 else a for key, a in arrays.items()}


def onnx(net, dtype=np.float64):
    """Caffe's AlexNet in the ONNX model zoo: `conv1_w_0`, `conv1_b_0`, ..., as PyTorch's."""
    endings = {"weight": "w_0", "bias": "b_0"}
    arrays = {}
    for key, array in pytorch(net, dtype).items():
        layer, kind = key.split(".")
        arrays[f"{layer}_{endings[kind]}"] = array
    return arrays


def npy(net, dtype=np.float64):
    """Caffe's AlexNet as a dictionary for TensorFlow: `{"conv1": [kernel, bias], ...}`.

    Kernels of convolutions are (height, width, in, out), of dense layers (in, out); the rows
    of fc6 are in the order height, width, channels.
    """
    arrays = pytorch(net, dtype)
    found = {}
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        weight, bias = arrays[f"{layer}.weight"], arrays[f"{layer}.bias"]
        if layer == "fc6":
            maps = weight.reshape(len(weight), -1, 6, 6)
            weight = np.moveaxis(maps, 1, -1).reshape(len(weight), -1)
        found[layer] = [_channels_last(weight), bias]
    return found


def flat_npy(net, dtype=np.float64):
    """The same with one key for every array: `conv1/weights`, `conv1/biases`, ..."""
    pairs = npy(net, dtype).items()
    return {
        f"{layer}/{kind}": array
        for layer, both in pairs
        for kind, array in zip(("weights", "biases"), both, strict=True)
    }


def keras(net, dtype=np.float64):
    """Ukita's network: `layer1/kernel`, `bn1/gamma`, ..., `fc1/kernel`, `bn7/gamma`, ..."""
    arrays = pytorch(net, dtype)
    layers = [(f"convs.{i}", f"layer{i + 1}") for i in range(6)]
    found = {}
    for ours, theirs in [*layers, ("fc1", "fc1"), ("fc2", "fc2")]:
        found[f"{theirs}/kernel"] = _channels_last(arrays[f"{ours}.weight"])
        found[f"{theirs}/bias"] = arrays[f"{ours}.bias"]
    for i in range(7):
        for ours, theirs in [
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ]:
            found[f"bn{i + 1}/{theirs}"] = arrays[f"norms.{i}.{ours}"]
    return found


def _channels_last(weight):
    """(out, in, height, width) as (height, width, in, out), (out, in) as (in, out)."""
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
