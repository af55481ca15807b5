#!/bin/sh
# Makes the image local/python:3.11-slim from Debian's own packages, for machines that cannot pull python:3.11-slim:
#   sudo sh containers/local-base.sh && BASE_IMAGE=local/python:3.11-slim make images
set -eu

docker=${DOCKER:-docker}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$folder" \
  > "$folder.log" 2>&1 || { tail -n 20 "$folder.log" >&2; exit 1; }
# As the official slim images do: nobody reads these in a container.
rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/usr/share/doc/* "$folder"/usr/share/man/* \
  "$folder"/usr/share/locale/* "$folder"/usr/share/info/* "$folder.log"
tar -C "$folder" -c . | "$docker" import --change 'CMD ["python3"]' - local/python:3.11-slim >/dev/null
