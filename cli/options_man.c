/* The man page, made from the command and option tables: eqat help --man. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* Text as roff prints it: hyphens that can be copied, no control line at the start of a line. */
static void put_text(const char *s) {
    bool start = true;
    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        if (*s == '-')
            fputs("\\-", stdout);
        else if (*s == '\\')
            fputs("\\e", stdout);
        else
            putchar(*s);
        start = *s == '\n';
    }
}

static void put_example(const char *lines) {
    puts(".PP\n.EX");
    put_text(lines);
    puts("\n.EE");
}

static int put_command(const cli_command *c) {
    cli_common *args = cli_args(c);
    if (!args) return EXIT_FAILED;
    printf(".SH EQAT %s\n", c->name);
    put_text(c->summary);
    puts("\n.PP\n.EX");
    printf("eqat ");
    put_text(c->usage);
    puts("\n.EE");
    if (c->about) {
        puts(".PP");
        put_text(c->about);
        putchar('\n');
    }
    for (const opt *o = c->options; o->kind != OPT_END; o++) {
        opt_text t;
        if (o->kind == OPT_HEADING) {
            printf(".SS ");
            put_text(o->help);
            putchar('\n');
            continue;
        }
        opt_describe(o, args, &t);
        printf(".TP\n.B ");
        put_text(t.head);
        putchar('\n');
        put_text(t.help);
        putchar('\n');
    }
    put_example(c->example);
    free(args);
    return EXIT_DONE;
}

int cli_man(void) {
    int code = EXIT_DONE;
    printf(".TH EQAT 1 \"\" \"eqat %s\" \"User Commands\"\n", EQ_VERSION);
    puts(".SH NAME\neqat \\- 2-, 3- and 4-bit language models by EfficientQAT");
    puts(".SH SYNOPSIS\n.B eqat\n.I COMMAND\n[options]");
    puts(".SH DESCRIPTION\n"
         "Turns a language model in Hugging Face form into a 2-, 3- or 4-bit one by\n"
         "quantization-aware training on the CPU (Chen et al., arXiv 2407.11062).\n"
         "Sizes are powers of 1024 and may be written 512M, 6g, 6GB or 6GiB.\n"
         "Results go to standard output, everything else to standard error.");
    for (const cli_command *const *c = cli_commands; *c && code == EXIT_DONE; c++)
        code = put_command(*c);
    puts(".SH SIGNALS\n"
         "SIGINT, SIGTERM, SIGHUP, SIGXCPU and SIGUSR1 stop a job with saved state; the command "
         "that\n"
         "goes on is printed. A second SIGINT, SIGTERM or SIGUSR1 ends the program at once.");
    puts(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed, or a plan that would be "
         "refused\n.TP\n2\nusage\n"
         ".TP\n130\nstopped; quantize and tune go on with \\-\\-resume");
    return code;
}
