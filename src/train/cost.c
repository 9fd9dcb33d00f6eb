/* See cost.h. Invariant: memory is never counted lower than what happens. */
#include "train/cost.h"

#include "backend/cpu/cpu.h"
#include "base/par.h"
#include "model/block.h"
#include "model/qblock.h"
#include "model/schemes.h"
#include "quant/pack.h"
#include "train/awq.h"
#include "train/stream.h"

/* Measured on Debian 12: heap and data pages of the program and its libraries with a config, a
 * header of tensors and the JSON of a log; and what a thread adds (stack, tables of primitives,
 * copies that oneDNN's products make for themselves). */
enum { PROGRAM = 9 << 20, THREAD = 1 << 20 };

static eq_dtype compute_type(const eq_settings *s) {
    return s->o.compute.precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Elements of the largest tile of a product [M, N] (cpu_matmul.c): 16 tiles where there is work for
 * as many, none above 1024 x 512. */
static int64_t tile_of(int64_t M, int64_t N, int64_t K) {
    int64_t share = eq_most(M * N / 16, (int64_t)(4 << 20) / eq_most(K, 512));
    return eq_least(eq_least(M, 1024) * eq_least(N, 512), 2 * share);
}

/* Gradients of keys and values that strips of attention's way back add up in (cpu_attention_bwd.c).
 */
static int64_t strips_bytes(const eq_config *c, int64_t B, int64_t T) {
    int64_t blocks = (T + 63) / 64, room = c->NH / c->NKV * blocks / 4;
    int64_t strips = eq_even_parts(c->NKV, 15, room < 1 ? 1 : room);
    int64_t window = strips > 1 ? c->NKV * strips * 2 * T * c->HD * 4 : 0;
    return window ? window * eq_least(B, eq_most((64 << 20) / window, 1)) : 0;
}

/* Scratch of the CPU backend's operations on batches of B windows, an upper bound: the turned left
 * side of dW's products, of rows that come together and of the windows of a chain; the tiles in
 * which a thread adds; copies in fp32 where there are no bf16 products; a key head of attention's
 * way back. */
static int64_t scratch_bytes(const eq_config *c, eq_dtype ct, int64_t B, int64_t T, int threads,
                             bool head) {
    int64_t size = eq_dtype_size(ct), turned = 0, ld = T % 512 ? T : T + 32;
    int64_t added = 0, tile = head ? tile_of(T, c->V, c->D) : 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec s = eq_lin_of(c, l);
        int64_t rows = eq_least(s.O, eq_most((int64_t)(8 << 20) / s.I, 256));
        turned = eq_most(turned, B * eq_least(rows, 4096) * ld * size);
        added = eq_most(added, tile_of(rows, s.I, T));
        tile = eq_most(tile, eq_most(tile_of(T, s.O, s.I), tile_of(T, s.I, s.O)));
    }
    tile = eq_most(tile, added);
    int64_t attention = T * c->HD * (2 * size + 8) + (64 * 256) * 14;
    int64_t widened = ct == EQ_BF16 ? 4 * eq_least(512 * (1024 + 512) + tile, 3 * tile) : 0;
    int64_t shared = eq_most(turned, strips_bytes(c, B, T));
    return shared + threads * (eq_most(8 * added, attention) + widened + THREAD);
}

