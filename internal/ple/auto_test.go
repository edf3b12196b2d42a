package ple

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAutoChooses(t *testing.T) {
	fast := Storage{Kind: Direct, Row: 100 * time.Microsecond, RowsPerS: 20000}
	cached := Storage{Kind: Disk, Row: 100 * time.Microsecond, RowsPerS: 20000}
	slow := Storage{Kind: Direct, Row: 9 * time.Millisecond, RowsPerS: 300}
	thin := Storage{Kind: Direct, Row: time.Millisecond, RowsPerS: 900}
	const table = 1 << 30
	for _, c := range []struct {
		name   string
		m      Storage
		memory int64
		drop   bool
		kind   Kind
		says   string
	}{
		{"fast, little memory", fast, 0, false, Direct, "past the page cache"},
		{"fast, much memory", fast, 1 << 40, true, Direct, "past the page cache"},
		{"fast, no direct reads", cached, 1 << 40, false, Disk, "direct reads being impossible"},
		{"slow, much memory", slow, table, false, RAM, "fits the 1024 MiB"},
		{"slow, little memory", slow, table - 1, false, Disk, "which may spare some reads"},
		{"slow, a limit", slow, table - 1, true, Disk, "dropped after use, since memory is limited"},
		{"few at once", thin, table, false, RAM, "held in memory"},
	} {
		kind, why := choose(c.m, table, c.memory, c.drop, errors.ErrUnsupported)
		if kind != c.kind || !strings.Contains(why, c.says) || !strings.Contains(why, "a random row takes") {
			t.Errorf("%s: %s, %q", c.name, kind, why)
		}
	}
}

func TestAutoOpens(t *testing.T) {
	h := newHome(t, 5000, 735)
	begin := time.Now()
	src, why, err := Auto(h.spec, h.row, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	t.Logf("%s: %s, after %v", src.Traits(), why, time.Since(begin))
	useRandomly(t, h, src, Options{})
	if _, _, err := Auto(h.serve(t), h.row, 0); err == nil || !strings.Contains(err.Error(), "a URL is read as http") {
		t.Errorf("a URL: %v", err)
	}
	dropped := h.spec
	dropped.Drop = true
	src, err = OpenSource(Disk, dropped)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	useRandomly(t, h, src, Options{})

	gone := h.spec
	gone.Path += ".gone"
	if _, _, err := Auto(gone, h.row, 0); err == nil || !strings.Contains(err.Error(), gone.Path) {
		t.Errorf("error %v", err)
	}
	if _, _, err := Auto(h.spec, int(h.spec.Bytes)+1, 0); err == nil {
		t.Error("no error for a row longer than the table")
	}
}
