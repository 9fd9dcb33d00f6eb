/* Disk space of a run, from the sizes of what will be written. */
#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "model/schemes.h"
#include "train/quantize_job.h"

eq_job_disk eq_job_disk_of(const eq_settings *s, const eq_config *c, int64_t rest, int64_t T,
                           int64_t windows) {
    eq_schemes_size n = eq_schemes_count(&s->schemes, c);
    bool rows = eq_checkpoint_layout(c, &s->schemes, NULL) == EQ_LAYOUT_ROWS;
    int64_t codes = n.words * 4, groups = n.groups, zeros = 0, order = 0;
    for (int64_t k = 0; k < c->L * EQ_LINS; k++) {
        eq_lin_spec of = eq_lin_of(c, (eq_lin)(k % EQ_LINS));
        eq_scheme q = eq_scheme_at(&s->schemes, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        zeros += of.O * (of.I / eq_group(q.group, of.I)) * (rows ? 8 : q.bits) / 8;
        order += rows ? 0 : of.I * 4; /* g_idx */
    }
    eq_job_disk d = {.packed = codes + groups * 2 + zeros};
    d.out = d.packed + order + rest + groups * 8; /* eqat.state */
    if (s->o.method != EQ_METHOD_RTN && !eq_config_quantized(c)) {
        eq_block_ap_setup ap = eq_settings_ap(s);
        d.blocks = codes + groups * 8;
        d.first = eq_block_ap_snapshot_bytes(c, &ap);
    }
    if (s->e2e) {
        eq_e2e_setup qp = eq_settings_e2e(s, T, windows);
        d.second = eq_e2e_disk_bytes(c, &qp, T);
    }
    return d;
}

/* The nearest folder on the way to `path` that is there. eq_free it. */
char *eq_job_existing(const char *path) {
    char *p = eq_real_path(path);
    while (p && !eq_exists(p)) {
        char *slash = strrchr(p, '/');
        if (!slash) break;
        slash[slash == p] = 0;
    }
    return p;
}

static eq_status has_room(const char *dir, int64_t bytes, eq_err *err) {
    int64_t have = eq_disk_free(dir);
    if (have < 0 || have >= bytes) return EQ_OK;
    return eq_fail(err, EQ_EIO, "%s: expected room for %.3g MiB on this disk, found %.3g MiB", dir,
                   (double)bytes / (1 << 20), (double)have / (1 << 20));
}

int64_t eq_job_disk_free(const char *path) {
    char *dir = eq_job_existing(path);
    int64_t bytes = dir ? eq_disk_free(dir) : -1;
    eq_free(dir);
    return bytes;
}

eq_status eq_job_disk_check(const eq_job_disk *d, const char *out_path, const char *work_path,
                            eq_err *err) {
    char *out = eq_job_existing(out_path), *work = eq_job_existing(work_path);
    eq_status st = out && work ? EQ_OK : eq_nomem(err, "a path", 256);
    int64_t first = d->blocks + d->first, second = d->blocks + d->second;
    if (st == EQ_OK && eq_same_disk(out, work)) {
        st = has_room(work, first > second + d->out ? first : second + d->out, err);
    } else if (st == EQ_OK) {
        st = has_room(work, first > second ? first : second, err);
        if (st == EQ_OK) st = has_room(out, d->out, err);
    }
    eq_free(out), eq_free(work);
    return st;
}
