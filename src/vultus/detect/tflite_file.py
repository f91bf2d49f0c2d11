"""Read a TensorFlow Lite file into the small operation list that :mod:`vultus.detect.network` runs.

Needed only to convert the models that ship with the package (``scripts/vendor_detectors.py``) and to open a user's own
``face_landmarker.task``; it therefore imports ``tflite`` (pure Python, the flatbuffer schema) inside the functions.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vultus.detect.network import Network, Operation
from vultus.errors import AssetMissing, BadFile, WeightsMismatch

_PADDING = ("same", "valid")
_ACTIVATION = {0: "", 1: "relu", 3: "relu6"}
_ELEMENTWISE = {"ADD": "add", "MUL": "mul", "RELU": "relu", "LOGISTIC": "sigmoid", "HARD_SWISH": "hard_swish"}
_CUSTOM = {
    "Landmarks2TransformMatrix": "landmarks_to_matrix",
    "TransformTensorBilinear": "sample_window",
    "TransformLandmarks": "transform_landmarks",
    "Convolution2DTransposeBias": "transposed_conv2d",
}


def read_task_member(path: Path, member: str) -> bytes:
    """The bytes of one model inside a MediaPipe ``.task`` bundle (a zip archive).

    Raises:
        BadFile: not a zip archive, or without that member.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            return bundle.read(member)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise BadFile(
            f"{path}: no MediaPipe bundle with a {member} inside ({error}); "
            "give the face_landmarker.task that MediaPipe publishes"
        ) from error


