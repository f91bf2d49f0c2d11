"""Run a converted TensorFlow Lite network in PyTorch: a dozen operations, held as a list, walked in order.

Why not an interpreter package: MediaPipe's attention mesh uses operations of its own that no light runtime knows, and
its wheel pulls a gigabyte of dependencies. The networks are small; walking them in PyTorch costs a few milliseconds,
takes a batch of crops, and runs on whatever device the weights are on.

Four-dimensional activations are held "b c h w" (TFLite: "b h w c"); everything else keeps TFLite's layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vultus.errors import AssetMissing, BadFile


@dataclass(frozen=True)
class Operation:
    """One step: apply ``kind`` with ``options`` to the named tensors, call the result ``output``."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A feed-forward network: calling it maps images "b 3 h w" to a tuple of its output tensors."""

    input_name: str
    input_size_px: tuple[int, int]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    weights: Mapping[str, Tensor]

    def pruned(self, positions: tuple[int, ...]) -> Network:
        """The part of this network that the outputs at these positions need."""
        outputs = tuple(self.outputs[i] for i in positions)
        needed, operations = set(outputs), []
        for operation in reversed(self.operations):
            if operation.output in needed:
                operations.append(operation)
                needed.update(operation.inputs)
        weights = {name: weight for name, weight in self.weights.items() if name in needed}
        return replace(self, outputs=outputs, operations=tuple(reversed(operations)), weights=weights)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the network on "b 3 h w" images in the range it was trained for (here [0, 1])."""
        values = dict(self.weights)
        values[self.input_name] = _channels_last(images)
        for operation in self.operations:
            inputs = [values[name] for name in operation.inputs]
            values[operation.output] = _OPERATIONS[operation.kind](*inputs, **operation.options)
        return tuple(values[name] for name in self.outputs)


def save_network(network: Network, path: Path) -> None:
    """Write the weights as float16 safetensors, the operations as JSON in its header."""
    graph = {
        "input_name": network.input_name,
        "input_size_px": network.input_size_px,
        "outputs": network.outputs,
        "operations": [asdict(operation) for operation in network.operations],
    }
    weights = {name: weight.to(torch.float16).contiguous() for name, weight in network.weights.items()}
    save_file(weights, path, metadata={"graph": json.dumps(graph, separators=(",", ":"))})


def load_network(path: Path) -> Network:
    """Read what :func:`save_network` wrote; weights become float32.

    Raises:
        AssetMissing: no such file.
        BadFile: not a readable safetensors file with a graph.
    """
    if not path.is_file():
        raise AssetMissing(f"{path}: the detection network is missing; install vultus again")
    try:
        with safe_open(path, framework="pt") as file:
            graph = json.loads(file.metadata()["graph"])
            weights = {name: _loaded(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise BadFile(f"{path}: damaged network file ({error}); install vultus again") from error
    operations = tuple(
        Operation(op["kind"], tuple(op["inputs"]), op["output"], op["options"]) for op in graph["operations"]
    )
    return Network(
        graph["input_name"], tuple(graph["input_size_px"]), tuple(graph["outputs"]), operations, weights
    )


def _loaded(weight: Tensor) -> Tensor:
    """Float32; filters with their channels last, which halves the time of the small depthwise convolutions."""
    return _channels_last(weight.float())


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _same_padding(x: Tensor, size: tuple[int, int], stride: list[int]) -> list[int]:
    """TensorFlow's SAME padding [left, right, top, bottom]: the odd pixel goes after, and it depends on the input."""
    pads: list[int] = []
    for side, k, s in zip((x.shape[3], x.shape[2]), size[::-1], stride[::-1]):
        total = max((-(-side // s) - 1) * s + k - side, 0)
        pads += [total // 2, total - total // 2]
    return pads


def _conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], padding: str, groups: int, activation: str
) -> Tensor:
    pads = _same_padding(x, (weight.shape[2], weight.shape[3]), stride) if padding == "same" else [0, 0, 0, 0]
    if (
        weight.shape[2:] == (1, 1) and stride == [1, 1] and groups == 1
    ):  # on small maps far faster than a convolution
        y = F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    elif pads[0] == pads[1] and pads[2] == pads[3]:
        y = F.conv2d(x, weight, bias, stride, [pads[2], pads[0]], 1, groups)
    else:
        y = F.conv2d(F.pad(x, pads), weight, bias, stride, 0, 1, groups)
    return _ACTIVATIONS[activation](y)


def _transposed_conv2d(x: Tensor, weight: Tensor, bias: Tensor, stride: list[int]) -> Tensor:
    return F.conv_transpose2d(x, weight, bias, stride)


def _max_pool(x: Tensor, size: list[int], stride: list[int], padding: str) -> Tensor:
    if padding == "same" and any(pads := _same_padding(x, (size[0], size[1]), stride)):
        x = F.pad(x, pads, value=float("-inf"))
    return F.max_pool2d(x, size, stride)


def _average_pool(x: Tensor, size: list[int], stride: list[int], padding: str) -> Tensor:
    if size == list(x.shape[2:]):
        return x.mean((2, 3), keepdim=True)
    return F.avg_pool2d(x, size, stride)


def _reshape(x: Tensor, shape: list[int]) -> Tensor:
    flat = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    y = flat.reshape(-1, *shape[1:])
    return y.permute(0, 3, 1, 2) if y.ndim == 4 else y


def _resize(x: Tensor, size: list[int], mode: str) -> Tensor:
    """Bilinear, as two matrix products; "legacy" (TensorFlow 1) puts both grids' first pixel centres together."""
    rows, columns = (_interpolation(i, o, mode, x) for i, o in zip(x.shape[2:], size))
    return rows @ x @ columns.T


def _interpolation(num_in: int, num_out: int, mode: str, like: Tensor) -> Tensor:
    index = torch.arange(num_out, dtype=like.dtype, device=like.device)
    if mode == "corners":
        position = index * ((num_in - 1) / max(num_out - 1, 1))
    elif mode == "half_pixel":
        position = (index + 0.5) * (num_in / num_out) - 0.5
    else:
        position = index * (num_in / num_out)
    pixel = torch.arange(num_in, dtype=like.dtype, device=like.device)
    return (1 - (position.clamp(0, num_in - 1)[:, None] - pixel).abs()).clamp_min(0)


def _landmarks_to_matrix(
    landmarks: Tensor,
    subset_idxs: list[int],
    left_rotation_idx: int,
    right_rotation_idx: int,
    target_rotation_radians: float,
    output_height: int,
    output_width: int,
    scale_x: float,
    scale_y: float,
) -> Tensor:
    """The window around some landmarks "b l 3", upright with respect to two of them: window pixels -> map pixels, "b 4 4".

    MediaPipe, util/tflite/operations/landmarks_to_transform_matrix.cc, version 2.
    """
    xy = landmarks[..., :2]
    along = xy[:, right_rotation_idx] - xy[:, left_rotation_idx]
    angle = torch.atan2(along[:, 1], along[:, 0]) - target_rotation_radians
    cos, sin = angle.cos(), angle.sin()
    to_map = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    upright = xy[:, subset_idxs] @ to_map
    high, low = upright.amax(1), upright.amin(1)
    middle = (to_map @ ((high + low) / 2)[..., None])[..., 0]
    size = xy.new_tensor([output_width, output_height])
    linear = to_map * ((high - low) * xy.new_tensor([scale_x, scale_y]) / size)[:, None, :]
    matrix = torch.eye(4, dtype=xy.dtype, device=xy.device).repeat(len(xy), 1, 1)
    matrix[:, :2, :2] = linear
    matrix[:, :2, 3] = middle - (linear @ (size / 2))
    return matrix


def _sample_window(x: Tensor, matrix: Tensor, output_height: int, output_width: int) -> Tensor:
    """Bilinear samples of a map "b c h w" on the window that ``matrix`` places; zero beyond the outer pixel centres.

    MediaPipe, util/tflite/operations/transform_tensor_bilinear.cc, version 2.
    """
    height, width = x.shape[2:]
    v, u = torch.meshgrid(
        torch.arange(output_height, device=x.device) + 0.5,
        torch.arange(output_width, device=x.device) + 0.5,
        indexing="ij",
    )
    window = torch.stack([u, v], -1).to(x.dtype)
    position = torch.einsum("bij,hwj->bhwi", matrix[:, :2, :2], window) + matrix[:, None, None, :2, 3]
    size = x.new_tensor([width, height])
    sampled = F.grid_sample(x, position / size * 2 - 1, mode="bilinear", align_corners=False)
    inside = ((position >= 0.5) & (position <= size - 0.5)).all(-1)
    return sampled * inside[:, None]


def _transform_landmarks(landmarks: Tensor, matrix: Tensor) -> Tensor:
    """Move landmarks "b l 2" (or the first two of three coordinates) by ``matrix``, window pixels -> image pixels."""
    xy = landmarks[..., :2] @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 3]
    return torch.cat([xy, landmarks[..., 2:]], -1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"": lambda x: x, "relu": F.relu, "relu6": F.relu6}
_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "conv2d": _conv2d,
    "transposed_conv2d": _transposed_conv2d,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "prelu": F.prelu,
    "add": torch.add,
    "mul": torch.mul,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "hard_swish": F.hardswish,
    "pad": lambda x, pads: F.pad(x, pads),
    "reshape": _reshape,
    "resize": _resize,
    "landmarks_to_matrix": _landmarks_to_matrix,
    "sample_window": _sample_window,
    "transform_landmarks": _transform_landmarks,
}
