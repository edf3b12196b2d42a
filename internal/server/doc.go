// Package server answers HTTP requests in the dialects that people already
// have clients for: OpenAI's (chat completions, completions, responses),
// Anthropic's (messages) and Ollama's. Beside them it serves a web page, its
// live figures, health checks and Prometheus metrics.
//
// Every request goes the same way:
//
//	guard (who may ask) → decode (a dialect's JSON → job) → answer (job → events) → encode (events → a dialect's JSON)
//
// A job holds plain plume.Requests, and what comes back are plume.Events, so a
// dialect is a decoder and an encoder and nothing else; job.go and answer.go
// know none of them. A file is named after the dialect and the direction.
//
// Rules that hold in all dialects: a field that is unknown or out of range is a
// 400 that names it, unless it is known to be harmless (the decoders list
// those with type ignored). An answer never begins with status 200 before its
// first token, or a long wait for it, so that refusals have a status of their
// own. A client that goes away cancels its answer. Thoughts are kept apart
// from text and are not sent unless they were asked for.
//
// The package computes nothing, loads no models and keeps no conversations.
// The command line makes one Server for one model; its methods may be called
// by any number of goroutines. Request bodies are bounded one by one and
// together; answers are written as they come and never held, unless the client
// asked for one piece.
package server
