"""Says what is in the images, and which of it has known vulnerabilities.

    python containers/sbom.py                  all images of hfpc/images.py
    python containers/sbom.py cpu serving      some of them

Writes build/sbom/NAME.cdx.json, a software bill of materials of CycloneDX, and build/sbom/NAME.vulnerabilities.json,
the report of pip-audit. Both are about the locked Python packages; Debian's come with the base image and its own
bill. The exit status is 1 when a vulnerability is known, 2 when the database could not be asked about every package.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from hfpc.images import IMAGES

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "build" / "sbom"
CYCLONEDX = "cyclonedx-bom==7.5.0"
PIP_AUDIT = "pip-audit==2.10.1"
SECONDS = 30  # to wait for an answer of the database
FAILED = 300.0  # seconds after which a tool is given up


def main() -> int:
    """Runs the command line; returns the exit status."""
    names = [image.name for image in IMAGES]
    parser = argparse.ArgumentParser(description="Write bills of materials and reports of vulnerabilities.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    statuses = []
    for name in options.names or names:
        count = bill(name)
        status, message = judge(audit(name))
        statuses.append(status)
        print(f"{name}: {count} packages; {message}", flush=True)
    print(f"wrote {OUTPUT.relative_to(ROOT)}")
    return max(statuses)


def bill(name: str) -> int:
    """Writes the bill of materials of an image; returns the number of packages on it."""
    file = OUTPUT / f"{name}.cdx.json"
    _tool(CYCLONEDX, "cyclonedx-py", "requirements", "--output-file", str(file), str(_lock(name)))
    return len(json.loads(file.read_text("utf-8"))["components"])


def audit(name: str) -> list[dict]:
    """Writes the report of vulnerabilities of an image; returns what it says of each package."""
    file = OUTPUT / f"{name}.vulnerabilities.json"
    file.unlink(missing_ok=True)
    arguments = ("--no-deps", "--disable-pip", "--progress-spinner=off", f"--timeout={SECONDS}", "--format=json")
    done = _tool(PIP_AUDIT, "pip-audit", *arguments, f"--output={file}", "-r", str(_lock(name)), check=False)
    if not file.exists():  # pip-audit failed as a whole
        reason = done.stderr.strip().rpartition("\n")[2] or f"pip-audit ended with {done.returncode}"
        packages = [line.partition("==") for line in _lock(name).read_text("utf-8").split()]
        content = {
            "dependencies": [{"name": name, "version": version, "skip_reason": reason} for name, _, version in packages]
        }
        file.write_text(json.dumps(content), "utf-8")
    return json.loads(file.read_text("utf-8"))["dependencies"]


def judge(packages: list[dict]) -> tuple[int, str]:
    """The exit status and a sentence for what pip-audit found."""
    skipped = [package for package in packages if package.get("skip_reason")]
    found = [f"{package['name']} {each['id']}" for package in packages for each in package.get("vulns", [])]
    known = f"{len(found)} known vulnerabilities" + (f": {', '.join(found)}" if found else "")
    if len(skipped) == len(packages):
        return 2, f"NOT AUDITED: the database of vulnerabilities could not be asked ({skipped[0]['skip_reason']})"
    if skipped:
        names = ", ".join(package["name"] for package in skipped)
        return 2, f"{known}; NOT AUDITED: {names}"
    return (1 if found else 0), known


def _lock(name: str) -> Path:
    return ROOT / "containers" / "locks" / f"{name}.txt"


def _tool(package: str, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command of a package in an environment of its own."""
    uvx = shutil.which("uvx", path=str(Path(sys.executable).parent))
    if uvx is None:
        sys.exit("uvx is missing: make setup")
    done = subprocess.run(  # noqa: S603 (a pinned tool)
        [uvx, "--quiet", "--from", package, command, *arguments], capture_output=True, text=True, timeout=FAILED
    )
    if check and done.returncode:
        sys.exit(f"{command} failed: {done.stderr.strip()}")
    return done


if __name__ == "__main__":
    sys.exit(main())
