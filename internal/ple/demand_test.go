package ple

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// ReadMemory counts at least what a table has.
func TestReadMemory(t *testing.T) {
	h := newHome(t, 500, 735)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, h.spec.Path) }))
	defer server.Close()
	for _, kind := range append(Kinds(), HTTP) {
		for _, workers := range []int{0, 5} {
			spec := h.spec
			if kind == HTTP {
				spec.URL = server.URL
			}
			src, err := OpenSource(kind, spec)
			if err != nil {
				t.Logf("%s: %v", kind, err)
				continue
			}
			table, err := Open(src, h.rows, h.row, Options{Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			atOnce, bytes, heap := ReadMemory(kind, workers, int64(h.row))
			if o := table.Options(); kind != RAM && (atOnce != o.Workers || bytes < int64(o.Workers*o.MaxReadBytes)) {
				t.Errorf("%s: %d reads, %d bytes counted, options %+v", kind, atOnce, bytes, o)
			}
			if got := buffersOutside(table); got > 0 != (table.Device() == "ring") || got > 0 == heap || got > bytes {
				t.Errorf("%s, %s: %d bytes outside the heap, counted %d, heap %t", kind, table.Device(), got, bytes, heap)
			}
			if _, long, _ := ReadMemory(kind, workers, 1<<20); kind != RAM && long < int64(atOnce)<<20 {
				t.Errorf("%s: %d bytes for rows of a MiB", kind, long)
			}
			table.Close()
			src.Close()
		}
	}
	if _, bytes, _ := ReadMemory(RAM, 0, 735); bytes != 0 {
		t.Errorf("%d bytes for reads of a table in memory", bytes)
	}
}
