"""llama.cpp's shared library through ctypes, for check_llama.py and peer_speed.py: that of xllamacpp or
of llama-cpp-python, whichever is installed; LLAMA_LIB=PATH names another."""
import ctypes as C
import glob
import importlib.util
import os
import sys


def library():
    if "LLAMA_LIB" in os.environ:
        return os.environ["LLAMA_LIB"]
    for package, pattern in (("xllamacpp", "xllamacpp.abi3.so"), ("llama_cpp", "lib/libllama.so")):
        spec = importlib.util.find_spec(package)
        found = spec and glob.glob(os.path.join(spec.submodule_search_locations[0], pattern))
        if found:
            return found[0]
    sys.exit("neither xllamacpp nor llama-cpp-python is installed")


class ModelParams(C.Structure):  # llama.h, October 2026; the tail leaves room for later members
    _fields_ = [("devices", C.c_void_p), ("overrides", C.c_void_p), ("n_gpu_layers", C.c_int32), ("split_mode", C.c_int),
                ("load_mode", C.c_int), ("lazy_mode", C.c_int), ("main_gpu", C.c_int32), ("tensor_split", C.c_void_p),
                ("progress", C.c_void_p), ("progress_data", C.c_void_p), ("kv_overrides", C.c_void_p),
                ("vocab_only", C.c_bool), ("check_tensors", C.c_bool), ("rest", C.c_bool * 6)]


class ContextParams(C.Structure):
    _fields_ = [("n_ctx", C.c_uint32), ("n_batch", C.c_uint32), ("n_ubatch", C.c_uint32), ("n_seq_max", C.c_uint32),
                ("head", C.c_uint32 * 3), ("n_threads", C.c_int32), ("n_threads_batch", C.c_int32), ("enums", C.c_int * 5),
                ("rope", C.c_float * 6), ("yarn_orig_ctx", C.c_uint32), ("defrag", C.c_float), ("cb", C.c_void_p),
                ("cb_data", C.c_void_p), ("type_k", C.c_int), ("type_v", C.c_int), ("abort", C.c_void_p),
                ("abort_data", C.c_void_p), ("flags", C.c_bool * 6), ("samplers", C.c_void_p), ("n_samplers", C.c_size_t),
                ("ctx_other", C.c_void_p)]


class Batch(C.Structure):
    _fields_ = [("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.POINTER(C.c_float)),
                ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
                ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


class Traits(C.Structure):
    _fields_ = [("name", C.c_char_p), ("block", C.c_int64), ("interleave", C.c_int64), ("bytes", C.c_size_t),
                ("quantized", C.c_bool), ("to_float", C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64))]


if importlib.util.find_spec("xllamacpp") and "xllamacpp" in library():
    import xllamacpp  # noqa: F401  (the library needs Python's symbols and its own start-up)
L = C.CDLL(library())
for name, result in (("llama_model_default_params", ModelParams), ("llama_context_default_params", ContextParams),
                     ("llama_model_load_from_file", C.c_void_p), ("llama_init_from_model", C.c_void_p),
                     ("llama_model_get_vocab", C.c_void_p), ("llama_get_logits_ith", C.POINTER(C.c_float)),
                     ("llama_print_system_info", C.c_char_p), ("ggml_quantize_chunk", C.c_size_t),
                     ("llama_batch_init", Batch), ("llama_get_memory", C.c_void_p),
                     ("ggml_get_type_traits", C.POINTER(Traits))):
    getattr(L, name).restype = result
L.llama_model_load_from_file.argtypes = [C.c_char_p, ModelParams]
L.llama_init_from_model.argtypes = [C.c_void_p, ContextParams]
L.llama_decode.argtypes = [C.c_void_p, Batch]
L.ggml_quantize_chunk.argtypes = [C.c_int, C.c_void_p, C.c_void_p] + [C.c_int64] * 3 + [C.c_void_p]
for name in ("llama_free", "llama_model_free"):
    getattr(L, name).argtypes = [C.c_void_p]
L.llama_backend_init()
_silence = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(lambda *_: None)


def quiet():
    L.llama_log_set(_silence, None)


def llama_load(path, tokens, threads, check=False):
    """A model and a context of so many tokens, all of which may go in one batch."""
    p = L.llama_model_default_params()
    p.check_tensors = check
    model = L.llama_model_load_from_file(path.encode(), p)
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    c = L.llama_context_default_params()
    c.n_ctx = c.n_batch = c.n_ubatch = tokens
    c.n_threads = c.n_threads_batch = threads
    ctx = L.llama_init_from_model(model, c)
    if not ctx:
        sys.exit("no context")
    return model, ctx
