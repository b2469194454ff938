#!/bin/sh
# Five topics, 4,000 tokens. The researcher who is asked about dragons fails, and the archive steps in.
set -eu
cd "$(dirname "$0")"
. ../mesh.sh

task=crew-$$
weft task send editor '["tides", "comets", "dragons", "moss", "salt"]' --task-id "$task" \
    --budget '{"tokens": 4000}' --wait
weft task tree "$task"
