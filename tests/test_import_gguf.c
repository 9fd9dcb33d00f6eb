/* GGUF files in: what was exported comes back with every weight and every token, types that are
 * only read have the values of their definition, and what is wrong is named. */
#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"
#include "text/tokenizer.h"
#include "tiny_gguf.h"

static eq_status import_it(eq_import_result *res, eq_err *err) {
    eq_import_opts o;
    eq_err ignored = {0};
    eq_import_opts_init(&o);
    eq_remove_tree(tg_at("in"), &ignored);
    o.file = tg_at("out.gguf"), o.out = tg_at("in");
    return eq_import(&o, NULL, res, err);
}

/* ---- blocks to codes ----------------------------------------------------------------------------
 */

/* Random bytes are blocks, once their fp16 numbers are sane. */
static void codes_are_values(void **state) {
    (void)state;
    static const struct {
        eq_ggml t;
        int halves[2]; /* where they lie; -1: none */
        bool whole;    /* zero points */
    } cases[] = {
        {EQ_GGML_Q2_0, {0, -1}, true},   {EQ_GGML_Q4_0, {0, -1}, true},
        {EQ_GGML_Q4_1, {0, 2}, false},   {EQ_GGML_Q5_0, {0, -1}, true},
        {EQ_GGML_Q5_1, {0, 2}, false},   {EQ_GGML_Q8_0, {0, -1}, true},
        {EQ_GGML_Q2_K, {80, 82}, false}, {EQ_GGML_Q3_K, {108, -1}, true},
        {EQ_GGML_Q4_K, {0, 2}, false},   {EQ_GGML_Q5_K, {0, 2}, false},
        {EQ_GGML_Q6_K, {208, -1}, true},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            eq_ggml_spec spec = eq_ggml_of(cases[c].t);
            uint8_t b[256], q[256];
            float w[256], s[16], z[16];
            int bits;
            int64_t G;
            for (int i = 0; i < 256; i++) b[i] = (uint8_t)eq_rand_u64(seed + 1000 * c, (uint64_t)i);
            for (int k = 0; k < 2; k++) {
                int at = cases[c].halves[k];
                if (at >= 0) b[at + 1] = (uint8_t)((b[at + 1] & 0x83) | 0x20); /* 2^-7 or so */
            }
            assert_true(eq_ggml_code_shape(cases[c].t, &bits, &G));
            eq_ggml_values(w, cases[c].t, b, spec.block);
            eq_ggml_codes(q, s, z, cases[c].t, b, spec.block);
            float most = 0;
            for (int64_t i = 0; i < spec.block; i++) most = fmaxf(most, fabsf(w[i]));
            for (int64_t i = 0; i < spec.block; i++) {
                float is = ((float)q[i] - z[i / G]) * s[i / G];
                assert_true(s[i / G] > 0 && q[i] < 1 << bits);
                if (!(fabsf(is - w[i]) <= (cases[c].whole ? 0 : 1e-6f * most)))
                    fail_msg("%s: weight %d is %.9g, expected %.9g", spec.name, (int)i, (double)is,
                             (double)w[i]);
            }
        }
}

/* ---- whole files --------------------------------------------------------------------------------
 */

static void same_ids(const char *a, const char *b, const char *text) {
    eq_tokenizer *t[2];
    eq_ids ids[2] = {{0}, {0}};
    eq_err err = {0};
    const char *folders[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        if (eq_tokenizer_open(&t[i], folders[i], &err) != EQ_OK) fail_msg("%s", err.msg);
        assert_int_equal(eq_encode(t[i], &ids[i], text, (int64_t)strlen(text), true, &err), EQ_OK);
    }
    assert_int_equal(ids[0].n, ids[1].n);
    assert_true(ids[0].n > 0);
    assert_memory_equal(ids[0].p, ids[1].p, (size_t)ids[0].n * sizeof *ids[0].p);
    for (int i = 0; i < 2; i++) eq_ids_free(&ids[i]), eq_tokenizer_close(t[i]);
}

