#!/usr/bin/env bash
#
# Builds hcsd in every way that counts and runs every test and check, all of
# them even when some fail, so that one run shows all.
#
#   scripts/test.sh [--quick | --long] [--no-install]
#
#   --quick       what matters most for a change, within some minutes: the
#                 release build, the tests that are not marked "slow", a fault
#                 here and there, layers and format
#   --long        all of it and what takes hours: every effect on every call,
#                 every test in every sanitizer's build, ten runs of the tests
#                 under load in each build, ten minutes of fuzzing a target
#   --no-install  install no packages; what lacks its tools is skipped
#
# docs/testing.md says what each build is for.
#
# The last line says "N passed, N failed". A stage that runs tests counts each
# of them, another stage counts as one. Exit status 0 when nothing failed.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

quick=
long=
install=yes
for argument in "$@"; do
    case $argument in
    --quick) quick=yes ;;
    --long) long=yes ;;
    --no-install) install= ;;
    -h | --help)
        sed -n '3,/^set /s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "test.sh: unknown option '$argument'" >&2
        exit 2
        ;;
    esac
done

if [ -n "$quick" ] && [ -n "$long" ]; then
    echo "test.sh: --quick or --long, not both" >&2
    exit 2
fi

jobs=$(nproc)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# --- Stages.

passed=0
failed=0
summary=()
readonly SKIPPED=77

heading() {
    printf '\n==== %s\n\n' "$*"
}

# Leaves the stage, inside its subshell.
skip() {
    echo "$*" | tee "$tmp/why"
    exit $SKIPPED
}

# Runs FUNCTION as a stage. In a subshell that is no part of a condition, since
# bash ignores "set -e" inside one.
stage() { # TITLE FUNCTION [ARGUMENT...]
    local title=$1 rc started=$SECONDS word note=""
    local stage_passed=0 stage_failed=0
    shift
    heading "$title"
    rm -f "$tmp/counts" "$tmp/why" "$tmp/unrun"
    set +e
    (
        set -e
        "$@"
    )
    rc=$?
    set -e

    if [ -e "$tmp/counts" ]; then
        read -r stage_passed stage_failed < "$tmp/counts"
        note="$((stage_passed + stage_failed)) tests, "
    elif [ $rc -eq 0 ]; then
        stage_passed=1
    fi
    if [ -e "$tmp/unrun" ]; then
        note="${note}skipped: $(cat "$tmp/unrun"), "
    fi
    if [ $rc -eq $SKIPPED ]; then
        word=skipped
        note="$(cat "$tmp/why"), "
    elif [ $rc -eq 0 ]; then
        word=passed
    else
        word=FAILED
        if [ "$stage_failed" -eq 0 ]; then
            stage_failed=1
        fi
    fi
    passed=$((passed + stage_passed))
    failed=$((failed + stage_failed))
    summary+=("$(printf '%-8s %-34s %s%d s' \
        "$word" "$title" "$note" $((SECONDS - started)))")
}

have() {
    command -v "$1" > /dev/null 2>&1
}

# The number of a field in the first lines of what ctest --output-junit wrote.
junit() { # FIELD
    sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$tmp/junit.xml" |
        head -n 1
}

build() { # PRESET [OPTION...]
    local preset=$1
    shift
    cmake --preset "$preset" -DHCS_WERROR=ON "$@"
    cmake --build --preset "$preset" --parallel "$jobs"
}

run_tests() { # PRESET [OPTION...]
    local preset=$1 rc=0 all bad unrun
    shift
    rm -f "$tmp/junit.xml"
    # More than there are cores: most tests mostly wait.
    ctest --preset "$preset" --parallel $((2 * jobs)) \
        --output-junit "$tmp/junit.xml" "$@" || rc=$?
    all=$(junit tests)
    bad=$(junit failures)
    unrun=$(($(junit skipped) + $(junit disabled)))
    echo "$((all - bad - unrun)) $bad" > "$tmp/counts"
    if [ "$unrun" -gt 0 ]; then
        sed -n 's/.*<testcase name="\([^"]*\)".*status="\(notrun\|disabled\)".*/\1/p' \
            "$tmp/junit.xml" | tr '\n' ' ' > "$tmp/unrun"
    fi
    return $rc
}

