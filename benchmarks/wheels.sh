#!/usr/bin/env bash
# Wheels of what snnlab and its benchmark need beside torch, lightning and the usual numerical packages, for a machine
# with a GPU, Python 3.12 and no package registry: gathered here, installed there.
# usage: benchmarks/wheels.sh gather [FOLDER]            (default .whl; copy it there with the checkout)
#        benchmarks/wheels.sh install FOLDER TARGET      what that machine's Python has already stays as it is
set -euo pipefail
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
needed="hydra-core omegaconf tonic importRosbag pbr rich pydantic pydantic_core annotated-types typing-inspection
  platformdirs zstandard torchmetrics lightning-utilities spikingjelly loguru"

gather() {
  mkdir -p "$1"
  for name in $needed; do # with the versions that are tested
    grep -hiE "^${name//[-_]/[-_]}==" "$root/constraints.txt" "$root/benchmarks/peers.txt" | head -1
  done > "$1/wheels.txt"
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$1" -r "$1/wheels.txt"
  "$python" -m pip wheel --quiet --no-deps -w "$1" antlr4-python3-runtime==4.9.3 # it has no wheel of its own
  du -sh "$1"
}

install() {
  missing=()
  [ -d "$1" ] || { echo "no wheels in $1 (benchmarks/wheels.sh gather): what this Python lacks stays missing" >&2; exit 0; }
  for wheel in "$1"/*.whl; do
    name=$(basename "$wheel"); name=${name%%-*}
    "$python" -c "import sys; from importlib.metadata import version; version(sys.argv[1])" "$name" 2> /dev/null ||
      missing+=("$wheel")
  done
  mkdir -p "$2" && touch "$2"
  [ ${#missing[@]} = 0 ] || "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$2" "${missing[@]}"
}

case ${1:-} in
  gather) gather "${2:-.whl}" ;;
  install) install "${2:?folder of wheels}" "${3:?target}" ;;
  *) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
