#!/usr/bin/env bash
# The performance table: llmctl bench over the demo model (or MODEL=), the
# kernels beside the machine's peaks, the store, and HTTP through nginx.
#
# environment: B, NGINX_BIN, MODEL, KEYS and CALLS (in the stores)
set -euo pipefail

cd "$(dirname "$0")/.."
B=${B:-build}
model=${MODEL:-t/models/demo}

case $B in
    /*) export LLM_BUILD=$B ;;
    *)  export LLM_BUILD=$PWD/$B ;;
esac

section() {
    printf '\n%s\n' "$1"
}

section "Machine"
sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | sort | uniq -c |
    sed 's/^ *\([0-9]*\) /  \1 x /'

section "Engine: $model"
"$B/llmctl" bench --model "$model"

section "Kernels"
"$B/bench/bench_kernels" | sed 's/^/  /'

section "Store"
"$B/bench/bench_store" -n "${KEYS:-100000}" -d "$B/bench_store" |
    sed 's/^/  /'

section "Requests and responses of other servers"
"$B/bench/bench_usage" | sed 's/^/  /'

section "Quotas"
"$B/bench/bench_quota" | sed 's/^/  /'

"$B/bench/bench_calls" -n "${CALLS:-200000}" -d "$B/bench_calls" |
    sed 's/^/  /'

section "Metrics"
"$B/bench/bench_store" -n 10000 -d "$B/bench_metrics_store" -k >/dev/null
"$B/bench/bench_metrics" -d "$B/bench_metrics_store" | sed 's/^/  /'
rm -rf "$B/bench_metrics_store" "$B/bench_metrics_store.secret"

section "The audit trail"
rm -rf "$B/bench_audit"
"$B/bench/bench_audit" -n "${AUDIT:-200000}" -k -d "$B/bench_audit" |
    sed 's/^/  /'
"$B/bench/bench_audit_query" -d "$B/bench_audit" | sed 's/^/  /'
rm -rf "$B/bench_audit"

section "HTTP"
perl -It/lib scripts/bench_http.pl
