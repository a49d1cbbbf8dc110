"""The peer of serve_decode.ts: llama.cpp's own loop on the CPU. Prints tokens/s of 1 and 8 greedy answers and of a prompt.

usage: llama_cpp_decode.py MODEL.gguf [THREADS]
needs: CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python
MODEL: what ftl pull fetched, so that both read the same file
"""
import ctypes, statistics, sys, time
import numpy as np
import llama_cpp as ll

path, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
silent = ll.llama_log_callback(lambda *_: None)
ll.llama_log_set(silent, ctypes.c_void_p(0))
ll.llama_backend_init()
model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))


def context(streams):
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 2048 * streams, 512, 512, streams
    params.n_threads = params.n_threads_batch = threads
    return ll.llama_init_from_model(model, params)


def decode(ctx, batch, places, wanted):
    """places: (token, position, stream) each; returns the greedy token after each wanted one."""
    batch.n_tokens = len(places)
    for i, (token, position, stream) in enumerate(places):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, i in wanted
        batch.seq_id[i][0] = stream
    if ll.llama_decode(ctx, batch) != 0:
        sys.exit("llama_decode failed")
    return [int(np.argmax(np.ctypeslib.as_array(ll.llama_get_logits_ith(ctx, i), shape=(vocab,)))) for i in wanted]


def prompt(length, seed):
    return [(i * 7919 + seed * 104729) % vocab for i in range(length)]


batch = ll.llama_batch_init(512, 0, 8)
for streams in (1, 8):
    ctx, rates = context(streams), []
    last = []
    for s in range(streams):
        places = [(token, i, s) for i, token in enumerate(prompt(16, s))]
        last += decode(ctx, batch, places, [15])
    for position in range(16, 16 + 128):
        begun = time.perf_counter()
        last = decode(ctx, batch, [(last[s], position, s) for s in range(streams)], range(streams))
        rates.append(streams / (time.perf_counter() - begun))
    rates = rates[16:]
    print(f"{streams} streams: {statistics.median(rates):.0f} tokens/s (at best {max(rates):.0f})", flush=True)
    ll.llama_free(ctx)
for length in (512, 1000):
    ctx, times = context(1), []
    for run in range(4):
        ll.llama_memory_clear(ll.llama_get_memory(ctx), True)
        places = [(token, i, 0) for i, token in enumerate(prompt(length, run))]
        begun = time.perf_counter()
        for start in range(0, length, 512):
            piece = places[start:start + 512]
            decode(ctx, batch, piece, [len(piece) - 1] if start + 512 >= length else [])
        times.append(time.perf_counter() - begun)
    print(f"a prompt of {length}: {1000 * min(times):.0f} ms at best, {length / min(times):.0f} tokens/s "
          f"(median {length / statistics.median(times):.0f})", flush=True)
    ll.llama_free(ctx)
