#!/bin/sh
# A payment that waits for somebody, who pays less than was asked for.
set -eu
cd "$(dirname "$0")"
. ../mesh.sh

task=payment-$$
weft task send pay '{"to": "acme", "amount": 120}' --task-id "$task"
asked() { $WEFT approval list 2>/dev/null | grep -q "$task"; }
until_true asked
weft approval list
weft approval edit "$task" --by ann --comment "the rest next month" --action '{"to": "ACME", "amount": 90}'
weft task watch "$task" --timeout 60s
printf '\nThe bank has booked:\n'
cat "$scratch/bank"
