"""Makes device files: Core ML, TFLite and ONNX, in one bundle that proves itself."""
