package server

import "github.com/prometheus/client_golang/prometheus"

// engineCollector reads the engine's state at each scrape. The names
// with "vllm:" are those that Kubernetes' inference gateway looks for in any
// model server unless it is told otherwise; that of the caches has changed once, and
// gateways of both kinds are in use. What it asks of adapters and of paged caches there
// is none of.
type engineCollector struct{ s *Server }

// figure is one of the engine's numbers.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func total(name, help string) figure {
	return figure{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue}
}

var (
	gatewayWaiting = gauge("vllm:num_requests_waiting", "Requests in the queue.", "model_name")
	gatewayRunning = gauge("vllm:num_requests_running", "Answers being computed.", "model_name")
	gatewayKV      = gauge("vllm:kv_cache_usage_perc", "Part of the K/V caches' tokens in use, 0 to 1.", "model_name")
	gatewayOldKV   = gauge("vllm:gpu_cache_usage_perc", "The same, by its older name.", "model_name")

	waiting    = gauge("plume_requests_waiting", "Requests in the queue.")
	running    = gauge("plume_requests_running", "Answers being computed.")
	sequences  = gauge("plume_sequences", "Most answers computed together.")
	queueRoom  = gauge("plume_queue_capacity", "Most requests that may wait.")
	kvUsed     = gauge("plume_kv_used_tokens", "Tokens in the K/V caches of running answers.")
	kvCapacity = gauge("plume_kv_capacity_tokens", "Tokens that the K/V caches have room for.")
	kvBytes    = gauge("plume_kv_bytes", "Memory of the K/V caches.")

	steps      = total("plume_steps_total", "Steps computed; each reads the weights once for all answers that run.")
	computed   = total("plume_engine_prompt_tokens_total", "Tokens of prompts that were computed.")
	reused     = total("plume_engine_cached_tokens_total", "Tokens of prompts that did not have to be computed.")
	drawn      = total("plume_engine_generated_tokens_total", "Tokens drawn, those of running answers included.")
	drafted    = total("plume_draft_tokens_total", "Tokens guessed from the text and evaluated on trial, in answers that have ended; only one that runs alone guesses.")
	accepted   = total("plume_draft_accepted_tokens_total", "Those that were right: steps saved.")
	left       = total("plume_queue_left_total", "Requests that were cancelled, or met their deadline, in the queue.")
	turnedAway = total("plume_engine_refused_total", "Requests that met a full queue.")

	prefixBytes   = gauge("plume_prefix_bytes", "Memory that computed beginnings of requests take.")
	prefixRoom    = gauge("plume_prefix_capacity_bytes", "Memory that they may take.")
	prefixHits    = total("plume_prefix_hits_total", "Requests that went on from one of them.")
	prefixTokens  = total("plume_prefix_tokens_total", "Tokens that these did not compute.")
	prefixEvicted = total("plume_prefix_evicted_total", "Beginnings that made room for others.")

	pleRows    = total("plume_ple_rows_total", "Rows of the per-layer table that were needed.")
	pleHits    = total("plume_ple_cache_hits_total", "Rows found in memory.")
	pleRead    = total("plume_ple_rows_read_total", "Rows that came from storage.")
	pleReads   = total("plume_ple_reads_total", "Reads of the storage that brought them.")
	pleBytes   = total("plume_ple_read_bytes_total", "Bytes of those rows.")
	pleDevice  = total("plume_ple_device_bytes_total", "The same, widened to the storage's blocks.")
	pleErrors  = total("plume_ple_errors_total", "Rows that could not be read.")
	pleWait    = total("plume_ple_wait_seconds_total", "Time the computation stood still for rows.")
	pleWaitP50 = gauge("plume_ple_wait_p50_seconds", "Half of the steps waited no longer, since the start.")
	pleWaitP99 = gauge("plume_ple_wait_p99_seconds", "99 of 100 steps waited no longer, since the start.")
	pleOverlap = gauge("plume_ple_overlap_ratio", "Part of the reads' time that was computed through, 0 to 1.")

	weightBytes = total("plume_weights_read_bytes_total", "Bytes of weights read from storage, the first reading included.")
	weightWait  = total("plume_weights_wait_seconds_total", "Time the computation stood still for weights.")
	expertHits  = total("plume_expert_hits_total", "Experts that a step needed and found in memory, where not all stay.")
	expertMiss  = total("plume_expert_misses_total", "Experts that a step had to wait for.")

	memoryBudget  = gauge("plume_memory_budget_bytes", "Memory that the process may take, 0 when nobody set a limit.")
	memoryUsed    = gauge("plume_memory_used_bytes", "Memory accounted for.")
	memoryLeft    = gauge("plume_memory_left_bytes", "What the budget has left, 0 when there is none.")
	memoryRole    = gauge("plume_memory_role_bytes", "What the memory is used for.", "role")
	memoryProcess = gauge("plume_memory_process_bytes", "Memory of the process as the system says, 0 when it does not.")
	memoryPeak    = gauge("plume_memory_process_peak_bytes", "The most so far.")
)

