/* The end of a job: its exit code, and after Ctrl-C the command that goes on, which works when it
 * is pasted into a shell. */
#include <stdio.h>
#include <string.h>

#include "command.h"

/* One line, whatever the text holds: $'...' where a plain quoted text would break or move the
 * terminal. */
static void put_quoted(const char *s) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_=+.,/:@%^";
    bool control = false;
    for (const char *c = s; *c; c++) control = control || (unsigned char)*c < 32 || *c == 127;
    if (*s && strspn(s, plain) == strlen(s)) {
        fputs(s, stderr);
        return;
    }
    fputs(control ? "$'" : "'", stderr);
    for (; *s; s++) {
        if (control && ((unsigned char)*s < 32 || *s == 127))
            fprintf(stderr, "\\%03o", (unsigned)(unsigned char)*s);
        else if (control && (*s == '\'' || *s == '\\'))
            fprintf(stderr, "\\%c", *s);
        else if (*s == '\'')
            fputs("'\\''", stderr);
        else
            fputc(*s, stderr);
    }
    fputc('\'', stderr);
}

/* --resume goes to the front, where neither "--" nor a forgotten value can swallow it. */
static void put_command(const cli_common *common, bool add_resume) {
    for (int i = 0; i < common->argc; i++) {
        if (i) fputc(' ', stderr);
        put_quoted(common->argv[i]);
        if (i == 1 && add_resume) fputs(" --resume", stderr);
    }
    fputc('\n', stderr);
}

int cli_finish(const cli_common *common, eq_status st, const eq_err *err, const bool *resume,
               bool begun) {
    if (st == EQ_OK) return EXIT_DONE;
    if (st != EQ_EINTR) return cli_fail(err);
    if (!resume) {
        fprintf(stderr, "eqat: %s\n", err->msg);
    } else if (!begun && !*resume) {
        fprintf(stderr, "eqat: stopped before the first step; nothing is written\n");
    } else {
        fprintf(stderr, "eqat: %s\n", err->msg);
        fputs("eqat: stopped; to go on: ", stderr);
        put_command(common, !*resume);
    }
    return EXIT_STOPPED;
}
