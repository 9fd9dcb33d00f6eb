/* Activation streams of Block-AP: what flows from block to block, for every window, in host memory
 * or in a mapped file (METHOD section 8). One stream follows the full-precision model, one the
 * quantized.
 *
 * A stream is at level i when it holds the inputs of block i. A pass brings it to the next level
 * batch by batch, and its file survives a kill at any moment, in the middle of a pass too. */
#ifndef EQ_TRAIN_STREAM_H
#define EQ_TRAIN_STREAM_H
#include "data/windows.h"
#include "model/weights.h"

typedef struct {
    int64_t n, B, T, D; /* windows, of a batch, tokens, hidden */
    eq_dtype dt;
    char *path; /* of the mapped file; NULL: host memory */
    struct eq_stream_head *head;
    char *data;    /* room for n + B windows */
    int64_t bytes; /* of both */
    int fd;
    const eq_observer *obs; /* told how far the work on all windows is, may stop it; NULL: nobody */
} eq_stream;

/* The next windows that a pass has to bring behind the block: [from, from + n). */
typedef struct {
    int64_t from, n;
    const void *in;
    void *out; /* never where `in` is */
} eq_stream_batch;

/* With the room for one batch more and the sums; -1: overflow. */
int64_t eq_stream_bytes(int64_t n, int64_t B, int64_t T, int64_t D, eq_dtype dt);
/* s->n, B, T, D, dt and obs are set. path NULL: host memory; else a file, its space reserved at
 * once so that a full disk shows now. A file that is there goes on where it was, if every window in
 * it has the sum it was written with and none is beyond level `most`; else the level is -1 and it
 * wants eq_stream_embed. EQ_EINTR: stopped while it looked. */
eq_status eq_stream_open(eq_stream *s, const char *path, int64_t most, eq_err *err);
void eq_stream_close(eq_stream *s); /* keeps a file that holds windows */
int64_t eq_stream_level(const eq_stream *s);
/* The window at the stream's level; neighbours lie behind each other while no pass is under way. */
void *eq_stream_at(const eq_stream *s, int64_t window);
/* Level 0: the embeddings of a's windows, then of b's. EQ_EINTR: stopped, the level is still -1. */
eq_status eq_stream_embed(eq_stream *s, const eq_windows *a, const eq_windows *b,
                          const eq_tensor *embed, double scale, eq_err *err);
eq_stream_batch eq_stream_next(const eq_stream *s);
/* The batch behind the next one in the same pass, to be read ahead; n == 0: there is none. */
eq_stream_batch eq_stream_next_but_one(const eq_stream *s);
/* The batch's outputs are in place. */
void eq_stream_passed(eq_stream *s, const eq_stream_batch *b);
#endif
