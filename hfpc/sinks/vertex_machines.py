"""The machines of Vertex AI that serve: which accelerators are in which."""

import re
from typing import Any

from hfpc.errors import ArgumentError

_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_MACHINES = {
    "NVIDIA_L4": ("g2-",),
    "NVIDIA_TESLA_A100": ("a2-highgpu-", "a2-megagpu-"),
    "NVIDIA_A100_80GB": ("a2-ultragpu-",),
    "NVIDIA_H100_80GB": ("a3-",),
    "NVIDIA_TESLA_T4": ("n1-",),
    "NVIDIA_TESLA_V100": ("n1-",),
    "NVIDIA_TESLA_P4": ("n1-",),
    "NVIDIA_TESLA_P100": ("n1-",),
}
"""Accelerator to the machine families that it is in.
Source: https://cloud.google.com/vertex-ai/docs/predictions/configure-compute, November 2026."""


def check_machine(machine_type: str, accelerator_type: str, accelerator_count: int) -> None:
    """Raises ArgumentError unless these make a machine."""
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)+", machine_type):
        raise ArgumentError("machine_type", machine_type, "give a machine type, e.g. n1-standard-4")
    if bool(accelerator_type) != (accelerator_count > 0) or accelerator_count < 0:
        fix = "give an accelerator_type and an accelerator_count of at least 1, or neither"
        raise ArgumentError("accelerator_count", accelerator_count, fix)
    if accelerator_type and accelerator_type not in _MACHINES:
        raise ArgumentError("accelerator_type", accelerator_type, f"give one of {', '.join(_MACHINES)}")
    if accelerator_type and not machine_type.startswith(_MACHINES[accelerator_type]):
        families = " or ".join(f"{family}…" for family in _MACHINES[accelerator_type])
        raise ArgumentError("machine_type", machine_type, f"{accelerator_type} is in machines named {families}")
    if not accelerator_type and machine_type.startswith(("g2-", "a2-", "a3-")):
        fix = f"{machine_type} has accelerators: say which in accelerator_type and accelerator_count"
        raise ArgumentError("machine_type", machine_type, fix)


def check_account(service_account: str) -> None:
    """Raises ArgumentError unless this is the address of a service account, or empty."""
    if service_account and not _ACCOUNT.fullmatch(service_account):
        raise ArgumentError("service_account", service_account, "give the e-mail address of a service account")


def machine_spec(machine_type: str, accelerator_type: str, accelerator_count: int) -> dict[str, Any]:
    """What Vertex AI calls `machine_spec`."""
    if not accelerator_type:
        return {"machine_type": machine_type}
    return {
        "machine_type": machine_type,
        "accelerator_type": accelerator_type,
        "accelerator_count": accelerator_count,
    }
