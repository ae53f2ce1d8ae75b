#!/usr/bin/env bash
# Every parser fuzzed for some seconds (default 20). Without a nightly compiler the same bodies run under proptest, as they
# do in every `cargo test`, with more cases.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
if rustup run nightly rustc --version >/dev/null 2>&1; then
    command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --quiet
    for target in fuzz/fuzz_targets/*.rs; do
        name=$(basename "$target" .rs)
        echo "fuzz: $name, $seconds s"
        cargo +nightly fuzz run "$name" -- -max_total_time="$seconds" -max_len=2048 2>target/fuzz.log || {
            tail -n 30 target/fuzz.log
            exit 1
        }
        grep -E '^(Done|stat::number_of_executed_units)' target/fuzz.log || tail -n 1 target/fuzz.log
    done
else
    echo "fuzz: no nightly compiler; the same bodies under proptest, 20000 cases each"
    PROPTEST_CASES=20000 cargo test -q --locked -p wire --release properties
fi

echo "fuzz: what the emulated Discord reads from strangers, under proptest"
PROPTEST_CASES=5000 cargo test -q --locked -p discord-emulator --test it properties
