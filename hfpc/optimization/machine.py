"""The machine that figures hold for."""

import platform
import re
from importlib import metadata
from pathlib import Path

from hfpc.inference.cores import cores
from hfpc.optimization.optimization import Machine

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = (
    *("avx2", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),  # ARM
)
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf", "optimum-intel")


def machine() -> Machine:
    """This machine, and what is installed on it."""
    return Machine(
        processor=_field("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        instructions=instructions(),
        versions={name: version for name in _PACKAGES if (version := _version(name))},
    )


def instructions() -> list[str]:
    """Instruction sets of this processor that make models faster; empty where the system does not tell."""
    there = set(f"{_field('flags')} {_field('Features')}".split())
    return [name for name in _INSTRUCTIONS if name in there]


def computes_bf16() -> bool:
    """Whether the processor computes in bfloat16; others only imitate it, many times slower."""
    return bool(_BF16.intersection(instructions()))


def _field(name: str) -> str:
    try:
        found = re.search(rf"^{name}\s*:\s*(.*)$", _CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