// Describe implements prometheus.Collector; the collector is unchecked, because
// what it says depends on the engine.
func (*engineCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(out chan<- prometheus.Metric) {
	send := func(f figure, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
	}
	l, model := c.s.engine.Stats(), c.s.opt.Model.ID
	usage := 0.0
	if l.KVCapacity > 0 {
		usage = float64(l.KVTokens) / float64(l.KVCapacity)
	}
	send(gatewayWaiting, float64(l.Waiting), model)
	send(gatewayRunning, float64(l.Running), model)
	send(gatewayKV, usage, model)
	send(gatewayOldKV, usage, model)
	for _, v := range []struct {
		figure
		value int64
	}{
		{waiting, int64(l.Waiting)}, {running, int64(l.Running)}, {sequences, int64(l.Sequences)}, {queueRoom, int64(l.Queue)},
		{kvUsed, int64(l.KVTokens)}, {kvCapacity, int64(l.KVCapacity)}, {kvBytes, l.KVBytes},
		{steps, l.Steps}, {computed, l.Prompt}, {reused, l.Cached}, {drawn, l.Generated}, {drafted, l.Drafted}, {accepted, l.Accepted}, {left, l.Left}, {turnedAway, l.Refused},
		{prefixBytes, l.Prefix.Bytes}, {prefixRoom, l.Prefix.Capacity}, {prefixHits, l.Prefix.Hits}, {prefixTokens, l.Prefix.Tokens}, {prefixEvicted, l.Prefix.Evicted},
	} {
		send(v.figure, float64(v.value))
	}
	if c.s.opt.Figures == nil {
		return
	}
	f := c.s.opt.Figures()
	for _, v := range []struct {
		figure
		value int64
	}{
		{pleRows, f.PLE.Rows}, {pleHits, f.PLE.CacheHits}, {pleRead, f.PLE.RowsRead}, {pleReads, f.PLE.Reads},
		{pleBytes, f.PLE.ReadBytes}, {pleDevice, f.PLE.DeviceBytes}, {pleErrors, f.PLE.Errors}, {weightBytes, f.Weights.ReadBytes},
		{memoryBudget, f.Memory.Budget}, {memoryUsed, f.Memory.Used}, {memoryLeft, f.Memory.Left},
		{expertHits, f.Weights.ExpertHits}, {expertMiss, f.Weights.ExpertMisses},
		{memoryProcess, f.Memory.Process}, {memoryPeak, f.Memory.ProcessPeak},
	} {
		send(v.figure, float64(v.value))
	}
	send(weightWait, f.Weights.Wait.Seconds())
	send(pleWait, f.PLE.Wait.Seconds())
	send(pleWaitP50, f.PLE.WaitP50.Seconds())
	send(pleWaitP99, f.PLE.WaitP99.Seconds())
	send(pleOverlap, f.PLE.Overlap)
	roles := map[string]int64{}
	for _, use := range f.Memory.Roles {
		roles[use.Role] += use.Bytes
	}
	for role, bytes := range roles {
		send(memoryRole, float64(bytes), role)
	}
}