def parse_tflite(content: bytes, name: str) -> Network:
    """The network in a ``.tflite`` file's bytes, its weights turned to PyTorch's layout.

    Args:
        content: the flatbuffer.
        name: what to call it in messages.

    Raises:
        AssetMissing: the ``tflite`` package is not installed.
        WeightsMismatch: an operation that the runner does not know.
    """
    try:
        import tflite
    except ImportError as error:
        raise AssetMissing(
            f"{name}: reading .tflite files needs the tflite package: pip install tflite"
        ) from error

    model: Any = tflite.Model.GetRootAs(content, 0)
    graph: Any = model.Subgraphs(0)
    op_names = {code: op for op, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
    constants = _read_constants(model, graph)
    produced: dict[
        int, int
    ] = {}  # a tensor that only renames another (DEQUANTIZE of a weight, identity slices)
    operations: list[Operation] = []
    weights: dict[str, torch.Tensor] = {}

    for position in range(graph.OperatorsLength()):
        node = graph.Operators(position)
        code = model.OperatorCodes(node.OpcodeIndex())
        kind = op_names[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]
        if kind == "CUSTOM":
            kind = code.CustomCode().decode()
        raw_inputs = [int(i) for i in node.InputsAsNumpy()]
        inputs = [produced.get(i, i) for i in raw_inputs]
        output = int(node.Outputs(0))
        if kind == "DEQUANTIZE" or (kind == "STRIDED_SLICE" and _same_shape(graph, inputs[0], output)):
            produced[output] = inputs[0]
            continue
        operation, arrays = _translate(kind, node, inputs, constants, _shape(graph, output), name)
        for index, array in arrays.items():
            weights[f"{output}.{index}"] = torch.from_numpy(array.astype(np.float32, order="C"))
        runtime_inputs = tuple(
            f"{output}.{k}" if k in arrays else str(i)
            for k, i in enumerate(inputs)
            if k in arrays or i not in constants
        )
        operations.append(Operation(operation[0], runtime_inputs, str(output), operation[1]))

    outputs = tuple(str(produced.get(int(i), int(i))) for i in graph.OutputsAsNumpy())
    shape = _shape(graph, int(graph.Inputs(0)))
    return Network(
        input_name=str(int(graph.Inputs(0))),
        input_size_px=(int(shape[2]), int(shape[1])),
        outputs=outputs,
        operations=tuple(operations),
        weights=weights,
    )


def _shape(graph: Any, index: int) -> tuple[int, ...]:
    tensor = graph.Tensors(index)
    return tuple(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()


def _same_shape(graph: Any, first: int, second: int) -> bool:
    return _shape(graph, first) == _shape(graph, second)


def _read_constants(model: Any, graph: Any) -> dict[int, np.ndarray]:
    import tflite

    dtypes = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
    dtypes[tflite.TensorType.INT32] = np.int32
    constants = {}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength() and tensor.Type() in dtypes:
            data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtypes[tensor.Type()])
            constants[index] = data.reshape(_shape(graph, index))
    return constants


def _translate(
    kind: str,
    node: Any,
    inputs: list[int],
    constants: dict[int, np.ndarray],
    shape: tuple[int, ...],
    name: str,
) -> tuple[tuple[str, dict[str, Any]], dict[int, np.ndarray]]:
    """One TFLite node -> ((operation, options), {input position: constant in PyTorch's layout})."""
    import tflite

    arrays = {k: constants[i] for k, i in enumerate(inputs) if i in constants}

    def options(table: Any) -> Any:
        table.Init(node.BuiltinOptions().Bytes, node.BuiltinOptions().Pos)
        return table

    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        depthwise = kind == "DEPTHWISE_CONV_2D"
        o = options(tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions())
        if o.DilationHFactor() != 1 or o.DilationWFactor() != 1:
            raise WeightsMismatch(f"{name}: dilated convolutions are not supported")
        arrays[1] = arrays[1].transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        values = {
            "stride": [o.StrideH(), o.StrideW()],
            "padding": _PADDING[o.Padding()],
            "groups": arrays[1].shape[0] if depthwise else 1,
            "activation": _ACTIVATION[o.FusedActivationFunction()],
        }
        return ("conv2d", values), arrays
    if kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        o = options(tflite.Pool2DOptions())
        values = {
            "size": [o.FilterHeight(), o.FilterWidth()],
            "stride": [o.StrideH(), o.StrideW()],
            "padding": _PADDING[o.Padding()],
        }
        return ("max_pool" if kind == "MAX_POOL_2D" else "average_pool", values), {}
    if kind == "PRELU":
        return ("prelu", {}), {1: arrays[1].reshape(-1)}
    if kind in _ELEMENTWISE:
        arrays = {k: _channels_first(a, len(shape)) for k, a in arrays.items()}
        return (_ELEMENTWISE[kind], {}), arrays
    if kind == "PAD":
        (_, _), (before_h, after_h), (before_w, after_w), (before_c, after_c) = arrays[1].tolist()
        return ("pad", {"pads": [before_w, after_w, before_h, after_h, before_c, after_c]}), {}
    if kind == "RESHAPE":
        return ("reshape", {"shape": list(shape)}), {}
    if kind == "RESIZE_BILINEAR":
        o = options(tflite.ResizeBilinearOptions())
        mode = "corners" if o.AlignCorners() else ("half_pixel" if o.HalfPixelCenters() else "legacy")
        return ("resize", {"size": [shape[1], shape[2]], "mode": mode}), {}
    if kind == "Convolution2DTransposeBias":
        arrays[1] = arrays[1].transpose(3, 0, 1, 2)
        return (_CUSTOM[kind], {"stride": list(arrays[1].shape[2:])}), arrays
    if kind in _CUSTOM:
        values: Any = {}
        if node.CustomOptionsLength():
            from flatbuffers import flexbuffers

            values = flexbuffers.Loads(bytes(node.CustomOptionsAsNumpy()))
        return (_CUSTOM[kind], values), {}
    raise WeightsMismatch(
        f"{name}: holds the operation {kind}, which vultus cannot run; use the bundled model"
    )


def _channels_first(constant: np.ndarray, rank: int) -> np.ndarray:
    """A constant that broadcasts against an "b h w c" tensor, reshaped to broadcast against "b c h w"."""
    if rank != 4 or constant.size == 1:
        return constant
    return constant.reshape((1,) * (4 - constant.ndim) + constant.shape).transpose(0, 3, 1, 2)
