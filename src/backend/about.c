/* eq_about: what a log or a report has to say of the program and the machine it ran on. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/gemm.h"
#include "base/io.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/par.h"

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* "model name : AMD EPYC ..." */
static void cpu_name(char *out, size_t cap) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, cap, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *at = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !at) continue;
        at += 1 + strspn(at + 1, " \t");
        at[strcspn(at, "\n")] = 0;
        snprintf(out, cap, "%s", at);
        break;
    }
    if (f) fclose(f);
}

eq_status eq_about(char **json, eq_err *err) {
    static const char *const sets[] = {"sse2", "avx2", "avx512"};
    char cpu[128], onednn[32];
    eq_cpu_level level;
    *json = NULL;
    EQ_TRY(eq_cpu_detect(&level, NULL, err));
    cpu_name(cpu, sizeof cpu);
    json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:i, s:I}", "compiler", COMPILER, "onednn",
                          eq_gemm_version(onednn) + strlen("oneDNN "), "instruction_set",
                          sets[level], "cpu", eq_json_lossy(cpu), "cores", eq_par_cores(),
                          "memory_bytes", (json_int_t)eq_machine_memory());
    *json = o ? eq_json_text(o, 0) : NULL;
    json_decref(o);
    return *json ? EQ_OK : eq_nomem(err, "a description of the machine", 512);
}
