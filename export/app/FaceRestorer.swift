// Restores one aligned face with Core ML, and proves the package on this device.
//
// Drag @FILE@ and golden/ into the Xcode project. iOS 16, macOS 13.

import CoreGraphics
import CoreML
import Vision

final class FaceRestorer {
    static let side = @SIZE@
    static let faces = @FACES@
    /// Left eye, right eye, nose tip, left and right mouth corner, from the top left; left is the picture's left.
    static let template: [CGPoint] = [@TEMPLATE@]

    private let model: MLModel

    /// `units`: `.cpuAndNeuralEngine` is fastest on phones; `.cpuOnly` is what to compare others with.
    init(compiledModel url: URL, units: MLComputeUnits = .all) throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        model = try MLModel(contentsOf: url, configuration: configuration)
    }

    /// One face, 3 x side x side float32 RGB in [0, 1], channels first, in and out; strength 0 gives the face back, 1
    /// restores in full.
    func restore(_ face: [Float], strength: Float = 1) throws -> [Float] {
        let side = NSNumber(value: Self.side)
        let array = try MLMultiArray(shape: [1, 3, side, side], dataType: .float32)
        face.withUnsafeBufferPointer { array.dataPointer.copyMemory(from: $0.baseAddress!, byteCount: 4 * $0.count) }
        let share = try MLMultiArray(shape: [1], dataType: .float32)
        share[0] = NSNumber(value: strength)
        let given = try MLDictionaryFeatureProvider(dictionary: [
            "image": MLFeatureValue(multiArray: array), "strength": MLFeatureValue(multiArray: share),
        ])
        guard let restored = try model.prediction(from: given).featureValue(for: "restored")?.multiArrayValue else {
            throw CocoaError(.featureUnsupported)
        }
        // Core ML may pad rows: read through the strides.
        let strides = restored.strides.map(\.intValue), n = Self.side
        return restored.withUnsafeBufferPointer(ofType: Float.self) { values in
            (0..<3 * n * n).map { values[$0 / (n * n) * strides[1] + $0 / n % n * strides[2] + $0 % n * strides[3]] }
        }
    }

    /// PSNR against the PyTorch student on every golden face, in dB; each should reach @TOLERATED@.
    func prove(golden folder: URL) throws -> [Double] {
        let count = 3 * Self.side * Self.side
        let files = try ["@GIVEN_NAME@", "@RESTORED_NAME@"].map { name -> [Float] in
            let data = try Data(contentsOf: folder.appendingPathComponent(name))
            return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
        return try (0..<Self.faces).map { n in
            let found = try restore(Array(files[0][n * count..<(n + 1) * count]))
            let wanted = files[1][n * count..<(n + 1) * count]
            let error = zip(found, wanted).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) } / Double(count)
            return -10 * log10(error + 1e-20)
        }
    }

    /// The five landmarks of a face that Vision found, in the template's order, pixels from the top left.
    ///
    /// Vision counts from the bottom left and names eyes by the person; the template wants the picture's left, so both
    /// pairs are put in order of x. (For a head that hangs upside down turn the photograph first.)
    static func landmarks(of face: VNFaceObservation, in size: CGSize) -> [CGPoint]? {
        guard let found = face.landmarks,
              let one = found.leftPupil ?? found.leftEye, let other = found.rightPupil ?? found.rightEye,
              let nose = found.noseCrest ?? found.nose, let lips = found.outerLips else { return nil }
        func points(_ region: VNFaceLandmarkRegion2D) -> [CGPoint] {
            region.pointsInImage(imageSize: size).map { CGPoint(x: $0.x, y: size.height - $0.y) }
        }
        func middle(_ region: VNFaceLandmarkRegion2D) -> CGPoint {
            let all = points(region), count = CGFloat(all.count)
            return CGPoint(x: all.map(\.x).reduce(0, +) / count, y: all.map(\.y).reduce(0, +) / count)
        }
        let eyes = [middle(one), middle(other)].sorted { $0.x < $1.x }
        let mouth = points(lips).sorted { $0.x < $1.x }
        // The tip is the crest's lowest point.
        guard let tip = points(nose).max(by: { $0.y < $1.y }), let left = mouth.first, let right = mouth.last else { return nil }
        return [eyes[0], eyes[1], tip, left, right]
    }

    /// The similarity that moves five landmarks of a photograph onto an aligned face; both count from the top left.
    static func alignment(of landmarks: [CGPoint]) -> CGAffineTransform {
        func mean(_ points: [CGPoint]) -> CGPoint {
            CGPoint(x: points.map(\.x).reduce(0, +) / 5, y: points.map(\.y).reduce(0, +) / 5)
        }
        let from = mean(landmarks), to = mean(template)
        var dot = 0.0, cross = 0.0, size = 0.0
        for (p, q) in zip(landmarks, template) {
            let x = p.x - from.x, y = p.y - from.y, u = q.x - to.x, v = q.y - to.y
            dot += x * u + y * v
            cross += x * v - y * u
            size += x * x + y * y
        }
        let a = dot / size, b = cross / size
        return CGAffineTransform(a: a, b: b, c: -b, d: a, tx: to.x - a * from.x + b * from.y, ty: to.y - b * from.x - a * from.y)
    }
}
