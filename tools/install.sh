#!/bin/sh
# Installs by apt-get what is missing on Debian 12 to build hogmesh, and with more words what else it needs:
#
#     tools/install.sh              compiler, meson and libraries
#     tools/install.sh test         and what the tests run on
#     tools/install.sh test field   and clang for fuzzing, and the field's own tools, with which some tests compare
#
# Says nothing and changes nothing when all is there. Of prometheus only promtool is used, but where systemd runs, Debian's package
# starts it as a service: "systemctl disable --now prometheus" ends that.
set -eu

packages='meson ninja-build pkg-config libzmq3-dev libmsgpack-dev liblz4-dev libarchive-dev zlib1g-dev libjansson-dev
          libsodium-dev libxxhash-dev libmicrohttpd-dev'
for word in "$@"; do
    case $word in
    test) packages="$packages g++ libcmocka-dev locales python3 python3-pytest python3-numpy python3-pip python3-setuptools python3-wheel python3-zmq python3-msgpack python3-lz4 python3-matplotlib python3-yaml python3-jsonschema shellcheck binutils iproute2 procps util-linux man-db mypy" ;;
    field) packages="$packages clang libclang-rt-dev liblinear-tools python3-sklearn python3-gensim python3-torch xz-utils chromium prometheus gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user" ;;
    *) echo "tools/install.sh: '$word' is not one of: test field" >&2; exit 2 ;;
    esac
done
command -v "${CC:-cc}" >/dev/null || packages="gcc libc6-dev $packages"

if ! command -v apt-get >/dev/null; then
    echo "tools/install.sh: no apt-get here; what Debian calls so has to be installed by hand:" $packages >&2
    exit 0 # it may well be: the build will tell
fi

missing=
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    *' installed') ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "tools/install.sh: missing are$missing; run 'apt-get install$missing' as root, or install sudo" >&2
        exit 1
    }
    as_root=sudo
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    $as_root env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "tools/install.sh: '$*' failed" >&2
        exit 1
    }
}
echo "installing$missing" >&2
quietly apt-get -q update
quietly apt-get -q install -y --no-install-recommends $missing
