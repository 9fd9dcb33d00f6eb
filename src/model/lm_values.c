/* Values of all groups on the host, a block's at a time in the backend's memory; see lm.h.
 * Invariant: linear lies behind linear and block behind block, here and there. */
#include <string.h>

#include "model/lm.h"

static int64_t first(const eq_lm *lm, int64_t i) {
    return i < lm->cfg->L ? lm->q.at[i * EQ_LINS].group : lm->q.groups;
}

eq_mut eq_lm_block_values(const eq_lm *lm, const eq_lm_values *v, int64_t i) {
    int64_t from = first(lm, i);
    return eq_mut_at(v->m, v->host ? 0 : from, first(lm, i + 1) - from);
}

void eq_lm_get_z(const eq_lm *lm, int64_t i, eq_lin l, float *z) {
    eq_mut at = eq_lm_groups(lm, lm->q.z, i, l);
    if (lm->q.z_host)
        memcpy(z, lm->q.z_host + lm->q.at[i * EQ_LINS + (int64_t)l].group,
               (size_t)at.n * sizeof *z);
    else
        lm->be->download(lm->be, z, EQ_F32, eq_ro(at));
}

void eq_lm_bring(const eq_lm *lm, const eq_lm_values *v, int64_t i) {
    if (v->host)
        lm->be->upload(lm->be, eq_lm_block_values(lm, v, i), v->host + first(lm, i), EQ_F32);
}

void eq_lm_keep(const eq_lm *lm, const eq_lm_values *v, int64_t i) {
    if (v->host)
        lm->be->download_behind(lm->be, v->host + first(lm, i), EQ_F32,
                                eq_ro(eq_lm_block_values(lm, v, i)));
}
