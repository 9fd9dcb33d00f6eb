/* Formats that other runtimes read: one table of rows, one file a format. A model is read block
 * after block, so memory holds one block; what was written is read back by code that shares nothing
 * with what wrote it, and every weight is compared with the model's. */
#ifndef EQ_EXPORT_EXPORT_H
#define EQ_EXPORT_EXPORT_H
#include "base/json.h"
#include "model/qblock.h"

typedef struct eq_format eq_format;

/* What compared weights came to; only lossy writing leaves differences. */
typedef struct {
    int64_t weights, different;
    double worst, sum; /* of |difference| */
    char worst_at[96]; /* the tensor */
} eq_difference;

typedef struct {
    const eq_export_opts *o;
    const eq_format *format;
    const eq_weights *src;
    const eq_observer *obs;
    eq_difference diff;
    int64_t bytes;    /* written */
    char reader[128]; /* the oldest program that reads it, "": nothing to say */
    char types[128];  /* how many tensors of which type, "": all of one kind */
} eq_export_job;

/* A tensor of a linear, in the folders that hold safetensors. */
typedef struct {
    const char *name; /* behind "model.layers.0.mlp.up_proj." */
    eq_dtype dt;
    int ndim;
    int64_t shape[2];
} eq_part;
enum { EQ_PARTS_MAX = 4 };

/* A linear on its way out. */
typedef struct {
    const char *name; /* for messages */
    eq_qlinear *q;    /* as written: steps as stored, whole zero points; pack may change it */
    const eq_export_job *job;
} eq_packing;

struct eq_format {
    const char *name, *about; /* one line for people */
    /* By its shape alone (q->bits, O, I, G): NULL: may be held, else the reason. */
    const char *(*refuses)(const eq_export_job *x, const eq_qlinear *q);
    /* Writes `tmp`, a folder that is there, or a file that is not; reads it back; NULL: as a folder
     * of safetensors, by the members below. */
    eq_status (*write)(eq_export_job *x, const char *tmp, eq_err *err);
    bool file;       /* the output is one */
    bool real_zeros; /* zero points need not be whole: pack meets them as they were trained */
    bool middle;     /* exact for the middle two zero points alone */
    /* Refuses what no numbers of the model's schemes could make right, or what some of them would
     * make wrong; NULL: shapes say all. */
    eq_status (*ahead)(eq_export_job *x, eq_err *err);
    /* Tensors of a linear of this shape; returns how many. */
    int (*parts)(const eq_export_job *x, eq_part *p, const eq_qlinear *q);
    /* Fills them. EQ_EINPUT names what cannot be held exactly; under o->lossy the nearest is
     * written. */
    eq_status (*pack)(const eq_packing *p, void *const *data, eq_err *err);
    /* Weights of rows [o, o + n) as a reader of the format has them: out [n, I]. t: the parts. */
    void (*values)(float *out, const eq_tensor *const *t, const eq_qlinear *q, int64_t o,
                   int64_t n);
    /* What config.json says: keys of the root. */
    eq_status (*config)(const eq_export_job *x, json_t *root, eq_err *err);
    /* Type of all other tensors; NULL: as stored. */
    eq_dtype (*others)(const eq_export_job *x);
};

extern const eq_format *const eq_formats[]; /* NULL at the end */
const eq_format *eq_format_find(const char *name);

/* Whether the output may be written there. */
eq_status eq_export_check_place(const eq_export_job *x, eq_err *err);
/* Trained zero points (--e2e-train z) are real numbers, and rounding them would undo the training:
 * the first is named, or under o->lossy it is said. */
eq_status eq_export_check_zeros(const eq_export_job *x, eq_err *err);
/* Names the first linear of the model that the format cannot hold, by shapes and bits. */
eq_status eq_export_check(const eq_export_job *x, eq_err *err);
#endif
