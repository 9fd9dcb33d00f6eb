/* One step of Block-AP and the operations of E2E-QP on the CPU backend, with eq_par_for counting
 * instead of running: the shapes are those that training calls, from the code that calls them, and
 * nothing is computed or touched.
 * Invariant: nothing here names an item size; all figures come from the operations. */
#include "bench_items.h"

#include "backend/wrap.h"
#include "base/par.h"
#include "quant/pack.h"
#include "train/student.h"

enum { CORES = 16, T = 2048, BITS = 2, G = 64, HEAD_ROWS = 512, MODELS = 3 };

static const struct {
    const char *name;
    eq_config c;
} models[MODELS] = {
    {"Llama-2-7B", {.D = 4096, .F = 11008, .NH = 32, .NKV = 32, .HD = 128, .V = 32000}},
    {"TinyLlama-1.1B", {.D = 2048, .F = 5632, .NH = 32, .NKV = 4, .HD = 64, .V = 32000}},
    {"SmolLM2-135M", {.D = 576, .F = 1536, .NH = 9, .NKV = 3, .HD = 64, .V = 49152}},
};

static double bound(int64_t items) {
    return items ? (double)items / (double)((items + CORES - 1) / CORES) : 0;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* Of each operation the round with the lowest bound, of calls that are not far smaller than its
 * largest one (norms beside matrices). */
enum { SMALL = 16 };
typedef struct {
    int64_t worst[EQ_OP_COUNT], largest[EQ_OP_COUNT], now;
} tally;

static void told(void *ctx, int64_t items) {
    tally *t = ctx;
    if (!t->now || bound(items) < bound(t->now)) t->now = items;
}
static bool before(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)op, (void)args, (void)n;
    ((tally *)w->own)->now = 0;
    return true;
}
static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    tally *t = w->own;
    int64_t size = 0;
    for (int i = 0; i < n; i++) size += args[i].n;
    if (size > SMALL * t->largest[op]) t->worst[op] = 0;
    if (size > t->largest[op]) t->largest[op] = size;
    if (size * SMALL < t->largest[op]) return;
    if (!t->worst[op] || bound(t->now) < bound(t->worst[op])) t->worst[op] = t->now;
}

/* ---- what is called -------------------------------------------------------------------------- */

typedef struct {
    eq_backend *be;
    const eq_config *c;
    eq_arena arena;
    eq_student student;
    eq_block_w w;
    eq_rope rope;
    eq_block_acts acts;
    eq_mut x, dy, loss, total, logits, losses, targets;
} step;

static void bind(step *s) {
    const eq_config *c = s->c;
    eq_student_bind(&s->student, &s->arena, c, &EQ_ONE_SCHEME(BITS, G),
                    EQ_TRAIN_S | EQ_TRAIN_Z | EQ_TRAIN_W | EQ_TRAIN_NORM);
    eq_block_w_bind(&s->w, &s->arena, c, EQ_BF16, eq_student_make, &s->student);
    eq_rope_bind(&s->rope, &s->arena, c, T);
    eq_block_acts_bind(&s->acts, &s->arena, c, EQ_BF16, 1, T, true);
    s->x = eq_take(&s->arena, EQ_BF16, T * c->D), s->dy = eq_take(&s->arena, EQ_F32, T * c->D);
    s->loss = eq_take(&s->arena, EQ_F32, 1), s->total = eq_take(&s->arena, EQ_F64, 1);
    s->logits = eq_take(&s->arena, EQ_F32, HEAD_ROWS * c->V);
    s->losses = eq_take(&s->arena, EQ_F32, HEAD_ROWS);
    s->targets = eq_take(&s->arena, EQ_I32, HEAD_ROWS);
}

static void block_ap(step *s) {
    eq_block_grads g = {.sink = eq_student_sink, .ctx = &s->student, .norms = true};
    eq_student_step(&s->student, (eq_rates){.quant = 1e-4, .weight = 1e-5});
    eq_student_show(&s->student, &s->w);
    eq_block_fwd(s->be, s->c, &s->w, &s->rope, &s->acts, eq_ro(s->x));
    EQ_DO(s->be, mse, s->loss, s->dy, eq_ro(s->acts.y), eq_ro(s->x));
    eq_block_bwd(s->be, s->c, &s->w, &s->rope, &s->acts, eq_ro(s->x), s->dy, &g);
    eq_student_norms(&s->student, &s->acts);
}

/* What E2E-QP has besides: integers back to numbers, its way back, the head. */
static void e2e_qp(step *s) {
    const eq_config *c = s->c;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        eq_lin_spec d = eq_lin_of(c, l);
        eq_qshape q = {.O = d.O, .I = d.I, .G = eq_group(G, d.I), .bits = BITS};
        eq_mut steps = s->student.s[l].p, zeros = s->student.z[l].p;
        eq_mut rows = eq_mut_at(s->student.rows, 0, q.O * eq_pack_words(q.I, BITS));
        EQ_DO(s->be, fq_init, steps, zeros, eq_ro(s->student.W[l].p), q);
        EQ_DO(s->be, fq_pack, rows, steps, zeros, eq_ro(s->student.W[l].p), q);
        EQ_DO(s->be, dequant, s->w.w[l], eq_ro(rows), eq_ro(steps), eq_ro(zeros), q);
        EQ_DO(s->be, dequant_bwd, steps, zeros, eq_ro(s->student.W[l].p), eq_ro(rows), eq_ro(steps),
              eq_ro(zeros), q);
        EQ_DO(s->be, sumsq, s->total, eq_ro(s->student.W[l].p));
    }
    EQ_DO(s->be, cross_entropy, s->losses, s->logits, eq_ro(s->logits), eq_ro(s->targets),
          HEAD_ROWS, c->V, 1.0f, 0.0f);
}

static eq_status count(tally *t, int model, eq_err *err) {
    eq_config c = models[model].c;
    eq_config_plain(&c);
    step s = {.c = &c};
    eq_wrap *w;
    EQ_TRY(eq_backend_open(&s.be, "cpu", NULL, err));
    eq_status st = eq_wrap_open(&s.be, "count:", &w, err);
    if (st == EQ_OK) {
        w->own = t, w->before = before, w->after = after;
        s.student.be = s.be;
        bind(&s);
        st = eq_arena_alloc(&s.arena, s.be, "a training step", err);
    }
    if (st == EQ_OK) {
        bind(&s);
        eq_par_count_items(told, t);
        block_ap(&s), e2e_qp(&s);
        eq_par_count_items(NULL, NULL);
        st = s.be->sync(s.be, err);
        eq_arena_free(&s.arena);
    }
    s.be->close(s.be);
    return st;
}

eq_status eq_bench_items(FILE *out, eq_err *err) {
    static tally t[MODELS];
    fprintf(out,
            "items of work of one step, 1 x %d tokens, bf16, w%dg%d, the worst of each operation;\n"
            "in brackets what %d cores can make of them, items / ceil(items / %d)\n%-14s",
            T, BITS, G, CORES, CORES, "operation");
    for (int m = 0; m < MODELS; m++) {
        t[m] = (tally){0};
        EQ_TRY(count(&t[m], m, err));
        fprintf(out, " %18s", models[m].name);
    }
    fputc('\n', out);
    for (int op = 0; op < EQ_OP_COUNT; op++) {
        if (!t[0].worst[op]) continue;
        fprintf(out, "%-14s", eq_op_names[op]);
        for (int m = 0; m < MODELS; m++)
            fprintf(out, " %11lld (%4.1f)", (long long)t[m].worst[op], bound(t[m].worst[op]));
        fputc('\n', out);
    }
    return EQ_OK;
}
