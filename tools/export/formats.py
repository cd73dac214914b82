"""The files that a network can leave in: each format's writer, and its reader, which knows nothing but the file."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tarpon.tools.export.record import Exportable, Exporting
from tarpon.tools.tasks import part_of_task

NOTE = "tarpon"  # name of the metadata in every format: JSON of task, inputs, outputs, facts
ONNX_BYTES = 2**31 - 2**24  # a protobuf message holds 2 GiB; the rest is for the graph

Runner = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]  # the model of a file, on the CPU


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of file."""

    suffix: str
    write: Callable[[Exportable, Mapping, Path], None]  # (network, metadata, file)
    read: Callable[[Path], Runner]
    runs_in: str  # what opens it


def make_note(task: str, what: Exportable) -> dict:
    """The metadata that goes into the file, as JSON values."""
    note = {
        "task": task,
        "inputs": [asdict(port) for port in what.inputs],
        "outputs": [asdict(port) for port in what.outputs],
        "facts": what.facts,
    }
    return json.loads(json.dumps(note))


def load_module(path: str | Path) -> nn.Module:
    """The module of a safetensors file of `tarpon export`: tensors as its inputs say -> tuple of its outputs.

    Raises:
        ValueError: in one line, when the file is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[NOTE])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        task, facts = note["task"], note["facts"]
    except (SafetensorError, KeyError, TypeError, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a safetensors file of `tarpon export` ({error})") from error
    exporting: Exporting = part_of_task(task, "export", where=str(path))
    with torch.enable_grad():  # a network may look at its own slopes when it is built
        module = exporting.rebuild(facts)
    module.load_state_dict(tensors)
    return module.eval()


def _write_safetensors(what: Exportable, note: Mapping, path: Path) -> None:
    tensors = {name: value.detach().clone().contiguous() for name, value in what.module.state_dict().items()}
    save_file(tensors, path, metadata={NOTE: json.dumps(note)})


def _read_safetensors(path: Path) -> Runner:
    module = load_module(path)
    return lambda inputs: module(*inputs)


def _write_onnx(what: Exportable, note: Mapping, path: Path) -> None:
    _import_onnx()
    size = sum(value.numel() * value.element_size() for value in what.module.state_dict().values())
    if size > ONNX_BYTES:
        raise ValueError(f"the weights are {size / 2**30:.1f} GiB and an ONNX file holds 2; use --format pt2 or torchscript")
    names = {"input_names": [port.name for port in what.inputs], "output_names": [port.name for port in what.outputs]}
    with quiet():
        program = torch.onnx.export(_trace(what), dynamo=True, verbose=False, **names)
        program.model.metadata_props[NOTE] = json.dumps(note)
        program.save(path, external_data=False)


def _read_onnx(path: Path) -> Runner:
    runtime = _import_onnx()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, fed)))

    return run


def _import_onnx():
    """onnxruntime; ValueError saying what to install where a part of the extra is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--format onnx needs {error.name}: pip install 'tarpon[onnx]'") from error
    return onnxruntime


def _write_pt2(what: Exportable, note: Mapping, path: Path) -> None:
    with quiet():
        torch.export.save(_trace(what), path, extra_files={NOTE: json.dumps(note)})


def _read_pt2(path: Path) -> Runner:
    with quiet():
        module = torch.export.load(path).module()
    return lambda inputs: module(*inputs)


def _write_torchscript(what: Exportable, note: Mapping, path: Path) -> None:
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(what.module, _example(what), check_trace=False)
        traced.save(path, _extra_files={NOTE: json.dumps(note)})


def _read_torchscript(path: Path) -> Runner:
    with quiet():
        module = torch.jit.load(path)
    return lambda inputs: module(*inputs)


def _trace(what: Exportable) -> torch.export.ExportedProgram:
    """The network as one graph, of any size where its ports have a letter."""
    sizes = tuple(
        {place: torch.export.Dim.DYNAMIC for place, size in enumerate(port.shape) if isinstance(size, str)}
        for port in what.inputs
    )
    with torch.no_grad():
        return torch.export.export(what.module, _example(what), dynamic_shapes=sizes, strict=False)


def _example(what: Exportable) -> tuple[Tensor, ...]:
    """Inputs of the ports' shapes to trace with: another size for each letter, none of them 1."""
    sizes = {"B": 2, "T": 16}
    generator = torch.Generator().manual_seed(0)
    made = []
    for port in what.inputs:
        shape, dtype = [sizes.get(size, size) for size in port.shape], getattr(torch, port.dtype)
        drawn = torch.rand(shape, generator=generator)
        made.append(torch.ones(shape, dtype=dtype) if dtype == torch.bool else (100 * drawn).to(dtype))
    return tuple(made)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters print: progress, and warnings of tracing about our checks of shapes."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


FORMATS: dict[str, Format] = {
    "onnx": Format(suffix=".onnx", write=_write_onnx, read=_read_onnx, runs_in="ONNX Runtime"),
    "pt2": Format(suffix=".pt2", write=_write_pt2, read=_read_pt2, runs_in="torch.export.load"),
    "torchscript": Format(suffix=".ts", write=_write_torchscript, read=_read_torchscript, runs_in="torch.jit.load, LibTorch"),
    "safetensors": Format(
        suffix=".safetensors",
        write=_write_safetensors,
        read=_read_safetensors,
        runs_in="tarpon.tools.export.formats.load_module",
    ),
}
