package engine

import "time"

// SchedulerStats say what a scheduler is doing and has done.
type SchedulerStats struct {
	Running, Waiting     int // requests
	Sequences, Queue     int // the most of them
	KVTokens, KVCapacity int // positions of running sequences, and what all have room for
	KVBytes              int64

	Steps     int64 // computed
	Prompt    int64 // tokens of prompts computed
	Cached    int64 // tokens of prompts that did not have to be
	Generated int64 // tokens drawn
	Drafted   int64 // tokens guessed and evaluated on trial, of requests that have ended
	Accepted  int64 // of them drawn by the sampler too
	Answered  int64 // requests that ended well, callers who left among them
	Failed    int64 // requests that ended with an error, cancelled ones among them
	Left      int64 // those of Failed that had not begun: cancelled while they waited
	Refused   int64 // requests for which there was no room

	// Retry is about how long it takes until a waiting request more would have its
	// turn, judged by the latest answers; 0 while there is room at once.
	Retry time.Duration

	Prefix PrefixStats

	took time.Duration // moving average of an answer
}

// note counts a request that has ended.
func (t *SchedulerStats) note(j *job) {
	t.Cached += int64(j.res.Reused)
	t.Drafted += int64(j.res.Drafted)
	t.Accepted += int64(j.res.Accepted)
	if j.err != nil && j.res.Finish == FinishError {
		t.Failed++
	} else {
		t.Answered++
	}
	took := time.Since(j.arrived) - j.res.Queued
	if t.took == 0 {
		t.took = took
	}
	t.took += (took - t.took) / 8
}

// count adds a step to the books.
func (s *Scheduler) count(generated, prompt int) {
	used := s.held()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Steps++
	s.stats.Generated += int64(generated)
	s.stats.Prompt += int64(prompt)
	s.stats.KVTokens = used
	if s.known != nil {
		s.stats.Prefix = s.known.stats
	}
}

// held is how many positions the running sequences take.
func (s *Scheduler) held() int {
	n := 0
	for _, q := range s.slots {
		if q.job != nil {
			n += q.cache.Len()
		}
	}
	return n
}

// Stats returns the state of affairs.
func (s *Scheduler) Stats() SchedulerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.stats
	t.Running, t.Waiting = s.running, len(s.waiting)
	t.Sequences, t.Queue = s.opt.Sequences, s.opt.Queue
	t.KVCapacity = s.opt.Sequences * s.opt.Context
	t.KVBytes = int64(s.opt.Sequences) * s.kvBytes
	if t.Running == t.Sequences {
		t.Retry = t.took * time.Duration(t.Waiting+1) / time.Duration(t.Sequences)
	}
	return t
}
