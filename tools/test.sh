#!/bin/sh
# Builds hogmesh and runs its tests: tools/test.sh [--quick]
#
# The C tests, then real processes over loopback and network namespaces, then (not with --quick) the C tests and a mesh
# under AddressSanitizer and UndefinedBehaviorSanitizer, what has threads under ThreadSanitizer, and where there is
# clang a minute of fuzzing (tests/fuzz.sh). The last line is the sum over all cases: "N passed, N failed". Exit code 1
# when a case failed or none ran. HOGMESH_DATA names the folder that holds rcv1/ (default: ../shared/data); what needs it
# is skipped without. With CI=true that counts as failed.
set -u

quick=no
case ${1:-} in
'') ;;
--quick) quick=yes ;;
*) echo 'usage: tools/test.sh [--quick]' >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.." || exit 1
tools/install.sh test || exit 1

if [ -z "${HOGMESH_DATA:-}" ] && [ -d ../shared/data ]; then
    HOGMESH_DATA=$(cd ../shared/data && pwd)
    export HOGMESH_DATA
fi
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp:second_deadlock_stack=1
results=
jobs=$(nproc)

# build DIR MESON_ARGUMENT...
build() {
    dir=$1
    shift
    mkdir -p "$dir"
    echo "== building $dir"
    if [ -f "$dir/build.ninja" ]; then set -- --reconfigure "$@"; fi
    meson setup "$dir" "$@" >"$dir/build.log" 2>&1 && ninja -C "$dir" >>"$dir/build.log" 2>&1 && return
    tail -60 "$dir/build.log" >&2
    results="$results $dir=$dir/could-not-be-built.json"
    return 1
}

# c_tests NAME DIR [MESON_TEST_ARGUMENT...]
c_tests() {
    name=$1 dir=$2
    shift 2
    echo "== $name: C tests"
    rm -f "$dir/meson-logs/testlog.json"
    meson test -C "$dir" --no-rebuild --num-processes "$jobs" "$@"
    results="$results $name=$dir/meson-logs/testlog.json"
}

# process_tests NAME DIR [PYTEST_ARGUMENT...]
process_tests() {
    name=$1 dir=$2
    shift 2
    echo "== $name: processes"
    rm -f "$dir/pytest.xml"
    HOGMESH=$PWD/$dir/tools/hogmesh /usr/bin/python3 -m pytest -q -p no:cacheprovider \
        --junitxml="$dir/pytest.xml" -o junit_logging=no "$@"
    results="$results $name-processes=$dir/pytest.xml"
}

if build build --buildtype=release -Db_sanitize=none -Dtsan=false; then
    c_tests release build
    process_tests release build tests
fi
if [ $quick = no ]; then
    if build build-asan --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false; then
        # The runs of the random suites are ten times as slow here.
        export HOGMESH_RUNS=100
        c_tests asan build-asan
        unset HOGMESH_RUNS
        process_tests asan build-asan tests/test_mesh_of_eight.py
    fi
    if build build-tsan --buildtype=debugoptimized -Db_sanitize=thread -Dtsan=true; then
        c_tests tsan build-tsan --suite threads
        process_tests tsan build-tsan tests/test_mesh_of_eight.py
    fi
    if command -v clang >/dev/null; then
        echo '== fuzzing'
        rm -f build-fuzz/fuzz.xml
        tests/fuzz.sh --total 60 --junit build-fuzz/fuzz.xml
        results="$results fuzz=build-fuzz/fuzz.xml"
    elif [ "${CI:-}" = true ]; then
        results="$results fuzz=clang-is-missing"
    fi
fi

echo
# shellcheck disable=SC2086
exec /usr/bin/python3 tests/count.py $results
