#!/bin/sh
# `make test-docker`: builds the images cpu and serving and tests them, on a machine with Docker or with Debian's
# packages. What is missing is installed; an engine is started where none answers, and stopped in the end.
# With IF_POSSIBLE=1 it is no failure, but said, when a machine has no room, no engine or no base image.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build

say() { echo "test-docker: $*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

engine='' ready=''
finish() {
  status=$?
  if [ -n "$engine" ]; then
    say "stopping the Docker engine"
    # The engine itself, not the shell around it; one that did not come up has no file.
    as_root kill "$(cat /var/run/docker.pid 2>/dev/null || echo "$engine")" || true
    wait "$engine" || true
  fi
  if [ $status != 0 ] && [ -z "$ready" ] && [ -n "${IF_POSSIBLE:-}" ]; then
    say "NOT TESTED: images cannot be built on this machine, for the reason above"
    status=0
  fi
  exit $status
}
trap finish EXIT

# A client that builds with BuildKit: one with the plugin buildx, or Debian's of before Docker 23, which has it inside.
find_client() {
  for client in "${DOCKER:-docker}" /usr/bin/docker; do
    command -v "$client" >/dev/null || continue
    version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null || true)
    if "$client" buildx version >/dev/null 2>&1 || [ "${version%%.*}" -lt 23 ] 2>/dev/null; then
      DOCKER=$client
      return 0
    fi
  done
  return 1
}

if [ "$(df -Pk /var | awk 'NR == 2 { print $4 }')" -lt 15000000 ]; then say "15 GB of disk are needed"; exit 1; fi
if ! find_client || ! command -v iptables >/dev/null || ! { "$DOCKER" info || command -v dockerd; } >/dev/null 2>&1; then
  say "installing Docker"
  as_root apt-get update -qq
  buildx=$(apt-cache search --names-only '^docker-buildx$' | cut -d' ' -f1)
  as_root apt-get install -y -qq --no-install-recommends docker.io iptables ${buildx:+"$buildx"} >/dev/null
  find_client
fi
export DOCKER

if ! "$DOCKER" info >/dev/null 2>&1; then
  say "no Docker engine answers: starting one, its log is build/dockerd.log"
  as_root dockerd > build/dockerd.log 2>&1 &
  engine=$!
  tries=0
  until "$DOCKER" info >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 60 ] || ! kill -0 "$engine"; then tail -n 20 build/dockerd.log >&2; exit 1; fi
    sleep 1
  done
fi

has() { "$DOCKER" image inspect "$1" >/dev/null 2>&1; }
if [ -z "${BASE_IMAGE:-}" ]; then
  BASE_IMAGE=python:3.11-slim
  if ! has "$BASE_IMAGE" && ! has local/python:3.11-slim && ! "$DOCKER" pull -q "$BASE_IMAGE"; then
    say "$BASE_IMAGE cannot be pulled: making a base image of Debian's packages"
    as_root env DOCKER="$DOCKER" sh containers/local-base.sh
  fi
  has "$BASE_IMAGE" || BASE_IMAGE=local/python:3.11-slim
fi
export BASE_IMAGE
say "base image $BASE_IMAGE"

ready=1
build() { .venv/bin/python containers/build.py cpu serving; }
build || { say "trying once more, in case that a download failed"; build; }
.venv/bin/python -m pytest -m docker tests/containers "$@"
say "image sizes"
"$DOCKER" image ls --format '{{.Size}}  {{.Repository}}:{{.Tag}}' | grep hfpc-
