#!/usr/bin/env bash
# Take in your own model, and stop where it is not the model that you know:
#   examples/import.sh BACKBONE WEIGHTS CLASSES TRANSFORM LABELLED ACCURACY OUT
# LABELLED holds images that the model was not trained on (DIR/class/image, or a root of such domains), and ACCURACY is
# what your own code has there, 0 to 1. The exit status is 1, and OUT holds no bundle, where gformer has another figure.
set -euo pipefail

if [ $# -ne 7 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
backbone=$1 weights=$2 classes=$3 transform=$4 labelled=$5 accuracy=$6 out=$7

gformer import --backbone "$backbone" --weights "$weights" --classes "$classes" --transform "$transform" \
    --check "$labelled" --expect "$accuracy" --out "$out"

# what was taken in, for the log: the weights' hash, the classes, how images are prepared
gformer inspect "$out/model.gformer" --verify
