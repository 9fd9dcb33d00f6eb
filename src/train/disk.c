/* Disk space of a run, from the sizes of what will be written. */
#include <string.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "quant/pack.h"
#include "train/quantize_job.h"

eq_job_disk eq_job_disk_of(const eq_settings *s, const eq_config *c, int64_t rest, int64_t T,
                           int64_t windows) {
    int64_t codes = 0, groups = 0, order = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec q = eq_lin_of(c, l);
        codes += c->L * q.O * eq_pack_words(q.I, s->o.bits) * 4;
        groups += c->L * q.O * (q.I / eq_group(s->o.group_size, q.I));
        order += c->L * q.I * 4; /* g_idx */
    }
    eq_job_disk d = {.packed = codes + groups * 2 + groups * s->o.bits / 8};
    d.out = d.packed + order + rest + groups * 8; /* eqat.state */
    if (s->o.method != EQ_METHOD_RTN && !c->bits) {
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
