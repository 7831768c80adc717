#!/usr/bin/env bash
# fuzz.sh [SECONDS [TARGET...]]
#
# Runs each fuzz target for so long, 60 seconds unless told, one after the other. Needs a nightly compiler,
# and cargo-fuzz (`cargo install cargo-fuzz`). Stops at the first input that breaks something, which is left
# in fuzz/artifacts/. What is found on the way stays in fuzz/run/, out of the seeds in fuzz/corpus/.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(response credentials session require return_url event cache purge accept)
fi
toolchain=${FUZZ_TOOLCHAIN:-nightly}
target_dir=${CARGO_TARGET_DIR:-$PWD/target}

cargo "+$toolchain" fuzz build --fuzz-dir . --features libfuzzer --target-dir "$target_dir"
mkdir -p run
for target in "${targets[@]}"; do
    mkdir -p "run/$target" "corpus/$target"
    log=run/$target.log
    if ! cargo "+$toolchain" fuzz run --fuzz-dir . --features libfuzzer --target-dir "$target_dir" "$target" \
        "run/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -print_final_stats=1 -timeout=10 >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "fuzz: $target: broken" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "fuzz: $target: $seconds s, $runs runs, none broken"
done