layers() {
    scripts/check-layers.sh
}

scripts_are_clean() {
    have shellcheck || skip "no shellcheck"
    find scripts .ci bench tests -type f \
        \( -name '*.sh' -o -path .ci/run \) -print0 | xargs -0 shellcheck
}

# What the formatter and the tidier think right changes with their version, so
# their word counts only in the version that the project goes by: Debian 12's.
is_ours() { # PROGRAM
    "$1" --version | grep -q 'version 14\.'
}

format() {
    have clang-format || skip "no clang-format"
    is_ours clang-format || skip "clang-format is not version 14"
    find src include tests bench -name '*.[ch]' -print0 |
        xargs -0 clang-format --dry-run -Werror
    echo "clang-format has nothing to change"
}

release() {
    build release
    run_tests release
}

release_quickly() {
    build release
    HCSD_FAULTS_STEP=25 run_tests release --label-exclude slow
}

installed() {
    local root="$tmp/a prefix" file version
    cmake --install build --prefix "$root"
    for file in bin/hcsd bin/hcsd-load include/hcs/handler.h \
        include/hcs/json.h lib/pkgconfig/hcsd.pc \
        lib/cmake/hcsd/hcsd-config.cmake \
        share/man/man8/hcsd.8 share/man/man1/hcsd-load.1 \
        lib/systemd/system/hcsd.service lib/systemd/system/hcsd.socket \
        share/doc/hcsd/hcsd.env; do
        if [ ! -s "$root/$file" ]; then
            echo "not installed: $file"
            return 1
        fi
    done
    for file in build/modules/*.so; do # as many as there are libraries for
        if [ -e "$file" ] && ! find "$root/lib" -path "*/hcsd/${file##*/}" |
            grep -q .; then
            echo "not installed: ${file##*/}"
            return 1
        fi
    done
    version=$(sed -n 's/^CMAKE_PROJECT_VERSION:[A-Z]*=//p' build/CMakeCache.txt)
    "$root/bin/hcsd" --version | tee "$tmp/version"
    grep -qF "$version" "$tmp/version"

    # A handler that is loaded at run time finds all that the headers promise,
    # and nothing else to come to depend on.
    sed -n 's/^[a-z_].*[ *]\(hcs_[a-z0-9_]*\)(.*/\1/p' include/hcs/*.h |
        LC_ALL=C sort > "$tmp/promised"
    nm -D --defined-only "$root/bin/hcsd" | sed -n 's/.* \(hcs_.*\)/\1/p' |
        LC_ALL=C sort > "$tmp/exported"
    diff "$tmp/promised" "$tmp/exported"

    # Nothing that was to be filled in is left over (but in comments).
    if grep -nE '^[^.#].*@[A-Z_]+@|^@[A-Z_]+@' \
        "$root/share/man/man8/hcsd.8" \
        "$root/lib/systemd/system/hcsd.service" \
        "$root/lib/pkgconfig/hcsd.pc" "$root"/lib/cmake/hcsd/*.cmake; then
        return 1
    fi
    # Each public header stands on its own, in C++ too where there is one.
    for file in include/hcs/*.h; do
        echo "#include <hcs/${file##*/}>" > "$tmp/header.c"
        cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
            -I "$root/include" "$tmp/header.c"
        if have c++; then
            c++ -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror \
                -fsyntax-only -I "$root/include" "$tmp/header.c"
        fi
    done
    if have man; then
        for file in man8/hcsd.8 man1/hcsd-load.1; do
            LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -Tutf8 -l \
                "$root/share/man/$file" > /dev/null 2> "$tmp/man"
            cat "$tmp/man"
            [ ! -s "$tmp/man" ]
        done
    fi
}

