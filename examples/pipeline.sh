#!/usr/bin/env bash
# The whole pipeline on your own folders:
#   examples/pipeline.sh SOURCES LABELLED_TARGETS INCOMING OUT [PRESET]
# SOURCES and LABELLED_TARGETS are roots of domains (DIR/domain/class/image), INCOMING a folder of images to
# predict. The script stops at the first command that fails; each says on stderr what was wrong.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
sources=$1 targets=$2 incoming=$3 out=$4 preset=${5:-quick}

gformer data check "$sources"
gformer pretrain --source "$sources" --out "$out/run" --preset "$preset"
gformer meta-train --source "$sources" --run "$out/run"

# the gate: below this average accuracy nothing is predicted, and the exit status is 1
gformer evaluate --model "$out/run/model.gformer" --target "$targets" --out "$out/results" \
    --fail-under gformer="${MINIMUM:-0.5}"
gformer adapt --model "$out/run/model.gformer" --target "$incoming" --out "$out/predictions.csv"