/* The largest linear on its way into a file: packed columns, groups in both forms, g_idx. */
static int64_t packing_bytes(const eq_config *c, const eq_schemes *t) {
    int64_t bytes = 0;
    for (int64_t k = 0; k < (t->at ? c->L : 1) * EQ_LINS; k++) {
        eq_lin_spec s = eq_lin_of(c, (eq_lin)(k % EQ_LINS));
        eq_scheme q = eq_scheme_at(t, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
        int64_t groups = s.O * (s.I / eq_group(q.group, s.I));
        bytes = eq_most(bytes, 2 * s.O * eq_pack_words(s.I, q.bits) * 4 + groups * 16 + s.I * 4);
    }
    return bytes;
}

/* A device holds what the phase binds and its own scratch: the library's workspace, a batch's
 * outputs on their way to the host. The host holds pinned buffers instead, for pieces and for such
 * outputs. */
enum { WORKSPACE = 32 << 20, PINNED = 64 << 20 };
static int64_t place(const eq_hints *device, int64_t bound, int64_t host, int64_t outputs,
                     int64_t *on_device) {
    *on_device = device ? bound + WORKSPACE + eq_most(outputs, 8 << 20) : 0;
    return device ? PINNED + 2 * outputs : bound + host;
}

static void count_ap(eq_run_cost *cost, const eq_settings *s, const eq_config *c,
                     const eq_run_shape *r, int64_t always, const char *dir) {
    eq_block_ap_setup ap = eq_settings_ap(s);
    eq_dtype ct = compute_type(s);
    int64_t outputs = s->o.ap.batch_size * r->ap_T * c->D * eq_dtype_size(ct);
    cost->ap_memory =
        always + place(ap.hints, eq_block_ap_bytes(c, &ap, r->ap_T),
                       scratch_bytes(c, ct, s->o.ap.batch_size, r->ap_T, r->threads, false),
                       outputs, &cost->ap_device);
    cost->streams = 2 * eq_stream_bytes(r->train + r->val, s->o.ap.batch_size, r->ap_T, c->D, ct);
    cost->streams_on_disk = eq_settings_streams_on_disk(s, c, cost->ap_memory, cost->streams,
                                                        (r->train + r->val) * r->ap_T, dir);
    if (!cost->streams_on_disk) cost->ap_memory += cost->streams;
}

static void count_e2e(eq_run_cost *cost, const eq_settings *s, const eq_config *c,
                      const eq_run_shape *r, int64_t always) {
    eq_e2e_setup qp = eq_settings_e2e(s, r->e2e_T, r->e2e_windows);
    eq_dtype ct = compute_type(s);
    int64_t groups = eq_schemes_count(&s->schemes, c).groups, micro = qp.qp.micro_batch;
    int64_t embedded = micro * r->e2e_T * c->D * eq_dtype_size(ct);
    int64_t state = 4 * groups; /* a tensor of it on its way to the file, or looked at */
    int64_t device = s->o.compute.device_memory;
    cost->e2e_memory =
        always + embedded +
        place(qp.hints, eq_e2e_bytes(c, &qp, r->e2e_T),
              scratch_bytes(c, ct, micro, r->e2e_T, r->threads, true), 0, &cost->e2e_device) +
        eq_most(state, packing_bytes(c, &s->schemes));
    qp = eq_e2e_least(&qp);
    place(qp.hints, eq_e2e_bytes(c, &qp, r->e2e_T), 0, 0, &cost->e2e_device_least);
    /* A block's values pass through pinned memory. */
    if (device && cost->e2e_device > device && qp.on_host)
        cost->e2e_memory +=
            eq_e2e_host_bytes(c, &qp) + 8 * eq_schemes_count(&s->schemes, c).most_groups;
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Attention's products of one forward pass over `tokens` in windows of T, all layers. */
static double attention_flop(const eq_config *c, double tokens, int64_t T) {
    return 2.0 * tokens * (double)T * (double)(c->NH * c->HD) * (double)c->L;
}

/* Of AWQ's tries of each linear. */
static double awq_flop(const eq_config *c) {
    double all = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec q = eq_lin_of(c, l);
        all += 2.0 * EQ_AWQ_RATIOS * (double)(q.O * q.I) * (double)q.I * (double)c->L;
    }
    return all;
}

/* Two passes over all windows, then per epoch a step (three forward passes' worth) of every
 * training window and a forward pass of every validation window. */
static void count_ap_work(eq_run_cost *cost, const eq_settings *s, const eq_config *c,
                          const eq_run_shape *r) {
    double epochs = s->o.ap.epochs, P = (double)eq_config_linear_params(c);
    double train = (double)(r->train * r->ap_T), val = (double)(r->val * r->ap_T);
    double forward = 2 * (train + val) + epochs * val;
    double steps = epochs * (double)((r->train + s->o.ap.batch_size - 1) / s->o.ap.batch_size);
    double squares = (double)c->L * (double)(2 * c->D * c->D + c->F * c->F) +
                     (double)c->L * (double)(c->NH * c->HD * c->NH * c->HD);
    if (s->o.ap.start != EQ_START_MINMAX) forward += train + train * squares / P;
    if (s->o.ap.start == EQ_START_AWQ) cost->ap_flop = awq_flop(c);
    cost->ap_flop += (2 * forward + 6 * epochs * train) * P +
                     attention_flop(c, forward + 3.5 * epochs * train, r->ap_T);
    cost->ap_touched = steps * P;
}

/* Forward pass, the same again block by block, and the way back with dX and dW: 8 a weight. The
 * head is not trained: no dW, nothing twice. */
static void count_e2e_work(eq_run_cost *cost, const eq_settings *s, const eq_config *c,
                           const eq_run_shape *r) {
    eq_e2e_setup qp = eq_settings_e2e(s, r->e2e_T, r->e2e_windows);
    double windows = (double)r->e2e_windows * s->o.qp.epochs;
    if (s->o.qp.max_steps) windows = (double)s->o.qp.max_steps * (double)qp.qp.batch_size;
    double tokens = windows * (double)r->e2e_T;
    double P = (double)eq_config_linear_params(c), head = (double)(c->V * c->D);
    double micro = windows / (double)qp.qp.micro_batch + s->o.qp.epochs;
    cost->e2e_flop = tokens * (8 * P + 4 * head) + 4.5 * attention_flop(c, tokens, r->e2e_T);
    if (s->o.qp.loss == EQ_E2E_KL) /* the teacher's forward pass */
        cost->e2e_flop += tokens * (2 * P + 2 * head) + attention_flop(c, tokens, r->e2e_T);
    cost->e2e_touched = micro * P;
}

/* ---- the whole ------------------------------------------------------------------------------- */

eq_run_shape eq_run_shape_of(const eq_settings *s, bool ap) {
    return (eq_run_shape){
        .ap = ap,
        .e2e = s->e2e,
        .ap_T = s->ap_T,
        .e2e_T = s->e2e_T,
        .train = s->o.ap.train_size,
        .val = s->o.ap.val_size,
        .e2e_windows = s->o.qp.train_size ? s->o.qp.train_size : 4096,
        .threads = s->o.compute.threads ? s->o.compute.threads : eq_par_cores(),
    };
}

eq_run_cost eq_run_cost_of(const eq_settings *s, const eq_config *c, const eq_run_shape *r,
                           const char *dir) {
    eq_run_cost cost = {0};
    int64_t ids =
        (r->ap ? (r->train + r->val) * r->ap_T : 0) + (r->e2e ? r->e2e_windows * r->e2e_T : 0);
    int64_t always = PROGRAM + 4 * ids + eq_qblock_bytes(c, &s->schemes);
    if (r->ap) count_ap(&cost, s, c, r, always, dir), count_ap_work(&cost, s, c, r);
    if (r->e2e) count_e2e(&cost, s, c, r, always), count_e2e_work(&cost, s, c, r);
    int64_t writing = always + packing_bytes(c, &s->schemes);
    cost.memory = eq_most(writing, eq_most(cost.ap_memory, cost.e2e_memory));
    return cost;
}

json_t *eq_run_cost_json(const eq_run_cost *c) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:f}", "memory_bytes",
                     (json_int_t)c->memory, "block_ap_memory_bytes", (json_int_t)c->ap_memory,
                     "e2e_qp_memory_bytes", (json_int_t)c->e2e_memory, "block_ap_device_bytes",
                     (json_int_t)c->ap_device, "e2e_qp_device_bytes", (json_int_t)c->e2e_device,
                     "e2e_qp_device_least_bytes", (json_int_t)c->e2e_device_least, "streams_bytes",
                     (json_int_t)c->streams, "streams_on_disk", c->streams_on_disk, "block_ap_flop",
                     c->ap_flop, "e2e_qp_flop", c->e2e_flop);
}

