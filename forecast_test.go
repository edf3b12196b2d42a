package plume

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestForecastOfShapes(t *testing.T) {
	m, err := LoadMachine("server-2core")
	if err != nil {
		t.Fatal(err)
	}
	rates := map[string]float64{}
	for _, shape := range []string{"e2b", "e4b", "26b-a4b", "31b"} {
		f, err := MakeForecast(ModelSpec{Shape: shape}, ForecastOptions{Machine: m, Users: []int{1, 4}})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("\n%s", f)
		rates[shape] = f.Decode[0].Rate
		if len(f.Decode) != 4 || f.RAMBytes > m.RAM || f.Prefill.Rate < f.Decode[0].Rate || f.Cost.Total <= 0 || f.DiskBytes == 0 {
			t.Errorf("%s: %+v", shape, f)
		}
		if d := f.Typical(); d.Users != 4 || d.Context != 16 || f.Cost.Energy*d.Rate < m.BusyWatts {
			t.Errorf("%s: the cost is of %+v", shape, d)
		}
		// Of the large ones most weights stay on storage, and every token waits for them.
		if large := shape == "26b-a4b" || shape == "31b"; large != (f.Streamed > 0) || large != (f.Slower > 5) {
			t.Errorf("%s: %d bytes a token, %.1f times as long", shape, f.Streamed, f.Slower)
		}
		ahead, chosen := f.Plan.p.StreamedBytes(4) // of the typical step, which Slower is of
		if want := fmt.Sprintf("%.0f MiB are read from storage in a step of 4 users", mibs(ahead+chosen)); !strings.HasPrefix(f.Streams(), want) {
			t.Errorf("%s: %s, want %s", shape, f.Streams(), want)
		}
		if _, err := json.Marshal(f); err != nil {
			t.Error(err)
		}
	}
	if rates["e2b"] < 1.5*rates["e4b"] || rates["e4b"] < 10*rates["31b"] {
		t.Errorf("decode rates %v", rates)
	}
	f, err := MakeForecast(ModelSpec{Shape: "31b"}, ForecastOptions{Machine: m, Options: Options{RAM: 100 << 20}})
	if err != nil || f.Fits || !strings.Contains(f.Reason, "smallest budget") {
		t.Errorf("31B in 100 MiB: %v, %+v", err, f)
	}
}

// What a step reads in any case is held by nobody, although there are buffers to read it into.
func TestStreamedWeightsAreNotHeld(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	for _, mib := range []int64{1300, 600, 200} {
		f, err := MakeForecast(ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{RAM: mib << 20, Context: 512}})
		if err != nil {
			t.Fatal(err)
		}
		ahead, _ := f.Plan.p.StreamedBytes(1)
		if gone := f.DiskBytes - f.TableBytes; ahead == 0 || math.Abs(float64(gone)/float64(ahead)-1) > 0.02 {
			t.Errorf("%d MiB: %d bytes are not held, %d read for every step", mib, gone, ahead)
		}
	}
}

// Weights come from the storage that is asked for: a microSD card in place of an NVMe drive
// makes streamed steps and cold starts as slow as its link, but not longer by its rows' waits.
func TestStorageIsThatOfWeights(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	o := ForecastOptions{Machine: m, Options: Options{RAM: 1 << 30, Context: 512}, Contexts: []int{16}}
	fast, err := MakeForecast(ModelSpec{Shape: "e2b"}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Storage = "microsd-a1"
	slow, err := MakeForecast(ModelSpec{Shape: "e2b"}, o)
	if err != nil {
		t.Fatal(err)
	}
	if fast.Streamed == 0 || slow.Streamed != fast.Streamed || m.ReadRate != 6.5 {
		t.Fatalf("%d and %d bytes are streamed, the machine reads %g GB/s", fast.Streamed, slow.Streamed, m.ReadRate)
	}
	seconds := float64(slow.Streamed) / 90e6 // what such a card's reader gives
	if got := slow.Decode[0].Stream; time.Duration(got).Seconds() < seconds || slow.Cold() < 20*fast.Cold() {
		t.Errorf("a step reads for %v, want %g s at least; a cold start takes %.1f s, %.1f from NVMe", time.Duration(got), seconds, slow.Cold(), fast.Cold())
	}
	d := StepForecast{Products: 10, Step: 50, Wait: 30}
	if got := d.slower(); got != 2 {
		t.Errorf("a step of 50 that waits for 30 and computes for 10 is %g times as long, want 2", got)
	}
}

func TestFleetsDoNotStream(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	o := FleetOptions{ForecastOptions: ForecastOptions{Machine: m, Options: Options{RAM: 1 << 30, Context: 512}}}
	if _, err := ForecastFleet(ModelSpec{Shape: "e2b"}, o); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "MiB of weights would be read for every token") {
		t.Errorf("replicas that stream: %v", err)
	}
}

