"""Packages of the wheel: `components/` and `pipelines/` are installed inside `hfpc`."""

from setuptools import find_packages, setup

INSIDE_HFPC = ["components", "pipelines"]

setup(
    packages=[
        *find_packages(include=["hfpc", "hfpc.*"]),
        *(f"hfpc.{name}" for folder in INSIDE_HFPC for name in find_packages(include=[folder, f"{folder}.*"])),
    ],
    package_dir={f"hfpc.{folder}": folder for folder in INSIDE_HFPC},
    package_data={"": ["*.yaml", "*.md", "*.html", "*.css", "py.typed", "templates/*"]},
)
