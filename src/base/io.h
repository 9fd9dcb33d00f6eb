/* Files: mapped reading, atomic writing, folders. */
#ifndef EQ_BASE_IO_H
#define EQ_BASE_IO_H
#include "base/err.h"
#include "base/str.h"

/* A file mapped for reading. An empty file has data == "" and size 0. */
typedef struct {
    const uint8_t *data;
    int64_t size;
    int64_t sealed; /* bytes behind them: the seal */
    void *map;
    int fd;
    int64_t changed; /* when it was written to last, ns */
    int64_t touched; /* the same, at eq_map_look_anew */
} eq_map;

eq_status eq_map_open(eq_map *m, const char *path, eq_err *err);
void eq_map_close(eq_map *m);
/* A file written with eq_writer_seal: size is without the seal. EQ_EINPUT when it is not whole. */
eq_status eq_map_open_sealed(eq_map *m, const char *path, eq_err *err);
/* Tells the kernel that the whole file will be read once, in order. */
void eq_map_sequential(const eq_map *m);
/* ... and that bytes [from, to) will not be read again: their whole pages leave this process. */
void eq_map_drop(const eq_map *m, int64_t from, int64_t to);
/* EQ_EINPUT when the mapped file was written to since it was opened: size and time. */
eq_status eq_map_unchanged(const eq_map *m, const char *path, eq_err *err);
/* Where the bytes are to decide: before they are read again (false: of another size), and when they
 * were the same: unchanged then means since that look. */
bool eq_map_look_anew(eq_map *m);
void eq_map_accept(eq_map *m);
/* A mapped file that is cut, or a disk that fails, shows as SIGBUS. What a program's handler may
 * ask: the path of the file that is mapped at this address, NULL: none. Safe in a handler. */
const char *eq_map_named(const void *at);
/* The same for maps made elsewhere. */
void eq_map_name(const void *base, int64_t size, const char *path);
void eq_map_forget(const void *base);

/* "PATH.tmp-" and EQ_TEMPORARY random letters and digits (eq_free it); NULL: memory is out. Make it
 * with O_EXCL or mkdir, and ask for another when it is there. */
enum { EQ_TEMPORARY = 8 };
char *eq_temporary(const char *path);

/* Makes such a folder and locks it, and removes those that killed runs left under that PATH. *tmp:
 * eq_free it; *lock: to be closed when the folder is done with, -1 where folders have no locks. */
eq_status eq_temporary_folder(const char *path, char **tmp, int *lock, eq_err *err);

/* Writes eq_temporary(PATH); commit = fsync, rename to PATH, fsync of the folder. Nothing is ever
 * written to PATH itself, so a mapped old version stays whole. */
typedef struct eq_writer eq_writer;
eq_status eq_writer_open(eq_writer **w, const char *path, eq_err *err);
eq_status eq_writer_put(eq_writer *w, const void *bytes, int64_t n, eq_err *err);
/* Before the first byte: the file will end in a checksum of all of it, for eq_map_open_sealed.
 * Every file that a later run goes on from has one. */
eq_status eq_writer_seal(eq_writer *w, eq_err *err);
eq_status eq_writer_commit(eq_writer *w, eq_err *err); /* frees w in every case */
void eq_writer_abort(eq_writer *w); /* removes the temporary file; NULL allowed */
/* Tests: the nth eq_writer_put from now fails as a full disk does. 0 disarms. */
void eq_io_fail_nth(int64_t n);

eq_status eq_write_file(const char *path, const void *bytes, int64_t n, eq_err *err);
eq_status eq_copy_file(const char *from, const char *to, eq_err *err);

bool eq_exists(const char *path);
bool eq_is_dir(const char *path);
bool eq_same_file(const char *a, const char *b);   /* the same inode */
bool eq_same_disk(const char *a, const char *b);   /* of two that are there */
eq_status eq_mkdir(const char *path, eq_err *err); /* parents too; existing is fine */
eq_status eq_dir_is_empty(const char *path, bool *empty, eq_err *err); /* absent counts as empty */
eq_status eq_remove_tree(const char *path, eq_err *err);
eq_status eq_rename_durable(const char *from, const char *to,
                            eq_err *err);                /* rename + fsync folder */
eq_status eq_sync_parent(const char *path, eq_err *err); /* fsync of the folder it lies in */
/* Without links, "..", and slashes at the end, also of what is not there yet (eq_free it). NULL:
 * memory is out. */
char *eq_real_path(const char *path);
bool eq_lies_in(const char *path, const char *folder); /* or is it; both may be absent */
bool eq_is_mount_point(const char *path);
bool eq_is_dangling(const char *path); /* a link to nowhere */
/* Asks by doing: root is told that it may write where it cannot. `what` begins the message. */
eq_status eq_dir_takes_entries(const char *dir, const char *what, eq_err *err);
/* Names in a folder (not "." and ".."), sorted bytewise. eq_names_free when done. */
typedef struct {
    char **p;
    int64_t n;
} eq_names;
eq_status eq_list_dir(const char *path, eq_names *out, eq_err *err);
void eq_names_free(eq_names *n);
/* "a/b" (eq_free it); NULL when memory is out. */
char *eq_path(const char *dir, const char *name);
char *eq_path_trimmed(const char *path);   /* without slashes at the end; the same */
bool eq_path_is_dots(const char *trimmed); /* "." or "..", or ends in one */
/* Beside what the path names: "out/" -> "outTAIL", "." -> "/the/folderTAIL"; the same. */
char *eq_path_beside(const char *path, const char *tail);
#endif
