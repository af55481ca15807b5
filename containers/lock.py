"""Compiles the locked packages of every image, from its extras in hfpc/images.py, into containers/locks.

    python containers/lock.py

Versions are those of requirements/lock.txt wherever both have a package. For CPUs and TPUs torch is locked without
the packages of CUDA that it asks for.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from hfpc.images import IMAGES, Image

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "containers" / "locks"
REQUIREMENTS = ROOT / "requirements"

TORCH = next(line for line in (REQUIREMENTS / "torch.txt").read_text("utf-8").split() if line.startswith("torch=="))
TORCH_XLA = "2.9.0"  # the newest; it needs the torch of the same version
CUDA = ("cuda-", "nvidia-", "triton==")  # what torch asks for on Linux, and needs with CUDA only
NOWHERE = '; python_version < "3"'


def main() -> int:
    """Writes every lock file; returns the exit status."""
    LOCKS.mkdir(exist_ok=True)
    for image in IMAGES:
        (LOCKS / f"{image.name}.txt").write_text(locked(image), encoding="utf-8")
        print(f"wrote containers/locks/{image.name}.txt")
    return 0


def locked(image: Image) -> str:
    """The text of an image's lock file."""
    torch = f"torch=={TORCH_XLA}" if image.torch == "xla" else TORCH
    overrides = [line for line in _lines(REQUIREMENTS / "overrides.txt") if not line.startswith("torch ;")]
    overrides += [f"{name} {NOWHERE}" for name in image.without]
    overrides += [torch if image.torch else f"torch {NOWHERE}"]
    more = {"xla": [f"torch_xla[tpu]=={TORCH_XLA}"], "cuda": ["einops>=0.8  # FlashAttention imports it"]}
    with tempfile.TemporaryDirectory() as scratch:
        (override := Path(scratch, "overrides.txt")).write_text("\n".join(overrides) + "\n", encoding="utf-8")
        (also := Path(scratch, "also.in")).write_text("\n".join(more.get(image.torch, [])) + "\n", encoding="utf-8")
        compiled = subprocess.run(  # noqa: S603 (our own uv)
            [
                *(str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet"),
                *("--no-header", "--no-annotate", "--no-emit-index-url"),
                *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_34"),
                *(part for extra in image.extras for part in ("--extra", extra)),
                *("--constraint", str(REQUIREMENTS / "lock.txt"), "--override", str(override)),
                *(str(ROOT / "pyproject.toml"), str(also)),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.splitlines()
    if image.torch != "cuda":
        compiled = [line for line in compiled if not line.startswith(CUDA)]
    return "\n".join(compiled) + "\n"


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]


if __name__ == "__main__":
    sys.exit(main())
