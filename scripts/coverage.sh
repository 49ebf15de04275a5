#!/usr/bin/env bash
#
# How much of src/ the tests run: builds with gcc's coverage, runs every test,
# and prints lines and branches for each file and folder, the lowest first.
#
#   scripts/coverage.sh [--build DIR] [--html DIR] [--branches] [--no-run]
#                       [CTEST-OPTION...]
#
#   --build DIR  where to build (default: build-coverage)
#   --html DIR   also write a report to read in a browser
#   --branches   also list the lines of which a branch was never taken
#   --no-run     report on what was counted before; builds and runs nothing
#
# With options for ctest, for example "-L unit", only those tests are run; the
# figures then are theirs, and are held against nothing.
#
# What is counted: every source in src/. Left out are the branches of assert(),
# of which one is there never to be taken; its line counts as any other. A
# daemon that a test kills (SIGKILL) or that aborts writes down nothing.
#
# Lines that no test runs stand in tests/coverage-exceptions.txt with the
# reason. Exit status 0 when all tests passed, the goals are met, no line is
# uncovered without a reason, and no reason is left over.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

build=$top/build-coverage
html=
run=yes
report=()
tests=()
while [ $# -gt 0 ]; do
    case $1 in
    --build)
        build=$(realpath -m "$2")
        shift
        ;;
    --html)
        html=$(realpath -m "$2")
        shift
        ;;
    --branches) report+=(--branches) ;;
    --no-run) run= ;;
    -h | --help)
        sed -n '3,/^set /s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) tests+=("$1") ;;
    esac
    shift
done
if [ ${#tests[@]} -gt 0 ]; then
    report+=(--figures-only)
fi

if ! command -v gcovr > /dev/null; then
    echo "coverage.sh: no gcovr (Debian's package gcovr)" >&2
    exit 2
fi

failed=
if [ -n "$run" ]; then
    # -O0, so that a line and a branch are those of the source.
    cmake -S "$top" -B "$build" -DCMAKE_C_COMPILER="${CC:-gcc}" \
        -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-g -O0" \
        -DHCS_COVERAGE=ON -DHCS_WERROR=ON
    cmake --build "$build" --target all tests --parallel "$(nproc)"
    find "$build" -name '*.gcda' -delete
    touch "$build/coverage-built"
    ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure \
        --no-tests=error ${tests[@]+"${tests[@]}"} || failed=yes
fi

# Counts know lines by their number.
if [ -n "$(find src -newer "$build/coverage-built")" ]; then
    echo "coverage.sh: sources changed after they were built: run it again" >&2
    exit 2
fi
gcovr --root "$top" --object-directory "$build" --filter "$top/src/" \
    --exclude-branches-by-pattern '.*\bassert\(.*' \
    --exclude-unreachable-branches -j "$(nproc)" \
    --json "$build/coverage.json" "$build"
if [ -n "$html" ]; then
    mkdir -p "$html"
    gcovr --root "$top" --add-tracefile "$build/coverage.json" \
        --html-title hcsd --html-details "$html/index.html"
    echo "report: $html/index.html"
fi

rc=0
python3 scripts/coverage.py ${report[@]+"${report[@]}"} \
    "$build/coverage.json" tests/coverage-exceptions.txt || rc=$?
if [ -n "$failed" ]; then
    echo "coverage.sh: tests failed" >&2
    rc=1
fi
exit $rc
