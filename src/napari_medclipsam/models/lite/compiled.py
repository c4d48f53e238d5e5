"""Networks that OpenVINO runs on the CPU: one call each, during which Python's other threads go on.

Torch's eager mode asks for Python's lock at each of some hundred operations, and beside a window that draws it waits
for it each time.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import openvino
    import torch

# It is read when OpenVINO is first imported.
os.environ.setdefault("OPENVINO_TELEMETRY_DISABLE", "1")

_POLL_MS = 5


def runs_openvino(device: str) -> bool:
    """Return whether networks on `device` are OpenVINO's to run."""
    return device == "cpu" and importlib.util.find_spec("openvino") is not None


def to_openvino(
    network: torch.nn.Module, examples: Sequence[torch.Tensor], shapes: Sequence[Sequence[int]]
) -> openvino.Model:
    """Return a network in OpenVINO's form.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    examples : sequence of torch.Tensor
        Its inputs.
    shapes : sequence of sequence of int
        Those it will be given; -1 for a side that varies.
    """
    import openvino
    import torch

    with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        # Without the trace check, which runs the network three times more.
        traced = torch.jit.trace(network, tuple(examples), check_trace=False)
        model = openvino.convert_model(traced, example_input=tuple(examples))
    model.reshape({k: list(shape) for k, shape in enumerate(shapes)})
    return model


class GaveWayError(Exception):
    """A call was given up because its caller asked for it."""


class Compiled:
    """A network compiled for this CPU, in float32, for short waits. Safe with several threads.

    Parameters
    ----------
    model : openvino.Model
        It is compiled beside what the caller does next; the first call waits for it.
    """

    def __init__(self, model: openvino.Model) -> None:
        self._lock = threading.Lock()
        worker = ThreadPoolExecutor(1)
        self._request = worker.submit(_request, model)
        worker.shutdown(wait=False)

    def __call__(self, *inputs: np.ndarray, cancelled: Callable[[], bool] | None = None) -> list[np.ndarray]:
        """Return the outputs, as new arrays.

        Raises
        ------
        GaveWayError
            If `cancelled`, which is asked every few milliseconds, said so.
        """
        request = self._request.result()
        # A request works for one caller at a time.
        with self._lock:
            if cancelled is None:
                return list(request.infer(inputs, share_inputs=True).values())
            request.start_async(inputs, share_inputs=True)
            while not request.wait_for(_POLL_MS):
                if cancelled():
                    request.cancel()
                    # OpenVINO reports the end of what was cancelled as an error.
                    with suppress(RuntimeError):
                        request.wait()
                    raise GaveWayError
            return [np.array(tensor.data) for tensor in request.output_tensors]


def _request(model: openvino.Model) -> Any:
    import openvino
    import torch

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
