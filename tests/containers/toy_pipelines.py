"""Pipelines of one small step, for local runs in containers."""

import os

from kfp import dsl

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def look_around(source: str) -> dict:
    """What a step can see and do."""
    import os
    import socket

    def refused(action) -> str:
        try:
            action()
        except OSError as error:
            return os.strerror(error.errno)
        return ""

    home = os.environ["HFPC_HOME"]
    return {
        "user": os.getuid(),
        "source": open(source).read(),
        "write beside the source": refused(lambda: open(source + ".new", "w")),
        "write into the image": refused(lambda: open("/opt/hfpc/new", "w")),
        "write to the home": refused(lambda: open(os.path.join(home, "new"), "w")),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "shared memory": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
        "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
    }


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def wait():
    """Ends by being ended."""
    import time

    print("waiting", flush=True)
    time.sleep(600)


@dsl.component(base_image=os.environ.get("BASE_IMAGE") or "python:3.11-slim", install_kfp_package=False)
def elsewhere():
    """Its image does not have this package."""


@dsl.component(base_image="localhost/no-such-image:1.0", install_kfp_package=False)
def nowhere():
    """Its image does not exist."""


@dsl.pipeline(name="looking")
def looking(source: str):
    look_around(source=source)


@dsl.pipeline(name="waiting")
def waiting():
    wait()


@dsl.pipeline(name="without-hfpc")
def without_hfpc():
    elsewhere()


@dsl.pipeline(name="without-image")
def without_image():
    nowhere()
