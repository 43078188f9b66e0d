/*
 * Restores one aligned face with LiteRT, and proves the file on this device.
 *
 *   implementation("com.google.ai.edge.litert:litert:1.+")
 *
 * Put @FILE@ and golden/ into src/main/assets. Bitmaps in and out are @SIZE@ x @SIZE@, ARGB_8888.
 */
package org.pocketface

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.PointF
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.log10
import kotlin.math.roundToInt
import org.tensorflow.lite.Interpreter

class FaceRestorer(assets: AssetManager, threads: Int = 2) : AutoCloseable {
    private val interpreter = Interpreter(readAsset(assets, "@FILE@"), Interpreter.Options().setNumThreads(threads))
    private val given = ByteBuffer.allocateDirect(4 * VALUES).order(ByteOrder.nativeOrder())
    private val restored = ByteBuffer.allocateDirect(4 * VALUES).order(ByteOrder.nativeOrder())

    /** Rows x columns x RGB in [0, 1] in, the same out; strength 0 gives the face back, 1 restores in full. */
    fun restore(face: FloatArray, strength: Float = 1f): FloatArray {
        given.rewind()
        given.asFloatBuffer().put(face)
        restored.rewind()
        interpreter.runForMultipleInputsOutputs(arrayOf(given, floatArrayOf(strength)), mapOf(0 to restored))
        restored.rewind()
        return FloatArray(VALUES).also { restored.asFloatBuffer().get(it) }
    }

    /** An aligned face in, the restored face out. */
    fun restore(face: Bitmap, strength: Float = 1f): Bitmap {
        val pixels = IntArray(SIDE * SIDE)
        face.getPixels(pixels, 0, SIDE, 0, 0, SIDE, SIDE)
        val values = FloatArray(VALUES) { (pixels[it / 3] shr (16 - 8 * (it % 3)) and 0xFF) / 255f }
        val found = restore(values, strength)
        for (i in pixels.indices) {
            val (r, g, b) = List(3) { (found[3 * i + it] * 255).roundToInt().coerceIn(0, 255) }
            pixels[i] = (0xFF shl 24) or (r shl 16) or (g shl 8) or b
        }
        return Bitmap.createBitmap(pixels, SIDE, SIDE, Bitmap.Config.ARGB_8888)
    }

    /** PSNR against the PyTorch student on every golden face, in dB; each should reach @TOLERATED@. */
    fun prove(assets: AssetManager): List<Double> {
        val (inputs, outputs) = listOf("@GIVEN@", "@RESTORED@").map { readAsset(assets, it).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer() }
        return List(FACES) { n ->
            // Golden faces are channels first.
            val face = FloatArray(VALUES) { inputs.get(n * VALUES + (it % 3) * SIDE * SIDE + it / 3) }
            val found = restore(face)
            val error = found.indices.sumOf {
                val off = (found[it] - outputs.get(n * VALUES + (it % 3) * SIDE * SIDE + it / 3)).toDouble()
                off * off
            } / VALUES
            -10 * log10(error + 1e-20)
        }
    }

    override fun close() = interpreter.close()

    companion object {
        const val SIDE = @SIZE@
        const val FACES = @FACES@
        const val VALUES = 3 * SIDE * SIDE

        /** Left eye, right eye, nose tip, left and right mouth corner; left is the picture's left. */
        val TEMPLATE = arrayOf(@TEMPLATE@)

        /** The similarity that moves five landmarks of a photograph, in TEMPLATE's order, onto an aligned face. */
        fun alignment(landmarks: List<PointF>): Matrix {
            val mx = landmarks.map { it.x }.average()
            val my = landmarks.map { it.y }.average()
            val mu = TEMPLATE.map { it[0] }.average()
            val mv = TEMPLATE.map { it[1] }.average()
            var dot = 0.0
            var cross = 0.0
            var size = 0.0
            for ((from, to) in landmarks.zip(TEMPLATE)) {
                val x = from.x - mx
                val y = from.y - my
                dot += x * (to[0] - mu) + y * (to[1] - mv)
                cross += x * (to[1] - mv) - y * (to[0] - mu)
                size += x * x + y * y
            }
            val a = dot / size
            val b = cross / size
            val values = doubleArrayOf(a, -b, mu - a * mx + b * my, b, a, mv - b * mx - a * my, 0.0, 0.0, 1.0)
            return Matrix().apply { setValues(FloatArray(9) { values[it].toFloat() }) }
        }

        /** Cut an aligned face out of a photograph. */
        fun align(photo: Bitmap, landmarks: List<PointF>): Bitmap {
            val face = Bitmap.createBitmap(SIDE, SIDE, Bitmap.Config.ARGB_8888)
            Canvas(face).drawBitmap(photo, alignment(landmarks), Paint(Paint.FILTER_BITMAP_FLAG))
            return face
        }

        private fun readAsset(assets: AssetManager, name: String): ByteBuffer {
            val bytes = assets.open(name).use { it.readBytes() }
            return ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).apply { put(bytes).rewind() }
        }
    }
}
