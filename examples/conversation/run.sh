#!/bin/sh
# A conversation of some turns with one task; each answer is the task's next question.
set -eu
cd "$(dirname "$0")"
. ../mesh.sh

task=trip-$$
weft task send guide "a tent" --task-id "$task"
for message in "a stove" "two spoons" "what have I got?" "a map" "rope" "matches" "how far are we?" "a lamp" "tea"; do
    weft task say "$task" "$message" --wait
done
weft task say "$task" "done" --wait
