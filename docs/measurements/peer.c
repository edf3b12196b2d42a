// peer: speed of llama.cpp's libraries, for `plume bench --compare`.
//
//	peer [-t THREADS] [-cpu VARIANT] LIBS FILE prefill N
//	peer [-t THREADS] [-cpu VARIANT] LIBS FILE decode  N CONTEXT
//
// LIBS is the folder of the libraries; VARIANT names one of the libggml-cpu-*.so
// in it ("haswell" is AVX2), the best for this processor if not given. After a
// warm-up it prints one line that ends in "… tok/s", loading not counted.
// README.md says how to build it.
#include "ggml-backend.h"
#include "llama.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fail(const char *what) {
	fprintf(stderr, "peer: %s\n", what);
	exit(1);
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
	(void)data;
	if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// step computes n tokens from position pos on, with logits of the last one. Ids do
// not repeat: they walk through the vocabulary as plume's do.
static void step(struct llama_context *c, struct llama_batch *b, int vocab, int pos, int n) {
	static long id;
	b->n_tokens = n;
	for (int i = 0; i < n; i++) {
		id = (id + (long)(vocab * 0.6180339887) + 1) % vocab;
		b->token[i] = (llama_token)id;
		b->pos[i] = pos + i;
		b->n_seq_id[i] = 1;
		b->seq_id[i][0] = 0;
		b->logits[i] = i == n - 1;
	}
	if (llama_decode(c, *b) != 0) fail("a step failed");
	if (llama_get_logits_ith(c, -1) == NULL) fail("no logits");
}

int main(int argc, char **argv) {
	int threads = 1, i = 1;
	const char *variant = NULL;
	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (strcmp(argv[i], "-t") == 0) threads = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "-cpu") == 0) variant = argv[i + 1];
		else fail("unknown flag");
	}
	if (argc - i < 4) fail("want: [-t THREADS] [-cpu VARIANT] LIBS FILE prefill|decode N [CONTEXT]");
	const char *libs = argv[i], *file = argv[i + 1], *what = argv[i + 2];
	int n = atoi(argv[i + 3]), context = argc - i > 4 ? atoi(argv[i + 4]) : 0;
	int prefill = strcmp(what, "prefill") == 0;
	if (n < 1 || context < 0 || threads < 1) fail("numbers out of range");

	llama_log_set(quiet, NULL);
	if (variant) {
		char path[4096];
		snprintf(path, sizeof path, "%s/libggml-cpu-%s.so", libs, variant);
		if (!ggml_backend_load(path)) fail("no such variant");
	} else {
		ggml_backend_load_all_from_path(libs);
	}
	llama_backend_init();
	struct llama_model *m = llama_model_load_from_file(file, llama_model_default_params());
	if (!m) fail("model not loaded");
	struct llama_context_params p = llama_context_default_params();
	p.n_ctx = (uint32_t)(n + context + 64);
	p.n_batch = p.n_ubatch = 512;
	p.n_threads = p.n_threads_batch = threads;
	struct llama_context *c = llama_init_from_model(m, p);
	if (!c) fail("no context");
	int vocab = llama_vocab_n_tokens(llama_model_get_vocab(m));
	struct llama_batch b = llama_batch_init(512, 0, 1);

	step(c, &b, vocab, 0, 16); // warm up
	step(c, &b, vocab, 16, 1);
	llama_memory_clear(llama_get_memory(c), true);
	int filled = prefill ? n : context;
	double begin = seconds();
	for (int at = 0; at < filled; at += 512) step(c, &b, vocab, at, filled - at < 512 ? filled - at : 512);
	if (!prefill) {
		begin = seconds();
		for (int k = 0; k < n; k++) step(c, &b, vocab, context + k, 1);
	}
	printf("%s, %d tokens after %d, %d threads: %.2f tok/s\n", what, n, prefill ? 0 : context, threads, n / (seconds() - begin));
	return 0;
}
