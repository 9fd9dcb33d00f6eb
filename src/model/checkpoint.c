/* Writing the project's checkpoint (FORMATS, "The project's own checkpoint"). Invariant: the output
 * folder appears whole, after everything in it was read back and compared, or not at all. */
#include "model/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/checkpoint_parts.h"
#include "model/schemes.h"
#include "quant/pack.h"

eq_layout eq_checkpoint_layout(const eq_config *c, const eq_schemes *t, eq_err *err) {
    for (int64_t i = 0; i < (t->at ? c->L : 1); i++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
            eq_scheme q = eq_scheme_at(t, i, (eq_lin)l);
            const char *why = eq_gptq_refuses(s.rows, s.I, eq_group(q.group, s.I), q.bits);
            char block[24] = "*", scheme[24];
            if (!why) continue;
            if (t->at) snprintf(block, sizeof block, "%lld", (long long)i);
            eq_scheme_name(scheme, q);
            eq_fail(err, EQ_EINPUT,
                    "model.layers.%s.%s [%lld, %lld]: GPTQ cannot hold it at %s (%s)", block,
                    s.file, (long long)s.rows, (long long)s.I, scheme, why);
            return EQ_LAYOUT_ROWS;
        }
    return EQ_LAYOUT_GPTQ_V2;
}

/* ---- reading back ---------------------------------------------------------------------------- */

static eq_status same_bytes(const eq_tensor *now, const eq_tensor *was, eq_err *err) {
    if (now->dt == was->dt && now->bytes == was->bytes &&
        !memcmp(now->data, was->data, (size_t)was->bytes))
        return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: read back, it differs from %s", now->file,
                   now->name, was->file);
}

static eq_status verify_block(const eq_checkpoint *c, const eq_weights *w, int64_t i, eq_qblock *b,
                              const eq_digest *wrote, eq_err *err) {
    eq_digest sum;
    EQ_TRY(eq_qblock_read(b, w, i, err));
    EQ_TRY(eq_checkpoint_sum(b, &w->cfg, &sum, err));
    if (memcmp(sum.hex, wrote->hex, sizeof sum.hex))
        return eq_fail(
            err, EQ_EINPUT,
            "%s: block %lld: read back, integers, steps, zero points or norms differ from "
            "what was written",
            w->dir, (long long)i);
    for (int l = 0; l < EQ_LINS; l++)
        if (w->blocks[i].bias[l])
            EQ_TRY(same_bytes(w->blocks[i].bias[l], c->base->blocks[i].bias[l], err));
    for (int n = 0; n < EQ_NORM_COUNT; n++)
        if (w->blocks[i].norm_bias[n])
            EQ_TRY(same_bytes(w->blocks[i].norm_bias[n], c->base->blocks[i].norm_bias[n], err));
    return EQ_OK;
}

/* Opens the folder as any reader does. eq_qblock_read finds out whether the trained steps and zero
 * points round to the stored ones; the sums, whether all bits came back. */
static eq_status verify(const eq_checkpoint *c, const char *dir, const eq_digest *sums,
                        eq_err *err) {
    eq_weights *w;
    eq_qblock b = {0};
    EQ_TRY(eq_weights_open(&w, dir, err));
    eq_status st = same_bytes(w->embed, c->base->embed, err);
    if (st == EQ_OK) st = same_bytes(w->head, c->base->head, err);
    if (st == EQ_OK) st = same_bytes(w->norm, c->base->norm, err);
    for (int64_t i = 0; i < w->cfg.L && st == EQ_OK; i++)
        st = verify_block(c, w, i, &b, &sums[i], err);
    eq_qblock_free(&b);
    eq_weights_close(w);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static eq_status fill(const eq_checkpoint *c, const char *dir, const eq_observer *obs,
                      int64_t *bytes, eq_err *err) {
    eq_digest *sums = eq_calloc(c->base->cfg.L, sizeof *sums);
    if (!sums) return eq_nomem(err, "checksums", c->base->cfg.L * (int64_t)sizeof *sums);
    eq_status st = eq_checkpoint_side_files(c, dir, err);
    if (st == EQ_OK) st = eq_checkpoint_tensors(c, dir, obs, sums, bytes, err);
    if (st == EQ_OK) st = verify(c, dir, sums, err);
    if (st == EQ_OK) st = eq_checkpoint_put_sums(dir, err);
    eq_free(sums);
    return st;
}

static eq_status write_at(const eq_checkpoint *c, const char *path, const char *tmp,
                          const eq_observer *obs, int64_t *bytes, eq_err *err) {
    eq_err ignored = {0};
    eq_status st = fill(c, tmp, obs, bytes, err);
    /* what the model's files said while they were read is what they said all along */
    if (st == EQ_OK) st = eq_weights_unchanged(c->base, err);
    if (st == EQ_OK) {
        st = eq_rename_durable(tmp, path, err);
        /* renamed, but perhaps not on disk: the caller is told that there is no output */
        if (st != EQ_OK && !eq_exists(tmp)) eq_remove_tree(path, &ignored);
    }
    if (st != EQ_OK) eq_remove_tree(tmp, &ignored);
    return st;
}

eq_status eq_checkpoint_write(const eq_checkpoint *c, const char *out, const eq_observer *obs,
                              int64_t *bytes, eq_err *err) {
    int64_t written = 0;
    EQ_TRY(eq_schemes_check(&c->schemes, &c->base->cfg, err));
    EQ_TRY(eq_output_check(out, c->base->dir, err));
    char *path = eq_output_path(out), *tmp = NULL;
    int lock = -1;
    eq_status st = path ? eq_temporary_folder(path, &tmp, &lock, err)
                        : eq_nomem(err, "a path", (int64_t)strlen(out));
    if (st == EQ_OK) st = write_at(c, path, tmp, obs, &written, err);
    if (lock >= 0) close(lock);
    eq_free(path), eq_free(tmp);
    if (st == EQ_OK && bytes) *bytes = written;
    return st;
}
