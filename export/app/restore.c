/* Restores one aligned face with the TensorFlow Lite C API, and proves the file on this device.
 *
 *   cc restore.c -ltensorflowlite_c -lm -o restore && ./restore .. 
 *
 * Runs @FILE@ on the golden faces of the bundle (its folder is the argument) and prints PSNR against
 * the PyTorch student; the exit code is 0 where every face reaches @TOLERATED@ dB.
 * The file takes and gives float32, @SIZE@ x @SIZE@ x 3, RGB in [0, 1]; golden faces are channels first.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tensorflow/lite/c/c_api.h>

enum { SIDE = @SIZE@, PIXELS = SIDE * SIDE, VALUES = 3 * PIXELS, FACES = @FACES@ };

/* Landmarks of an aligned face, x y: left eye, right eye, nose tip, left and right mouth corner; left is the picture's. */
static const float TEMPLATE[5][2] = {@TEMPLATE@};

/* Fit the similarity (u, v) = (a x - b y + c, b x + a y + d) that moves five landmarks of a photograph onto TEMPLATE. */
void fit_similarity(const float from[5][2], float abcd[4]) {
    double mx = 0, my = 0, mu = 0, mv = 0, dot = 0, cross = 0, size = 0;
    for (int i = 0; i < 5; ++i) {
        mx += from[i][0] / 5, my += from[i][1] / 5, mu += TEMPLATE[i][0] / 5, mv += TEMPLATE[i][1] / 5;
    }
    for (int i = 0; i < 5; ++i) {
        double x = from[i][0] - mx, y = from[i][1] - my, u = TEMPLATE[i][0] - mu, v = TEMPLATE[i][1] - mv;
        dot += x * u + y * v, cross += x * v - y * u, size += x * x + y * y;
    }
    abcd[0] = (float)(dot / size), abcd[1] = (float)(cross / size);
    abcd[2] = (float)(mu - abcd[0] * mx + abcd[1] * my), abcd[3] = (float)(mv - abcd[1] * mx - abcd[0] * my);
}

/* Restore one face, rows x columns x RGB in [0, 1], with a strength in [0, 1]: 0 gives the face back, 1 restores in full.
 * Returns 0 where the interpreter agrees. */
int restore(TfLiteInterpreter *interpreter, const float *face, float strength, float *restored) {
    TfLiteTensor *input = TfLiteInterpreterGetInputTensor(interpreter, 0);
    if (TfLiteTensorCopyFromBuffer(input, face, VALUES * sizeof(float)) != kTfLiteOk) return 1;
    TfLiteTensor *share = TfLiteInterpreterGetInputTensor(interpreter, 1);
    if (TfLiteTensorCopyFromBuffer(share, &strength, sizeof strength) != kTfLiteOk) return 1;
    if (TfLiteInterpreterInvoke(interpreter) != kTfLiteOk) return 1;
    const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(interpreter, 0);
    return TfLiteTensorCopyToBuffer(output, restored, VALUES * sizeof(float)) != kTfLiteOk;
}

static float *read_golden(const char *bundle, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", bundle, name);
    FILE *file = fopen(path, "rb");
    float *values = malloc(sizeof(float) * VALUES * FACES);
    if (!file || !values || fread(values, sizeof(float), VALUES * FACES, file) != (size_t)VALUES * FACES) {
        fprintf(stderr, "expected %d faces at %s\n", FACES, path);
        exit(2);
    }
    fclose(file);
    return values;
}

int main(int count, char **arguments) {
    const char *bundle = count > 1 ? arguments[1] : "..";
    char path[4096];
    snprintf(path, sizeof path, "%s/@FILE@", bundle);
    TfLiteModel *model = TfLiteModelCreateFromFile(path);
    TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(options, 1);
    TfLiteInterpreter *interpreter = model ? TfLiteInterpreterCreate(model, options) : NULL;
    if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk) {
        fprintf(stderr, "this runtime does not take %s\n", path);
        return 2;
    }
    float *given = read_golden(bundle, "@GIVEN@"), *wanted = read_golden(bundle, "@RESTORED@");
    static float face[VALUES], found[VALUES];
    int failed = 0;
    for (int n = 0; n < FACES; ++n) {
        for (int c = 0; c < 3; ++c)
            for (int i = 0; i < PIXELS; ++i) face[3 * i + c] = given[n * VALUES + c * PIXELS + i];
        if (restore(interpreter, face, 1, found)) return 2;
        double error = 0;
        for (int c = 0; c < 3; ++c)
            for (int i = 0; i < PIXELS; ++i) {
                double off = found[3 * i + c] - wanted[n * VALUES + c * PIXELS + i];
                error += off * off / VALUES;
            }
        double decibels = -10 * log10(error + 1e-20);
        printf("face %d: %.1f dB\n", n, decibels);
        failed |= !(decibels >= @TOLERATED@);
    }
    TfLiteInterpreterDelete(interpreter);
    TfLiteInterpreterOptionsDelete(options);
    TfLiteModelDelete(model);
    free(given), free(wanted);
    return failed;
}