func TestForecastOfAFile(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	path := demoPath(t)
	f, err := MakeForecast(ModelSpec{Path: path}, ForecastOptions{Machine: m})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Plan(path, Options{RAM: m.RAM, Threads: m.Best().Threads})
	if err != nil {
		t.Fatal(err)
	}
	if f.RAMBytes != p.Total() {
		t.Errorf("a forecast of %d bytes, a plan of %d", f.RAMBytes, p.Total())
	}
}

func TestForecastRefuses(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		spec ModelSpec
		o    ForecastOptions
	}{
		{"no machine", ModelSpec{Shape: "e2b"}, ForecastOptions{}},
		{"no shape", ModelSpec{}, ForecastOptions{Machine: m}},
		{"unknown type", ModelSpec{Shape: "e2b", Type: "q9"}, ForecastOptions{Machine: m}},
		{"unknown table type", ModelSpec{Shape: "e2b", PLE: "q9"}, ForecastOptions{Machine: m}},
		{"no users", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Users: []int{0}}},
		{"context", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Contexts: []int{1 << 30}}},
		{"behind the session", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{Context: 100}, Contexts: []int{101}}},
		{"row hits", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, RowHits: 1.5}},
		{"threads", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{Threads: 1000}}},
		{"a web server", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{PLE: "http://host/table"}}},
		{"storage", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Storage: "tape"}},
		{"prices", ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Prices: Prices{Life: -1}}},
	} {
		if _, err := MakeForecast(c.spec, c.o); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := MakeForecast(ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{Context: 8}}); err != nil {
		t.Errorf("a context of 8 tokens: %v", err)
	}
	if _, err := LoadMachine("abacus"); !errors.Is(err, ErrRequest) {
		t.Errorf("unknown machine: %v", err)
	}
}

// Keys and values of all users count, and a budget that has room for one alone refuses them.
func TestUsersTakeMemory(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	forecast := func(ram int64, users ...int) *Forecast {
		f, err := MakeForecast(ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{RAM: ram, Context: 2048}, Users: users})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	one, eight := forecast(0, 1), forecast(0, 1, 8)
	kv := int64(0)
	for _, it := range one.Plan.Items() {
		if it.Role == "kv full" || it.Role == "kv sliding" {
			kv += it.Bytes
		}
	}
	if more := eight.RAMBytes - one.RAMBytes; more < 7*kv || more > 8*kv {
		t.Errorf("seven more users take %d bytes, their keys and values %d", more, 7*kv)
	}
	least := one.Plan.Minimum()
	if f := forecast(least, 1); !f.Fits {
		t.Errorf("one user in %d bytes: %s", least, f.Reason)
	}
	if f := forecast(least, 8); f.Fits || !strings.Contains(f.Reason, "planned for 8 users at once") {
		t.Errorf("eight users in %d bytes: %q", least, f.Reason)
	}
}

// A table in memory is none on storage: nothing waits for it, and a cold start reads it too.
func TestTableInMemoryIsForecast(t *testing.T) {
	m, err := LoadMachine("pi5-sd")
	if err != nil {
		t.Fatal(err)
	}
	of := func(place string) *Forecast {
		f, err := MakeForecast(ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{PLE: place}, Users: []int{16}, Storage: "microsd-a1"})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	disk, ram := of("disk"), of("ram")
	if disk.Typical().Wait == 0 || ram.Typical().Wait != 0 || ram.TableBytes != 0 || ram.RAMBytes-disk.RAMBytes < disk.TableBytes*9/10 {
		t.Errorf("waits of %v and %v, %d and %d bytes", disk.Typical().Wait, ram.Typical().Wait, disk.RAMBytes, ram.RAMBytes)
	}
	if more := ram.Cold() - disk.Cold(); math.Abs(more/(float64(disk.TableBytes)/45e6)-1) > 0.2 {
		t.Errorf("a cold start takes %.1f s longer for %d bytes of a card's 45 MB/s", more, disk.TableBytes)
	}
	if parts := disk.Typical().Parts(); !strings.Contains(parts, "ffn ") || !strings.Contains(parts, "wait for rows ") || strings.Contains(parts, "experts") {
		t.Error(parts)
	}
	var sum seconds
	d := disk.Typical()
	for _, x := range []seconds{d.Products, d.FFN, d.Head, d.Experts, d.Attention, d.Norms, d.Dispatch, d.Wait} {
		sum += x
	}
	if sum != d.Step {
		t.Errorf("the parts of a step of %v make %v", d.Step, sum)
	}
}
