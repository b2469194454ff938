# For the examples' run.sh: a mesh with the weft.toml of the current directory, and the command weft against it.
# WEFT names a weft program; without it the one of this repository is built.
here=$(pwd)
repository=$(cd ../.. && pwd)
: "${WEFT:=cargo run --quiet --manifest-path $repository/Cargo.toml --package weft --}"
scratch=$(mktemp -d)
export WEFT_SCRATCH="$scratch"

# What the example says it does, then the doing of it.
weft() {
    printf '\n$ weft %s\n' "$*" >&2
    $WEFT "$@"
}

stop() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "${mesh-}" ]; then
        kill "$mesh" 2>/dev/null || true
        wait "$mesh" 2>/dev/null || true
    fi
    rm -rf "$scratch"
    exit $status
}
trap stop EXIT
trap 'exit 130' INT TERM

$WEFT dev --nats-port 0 --config "$here/weft.toml" --ready-file "$scratch/ready" >"$scratch/mesh.log" 2>&1 &
mesh=$!
until [ -s "$scratch/ready" ]; do
    kill -0 "$mesh" 2>/dev/null || { cat "$scratch/mesh.log" >&2; exit 1; }
    sleep 0.1
done
NATS_URL=$(sed -n 's/.*"nats": *"\([^"]*\)".*/\1/p' "$scratch/ready")
export NATS_URL

# Waits until a command succeeds, for a minute.
until_true() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "waited in vain: $*" >&2; exit 1; }
        sleep 0.1
    done
}
