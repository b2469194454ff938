#!/bin/sh
# A conversation of some turns with one task, whose agent is written in Rust. Its node is killed in the middle.
set -eu
cd "$(dirname "$0")"
. ../mesh.sh

# GUIDE names the node's program; without it the one of this repository is built.
if [ -z "${GUIDE-}" ]; then
    cargo build --quiet --manifest-path "$repository/Cargo.toml" --package agent-node --example guide
    GUIDE=$repository/target/debug/examples/guide
fi
start() {
    "$GUIDE" --config "$here/guide.toml" >>"$scratch/guide.log" 2>&1 &
    guide=$!
}
trap 'status=$?; kill "$guide" 2>/dev/null || true; (exit $status); stop' EXIT

start
task=trip-$$
weft task send guide "a tent" --task-id "$task"
weft task say "$task" "a stove" --wait
weft task say "$task" "two spoons" --wait
kill -9 "$guide"
start
weft task say "$task" "what have I got?" --wait
weft task say "$task" "a map" --wait
weft task say "$task" "done" --wait
