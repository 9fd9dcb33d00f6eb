/* Activation streams of Block-AP: the input of the current block for every window, in host memory or
 * in a mapped file (METHOD section 8). One stream follows the full-precision model, one the quantized. */
#ifndef EQ_TRAIN_STREAM_H
#define EQ_TRAIN_STREAM_H
#include "data/windows.h"
#include "model/weights.h"

typedef struct {
    void *data;
    eq_dtype dt;
    int64_t n, T, D;  /* windows, tokens, hidden */
    int64_t bytes;
    char *path;       /* of the mapped file; NULL: host memory */
} eq_stream;

int64_t eq_stream_bytes(int64_t n, int64_t T, int64_t D, eq_dtype dt); /* -1: overflow */
/* path NULL: host memory; else a file, its space reserved at once so that a full disk shows now. */
eq_status eq_stream_open(eq_stream *s, int64_t n, int64_t T, int64_t D, eq_dtype dt, const char *path,
                         eq_err *err);
void eq_stream_close(eq_stream *s); /* removes the file */
void *eq_stream_at(const eq_stream *s, int64_t window);
/* Window `to` + i becomes the embeddings of w's window i. */
void eq_stream_embed(eq_stream *s, int64_t to, const eq_windows *w, const eq_tensor *embed);
#endif
