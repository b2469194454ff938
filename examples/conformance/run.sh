#!/bin/sh
# A mesh for A2A's conformance kit. Runs the command that is given against it, with the address of its gateway in GATEWAY; without
# one it waits for Ctrl-C.
set -eu
folder=$(pwd)
cd "$(dirname "$0")"
. ../mesh.sh

GATEWAY=$(sed -n 's/.*"gateway": *"\([^"]*\)".*/\1/p' "$scratch/ready")
export GATEWAY
echo "the gateway is at $GATEWAY" >&2
if [ $# -gt 0 ]; then
    cd "$folder"
    "$@"
else
    wait "$mesh"
fi
