"""The images as they are built: what is in them, and what is not."""

import re

import pytest

import hfpc
from hfpc import images
from tests.containers.conftest import USER, configuration, inside

pytestmark = pytest.mark.docker

IMAGES = {"cpu": images.CPU, "serving": images.SERVING}
MOST_SERVING_BYTES = 1.5e9


@pytest.fixture(params=IMAGES)
def image(request) -> str:
    return IMAGES[request.param]


def test_a_step_of_kfp_can_give_the_whole_command(image):
    assert not configuration(image)["Config"].get("Entrypoint")


def test_the_user_is_a_number_that_is_not_root(image):
    assert configuration(image)["Config"]["User"] == f"{USER}:{USER}"
    assert inside(image, "id -u && id -g && id -un").split() == [str(USER), str(USER), "hfpc"]


def test_labels_say_version_and_revision(image):
    labels = configuration(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == hfpc.__version__
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])


def test_no_compiler_and_no_installer(image):
    tools = "gcc cc c++ g++ clang ld make cmake pip pip3 uv"
    assert inside(image, f"for tool in {tools}; do command -v $tool; done; true") == ""
    assert inside(image, "python3 -m pip --version 2>&1; true").endswith("No module named pip")
    assert inside(image, "/usr/bin/env -i $(command -v python3 | xargs readlink -f) -m pip 2>&1; true").endswith(
        "No module named pip"
    )


def test_nothing_is_left_of_the_build(image):
    rooted = ("--user=0", "--cap-add=DAC_OVERRIDE")
    places = "/root/.cache /tmp/.cache /var/lib/apt/lists /run/secrets /containers /source /tmp/wheel"
    assert inside(image, f"find {places} -type f 2>/dev/null | grep -v '/lock$'; true", *rooted) == ""
    # The index and the certificates of the machine that built it are nobody's business.
    assert inside(image, "find / -xdev -name pip.conf -o -xdev -name '.netrc' 2>/dev/null; true", *rooted) == ""


def test_only_what_is_mounted_can_be_written(image):
    with pytest.raises(AssertionError, match="Read-only file system"):
        inside(image, "touch /opt/hfpc/x")
    assert inside(image, 'touch "$TMPDIR/x" && mkdir -p "$HF_HOME" && echo written') == "written"


def test_any_other_user_can_run_it_too(image):
    """OpenShift gives each project users of its own, which no image knows."""
    assert inside(image, "hfpc --version", "--user=1234567:0") == hfpc.__version__


def test_every_package_finds_what_it_needs(image):
    """What the lock file leaves out on purpose is all that is missing."""
    script = """
import importlib.metadata as metadata
from packaging.requirements import Requirement
for distribution in metadata.distributions():
    for text in distribution.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            try:
                metadata.version(needed.name)
            except metadata.PackageNotFoundError:
                print(needed.name.lower())
"""
    missing = set(inside(image, f"python3 -c '{script}'").split())
    left_out = {"torchvision", "nltk", "scikit-learn", "sentence-transformers"}
    assert missing <= left_out | ({"kfp"} if image == images.SERVING else set()), missing


def test_the_serving_image_is_small():
    assert configuration(images.SERVING)["Size"] <= MOST_SERVING_BYTES
