"""The official SageMaker Hugging Face stack: its virtual environment, and the command that starts it.

In SageMaker's image the toolkit writes the configuration of multi-model-server below `/etc` and
starts it. Here the same configuration is written to a scratch folder, so that nothing outside it is
touched: the same handler, log format, Java options and one worker for each of two cores.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from hfpc.errors import HfpcError

REQUIREMENTS = Path(__file__).parent / "official-requirements.txt"
WORKERS = 2

_CONFIGURATION = """\
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{port}
default_service_handler=sagemaker_huggingface_inference_toolkit.handler_service
default_workers_per_model={workers}
default_response_timeout=60
decode_input_request=false
enable_envvars_config=true
vmargs=-XX:-UseContainerSupport
"""


def find_java() -> str:
    """The `java` that multi-model-server will start.

    Raises:
        HfpcError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    wanted = f"{home}/bin/java" if home else "java"
    java = shutil.which(wanted)
    if java is None:
        raise HfpcError(f"{wanted} was not found, and the official stack runs on it: install a Java 17 runtime")
    return java


def install(venv: Path) -> None:
    """Makes the virtual environment, unless it is there with the same pins.

    Raises:
        HfpcError: An installation failed; its own output says why.
    """
    pins, ready = REQUIREMENTS.read_text(encoding="utf-8"), venv / "installed.txt"
    if ready.exists() and ready.read_text(encoding="utf-8") == pins:
        return
    print(f"Installing the official stack into {venv}, once", flush=True)
    torch = next(line for line in pins.splitlines() if line.startswith("torch=="))
    python, uv = str(venv / "bin" / "python"), str(Path(sys.executable).parent / "uv")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [python, "-m", "pip", "install", "--quiet", torch],
        [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode", "-r", str(REQUIREMENTS)],
    ):
        if (status := subprocess.run(command).returncode) != 0:
            raise HfpcError(f"the official stack could not be installed: {' '.join(command)} ended with {status}")
    ready.write_text(pins, encoding="utf-8")


def command(venv: Path, model: Path, port: int, scratch: Path) -> list[str]:
    """What to start; its configuration is written into `scratch`."""
    configuration = scratch / "mms.properties"
    configuration.write_text(_CONFIGURATION.format(port=port, workers=WORKERS), encoding="utf-8")
    packages = next((venv / "lib").glob("python3*")) / "site-packages"
    return [
        str(venv / "bin" / "multi-model-server"),
        "--start",
        "--foreground",
        *("--mms-config", str(configuration)),
        *("--log-config", str(packages / "sagemaker_inference" / "etc" / "log4j2.xml")),
        *("--model-store", "/"),
        *("--models", f"model={model}"),
    ]


def environment(threads: int, scratch: Path) -> dict[str, str]:
    """Variables of its processes.

    Args:
        threads: Threads that torch uses in each worker.
        scratch: Where its files, sockets and logs go. Its path must be short: a socket's path is at most 107 bytes.
    """
    folders = dict.fromkeys(("TMPDIR", "TEMP", "SAGEMAKER_BASE_DIR"), str(scratch))
    return {"OMP_NUM_THREADS": str(threads), **folders}
