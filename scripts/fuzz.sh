#!/usr/bin/env bash
#
# Builds the fuzz targets (tests/fuzz) with clang's libFuzzer, and runs each.
#
#   scripts/fuzz.sh [--seconds N] [--jobs N] [--keep FOLDER] [TARGET...]
#
#   --seconds N   how long each target is run (30)
#   --jobs N      how many processes share that work (1); as many targets as
#                 there are cores for are run at once
#   --keep FOLDER goes on from the inputs in FOLDER/TARGET, and keeps there what
#                 it finds worth keeping; else all but the seeds is forgotten
#
# Without a TARGET all are run: connection head chunked config json.
#
# Prints for each target how many inputs were run, how many a second, and how
# many edges of the program they covered. At a finding it prints what was found
# and the file that shows it again, and ends with exit status 1 when all targets
# were run. To run one input again:
#
#   build-fuzz/tests/fuzz/fuzz_TARGET FILE
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

all=(connection head chunked config json)
targets=()
seconds=30
jobs=1
keep=

fail() {
    echo "fuzz.sh: $*" >&2
    exit 2
}

number() { # OPTION VALUE
    case $2 in
    '' | *[!0-9]* | 0*) fail "$1 wants a number, not '$2'" ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
    --seconds)
        seconds=${2:-}
        number "$1" "$seconds"
        shift 2
        ;;
    --jobs)
        jobs=${2:-}
        number "$1" "$jobs"
        shift 2
        ;;
    --keep)
        keep=${2:-}
        [ -n "$keep" ] || fail "$1 wants a folder"
        shift 2
        ;;
    -h | --help)
        sed -n '3,/^set /s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        case " ${all[*]} " in
        *" $1 "*) targets+=("$1") ;;
        *) fail "no target is called '$1'; there are: ${all[*]}" ;;
        esac
        shift
        ;;
    esac
done
if [ ${#targets[@]} -eq 0 ]; then
    targets=("${all[@]}")
fi

build="build-fuzz"
command -v clang > /dev/null 2>&1 ||
    fail "clang is not there (Debian's package clang, or scripts/packages.sh" \
        "lint)"
if ! { cmake --preset fuzz && cmake --build --preset fuzz \
    --parallel "$(nproc)"; } > "$build.log" 2>&1; then
    cat "$build.log" >&2
    fail "the targets cannot be built"
fi
rm -f "$build.log"
if ! pkg-config --exists jansson; then
    echo "json is fuzzed without its oracle: no Jansson (Debian's package" \
        "libjansson-dev, or scripts/packages.sh tests)"
fi

# The address sanitizer maps fixed ranges, which some kernels' randomised
# layouts run into.
launcher=()
if command -v setarch > /dev/null 2>&1 && setarch -R true 2> /dev/null; then
    launcher=(setarch -R)
fi
export ASAN_OPTIONS=detect_leaks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
findings=$build/findings
mkdir -p "$findings"

# The largest of what the lines of a log, or of several, say behind a word.
largest() { # WORD LOG...
    local word=$1
    shift
    sed -n "s/.* $word:* *\([0-9][0-9]*\).*/\1/p" "$@" | sort -n | tail -n 1
}

sum() { # WORD LOG...
    local word=$1
    shift
    sed -n "s/^stat::$word: *\([0-9]*\)/\1/p" "$@" |
        awk '{ total += $1 } END { print total + 0 }'
}

run() { # TARGET
    local target=$1 seeds=tests/fuzz/corpus/$1 corpus rc=0 i
    local pids=() logs=()
    corpus=${keep:+$keep/$target}
    corpus=${corpus:-$tmp/$target}
    mkdir -p "$corpus"
    for ((i = 1; i <= jobs; i++)); do
        logs+=("$tmp/$target.$i.log")
        "${launcher[@]}" "$build/tests/fuzz/fuzz_$target" \
            -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
            -max_len=9216 -print_final_stats=1 -reload=1 \
            -dict="tests/fuzz/$target.dict" \
            -artifact_prefix="$findings/$target-" \
            "$corpus" "$seeds" > "$tmp/$target.$i.log" 2>&1 &
        pids+=($!)
    done
    for i in "${!pids[@]}"; do
        if ! wait "${pids[$i]}"; then
            rc=1
            # All that is said of it: from the first finding on.
            sed -n '/FOUND\|ERROR\|runtime error\|Assertion\|ALARM/,$p' \
                "${logs[$i]}" | grep -v '^stat::' | head -n 60
        fi
    done
    printf '%-11s %10s executions  %7s a second  %5s edges  %s\n' "$target" \
        "$(sum number_of_executed_units "${logs[@]}")" \
        "$(sum average_exec_per_sec "${logs[@]}")" \
        "$(largest cov "${logs[@]}")" \
        "$([ $rc -eq 0 ] && echo "nothing found" || echo FOUND)"
    return $rc
}

# As many at once as there are cores for.
found=0
together=$(($(nproc) / jobs))
[ $together -gt 0 ] || together=1
for ((first = 0; first < ${#targets[@]}; first += together)); do
    running=()
    for target in "${targets[@]:first:together}"; do
        run "$target" > "$tmp/$target.said" 2>&1 &
        running+=("$target:$!")
    done
    for one in "${running[@]}"; do
        wait "${one#*:}" || found=1
        cat "$tmp/${one%:*}.said"
    done
done
if [ $found -ne 0 ]; then
    echo
    echo "The inputs that show it are in $findings:"
    ls -1 "$findings"
    exit 1
fi
