#!/bin/bash
# How long two newcomers take: tests/newcomer.sh [DIR]
#
# Takes the steps of `Two machines` in README.md on two fresh Debian 12, each a root folder of its own in DIR (default: one in
# /tmp), and says after how many seconds both had built and after how many their mesh had trained. Needs root, debootstrap,
# git, and a mirror of Debian: that of this host. Packages are fetched over the host's network; the mesh has namespaces.
set -eu

cd "$(dirname "$0")/.."
source=$PWD
dir=${1:-$(mktemp -d /tmp/newcomer.XXXXXX)}
mkdir -p "$dir"
cd "$dir"

mirror=$(sed -n 's/^URIs: *//p; s/^deb \([^ ]*\) .*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1)
for machine in a b; do
    [ -d $machine/etc ] || debootstrap --variant=minbase --include=ca-certificates bookworm $machine "${mirror:-http://deb.debian.org/debian}" >debootstrap.log
    cp /etc/apt/apt.conf.d/99* $machine/etc/apt/apt.conf.d/ 2>/dev/null || true
    rm -rf $machine/root/hogmesh
done

begun=$(date +%s)
build() {
    git clone --quiet "file://$source" "$1/root/hogmesh"
    chroot "$1" sh -ec 'cd /root/hogmesh
        tools/install.sh && meson setup build && ninja -C build
        build/tools/hogmesh synth svm --out data --rows 20000' >"$1.log" 2>&1
}
build a & pids=$!
build b & pids="$pids $!"
for pid in $pids; do wait "$pid" || { tail -5 a.log b.log >&2; exit 1; }; done
echo "both installed, built and made data: $(($(date +%s) - begun)) s"

net=newcomer$$
trap 'ip netns del $net-a; ip netns del $net-b' EXIT
ip netns add $net-a
ip netns add $net-b
ip -n $net-a link add eth0 type veth peer name eth0 netns $net-b
ip -n $net-a addr add 192.168.1.7/24 dev eth0
ip -n $net-b addr add 192.168.1.8/24 dev eth0
for machine in a b; do
    ip -n $net-$machine link set lo up
    ip -n $net-$machine link set eth0 up
done
at() { ip netns exec "$net-$1" chroot "$1" sh -ec "cd /root/hogmesh; $2" >>"$1.log" 2>&1; }
at a 'build/tools/hogmesh keygen mesh.key'
cp -p a/root/hogmesh/mesh.key b/root/hogmesh
at a 'build/tools/hogmesh join svm --train data/train.svm --test data/test.svm --bind 192.168.1.7:7000 --key mesh.key' & first=$!
at b 'build/tools/hogmesh join svm --train data/train.svm --bind 192.168.1.8:7000 --key mesh.key --peer 192.168.1.7:7000' || { tail b.log >&2; exit 1; }
wait $first || { tail a.log >&2; exit 1; }
echo "mesh trained: $(($(date +%s) - begun)) s"
models=$(sed -n 's/^model *\([0-9a-f]*\).*/\1/p' a.log b.log | sort | uniq -c)
echo "nodes with each model:$models"
[ "$(echo "$models" | wc -l)" = 1 ]
