/* See token_pass.h. */
#include "data/token_pass.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "data/rows.h"
#include "format/corpus.h"
#include "format/id_file.h"

/* A batch of documents ends at either; a longer text goes through in pieces. Small, so that a stop
 * is heard within a second on a slow core. */
enum { BATCH = 64, BATCH_BYTES = 1 << 20, LONG = 1 << 18, IDS = 1 << 16 };

typedef struct {
    char *text;
    int64_t n, line;
    eq_ids ids;
    eq_status st;
    eq_err err;
} piece;

/* The pass within one file. */
typedef struct {
    eq_pass *pass;
    const char *name;
    const eq_window_opts *o;
    int64_t before, size; /* bytes of the files before it, and of all */
    int64_t tokens, documents;
    int64_t n, bytes; /* pieces waiting, their texts */
    piece p[BATCH];
} reader;

static eq_status stopped(const reader *r, eq_err *err) {
    return eq_fail(err, EQ_EINTR, "%s: stopped", r->name);
}

static eq_status put(reader *r, const int32_t *ids, int64_t n, eq_err *err) {
    r->tokens += n;
    return r->pass->put(r->pass, ids, n, false, err);
}

/* A document, or a file without any, is over. */
static eq_status end_document(reader *r, eq_err *err) {
    eq_pass *p = r->pass;
    if (p->o->pack) return p->enough ? EQ_OK : put(r, &p->o->eos, 1, err);
    return p->src->documents ? p->put(p, NULL, 0, true, err) : EQ_OK;
}

static eq_status check_ids(const int32_t *ids, int64_t n, int64_t before, int64_t line,
                           const reader *r, eq_err *err) {
    char at[64] = "";
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < r->o->vocab) continue;
        if (line) snprintf(at, sizeof at, "line %lld: ", (long long)line);
        return eq_fail(err, EQ_EINPUT, "%s: %stoken %lld: id %d, but the vocabulary has %lld",
                       r->name, at, (long long)(before + i), ids[i], (long long)r->o->vocab);
    }
    return EQ_OK;
}

/* ---- documents, many at once ----------------------------------------------------------------- */

static void encode_piece(void *ctx, int64_t i, int thread) {
    reader *r = ctx;
    piece *d = &r->p[i];
    (void)thread;
    d->st = eq_encode(r->o->tok, &d->ids, d->text, d->n, true, &d->err);
    if (d->st != EQ_OK)
        d->st = eq_fail_at(&d->err, "%s", r->name);
    else
        d->st = check_ids(d->ids.p, d->ids.n, 0, d->line, r, &d->err);
}

static void clear(reader *r) {
    for (int64_t i = 0; i < r->n; i++) {
        eq_free(r->p[i].text);
        eq_ids_free(&r->p[i].ids);
    }
    r->n = r->bytes = 0;
}

static eq_status put_document(reader *r, const piece *d, eq_err *err) {
    if (d->st != EQ_OK) return eq_fail(err, d->st, "%s", d->err.msg);
    r->documents++;
    EQ_TRY(put(r, d->ids.p, d->ids.n, err));
    return end_document(r, err);
}

/* The documents that wait. */
static eq_status flush(reader *r, eq_err *err) {
    eq_status st = EQ_OK;
    eq_par_for(r->n, encode_piece, r);
    for (int64_t i = 0; i < r->n && st == EQ_OK && !r->pass->enough; i++)
        st = put_document(r, &r->p[i], err);
    clear(r);
    return st;
}

static eq_status wait_for_others(reader *r, const char *text, int64_t n, int64_t line,
                                 eq_err *err) {
    piece *d = &r->p[r->n];
    *d = (piece){.text = eq_calloc(n, 1), .n = n, .line = line};
    if (!d->text) return eq_nomem(err, r->name, n);
    if (n) memcpy(d->text, text, (size_t)n);
    r->n++, r->bytes += n;
    return EQ_OK;
}

/* ---- long texts ------------------------------------------------------------------------------ */

typedef struct {
    eq_encoder *e;
    eq_ids ids;
    int64_t line, done, bytes; /* line 0: of a .txt */
} long_text;

/* Bytes that encoding takes for one byte of a text that cannot be cut (see eq_encoder_local): the
 * text, two normalized copies in which a space has three bytes, four bytes for an id. */
enum { WHOLE = 8 };

