/* Any bytes as config.json. What is read must be a model that can be counted and whose linears have
 * schemes that are known. */
#include "fuzz_main.h"
#include "model/schemes.h"
#include "quant/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eq_config c;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    fuzz_file("config.json", data, size);
    if (eq_config_load(&c, fuzz_dir, &err) == EQ_OK) {
        FUZZ_CHECK(c.L > 0 && c.D > 0 && c.NH % c.NKV == 0 && c.layout < EQ_LAYOUTS);
        FUZZ_CHECK(eq_config_params(&c) > 0);
        for (int64_t k = 0; eq_config_quantized(&c) && k < c.L * EQ_LINS; k++) {
            eq_scheme s = eq_scheme_at(&c.schemes, k / EQ_LINS, (eq_lin)(k % EQ_LINS));
            FUZZ_CHECK(eq_bits_known(s.bits) && s.group && s.group >= -1);
        }
        eq_config_free(&c);
    } else {
        fuzz_check_error(&err);
    }
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