unit_files() {
    local said
    have systemd-analyze || skip "no systemd-analyze"
    # It wants to see the program where the unit says that it is.
    cp build/hcsd "$tmp/hcsd"
    sed "s|^\(Exec[A-Za-z]*=\).*/hcsd|\1$tmp/hcsd|" build/hcsd.service \
        > "$tmp/hcsd.service"
    cp scripts/deploy/hcsd.socket "$tmp"
    # Other units of the machine, which ours pulls in, are not our business.
    said=$(systemd-analyze verify --man=no --recursive-errors=no \
        "$tmp/hcsd.service" "$tmp/hcsd.socket" 2>&1 | grep -F hcsd || true)
    if [ -n "$said" ]; then
        printf '%s\n' "$said"
        return 1
    fi
    systemd-analyze verify --man=no --recursive-errors=no \
        "$tmp/hcsd.service" "$tmp/hcsd.socket" > /dev/null 2>&1 || return 1
    echo "systemd-analyze verify is content with hcsd.service and hcsd.socket"
}

with_clang() {
    have clang || skip "no clang"
    build clang
    run_tests clang -L unit
}

tidy() {
    have clang-tidy || skip "no clang-tidy"
    is_ours clang-tidy || skip "clang-tidy is not version 14"
    have clang || skip "no clang, whose build says how to read the sources"
    cmake --preset clang > /dev/null
    # Ours only: what is compiled for others lies outside. One file a process:
    # after the first, version 14 no longer recognises va_start.
    sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' \
        build-clang/compile_commands.json |
        grep -F "$top/" | sort -u | tr '\n' '\0' |
        xargs -0 -n 1 -P "$jobs" \
            clang-tidy -p build-clang --quiet --warnings-as-errors='*'
    echo "clang-tidy has nothing to say"
}

sanitized() { # PRESET ON|OFF
    build "$1" -DHCS_EVERY_TEST="$2"
    run_tests "$1"
}

fuzzing() { # SECONDS
    have clang || skip "no clang"
    scripts/packages.sh --check lint > /dev/null 2>&1 || skip "no libFuzzer"
    scripts/fuzz.sh --seconds "$1"
}

all_faults() {
    HCSD_FAULTS_FULL=1 run_tests release -L faults
}

# Ten times in a row, beside loops that keep every core busy five times over.
under_load() { # PRESET
    local i rc=0 loops=()
    for ((i = 0; i < 5 * jobs; i++)); do
        sh -c 'while :; do :; done' &
        loops+=($!)
    done
    run_tests "$1" --repeat until-fail:10 -LE 'model|bench|differential' ||
        rc=$?
    kill "${loops[@]}"
    return $rc
}

aarch64() {
    if [ "$(uname -m)" = aarch64 ]; then
        skip "this machine is one"
    fi
    scripts/packages.sh --check cross > /dev/null 2>&1 ||
        skip "no cross compiler, qemu or arm64 libraries"
    build aarch64
    run_tests aarch64
}

# --- What they need.

packages=(scripts/packages.sh)
if [ -z "$install" ]; then
    packages+=(--check)
fi
heading "packages"
# Nothing can go on without these; the script has said what is missing.
"${packages[@]}" build tests
"${packages[@]}" sql || echo "going on without handlers for some databases"
"${packages[@]}" servers || echo "going on without tests of PostgreSQL"
if [ -z "$quick" ]; then
    "${packages[@]}" lint || echo "going on without some of the checks"
    if [ "$(uname -m)" != aarch64 ]; then
        "${packages[@]}" cross || echo "going on without the build for aarch64"
    fi
fi
echo "done"

# --- All of them, the quick ones first.

stage "layers and bytes" layers
stage "clang-format" format
if [ -n "$quick" ]; then
    stage "release build, quick tests" release_quickly
else
    every=OFF
    seconds=20
    if [ -n "$long" ]; then
        every=ON
        seconds=600
    fi
    stage "shellcheck" scripts_are_clean
    stage "release build, all tests" release
    stage "installation" installed
    stage "systemd units" unit_files
    stage "clang build, unit tests" with_clang
    stage "clang-tidy" tidy
    stage "address and undefined sanitizers" sanitized asan $every
    stage "thread sanitizer" sanitized tsan $every
    stage "fuzzing, $seconds s a target" fuzzing $seconds
    stage "aarch64 under qemu, unit tests" aarch64
fi
if [ -n "$long" ]; then
    stage "every effect on every call" all_faults
    for preset in release asan tsan; do
        stage "ten times under load, $preset" under_load $preset
    done
fi

heading "summary"
printf '%s\n' "${summary[@]}"
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