static void back_again(void **state) {
    (void)state;
    static const struct {
        const char *family, *more, *type;
        tiny_quant q;
        int bits, group;
        bool lossy, state;
    } cases[] = {
        {"llama", ", \"attention_bias\": true", NULL, {2, 64, TINY_PORTABLE, false}, 2, 64, 0, 0},
        {"qwen2", ", \"rope_theta\": 1000000.0", NULL, {4, 64, TINY_PORTABLE, false}, 4, 32, 0, 0},
        {"qwen3", "", NULL, {4, 64, TINY_FREE, false}, 8, 32, 0, 0},
        {"llama", "", "q8_0", {4, 64, TINY_FREE, false}, 8, 32, 0, 0},
        {"llama", "", NULL, {3, 256, TINY_PORTABLE, false}, 3, 16, 0, 0},
        {"llama", "", "q2_k", {4, 64, TINY_FREE, false}, 2, 16, 1, 1},
        {"llama", "", "q4_k", {4, 64, TINY_FREE, false}, 4, 32, 1, 1},
        {"llama", "", "q4_1", {4, 64, TINY_FREE, false}, 4, 32, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        eq_import_result res;
        tg_quantized(tg_base("m", tg_config(cases[i].family, i % 2, cases[i].more)), &cases[i].q);
        tg_spm(tg_at("q"));
        eq_gguf_close(tg_exported(cases[i].type, NULL, cases[i].lossy, NULL));
        int64_t before = eq_mem_current();
        if (import_it(&res, &err) != EQ_OK) fail_msg("case %d: %s", (int)i, err.msg);
        assert_int_equal(eq_mem_current(), before);
        assert_true(res.bits == cases[i].bits && res.group_size == cases[i].group);
        assert_true(res.state == cases[i].state && (res.worst > 0) == cases[i].state);
        same_ids(tg_at("q"), tg_at("in"), " ab  bab<own>abab\n");
        eq_config was, is;
        assert_int_equal(eq_config_load(&was, tg_at("q"), &err), EQ_OK);
        assert_int_equal(eq_config_load(&is, tg_at("in"), &err), EQ_OK);
        assert_string_equal(was.family, is.family);
        assert_true(was.HD == is.HD && was.F == is.F && was.V == is.V && was.NKV == is.NKV);
        assert_true(was.tied == is.tied && was.eps == is.eps && was.T_max == is.T_max);
        assert_true(was.rope.theta == is.rope.theta && was.bos == is.bos && was.eos == is.eos);
        assert_true(was.qkv_bias == is.qkv_bias && was.o_bias == is.o_bias);
        eq_config_free(&was), eq_config_free(&is);
    }
}

static void bytes_come_back(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    tg_quantized(tg_base("m", tg_config("llama", false, "")), &o);
    tg_bytes(tg_at("q"), "{'type': 'Digits', 'individual_digits': true},", true, NULL, "");
    eq_gguf_close(tg_exported(NULL, NULL, false, NULL));
    if (import_it(NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    same_ids(tg_at("q"), tg_at("in"), "the thethe 1234 \xc3\xa9\n");
}

static void llama3(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    eq_err err = {0};
    eq_config c;
    tg_quantized(
        tg_base("m", tg_config("llama", true,
                               ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
                               "\"llama3\", \"factor\": 32.0, \"low_freq_factor\": 1.0, "
                               "\"high_freq_factor\": 4.0, "
                               "\"original_max_position_embeddings\": 8192}")),
        &o);
    tg_spm(tg_at("q"));
    eq_gguf_close(tg_exported(NULL, "q8_0", false, NULL));
    if (import_it(NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(eq_config_load(&c, tg_at("in"), &err), EQ_OK);
    assert_true(c.rope.kind == EQ_ROPE_LLAMA3 && c.rope.factor == 32 && c.rope.original_T == 8192);
    eq_config_free(&c);
}

/* ---- what is wrong ------------------------------------------------------------------------------
 */

/* Changes the first place of `from` in the file to `to`, of the same length. */
static void poke(const char *from, const char *to) {
    eq_map m;
    eq_err err = {0};
    assert_int_equal(eq_map_open(&m, tg_at("out.gguf"), &err), EQ_OK);
    uint8_t *copy = eq_calloc(m.size, 1);
    memcpy(copy, m.data, (size_t)m.size);
    size_t n = strlen(from);
    int64_t at = 0;
    while (at + (int64_t)n < m.size && memcmp(copy + at, from, n)) at++;
    assert_true(at + (int64_t)n < m.size);
    memcpy(copy + at, to, n);
    assert_int_equal(eq_write_file(tg_at("out.gguf"), copy, m.size, &err), EQ_OK);
    eq_map_close(&m);
    eq_free(copy);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"blk.1.ffn_up.weight", "blk.1.ffn_uq.weight", "blk.1.ffn_up.weight"},
        {"llama.block_count", "llama.block_cound", "llama.block_count"},
        {"general.architecture", "general.architectura", "general.architecture"},
        {"tokenizer.ggml.model", "tokenizer.ggml.modem", "tokenizer.ggml.model"},
        {"tokenizer.ggml.tokens", "tokenizer.ggml.tokenz", "tokenizer.ggml.tokens"},
        {"tokenizer.ggml.scores", "tokenizer.ggml.scorez", "tokenizer.ggml.scores"},
        {"token_embd.weight", "token_embe.weight", "token_embd.weight"},
        {"llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_rms_epsilom",
         "epsilon"},
    };
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("m", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eq_err err = {0};
        eq_gguf_close(tg_exported(NULL, NULL, false, NULL));
        poke(cases[i].from, cases[i].to);
        int64_t before = eq_mem_current();
        assert_int_equal(import_it(NULL, &err), EQ_EINPUT);
        check_error(&err, EQ_EINPUT, "out.gguf", cases[i].word, NULL);
        assert_int_equal(eq_mem_current(), before);
        assert_false(eq_exists(tg_at("in")));
    }
    eq_err err = {0};
    eq_gguf_close(tg_exported("f32", NULL, false, NULL));
    assert_int_equal(import_it(NULL, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "attn_q.weight", "f32", NULL);
}

static void faults(void **state) {
    (void)state;
    tiny_quant o = {2, 64, TINY_PORTABLE, false};
    tg_quantized(tg_base("m", tg_config("llama", false, "")), &o);
    tg_spm(tg_at("q"));
    eq_gguf_close(tg_exported(NULL, NULL, false, NULL));
    for (int kind = 0; kind < 2; kind++) {
        bool done = false;
        for (int64_t n = 1; !done; n += 1 + n / 4) {
            eq_err err = {0};
            int64_t before = eq_mem_current();
            assert_true(n < 1 << 20);
            kind ? eq_io_fail_nth(n) : eq_mem_fail_nth(n);
            done = import_it(NULL, &err) == EQ_OK;
            eq_io_fail_nth(0), eq_mem_fail_nth(0);
            assert_true(done == eq_exists(tg_at("in")));
            assert_int_equal(eq_mem_current(), before);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_values), cmocka_unit_test(back_again),
        cmocka_unit_test(bytes_come_back),  cmocka_unit_test(llama3),
        cmocka_unit_test(refused),          cmocka_unit_test(faults),
    };
    return cmocka_run_group_tests_name("import_gguf", tests, tg_begin, tg_end);
}
