/* quantization_config of AWQ folders, and of fp8 sources, whose weights are read and whose way with
 * activations is not taken over. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "model/config_parse.h"

/* ---- AWQ: AutoAWQ's and GPTQModel's ---------------------------------------------------------- */

static const eq_key awq_keys[] = {
    {"quant_method", EQ_KEY_READ},
    {"method", EQ_KEY_READ},
    {"bits", EQ_KEY_READ},
    {"group_size", EQ_KEY_READ},
    {"zero_point", EQ_KEY_READ},
    {"version", EQ_KEY_READ},
    {"format", EQ_KEY_READ},
    {"checkpoint_format", EQ_KEY_READ},
    {"pack_dtype", EQ_KEY_READ},
    {"sym", EQ_KEY_OFF},
    {"desc_act", EQ_KEY_OFF},
    {"lm_head", EQ_KEY_OFF},
    {"dynamic", EQ_KEY_OFF},
    {"adapter", EQ_KEY_OFF},
    {"modules_to_not_convert", EQ_KEY_FREE}, /* a linear left out has no qweight: an error */
    {"backend", EQ_KEY_FREE},
    {"do_fuse", EQ_KEY_FREE},
    {"fuse_max_seq_len", EQ_KEY_FREE},
    {"modules_to_fuse", EQ_KEY_FREE},
    {"exllama_config", EQ_KEY_FREE},
    {"true_sequential", EQ_KEY_FREE},
    {"static_groups", EQ_KEY_FREE},
    {"act_group_aware", EQ_KEY_FREE},
    {"damp_percent", EQ_KEY_FREE},
    {"meta", EQ_KEY_FREE},
    {"pack_impl", EQ_KEY_FREE},
};

/* Other orders of the same words ("gemv", "marlin", ...) have no name in the tensors. */
static eq_status check_gemm(const json_t *q, const char *where, eq_err *err) {
    static const char *const keys[] = {"version", "format", "checkpoint_format"};
    for (int i = 0; i < 3; i++) {
        const char *s;
        EQ_TRY(eq_json_str(q, keys[i], "gemm", &s, where, err));
        if (strcasecmp(s, "gemm"))
            return eq_fail(err, EQ_EINPUT,
                           "%s: quantization_config \"%s\": expected \"gemm\", the order of AWQ's "
                           "words that is read, found \"%s\"",
                           where, keys[i], s);
    }
    return EQ_OK;
}

eq_status eq_awq_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                       eq_err *err) {
    eq_scheme all = {0};
    bool zeros;
    EQ_TRY(eq_need_word(q, "method", NULL, "awq", where, err));
    EQ_TRY(eq_need_word(q, "pack_dtype", NULL, "int32", where, err));
    EQ_TRY(check_gemm(q, where, err));
    EQ_TRY(eq_json_bool(q, "zero_point", true, &zeros, where, err));
    if (!zeros)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"zero_point\": expected true, as AWQ's gemm files "
                       "have it, found false",
                       where);
    EQ_TRY(eq_keys_check(q, awq_keys, sizeof awq_keys / sizeof *awq_keys, inside, err));
    EQ_TRY(eq_need_scheme(&all, q, where, err));
    if (all.bits != 4)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: quantization_config \"bits\": expected 4, which AWQ's words hold, found "
            "%d",
            where, all.bits);
    c->schemes.all = all, c->layout = EQ_LAYOUT_AWQ;
    return EQ_OK;
}

/* ---- fp8 ------------------------------------------------------------------------------------- */

/* DeepSeek's form: a scale for each block of a weight. */
static const eq_key fp8_keys[] = {
    {"quant_method", EQ_KEY_READ},           {"fmt", EQ_KEY_READ},
    {"weight_block_size", EQ_KEY_READ},      {"activation_scheme", EQ_KEY_FREE},
    {"modules_to_not_convert", EQ_KEY_FREE}, /* what is not fp8 has no scales */
    {"ignored_layers", EQ_KEY_FREE},         {"dequantize", EQ_KEY_FREE},
};

eq_status eq_fp8_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                       eq_err *err) {
    const json_t *size = eq_json_get(q, "weight_block_size");
    EQ_TRY(eq_need_word(q, "fmt", "e4m3", "e4m3", where, err));
    EQ_TRY(eq_keys_check(q, fp8_keys, sizeof fp8_keys / sizeof *fp8_keys, inside, err));
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_array_get(size, (size_t)i);
        c->fp8[i] = json_integer_value(v);
        if (!json_is_integer(v) || json_array_size(size) != 2 || c->fp8[i] < 1 ||
            c->fp8[i] > 1 << 20)
            return eq_fail(
                err, EQ_EINPUT,
                "%s: quantization_config \"weight_block_size\": expected rows and columns "
                "of a block, such as [128, 128], found %s",
                where, size ? "another value" : "nothing");
    }
    return EQ_OK;
}
