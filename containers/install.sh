#!/bin/sh
# Installs a part of an image with the pip of the base image: sh install.sh torch|packages|package
#
# What a machine needs to reach its package index is never part of an image. It comes as build secrets: pip_config,
# a pip.conf, and ca_bundle, the certificates to trust; both may be missing. Wheels in /containers/wheels go first.
set -eu

venv=/opt/hfpc
lock=/containers/locks/$IMAGE.txt
[ ! -f /run/secrets/pip_config ] || export PIP_CONFIG_FILE=/run/secrets/pip_config
[ ! -f /run/secrets/ca_bundle ] || export PIP_CERT=/run/secrets/ca_bundle
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/containers/wheels

install() {
  python3 -m pip --python $venv/bin/python install --quiet --no-deps "$@"
}

remove_what_is_never_used() {
  cd "$($venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")"
  # Headers and static libraries are for compilers, of which there is none; of torch/bin one program is run.
  find . -depth \( -type d -name include -o -type d -name tests -o -name '*.a' \) -exec rm -rf {} +
  rm -rf torch/test
  [ ! -d torch/bin ] || find torch/bin -type f ! -name torch_shm_manager -delete
  # OpenVINO computes on CPUs here, and nothing speaks Arrow Flight.
  rm -f openvino/libs/libopenvino_intel_[gn]pu_plugin.so pyarrow/libarrow_flight.so.* pyarrow/_flight.*
}

case $1 in
  torch)
    grep -E '^torch==' "$lock" > /tmp/torch.txt || exit 0
    install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/torch.txt
    ;;
  packages)
    install -r "$lock"
    # FlashAttention is on no index as a wheel: it is installed where somebody built one.
    [ "$IMAGE" != gpu ] || for wheel in /containers/wheels/flash_attn-*.whl; do
      [ ! -e "$wheel" ] || install "$wheel"
    done
    ! grep -qE '^torch==' "$lock" || $venv/bin/python -c "import torch"
    remove_what_is_never_used
    ;;
  package)
    python3 -m pip wheel --quiet --no-deps --wheel-dir /tmp/wheel /source
    install --root /package /tmp/wheel/*.whl
    ;;
esac
