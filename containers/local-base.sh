#!/bin/sh
# Makes the image local/python:3.11-slim from Debian's own packages, for machines that cannot pull python:3.11-slim:
#   sudo sh containers/local-base.sh && BASE_IMAGE=local/python:3.11-slim make images
set -eu

docker=${DOCKER:-docker}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
# debootstrap gives up at the first package that does not arrive.
tries=0
until debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$folder/root" \
  > "$folder/log" 2>&1; do
  tail -n 20 "$folder/log" >&2
  tries=$((tries + 1))
  [ $tries -lt 3 ] || exit 1
  echo "debootstrap failed: trying again in 10 s" >&2
  sleep 10
  rm -rf "$folder/root"
done
# As the official slim images do: nobody reads these in a container.
root=$folder/root
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
  "$root"/usr/share/locale/* "$root"/usr/share/info/*
tar -C "$root" -c . | "$docker" import --change 'CMD ["python3"]' - local/python:3.11-slim >/dev/null
