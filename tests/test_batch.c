/* Choices in one batch, with what they share computed once, against each choice in a pass of its
 * own; and single scores against the loss of whole windows. */
#include <math.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "eval/batch.h"
#include "model/lm_folder.h"
#include "scratch.h"
#include "tiny_train.h"

enum { ITEMS = 5, CHOICES = 3, MOST = 24, V = 50 };

/* An item whose choices share `context` ids and have `longest` at most behind them. The ids depend
 * on `seed`; items of the same seed share their context with each other, too. */
static void item(eq_asked *a, int context, const int longest[CHOICES], int seed, int own) {
    a->n = CHOICES;
    a->ids = eq_calloc(context + CHOICES * MOST, sizeof *a->ids);
    a->request = eq_calloc(CHOICES, sizeof *a->request);
    assert_true(a->ids && a->request);
    for (int t = 0; t < context; t++) a->ids[t] = (seed * 7 + t * t + 3) % V;
    int64_t at = context;
    for (int k = 0; k < CHOICES; k++) {
        a->request[k] = (eq_request){0, context, at, longest[k]};
        for (int t = 0; t < longest[k]; t++) a->ids[at++] = (own * 5 + (t + 1) * (k + 1) * 11) % V;
        int64_t n = eq_request_inputs(&a->request[k]);
        if (n > a->longest) a->longest = n;
        a->rows += n - (k ? context : 0);
    }
}

static eq_lm *open_lm(int64_t rows, int64_t places, int64_t longest) {
    eq_err err = {0};
    eq_lm *lm;
    eq_compute_opts c = {.precision = EQ_PREC_F32};
    eq_status st =
        places ? eq_lm_open_shared(&lm, tiny.be, tiny.src, &c, false, rows, places, longest, &err)
               : eq_lm_open_folder(&lm, tiny.be, tiny.src, &c, false, 1, rows, &err);
    tiny_ok(st, &err);
    return lm;
}

/* One choice by itself, an ordinary pass. *first: every token of it is the likeliest. */
static double alone(const eq_asked *a, int k, bool *first) {
    const eq_request *r = &a->request[k];
    int64_t n = eq_request_inputs(r), scored = r->n_continuation;
    int32_t ids[MOST + 1], row[MOST], target[MOST];
    float nll[MOST];
    bool one[MOST];
    eq_err err = {0};
    double ll = 0;
    for (int64_t t = 0; t <= n; t++) ids[t] = eq_request_id(a, r, t);
    for (int64_t t = 0; t < scored; t++)
        row[t] = (int32_t)(n - scored + t), target[t] = ids[n - scored + t + 1];
    eq_lm *lm = open_lm(n, 0, 0);
    tiny_ok(eq_lm_forward(lm, ids, 1, n, &err), &err);
    tiny_ok(eq_lm_score(lm, row, target, scored, nll, one, &err), &err);
    *first = true;
    for (int64_t t = 0; t < scored; t++) ll -= (double)nll[t], *first = *first && one[t];
    eq_lm_close(lm);
    return ll;
}

