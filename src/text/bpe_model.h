/* What bpe_load.c makes, bpe.c and bpe_merge.c use. */
#ifndef EQ_TEXT_BPE_MODEL_H
#define EQ_TEXT_BPE_MODEL_H
#include "text/bpe.h"
#include "text/pair_map.h"

struct eq_bpe {
    eq_vocab vocab;
    eq_pair_map merges; /* pair -> rank and the id it becomes */
    eq_pair_map joints; /* characters (as ids) between which some merge can close a gap */
    bool bytes;         /* words are bytes that stand for the byte-level alphabet */
    bool byte_fallback, fuse_unk, ignore_merges;
    char *unk_token;       /* NULL: none, unknown characters vanish */
    int32_t unk;           /* -1: unk_token is not in the vocabulary */
    int32_t fallback[256]; /* "<0x00>" ... or -1 */
    int32_t byte[256];     /* the byte's character of the alphabet, or -1 */
    int32_t *bmp;          /* [65536] one-character tokens of the basic plane, or -1 */
};

/* The id of a character; -1: not in the vocabulary. */
static inline int32_t eq_bpe_char(const eq_bpe *b, uint32_t cp) {
    return cp < 0x10000 ? b->bmp[cp] : eq_vocab_char(&b->vocab, cp);
}

/* Row of symbols being merged, and what merging needs. */
typedef struct {
    int64_t pos;
    int32_t rank, id;
} eq_merge_entry;

typedef struct {
    int32_t *id;
    int64_t *prev, *next; /* -1: none */
    int64_t cap;
    eq_merge_entry *heap;
    int64_t heap_n; /* room for 2 * cap */
} eq_merge_work;

/* Merges the n symbols of s in place until no merge applies; returns how many are left. */
eq_status eq_bpe_merge(const eq_bpe *b, eq_merge_work *w, int32_t *s, int64_t *n, eq_err *err);
#endif
