#!/bin/sh
# Measures every TFLite file of the bundle on a phone that adb sees: CPU, GPU delegate, NNAPI.
# Needs the `android_aarch64_benchmark_model` binary of TensorFlow Lite's nightly tools beside this script.
set -eu
cd "$(dirname "$0")"
there=/data/local/tmp/pocketface
adb shell mkdir -p "$there"
adb push android_aarch64_benchmark_model "$there/benchmark_model" >/dev/null
adb shell chmod +x "$there/benchmark_model"
for file in @TFLITE_FILES@; do
    adb push "../$file" "$there/" >/dev/null
    for way in "--num_threads=1" "--num_threads=4" "--use_gpu=true" "--use_nnapi=true"; do
        echo "== $file $way"
        adb shell "$there/benchmark_model" --graph="$there/$file" --num_runs=50 --warmup_runs=10 "$way" 2>&1 |
            grep -E "Inference \(avg\)|Explicitly applied|delegate|failed" || true
    done
done
adb shell rm -r "$there"
