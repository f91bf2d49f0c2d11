"""One door to what runs a network: torch as it is, or ONNX Runtime and OpenVINO where they are installed."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AssetMissing, BadInput

Run = Callable[[Tensor], Tensor]
"""Batches "b 3 h w" float32 -> what the network puts out, float32, on the same device."""

BACKENDS = ("torch", "onnx", "openvino")
_EXPORT = ("onnx", "onnxscript")
_NEEDS = {"onnx": (*_EXPORT, "onnxruntime"), "openvino": (*_EXPORT, "openvino")}


def runner(
    network: nn.Module,
    backend: Literal["torch", "onnx", "openvino"] = "torch",
    precision: Literal["fp32", "bf16"] = "fp32",
    *,
    input_px: int = 256,
) -> Run:
    """Make a network ready to be asked, for good: later changes of its weights do not show. It runs in evaluation mode, without gradients.

    Uses as many threads as torch may (:func:`torch.get_num_threads`) when it is made. bf16 pays on processors with AVX512-BF16 or AMX only, and
    has 8 significant bits: see what it costs with your weights.

    Args:
        network: of one image tensor to one tensor.
        input_px: side of the square images it will see; for "onnx" and "openvino", which are told beforehand. Batches may have any length.

    Raises:
        AssetMissing: the backend is not installed. BadInput: unknown names, bf16 for "onnx" (it has none for processors), or a network on a GPU
            with another backend than torch.
    """
    if backend not in BACKENDS:
        raise BadInput(f"network backend '{backend}': choose {', '.join(BACKENDS)}")
    if precision not in ("fp32", "bf16") or (backend, precision) == ("onnx", "bf16"):
        remedy = "fp32, or the backend openvino or torch" if precision == "bf16" else "fp32 or bf16"
        raise BadInput(f"precision '{precision}' of the network backend {backend}: choose {remedy}")
    own = copy.deepcopy(network).eval()
    if backend == "torch":
        return _torch(own, precision == "bf16")
    modules = {name: _module(backend, name) for name in _NEEDS[backend]}
    device = next(own.parameters(), torch.zeros(())).device
    if device.type != "cpu":
        raise BadInput(
            f"network backend {backend} works on the CPU, the network is on {device}: move it, or use torch"
        )
    exported = onnx_bytes(own, input_px)
    if backend == "onnx":
        return _onnx(modules["onnxruntime"], exported)
    return _openvino(modules["openvino"], exported, input_px, precision == "bf16")


def onnx_bytes(network: nn.Module, input_px: int) -> bytes:
    """A network in evaluation mode as an ONNX file, for batches "b 3 input_px input_px" of any length.

    Raises:
        AssetMissing: the packages that write such files are not installed.
    """
    for name in _EXPORT:
        _module("onnx", name)
    example = torch.zeros(2, 3, input_px, input_px)
    with _silence():
        program = torch.onnx.export(
            network, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _torch(network: nn.Module, bf16: bool) -> Run:
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(images: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            out = network(images.contiguous(memory_format=torch.channels_last))
        return out.float().contiguous()

    return run


def _onnx(onnxruntime: ModuleType, exported: bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: _asked(images, lambda array: session.run(None, {name: array})[0])


def _openvino(openvino: ModuleType, exported: bytes, input_px: int, bf16: bool) -> Run:
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    requests: dict[int, Any] = {}  # one per length of batch: with its shape known, a network runs faster

    def run(array: np.ndarray) -> np.ndarray:
        if len(array) not in requests:
            model = core.read_model(model=exported)
            model.reshape([len(array), 3, input_px, input_px])
            requests[len(array)] = core.compile_model(model, "CPU", settings).create_infer_request()
        # A copy: the request's own memory holds the next answer soon.
        return np.array(requests[len(array)].infer([array])[0], np.float32)

    return lambda images: _asked(images, run)


def _asked(images: Tensor, run: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    array = np.ascontiguousarray(images.detach().cpu().numpy(), np.float32)
    return torch.from_numpy(run(array)).to(images.device)


def _module(backend: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        packages = " ".join(_NEEDS[backend])
        raise AssetMissing(
            f"network backend '{backend}' cannot be loaded ({error}): pip install {packages}"
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter has much to say about packages that nobody needs here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