static eq_status put_part(reader *r, long_text *l, const char *text, int64_t n, bool last,
                          eq_err *err) {
    int64_t memory = r->o->memory;
    if (eq_stopped(r->o->obs)) return stopped(r, err);
    l->ids.n = 0, l->bytes += n;
    if (memory && !eq_encoder_local(l->e) && l->bytes > memory / WHOLE)
        return eq_fail(err, EQ_ENOMEM,
                       "%s: this tokenizer takes a text as a whole, %d bytes of memory for each of "
                       "its bytes, and the limit is %.2f GiB: cut the text into the lines of a "
                       ".jsonl",
                       r->name, WHOLE, (double)memory / (1 << 30));
    if (eq_encoder_put(l->e, &l->ids, text, n, last, err) != EQ_OK)
        return eq_fail_at(err, "%s", r->name);
    EQ_TRY(check_ids(l->ids.p, l->ids.n, l->done, l->line, r, err));
    l->done += l->ids.n;
    EQ_TRY(put(r, l->ids.p, l->ids.n, err));
    return last ? end_document(r, err) : EQ_OK;
}

static eq_status long_text_open(long_text *l, const reader *r, int64_t line, eq_err *err) {
    *l = (long_text){.e = eq_encoder_new(r->o->tok), .line = line};
    return l->e ? EQ_OK : eq_nomem(err, r->name, 1 << 16);
}
static void long_text_close(long_text *l) {
    eq_encoder_free(l->e);
    eq_ids_free(&l->ids);
}

/* Whole characters, about LONG bytes of them. */
static int64_t part_size(const char *text, int64_t n) {
    if (n <= LONG) return n;
    int64_t k = LONG;
    while (k > 0 && ((unsigned char)text[k] & 0xc0) == 0x80) k--;
    return k;
}

/* More of the text; `last`: its end. */
static eq_status put_text(reader *r, long_text *l, const char *text, int64_t n, bool last,
                          eq_err *err) {
    eq_status st = EQ_OK;
    int64_t at = 0;
    do {
        int64_t k = part_size(text + at, n - at);
        st = put_part(r, l, text + at, k, last && at + k == n, err);
        at += k;
    } while (at < n && st == EQ_OK && !r->pass->enough);
    return st;
}

static void say(const reader *r, const eq_corpus *c) {
    eq_progress p = {.phase = "tokenize", .total = r->size, .loss = __builtin_nan("")};
    int64_t size;
    eq_corpus_place(c, &p.done, &size);
    p.done += r->before;
    eq_progress_say(r->o->obs, &p);
}

/* A file that is one text: a .txt as it is, or the rows of a file joined (see eq_row_joiner). */
static eq_status read_text(reader *r, eq_corpus *c, eq_row_joiner *rows, eq_err *err) {
    long_text l;
    eq_status st = long_text_open(&l, r, 0, err);
    const char *text = "";
    int64_t n, bytes = 0;
    while (st == EQ_OK && text && !r->pass->enough) {
        st = eq_corpus_next(c, &text, &n, err);
        bool last = !text;
        bytes += n;
        if (st == EQ_OK && rows) st = eq_row_joiner_put(rows, &text, &n, err);
        if (st == EQ_OK && last && !bytes) {
            if (r->pass->src->n == 1)
                st = eq_fail(err, EQ_EINPUT, "%s: the text is empty", r->name);
            break;
        }
        if (st == EQ_OK) st = put_text(r, &l, text ? text : "", n, last, err);
        if (last) text = NULL;
        say(r, c);
    }
    long_text_close(&l);
    return st;
}

static eq_status in_parts(reader *r, const char *text, int64_t n, int64_t line, eq_err *err) {
    long_text l;
    r->documents++;
    eq_status st = long_text_open(&l, r, line, err);
    if (st == EQ_OK) st = put_text(r, &l, text, n, true, err);
    long_text_close(&l);
    return st;
}

/* What is wrong behind the documents that wait is told behind what is wrong with them. */
static eq_status read_documents(reader *r, eq_corpus *c, eq_err *err) {
    eq_status later = EQ_OK;
    eq_err later_err = {0};
    for (const char *text = ""; later == EQ_OK && text && !r->pass->enough;) {
        if (eq_stopped(r->o->obs)) return stopped(r, err);
        int64_t n, line;
        later = eq_corpus_next(c, &text, &n, &later_err);
        line = eq_corpus_line(c);
        bool is_long = later == EQ_OK && text && n > LONG;
        if (later == EQ_OK && text && !is_long)
            later = wait_for_others(r, text, n, line, &later_err);
        if (r->n < BATCH && r->bytes < BATCH_BYTES && later == EQ_OK && text && !is_long) continue;
        EQ_TRY(flush(r, err));
        if (is_long && !r->pass->enough) EQ_TRY(in_parts(r, text, n, line, err));
        say(r, c);
    }
    if (later != EQ_OK && !r->pass->enough) return eq_fail(err, later, "%s", later_err.msg);
    if (r->documents || r->pass->src->n > 1) return EQ_OK;
    const char *why;
    int64_t skipped = eq_corpus_skipped(c, &why);
    if (skipped)
        return eq_fail(err, EQ_EINPUT, "%s: no document in it, %lld passed over, the first: %s",
                       r->name, (long long)skipped, why);
    return eq_fail(err, EQ_EINPUT, "%s: no document in it", r->name);
}

