/* Any bytes as a ZIP archive: every entry is read, or refused in one line. */
#include "format/zip.h"
#include "fuzz_main.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file("input.zip", data, size);
    eq_zip *z;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_zip_open(&z, path, &err) == EQ_OK) {
        for (int64_t i = 0; i < eq_zip_count(z); i++) {
            char *bytes;
            int64_t n;
            eq_err why = {0};
            FUZZ_CHECK(eq_zip_find(z, eq_zip_name(z, i)) >= 0);
            if (eq_zip_read(z, i, &bytes, &n, &why) == EQ_OK)
                FUZZ_CHECK(n >= 0 && bytes[n] == 0);
            else
                fuzz_check_error(&why);
            eq_free(bytes);
        }
        eq_zip_close(z);
    } else {
        fuzz_check_error(&err);
    }
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
