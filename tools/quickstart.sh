#!/bin/sh
# Builds hogmesh and trains a linear SVM on a mesh of four processes of this host:
#
#     tools/quickstart.sh                                        on RCV1's shape, made on the spot
#     HOGMESH_DATA=DIR tools/quickstart.sh                       on DIR/rcv1/rcv1v2_subset.binary.{train,test}.svm.xz
#     tools/quickstart.sh --train FILE --test FILE [flags]       on rows of yours; flags as of 'hogmesh run svm'
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
hogmesh=$root/build/tools/hogmesh

"$root/tools/install.sh"

[ -f "$root/build/build.ninja" ] || meson setup "$root/build" "$root" --buildtype=release >/dev/null
ninja -C "$root/build" --quiet

rcv1=${HOGMESH_DATA:-}/rcv1/rcv1v2_subset.binary
given=no
for argument in "$@"; do
    case $argument in --train | --train=*) given=yes ;; esac
done
if [ "$given" = yes ]; then
    what='your rows'
elif [ -n "${HOGMESH_DATA:-}" ] && [ -f "$rcv1.train.svm.xz" ]; then
    set -- --train "$rcv1.train.svm.xz" --test "$rcv1.test.svm.xz" "$@"
    what='a subset of RCV1 (Reuters news)'
else
    data=$root/build/data
    [ -f "$data/train.svm" ] && [ -f "$data/test.svm" ] || "$hogmesh" synth svm --out "$data"
    set -- --train "$data/train.svm" --test "$data/test.svm" "$@"
    what='781,265 synthetic documents in the shape of RCV1 (Reuters news)'
fi

cat >&2 <<END

Training a linear SVM on $what.
Four processes each work on the rows at their own pace, send the others what changes in their weights, and end
with the same model, bit for bit. No process is special. 100 passes, so that there is something to watch:

END
exec "$hogmesh" run svm -n 4 --epochs 100 "$@"
