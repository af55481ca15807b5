"""Compiles every component and pipeline, and the files that are generated from them.

    python compile.py                      writes build/<target>/ and the generated files
    python compile.py --target vertex      for one target only
    python compile.py --profile gpu-l4     for other machines than the CPUs of the default
    python compile.py --pin-digests FILE   name our images by digest, as `make push` wrote them (or `registry`)
    python compile.py --check              writes nothing; exit 1 when a generated file is stale

Generated and committed: `components/*/component.yaml`, every README.md below `components/` and
`pipelines/`, and the tables in the project's README.md.
"""

import argparse
import ast
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from hfpc import components, images, pipelines
from hfpc.errors import HfpcError
from hfpc.submit import digests, readme
from hfpc.submit.compile import TARGETS, compile_all, compile_component, compile_pipeline

ROOT = Path(__file__).parent
_DICTIONARY = re.compile(r"(?<=\[Default: )\{.+\}(?=\]$)", re.MULTILINE)


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compile every component and pipeline.")
    parser.add_argument("--target", choices=TARGETS, help="compile for this target only (default: all)")
    parser.add_argument(
        "--profile", default="cpu", help="machines that finetune is compiled for, see `hfpc profiles` (default: cpu)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="folder to write (default: build)")
    parser.add_argument(
        "--pin-digests",
        metavar="FILE",
        help="put digests in place of the tags of our images: build/digests.json, or `registry` to ask for them",
    )
    parser.add_argument("--check", action="store_true", help="only check that the generated files are fresh")
    options = parser.parse_args()
    generated = generate()
    stale = [path for path, text in generated.items() if not path.exists() or path.read_text("utf-8") != text]
    if options.check:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}", file=sys.stderr)
        print(f"{len(generated)} generated files, {len(stale)} stale" + ("; run `make compile`" if stale else ""))
        return 1 if stale else 0
    for path in stale:
        path.write_text(generated[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    try:
        compile_targets(options)
    except HfpcError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def compile_targets(options: argparse.Namespace) -> None:
    """Writes the YAML of every component and pipeline, for one target or all."""
    known = digests.digests(options.pin_digests) if options.pin_digests else {}
    for target in [options.target] if options.target else TARGETS:
        folder = options.output / target
        files = compile_all(target, folder, options.profile)
        print(f"compiled {len(files)} components and pipelines for {target} into {folder}")
        if options.pin_digests:
            print(f"pinned {sum(digests.pin(file, known) for file in files)} images by digest")


def generate() -> dict[Path, str]:
    """The text of every generated file, by its path."""
    texts = {}
    page = (ROOT / "README.md").read_text("utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "compiled.yaml"
        for name, spec in _specs(components).items():
            compile_component(name, compiled)
            texts[ROOT / "components" / name / "component.yaml"] = _steady(compiled.read_text("utf-8"))
            texts[ROOT / "components" / name / "README.md"] = readme.component_readme(name, spec)
        for name, spec in _specs(pipelines).items():
            compile_pipeline(name, "vertex", compiled)
            definition = yaml.safe_load(compiled.read_text("utf-8"))
            texts[ROOT / "pipelines" / name / "README.md"] = readme.pipeline_readme(name, spec, definition)
    for package in (components, pipelines):
        folder = package.__name__.rpartition(".")[2]
        page = readme.replace_section(page, folder, readme.index(_specs(package), folder))
    texts[ROOT / "README.md"] = page
    return texts


def _steady(text: str) -> str:
    """What is committed does not depend on `HFPC_IMAGE_REPOSITORY`, as what is built does, nor on chance.

    kfp writes the dictionaries of its comment in the order of a protobuf map, another one in each process.
    """
    text = _DICTIONARY.sub(lambda found: repr(dict(sorted(ast.literal_eval(found[0]).items()))), text)
    return text.replace(f"{images.REPOSITORY}/hfpc-", f"{images.DEFAULT_REPOSITORY}/hfpc-")


def _specs(package: ModuleType) -> dict[str, Any]:
    """Name to kfp `ComponentSpec` of everything a package offers."""
    return {name: getattr(package, name).component_spec for name in package.__all__}


if __name__ == "__main__":
    sys.exit(main())