/* ---- files ----------------------------------------------------------------------------------- */

static eq_status note_input(const reader *r, eq_corpus *c, eq_err *err) {
    eq_input *in;
    const char *why;
    int64_t at, skipped = eq_corpus_skipped(c, &why);
    if (!r->pass->inputs || r->pass->enough) return EQ_OK;
    EQ_TRY(eq_inputs_add(r->pass->inputs, r->name, &in, err));
    eq_corpus_place(c, &at, &in->bytes);
    in->tokens = r->tokens, in->documents = r->documents, in->skipped = skipped;
    in->sum = eq_corpus_sum(c);
    if (skipped)
        eq_note(r->o->obs, "%s: %lld of %lld objects passed over (--skip-bad), the first: %s",
                r->name, (long long)skipped, (long long)(skipped + r->documents), why);
    return EQ_OK;
}

static eq_status read_corpus(reader *r, const eq_file *f, eq_err *err) {
    eq_corpus *c;
    int64_t memory = r->o->memory;
    if (!r->o->tok)
        return eq_fail(err, EQ_EINPUT, "%s: text needs a tokenizer, and the model has none",
                       r->name);
    /* half of the memory for the window of a .zst: ids and windows need the other */
    eq_corpus_opts o = {r->o->text_field, r->o->skip_bad, memory / 2};
    EQ_TRY(eq_corpus_open(&c, f, &o, err));
    eq_row_joiner *rows = NULL;
    eq_status st = r->pass->joined ? eq_row_joiner_open(&rows, f, &o, err) : EQ_OK;
    if (st == EQ_OK)
        st = rows || eq_corpus_is_text(c) ? read_text(r, c, rows, err) : read_documents(r, c, err);
    if (st == EQ_OK) st = note_input(r, c, err);
    clear(r);
    eq_row_joiner_close(rows);
    eq_corpus_close(c);
    return st;
}

static eq_status put_ids(reader *r, const eq_id_file *ids, eq_err *err) {
    int32_t *some = eq_calloc(IDS, sizeof *some);
    if (!some) return eq_nomem(err, r->name, IDS * (int64_t)sizeof *some);
    eq_status st = EQ_OK;
    int64_t all = eq_id_file_count(ids), n;
    for (int64_t at = 0; at < all && st == EQ_OK && !r->pass->enough; at += n) {
        n = all - at < IDS ? all - at : IDS;
        st = eq_stopped(r->o->obs) ? stopped(r, err)
                                   : eq_id_file_get(ids, some, at, n, r->o->vocab, err);
        if (st == EQ_OK) st = put(r, some, n, err);
    }
    eq_free(some);
    return st == EQ_OK ? end_document(r, err) : st;
}

static eq_status read_ids(reader *r, const eq_file *f, eq_err *err) {
    eq_id_file ids;
    eq_input *in;
    EQ_TRY(eq_id_file_open(&ids, f, r->o->ids_dtype, err));
    eq_status st = put_ids(r, &ids, err);
    if (st == EQ_OK && r->pass->inputs && !r->pass->enough) {
        st = eq_inputs_add(r->pass->inputs, r->name, &in, err);
        if (st == EQ_OK) {
            in->bytes = ids.map.size, in->tokens = r->tokens;
            in->sum = eq_hash_bytes(ids.map.data, ids.map.size);
        }
    }
    eq_id_file_close(&ids);
    return st;
}

static int64_t size_of(const eq_file *f) {
    struct stat s;
    return stat(f->path, &s) ? 0 : s.st_size; /* for progress; opening it says what is wrong */
}

eq_status eq_pass_run(eq_pass *p, eq_err *err) {
    reader *r = eq_calloc(1, sizeof *r);
    if (!r) return eq_nomem(err, p->src->name, sizeof *r);
    eq_status st = EQ_OK;
    int64_t size = 0, before = 0;
    for (int64_t i = 0; i < p->src->n; i++) size += size_of(&p->src->file[i]);
    for (int64_t i = 0; i < p->src->n && st == EQ_OK && !p->enough; i++) {
        const eq_file *f = &p->src->file[i];
        *r = (reader){.pass = p, .name = f->name, .o = p->o, .size = size, .before = before};
        st = eq_file_is_text(f) ? read_corpus(r, f, err) : read_ids(r, f, err);
        before += size_of(f);
    }
    eq_free(r);
    return st;
}
