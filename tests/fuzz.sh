#!/bin/sh
# Fuzzes hogmesh: tests/fuzz.sh [--runs N | --seconds S | --total S] [--jobs J] [--keep] [--junit FILE] [TARGET...]
#
#     tests/fuzz.sh                      every target (tests/fuzz_*.c) for 60 seconds
#     tests/fuzz.sh --runs 10000000      the soak: ten million inputs to each
#     tests/fuzz.sh --total 60           a minute in all, as tools/test.sh does
#     tests/fuzz.sh --keep mesh          afterwards, its corpus becomes tests/golden/fuzz/mesh.hex
#
# The protocol core (mesh, pair) is compiled with small tables. Of its soak, --runs N counts executions without sanitizers,
# in a build folder of their own (mesh.fast, pair.fast), where assertions alone judge; a tenth as many are made with them,
# beginning from the same inputs. All other runs are with sanitizers.
#
# One process a core. Inputs found go on in build-fuzz/fuzz/TARGET from run to run, and start from
# tests/golden/fuzz/TARGET.hex. An input that fails is kept in tests/golden/crash/TARGET, where test_fuzz_replay finds it,
# and ends its target's run. FUZZ_MB is what a target's memory may grow to (512), FUZZ_BUILD the build folder, FUZZ_BYTES
# what no input is longer than (short ones are more a second). The table at the end counts executions of this run and of all
# runs in this build folder. Exit code 1 when something was found.
set -u

cd "$(dirname "$0")/.." || exit 1
: "${FUZZ_BUILD:=build-fuzz}" "${FUZZ_MB:=512}" "${FUZZ_BYTES:=4200}"
export FUZZ_BUILD FUZZ_MB FUZZ_BYTES
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=4:malloc_context_size=2:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
work=$FUZZ_BUILD/fuzz

# What libFuzzer counted, of the newest log of target $1: stat NAME
stat() { sed -n "s/^stat::$2: *//p" "$work/$1.log" | tail -1; }

