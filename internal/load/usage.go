package load

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Usage is what a server's process holds, by its own metrics.
type Usage struct {
	Goroutines float64 `json:"goroutines"`
	Files      float64 `json:"open_files"`
	Heap       float64 `json:"heap_bytes"` // what waits for the garbage collector included
	RSS        float64 `json:"rss_bytes"`
	Running    float64 `json:"running"` // answers being computed
	Waiting    float64 `json:"waiting"`
}

// fields maps the names of metrics to u's fields.
func (u *Usage) fields() map[string]*float64 {
	return map[string]*float64{
		"go_goroutines": &u.Goroutines, "process_open_fds": &u.Files,
		"go_memstats_heap_alloc_bytes": &u.Heap, "process_resident_memory_bytes": &u.RSS,
		"plume_requests_running": &u.Running, "plume_requests_waiting": &u.Waiting,
	}
}

// ReadUsage reads the metrics of the server at o.URL. What the server or its
// system does not tell is 0.
func ReadUsage(ctx context.Context, o Options) (*Usage, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	if o.Key != "" {
		q.Header.Set("Authorization", "Bearer "+o.Key)
	}
	q.Close = true // a connection that is kept would be counted
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: status %d", resp.StatusCode)
	}
	u := &Usage{}
	fields := u.fields()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if at := fields[name]; at != nil {
			if *at, err = strconv.ParseFloat(value, 64); err != nil {
				return nil, fmt.Errorf("read metrics: %s: %w", name, err)
			}
		}
	}
	return u, lines.Err()
}

// Settle waits until the server computes nothing and its goroutines stand
// still, for at most ten seconds, and returns what it holds then.
func Settle(ctx context.Context, o Options) (*Usage, error) {
	before := -1.0
	for end := time.Now().Add(10 * time.Second); ; {
		u, err := ReadUsage(ctx, o)
		if err != nil {
			return nil, err
		}
		if u.Running+u.Waiting == 0 && u.Goroutines == before || time.Now().After(end) {
			return u, nil
		}
		before = u.Goroutines
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
