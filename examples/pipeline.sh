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
# trains the source model first, as there is none; without --run, in ./gformer-run
gformer meta-train --source "$sources" --run "$out/run" --preset "$preset"

# the gate: below this average accuracy nothing is predicted, and the exit status is 1
gformer evaluate --run "$out/run" --target "$targets" --fail-under gformer="${MINIMUM:-0.5}"
gformer adapt --run "$out/run" --target "$incoming" --out "$out/predictions.csv"

# as a part of a shell's pipeline: a list of files in, CSV out (path,label,...), and nothing else on stdout
find "$incoming" -type f -mtime -1 -print0 |
    gformer adapt --run "$out/run" --target - --out - --quiet |
    cut -d, -f1,2 >"$out/labels-of-today.csv"