# A corpus is kept as text, an input a line in hexadecimal, sorted: hundreds of files would be in everybody's way.
# unpack TARGET FOLDER
unpack() {
    rm -rf "$2"
    mkdir -p "$2"
    if [ -d "tests/golden/fuzz/$1" ]; then cp "tests/golden/fuzz/$1"/* "$2"; fi
    [ -f "tests/golden/fuzz/$1.hex" ] || return 0
    /usr/bin/python3 -c 'import sys
for i, line in enumerate(open(sys.argv[1])):
    open(f"{sys.argv[2]}/{i}", "wb").write(bytes.fromhex(line))' "tests/golden/fuzz/$1.hex" "$2"
}

# The smallest of the files of a folder, $3 bytes of them in all.
pack() {
    mkdir -p tests/golden/fuzz
    /usr/bin/python3 -c 'import os, sys
inputs, room = [], int(sys.argv[3])
for data in sorted((open(entry, "rb").read() for entry in os.scandir(sys.argv[1])), key=len):
    room -= len(data)
    if room < 0: break
    if data: inputs.append(data.hex())
open(sys.argv[2], "w").writelines(line + "\n" for line in sorted(inputs))' "$1" "$2" "$3"
}

is_core() { case ${1%.fast} in mesh|pair) ;; *) false ;; esac }

# one TARGET[.fast] LIMIT: runs it; LIMIT is an option of libFuzzer. Core inputs are lists of events, a few bytes each.
# AddressSanitizer keeps two hundred bytes of each thread that ever was, so no process lives longer than PIECE inputs.
PIECE=2000000
one() {
    name=${1%.fast} build=$FUZZ_BUILD longest=4200 runs=0
    if is_core "$1"; then longest=400; fi
    if [ "$name" != "$1" ]; then build=$FUZZ_BUILD-fast longest=128; fi
    if [ "$longest" -gt "$FUZZ_BYTES" ]; then longest=$FUZZ_BYTES; fi
    mkdir -p "$work/$name" "tests/golden/crash/$name"
    unpack "$name" "$work/$1.golden"
    case $2 in
    -runs=*) left=${2#-runs=} ;;
    *) left=0 ;;
    esac
    while :; do
        limit=$2
        if [ "$left" -gt 0 ]; then limit=-runs=$((left < PIECE ? left : PIECE)); fi
        nice "$build/tests/fuzz_$name" "$limit" -max_len="$longest" -len_control=20 -timeout=300 -rss_limit_mb="$FUZZ_MB" \
            -detect_leaks=0 -entropic=0 -report_slow_units=1000000 -print_final_stats=1 -print_funcs=0 \
            -artifact_prefix="tests/golden/crash/$name/" "$work/$name" "$work/$1.golden" \
            "tests/golden/crash/$name" >"$work/$1.log" 2>&1
        code=$?
        piece=$(stat "$1" number_of_executed_units)
        runs=$((runs + ${piece:-0})) left=$((left - ${piece:-left}))
        if [ $code != 0 ] || [ "$left" -le 0 ]; then break; fi
    done
    echo "$code" >"$work/$1.code"
    echo "$runs" >"$work/$1.runs"
    before=$(cat "$work/$1.executions" 2>/dev/null || echo 0)
    echo $((before + runs)) >"$work/$1.executions"
    rmdir "tests/golden/crash/$name" tests/golden/crash 2>/dev/null
    return 0
}

# What reaches all that the work corpus reaches, as far as 40 KB go.
keep() {
    rm -rf "$work/$1.kept"
    mkdir -p "$work/$1.kept"
    nice "$FUZZ_BUILD/tests/fuzz_$1" -merge=1 -detect_leaks=0 -print_funcs=0 -rss_limit_mb="$FUZZ_MB" "$work/$1.kept" "$work/$1" \
        "$work/$1.golden" >>"$work/$1.log" 2>&1
    pack "$work/$1.kept" "tests/golden/fuzz/$1.hex" 40000
}

case ${1:-} in
--one) one "$2" "$3"; exit 0 ;;
esac

limit=-max_total_time=60 runs="" total="" jobs=$(nproc) keep=no junit="" targets=""
while [ $# -gt 0 ]; do
    case $1 in
    --runs) runs=$2; shift ;;
    --seconds) limit=-max_total_time=$2; shift ;;
    --total) total=$2; shift ;;
    --jobs) jobs=$2; shift ;;
    --keep) keep=yes ;;
    --junit) junit=$2; shift ;;
    -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) targets="$targets $1" ;;
    esac
    shift
done
for file in tests/fuzz_*.c; do
    name=${file#tests/fuzz_}
    all="${all:-} ${name%.c}"
done
targets=${targets:-$all}
for target in $targets; do
    [ -f "tests/fuzz_$target.c" ] || { echo "tests/fuzz.sh: no target '$target' among$all" >&2; exit 2; }
done
# shellcheck disable=SC2086
if [ -n "$total" ]; then limit=-max_total_time=$((total * jobs / $(echo $targets | wc -w) + 1)); fi

mkdir -p "$work"
: >"$work/build.log"

# set_up FOLDER SANITIZERS TARGET...
set_up() {
    folder=$1 sanitizers=$2
    shift 2
    if [ ! -f "$folder/build.ninja" ]; then
        CC=clang meson setup "$folder" --buildtype=debugoptimized -Dfuzz=true "-Db_sanitize=$sanitizers" \
            -Db_lundef=false >>"$work/build.log" 2>&1
    fi
    programs=
    for each; do programs="$programs tests/fuzz_$each"; done
    # shellcheck disable=SC2086
    nice ninja -C "$folder" $programs >>"$work/build.log" 2>&1 || { tail -40 "$work/build.log" >&2; exit 1; }
}

# shellcheck disable=SC2086
set_up "$FUZZ_BUILD" address,undefined $targets
all_runs=
for target in $targets; do
    if [ -n "$runs" ] && is_core "$target"; then
        set_up "$FUZZ_BUILD-fast" none "$target"
        all_runs="$all_runs $target.fast"
    fi
    all_runs="$all_runs $target"
done

# The slow ones first, so that the last process does not run alone for long.
for target in $all_runs; do if is_core "$target"; then echo "$target"; fi; done >"$work/order"
for target in $all_runs; do if ! is_core "$target"; then echo "$target"; fi; done >>"$work/order"
while read -r target; do
    if [ -z "$runs" ]; then
        echo "$target $limit"
    elif is_core "$target" && [ "${target%.fast}" = "$target" ]; then
        echo "$target -runs=$((runs / 10))"
    else
        echo "$target -runs=$runs"
    fi
done <"$work/order" | xargs -P "$jobs" -L 1 "$0" --one

failed=0
printf '%-10s %12s %12s %9s %6s %9s %8s\n' target executions 'in all' a/second found corpus 'peak MB'
for target in $all_runs; do
    found=0
    if [ "$(cat "$work/$target.code")" != 0 ]; then found=1 failed=1; fi
    printf '%-10s %12s %12s %9s %6s %9s %8s\n' "$target" "$(cat "$work/$target.runs")" \
        "$(cat "$work/$target.executions")" "$(stat "$target" average_exec_per_sec)" $found \
        "$(find "$work/${target%.fast}" -type f | wc -l)" "$(stat "$target" peak_rss_mb)"
    if [ $found = 1 ]; then
        grep -E 'ERROR|SUMMARY|Assertion|runtime error|Test unit written' "$work/$target.log" | sed 's/^/    /'
    fi
done
if [ -n "$junit" ]; then
    {
        echo '<testsuite name="fuzz">'
        for target in $all_runs; do
            echo "<testcase classname=\"fuzz\" name=\"$target\">"
            if [ "$(cat "$work/$target.code")" != 0 ]; then
                echo '<failure>'
                tail -40 "$work/$target.log" | sed 's/&/\&amp;/g; s/</\&lt;/g' | LC_ALL=C tr -cd '\11\12\40-\176'
                echo '</failure>'
            fi
            echo '</testcase>'
        done
        echo '</testsuite>'
    } >"$junit"
fi
if [ $keep = yes ]; then
    for target in $targets; do keep "$target"; done
fi
exit $failed
