/* eqat bench: the measurements of bench/, as ratios to a roof or a peer in the same run. */
#include "bench.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "common_options.h"

typedef struct {
    cli_common common;
    eq_bench_opts o;
} bench_args;

#define AT(field) offsetof(bench_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "options"},
    {OPT_STR, 0, "filter", .arg = "NAME", .at = AT(filter), .fallback = "all",
     .help = "sections whose name holds this: roof, ops, items, kernels, generate, "
             "eval, block-ap, threads, e2e-qp, pack"},
    {OPT_STR, 0, "python", .arg = "FILE", .at = AT(python), .fallback = "no peer",
     .help = "interpreter with PyTorch, for the same steps beside ours"},
    {OPT_STR, 0, "make-model", .arg = "FILE", .at = AT(make_model),
     .fallback = "make-model beside eqat", .help = "the program that writes random models"},
    {OPT_STR, 0, "scratch", .arg = "DIR", .at = AT(scratch),
     .fallback = "below /tmp, removed at the end", .help = "where random models are written"},
    {OPT_FLAG, 'h', "help", .at = offsetof(bench_args, common.help), .help = "this text"},
    EQ_COMPUTE_ROWS(bench_args, o.compute),
    {.kind = OPT_END},
};

static void init(void *arguments) {
    bench_args *a = arguments;
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    a->o.compute = o.compute;
}

/* The path of a program in the folder of this one; NULL when that cannot be told. */
static char *beside_this(const char *name) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (!slash) return NULL;
    *slash = 0;
    return eq_sprintf("%s/%s", path, name);
}

static int run(void *arguments) {
    bench_args *a = arguments;
    eq_err err = {0};
    char *beside = a->o.make_model ? NULL : beside_this("make-model");
    if (beside) a->o.make_model = beside;
    a->o.out = stdout;
    eq_status st = eq_bench_run(&a->o, &err);
    eq_free(beside);
    return st == EQ_OK ? EXIT_DONE : cli_fail(&err);
}

const cli_command cmd_bench = {
    .name = "bench",
    .summary = "speed and memory, as ratios to a roof measured in the same run",
    .usage = "bench [--filter NAME] [options]",
    .about =
        "Random models of real shapes; the 7B-shaped block needs some 8 GB of memory and disk.",
    .example = "  eqat bench --filter block-ap --python python3",
    .options = options,
    .args_size = sizeof(bench_args),
    .init = init,
    .run = run,
};
