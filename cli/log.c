/* See log.h. */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

/* ---- what it must not be --------------------------------------------------------------------- */

/* A file of the folder under another name: a hard link, or a link's target elsewhere. */
static eq_status is_file_of(const char *path, const char *folder, bool *is, eq_err *err) {
    eq_names names;
    *is = false;
    EQ_TRY(eq_list_dir(folder, &names, err));
    for (int64_t i = 0; i < names.n && !*is; i++) {
        char *in = eq_path(folder, names.p[i]);
        *is = in && eq_same_file(in, path);
        eq_free(in);
    }
    eq_names_free(&names);
    return EQ_OK;
}

static eq_status check_use(const char *path, const char *what, const cli_used *u, eq_err *err) {
    bool bad = eq_same_file(path, u->path) || eq_lies_in(path, u->path);
    if (!bad && eq_exists(path) && eq_is_dir(u->path)) EQ_TRY(is_file_of(path, u->path, &bad, err));
    if (!bad) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: expected a file of its own for %s, found %s (%s)", path,
                   what, u->what, u->path);
}

/* Data may be several names, one a line, each with a weight behind a colon. */
static eq_status check_uses(const char *path, const char *what, const cli_used *u, eq_err *err) {
    EQ_TRY(check_use(path, what, u, err));
    for (const char *at = u->path; at;) {
        int n = (int)strcspn(at, "\n");
        char *name = eq_sprintf("%.*s", n, at);
        if (!name) return eq_nomem(err, "a path", n);
        char *colon = eq_exists(name) ? NULL : strrchr(name, ':');
        if (colon) *colon = 0;
        eq_status st = *name ? check_use(path, what, &(cli_used){u->what, name}, err) : EQ_OK;
        eq_free(name);
        EQ_TRY(st);
        at = at[n] ? at + n + 1 : NULL;
    }
    return EQ_OK;
}

eq_status cli_check_own_file(const char *path, const char *what, const cli_used *used,
                             eq_err *err) {
    if (!*path) return eq_fail(err, EQ_EINPUT, "expected a file for %s, found an empty name", what);
    for (; used && used->what; used++)
        if (used->path && *used->path) EQ_TRY(check_uses(path, what, used, err));
    return EQ_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool regular(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

eq_status cli_log_open(cli_log *l, const char *path, const cli_used *used, bool resume,
                       eq_err *err) {
    *l = (cli_log){.path = path, .resume = resume};
    if (!path) return EQ_OK;
    EQ_TRY(cli_check_own_file(path, "the log", used, err));
    int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_CREAT | O_EXCL, 0666);
        l->made = fd >= 0;
    }
    if (fd < 0) return eq_fail_errno(err, "%s: cannot write the log", path);
    l->file = fdopen(fd, "a");
    if (l->file) return EQ_OK;
    close(fd);
    if (l->made) unlink(path);
    return eq_nomem(err, "the log", 4096);
}

/* A line that a kill cut short is ended, so that the log stays one object a line. */
static void end_cut_line(cli_log *l) {
    char last = '\n';
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return;
    if (fstat(fd, &st) == 0 && st.st_size > 0) (void)!pread(fd, &last, 1, st.st_size - 1);
    close(fd);
    if (last != '\n') fputc('\n', l->file);
}

void cli_log_line(cli_log *l, const char *line) {
    if (!l->file) return;
    if (!l->begun && regular(fileno(l->file))) {
        if (l->resume)
            end_cut_line(l);
        else
            (void)!ftruncate(fileno(l->file), 0);
    }
    l->begun = true;
    fprintf(l->file, "%s\n", line);
    fflush(l->file);
}

eq_status cli_log_close(cli_log *l, eq_err *err) {
    if (!l->file) return EQ_OK;
    bool bad = ferror(l->file) != 0;
    if (fclose(l->file)) bad = true;
    l->file = NULL;
    if (l->made && !l->begun) unlink(l->path);
    if (!bad) return EQ_OK;
    return eq_fail(err, EQ_EIO, "%s: the log could not be written in full", l->path);
}