static eq_status fits(int64_t bytes, int64_t limit, const char *who, const char *advice,
                      eq_err *err) {
    if (bytes <= limit) return EQ_OK;
    return eq_fail(err, EQ_ENOMEM, "%s needs %.3g GiB, the limit is %.3g GiB: lower %s", who,
                   (double)bytes / (1 << 30), (double)limit / (1 << 30), advice);
}

eq_status eq_run_cost_check(const eq_run_cost *cost, const eq_settings *s, const eq_run_shape *r,
                            eq_err *err) {
    int64_t device = s->o.compute.device_memory ? s->o.compute.device_memory : INT64_MAX;
    if (r->ap)
        EQ_TRY(fits(cost->ap_memory, s->memory, "Block-AP for one block",
                    "--batch-size or --seqlen", err));
    if (r->ap)
        EQ_TRY(fits(cost->ap_device, device, "Block-AP for one block, on the device,",
                    "--batch-size or --seqlen", err));
    if (!r->e2e) return EQ_OK;
    eq_e2e_setup qp = eq_settings_e2e(s, r->e2e_T, r->e2e_windows);
    EQ_TRY(fits(cost->e2e_device_least, device, "E2E-QP, on the device,", "--e2e-seqlen", err));
    return fits(cost->e2e_memory, s->memory, "E2E-QP",
                qp.qp.micro_batch > 1 ? "--e2e-micro-batch or --e2e-seqlen" : "--e2e-seqlen", err);
}
