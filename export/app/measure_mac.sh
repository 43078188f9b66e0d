#!/bin/sh
# Compiles every Core ML package of the bundle on a Mac with Xcode and times it on each kind of unit.
# For a phone: open the package in Xcode, tab Performance, "+", choose the device.
set -eu
cd "$(dirname "$0")"
for package in @COREML_PACKAGES@; do
    xcrun coremlcompiler compile "../$package" compiled >/dev/null
done
cat >measure.swift <<'SWIFT'
import CoreML
for path in CommandLine.arguments.dropFirst() {
    for (name, units) in [("cpu", MLComputeUnits.cpuOnly), ("gpu", .cpuAndGPU), ("ane", .cpuAndNeuralEngine)] {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        let model = try MLModel(contentsOf: URL(fileURLWithPath: path), configuration: configuration)
        let array = try MLMultiArray(shape: [1, 3, @SIZE@, @SIZE@], dataType: .float32)
        let given = try MLDictionaryFeatureProvider(dictionary: ["image": MLFeatureValue(multiArray: array)])
        var times: [Double] = []
        for _ in 0..<60 {
            let start = DispatchTime.now().uptimeNanoseconds
            _ = try model.prediction(from: given)
            times.append(Double(DispatchTime.now().uptimeNanoseconds - start) / 1e6)
        }
        print(path, name, String(format: "median %.2f ms", times.dropFirst(10).sorted()[25]))
    }
}
SWIFT
swift measure.swift compiled/*.mlmodelc
