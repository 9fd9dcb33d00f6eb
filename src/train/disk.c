/* Disk space of a run, from the sizes of what will be written. */
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