static void together(void **state) {
    (void)state;
    static const int shape[ITEMS][1 + CHOICES] = {
        {9, 4, 6, 1}, {9, 5, 2, 2}, {4, 1, 1, 1}, {12, 3, 3, 8}, {1, 2, 7, 3}};
    static const int seed[ITEMS] = {1, 1, 2, 1, 3};
    eq_asked a[ITEMS] = {0};
    double ll[ITEMS * CHOICES] = {0};
    bool first[ITEMS * CHOICES];
    eq_err err = {0};
    for (int i = 0; i < ITEMS; i++) item(&a[i], shape[i][0], shape[i] + 1, seed[i], i);
    eq_lm *lm = open_lm(70, 150, 20);
    eq_batch *b = eq_batch_new(70, 150);
    int64_t runs = 0, rows = 0, own = 0;
    assert_non_null(b);
    memset(first, 1, sizeof first);
    for (int i = 0; i < ITEMS; i++) {
        if (!eq_batch_has_room(b, &a[i])) {
            rows += eq_batch_rows(b), runs++;
            tiny_ok(eq_batch_run(b, lm, ll, first, &err), &err);
            assert_true(eq_batch_has_room(b, &a[i]));
        }
        tiny_ok(eq_batch_add(b, &a[i], i * CHOICES, &err), &err);
        own += a[i].rows;
    }
    rows += eq_batch_rows(b);
    tiny_ok(eq_batch_run(b, lm, ll, first, &err), &err);
    assert_true(runs > 0);       /* the batch was filled, run and filled again */
    assert_true(rows < own - 8); /* what items have in common stood there once, too */
    for (int i = 0; i < ITEMS; i++)
        for (int k = 0; k < CHOICES; k++) {
            bool likeliest;
            double want = alone(&a[i], k, &likeliest), found = ll[i * CHOICES + k];
            if (fabs(found - want) > 2e-6 * fabs(want))
                fail_msg("item %d, choice %d: %.9g, expected %.9g", i, k, found, want);
            assert_int_equal(first[i * CHOICES + k], likeliest);
        }
    eq_batch_free(b);
    eq_lm_close(lm);
    for (int i = 0; i < ITEMS; i++) eq_asked_free(&a[i]);
}

/* A choice that only repeats what is there adds no row and no window; its score is the same. */
static void repeated(void **state) {
    (void)state;
    static const int lengths[CHOICES] = {3, 3, 3};
    eq_asked a = {0}, same = {0};
    double ll[2 * CHOICES] = {0};
    eq_err err = {0};
    item(&a, 5, lengths, 1, 1), item(&same, 5, lengths, 1, 1);
    eq_lm *lm = open_lm(40, 100, 10);
    eq_batch *b = eq_batch_new(40, 100);
    tiny_ok(eq_batch_add(b, &a, 0, &err), &err);
    int64_t rows = eq_batch_rows(b);
    tiny_ok(eq_batch_add(b, &same, CHOICES, &err), &err);
    assert_int_equal(eq_batch_rows(b), rows);
    tiny_ok(eq_batch_run(b, lm, ll, NULL, &err), &err);
    for (int k = 0; k < CHOICES; k++)
        assert_true(fabs(ll[k] - ll[CHOICES + k]) < 1e-6 * fabs(ll[k]) && ll[k] < 0);
    assert_int_equal(eq_batch_rows(b), 0);
    eq_batch_free(b);
    eq_lm_close(lm);
    eq_asked_free(&a), eq_asked_free(&same);
}

/* Scores of all rows of a window add up to its loss. */
static void whole_window(void **state) {
    (void)state;
    int32_t ids[TINY_T], row[TINY_T];
    float nll[TINY_T];
    double loss, sum = 0;
    eq_err err = {0};
    for (int t = 0; t < TINY_T; t++) ids[t] = (t * 13 + 5) % V, row[t] = t;
    eq_lm *lm = open_lm(TINY_T, 0, 0);
    tiny_ok(eq_lm_forward(lm, ids, 1, TINY_T, &err), &err);
    tiny_ok(eq_lm_loss(lm, ids, 1, TINY_T, 0, &loss, &err), &err);
    tiny_ok(eq_lm_score(lm, row, ids + 1, TINY_T - 1, nll, NULL, &err), &err);
    for (int t = 0; t < TINY_T - 1; t++) sum += (double)nll[t];
    assert_true(fabs(sum / (TINY_T - 1) - loss) < 1e-6 * loss);
    eq_lm_close(lm);
}

static void on(const char *family, const char *backend, void (*test)(void **state)) {
    tiny_train_open(family, backend);
    test(NULL);
    tiny_train_close();
}
static void all(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "qwen2", "qwen3", "mistral"};
    for (int i = 0; i < 4; i++) on(families[i], "cpu", together);
    on("llama", "ref", together);
    on("llama", "fenced:cpu", together);
    on("llama", "cpu", repeated);
    on("llama", "cpu", whole_window);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
