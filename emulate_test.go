package plume

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/plan/flash"
)

// An emulated device changes when rows arrive and nothing else.
func TestEmulatedStorage(t *testing.T) {
	p, err := flash.Load("microsd-a1")
	if err != nil {
		t.Fatal(err)
	}
	p.Name, p.Sense = "very slow card", 5000
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(t.TempDir(), "slow.json")
	if err := os.WriteFile(profile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	answer := func(place, emulate string) (*Answer, string) {
		m, err := Open(demoPath(t), Options{PLE: place, PLEEmulate: emulate, PLECacheBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		s, err := m.NewSession(SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		greedy := Greedy()
		a, err := Collect(s.Generate(t.Context(), Request{Raw: "Once upon a time", Sampling: &greedy, MaxTokens: 8}))
		if err != nil {
			t.Fatal(err)
		}
		return a, m.PLEPlace()
	}
	fast, _ := answer("disk", "")
	slow, place := answer("disk", profile)
	if !slices.Equal(fast.Result.IDs, slow.Result.IDs) {
		t.Errorf("a slow card answers %v, a fast one %v", slow.Result.IDs, fast.Result.IDs)
	}
	if !strings.Contains(place, "very slow card") {
		t.Errorf("the place is %q", place)
	}
	// Eight steps wait for a page of 5 ms ± 20 % each; the demo computes for less than 1 ms.
	if wait := slow.Result.PLE.Wait.Milliseconds(); wait < 8*4*3/4 {
		t.Errorf("waited %d ms in eight steps", wait)
	}
	// There nothing can hide, so the table is held in memory, where it is as fast as any.
	if held, place := answer("auto", profile); held.Result.PLE.Wait != 0 || !strings.Contains(place, "held in memory") || !strings.Contains(place, "as on ") {
		t.Errorf("auto: waited %v, %q", held.Result.PLE.Wait, place)
	}
	if _, err := Open(demoPath(t), Options{PLEEmulate: "tape"}); !errors.Is(err, ErrRequest) {
		t.Errorf("an unknown profile gives %v", err)
	}
}
