/* See tiny_gguf.h. */
#include "tiny_gguf.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "tiny_model.h"
#include "tiny_tokenizer.h"

static char *dir;
const char *tg_at(const char *name) {
    static char ring[8][256];
    static int k;
    char *p = ring[k++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

const char *tg_config(const char *family, bool tied, const char *more) {
    static char text[1024];
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 256, \"intermediate_size\": 256,\n"
             "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             "\"head_dim\": 64, \"vocab_size\": %d, \"max_position_embeddings\": 64,\n"
             "\"rms_norm_eps\": 1e-05, \"torch_dtype\": \"bfloat16\", \"bos_token_id\": 1,\n"
             "\"eos_token_id\": 2, \"tie_word_embeddings\": %s%s}",
             family, TG_V, tied ? "true" : "false", more);
    return text;
}

/* ---- tokenizers --------------------------------------------------------------------------------
 */

static const char spm_rest[] =
    "'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': "
    "'\xe2\x96\x81'},"
    "{'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\xe2\x96\x81'}]},"
    "'added_tokens': [{'id': 0, 'content': '<unk>', 'special': true, 'normalized': false, " TG_FLAGS
    "},"
    "{'id': 1, 'content': '<s>', 'special': true, 'normalized': false, " TG_FLAGS "},"
    "{'id': 12, 'content': '<own>', 'special': false, 'normalized': false, " TG_FLAGS "}],"
    "'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', "
    "'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}], 'pair': [], 'special_tokens': "
    "{'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']}}}";
static const char spm_json[] =
    "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"byte_fallback\": true,"
    "\"fuse_unk\": true, \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"<0x0A>\": 3, \"a\": "
    "4,"
    "\"b\": 5, \"\xe2\x96\x81\": 6, \"ab\": 7, \"\xe2\x96\x81"
    "ab\": 8, \"ba\": 9, \"bab\": 10,"
    "\"xyz\": 11}, \"merges\": [\"a b\", \"\xe2\x96\x81 ab\", \"b a\", \"ba b\", \"b ab\"]}";

static const char bytes_rest[] = "'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [%s"
                                 "{'type': 'ByteLevel', 'add_prefix_space': false, 'trim_offsets': "
                                 "true, 'use_regex': %s}]}";

/* tokenizer.json of the byte-level kind with one step in front of ByteLevel. */
void tg_bytes(const char *folder, const char *step, bool use_regex, const char *model,
              const char *more) {
    char rest[2048], all[3072];
    snprintf(rest, sizeof rest, bytes_rest, step, use_regex ? "true" : "false");
    snprintf(all, sizeof all, "%s%s", rest, more);
    tiny_tokenizer t = {.merges = "t h;th e", .model = model, .rest = all};
    eq_err err = {0};
    char *to = tiny_path(folder, "tokenizer.json");
    eq_remove_tree(to, &err);
    assert_int_equal(eq_copy_file(tiny_tokenizer_file(&t), to, &err), EQ_OK);
    eq_free(to);
}

void tg_spm(const char *folder) {
    eq_str s = {0};
    eq_str_puts(&s, spm_json), eq_str_puts(&s, ", ");
    for (const char *c = spm_rest; *c; c++) eq_str_printf(&s, "%c", *c == '\'' ? '"' : *c);
    eq_str_puts(&s, "}");
    tiny_text(folder, "tokenizer.json", s.p);
    tiny_text(folder, "tokenizer_config.json",
              "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"chat_template\": \"{{ x }}\"}");
    eq_str_free(&s);
}

/* ---- models ------------------------------------------------------------------------------------
 */

/* A base model by name, made anew. */
const char *tg_base(const char *name, const char *text) {
    tiny_opts o = {.dt = EQ_BF16, .seed = 5};
    eq_err err = {0};
    const char *path = tg_at(name);
    eq_remove_tree(path, &err);
    assert_int_equal(eq_mkdir(path, &err), EQ_OK);
    tiny_write(path, text, &o);
    return path;
}

const char *tg_quantized(const char *from, const tiny_quant *o) {
    eq_err err = {0};
    eq_remove_tree(tg_at("q"), &err);
    tiny_quant_write(from, tg_at("q"), o);
    return tg_at("q");
}

eq_status tg_export(const char *type, const char *embeddings, bool lossy, eq_export_result *res,
                    eq_err *err) {
    eq_export_opts o;
    eq_export_opts_init(&o);
    eq_err ignored = {0};
    eq_remove_tree(tg_at("out.gguf"), &ignored);
    o.model = tg_at("q"), o.out = tg_at("out.gguf"), o.to = "gguf";
    o.type = type, o.embeddings = embeddings, o.lossy = lossy;
    return eq_export(&o, NULL, res, err);
}

eq_gguf *tg_exported(const char *type, const char *embeddings, bool lossy, eq_export_result *res) {
    eq_err err = {0};
    eq_gguf *g;
    if (tg_export(type, embeddings, lossy, res, &err) != EQ_OK) fail_msg("%s", err.msg);
    if (eq_gguf_open(&g, tg_at("out.gguf"), &err) != EQ_OK) fail_msg("%s", err.msg);
    return g;
}

int64_t tg_whole(const eq_gguf *g, const char *key) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    int64_t out;
    if (!v || v->array || !eq_gguf_int(v, 0, &out)) fail_msg("%s is not there", key);
    return out;
}
double tg_real(const eq_gguf *g, const char *key) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    double out;
    if (!v || !eq_gguf_num(v, 0, &out)) fail_msg("%s is not there", key);
    return out;
}
void tg_text_is(const eq_gguf *g, const char *key, int64_t i, const char *want) {
    const eq_gguf_value *v = eq_gguf_get(g, key);
    const char *s = "";
    int64_t n = 0;
    if (!v || v->kind != EQ_GGUF_STR) fail_msg("%s is not there", key);
    const uint8_t *p = v->at;
    for (int64_t k = 0; k <= i; k++) assert_true(eq_gguf_next(v, &p, &s, &n));
    if ((size_t)n != strlen(want) || memcmp(s, want, (size_t)n))
        fail_msg("%s[%d] is %.*s, expected %s", key, (int)i, (int)n, s, want);
}

int tg_begin(void **state) {
    (void)state;
    dir = tiny_dir();
    return 0;
}
int tg_end(void **state) {
    (void)state;
    tiny_remove(dir);
    return 0;
}
