#!/usr/bin/env bash
# The whole suite with the module, llmctl and the unit tests built with
# AddressSanitizer and UndefinedBehaviorSanitizer, then the unit tests of what
# threads share with ThreadSanitizer.  nginx itself is the stock one: the test
# harness preloads the sanitizer's runtime into it.
#
# usage: sanitize.sh [TEST...]
set -euo pipefail

cd "$(dirname "$0")/.."
make=${MAKE:-make}
threaded='pool|ring|sched|host|engine|zone|quota|threads|signer|params|gpu|replay|metrics|audit_procs'

echo "AddressSanitizer, UndefinedBehaviorSanitizer"
$make B=build/asan SANITIZE=address,undefined all unit

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/t/lsan.supp:print_suppressions=0

B=build/asan LLM_SANITIZE=1 scripts/test.sh "$@"

[ $# -eq 0 ] || exit 0

echo "ThreadSanitizer"
$make B=build/tsan SANITIZE=thread unit

tests=()
for unit in build/tsan/unit/*; do
    if [ -x "$unit" ] && [[ $(basename "$unit") =~ $threaded ]]; then
        tests+=("$unit")
    fi
done

if [ ${#tests[@]} -eq 0 ]; then
    echo "nginx-llm: no unit test of threads" >&2
    exit 1
fi

# its pause of a second at each exit would be the signer's too
TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0 \
    prove -j"${JOBS:-2}" ${PROVE:-} "${tests[@]}"
