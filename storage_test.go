package plume

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/plan/flash"
)

// replayed is what a stream costs one storage, read by the host.
func replayed(t *testing.T, o StorageOptions) StorageOutcome {
	t.Helper()
	o.Storage = []string{"microsd-a2"}
	list, err := ForecastStorage(ModelSpec{Shape: "e2b", Layers: 2}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(storageModes)*max(1, len(o.Users)) || list[0].Mode != flash.Host.String() {
		t.Fatalf("%d outcomes, the first by %s", len(list), list[0].Mode)
	}
	return list[0]
}

// loop is n tokens that go round through some.
func loop(n, some int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i % some)
	}
	return ids
}

func TestStorageReadsWhatTheCacheLacks(t *testing.T) {
	one := []int{1}
	for _, c := range []struct {
		name string
		o    StorageOptions
		want float64 // rows read for a token
	}{
		{"ids that do not repeat", StorageOptions{Users: one}, 1},
		{"a loop that fits", StorageOptions{Users: one, IDs: loop(1000, 50)}, 0.05},
		{"without a cache", StorageOptions{Users: one, IDs: loop(1000, 50), Cache: -1}, 1},
		{"a row alone", StorageOptions{Users: one, IDs: loop(1000, 1)}, 0.001},
		{"users that read the same, a loop apart", StorageOptions{Users: []int{10}, IDs: loop(1000, 50), Cache: -1}, 0.1},
		{"users that read something else", StorageOptions{Users: []int{10}, IDs: loop(1000, 1000), Cache: -1}, 1},
	} {
		got := replayed(t, c.o)
		if math.Abs(got.Read-c.want) > 1e-9 {
			t.Errorf("%s: %g rows read for a token, want %g", c.name, got.Read, c.want)
		}
	}
	all, some := replayed(t, StorageOptions{Users: one, IDs: loop(1000, 50), Cache: -1}), replayed(t, StorageOptions{Users: one, IDs: loop(1000, 50)})
	if ratio := some.Bus / all.Bus; math.Abs(ratio-0.05) > 1e-3 || some.Energy >= all.Energy || some.Rate <= all.Rate {
		t.Errorf("with a cache %+v, without %+v", some, all)
	}
}

func TestStorageRefusesIDsOutsideTheTable(t *testing.T) {
	if _, err := ForecastStorage(ModelSpec{Shape: "e2b", Layers: 2}, StorageOptions{IDs: []int32{1 << 30}}); err == nil {
		t.Error("no error")
	}
}

// The storage keeps up with users·10⁶/mean tokens per second, and a step waits from its first
// layer's share of that on.
func TestStorageSaysFromWhenStepsWait(t *testing.T) {
	o := StorageOptions{Users: []int{64}, Compute: 20 * time.Millisecond, Hide: 5 * time.Millisecond}
	got := replayed(t, o)
	if rate := 64 / got.Mean * 1e6; math.Abs(got.Rate/rate-1) > 1e-9 || math.Abs(got.WaitsFrom/(rate/4)-1) > 1e-9 || got.Hide != 5000 {
		t.Errorf("%+v", got)
	}
	if want := max(0, got.Mean-5000); math.Abs(got.Wait-want) > 1 {
		t.Errorf("waits %.1f µs, want %.1f", got.Wait, want)
	}
	hidden := func(spec ModelSpec) float64 {
		list, err := ForecastStorage(spec, StorageOptions{Storage: []string{"nvme"}, Users: []int{1}, Compute: time.Second, Steps: 1})
		if err != nil {
			t.Fatal(err)
		}
		return list[0].Hide / 1e6
	}
	e2b, e4b := hidden(ModelSpec{Shape: "e2b"}), hidden(ModelSpec{Shape: "e4b"})
	// E2B: the embedding's projection, 1536 · 8960 numbers in bf16, and 20 MB of layer 0, of 1.41 GB;
	// E4B: 2560 · 10752 and 53 MB, of 2.85 GB.
	if math.Abs(e2b-0.0337) > 5e-4 || math.Abs(e4b-0.0378) > 5e-4 {
		t.Errorf("e2b hides %.4f of a step, e4b %.4f", e2b, e4b)
	}
}

func TestStorageDepthIsTheHosts(t *testing.T) {
	at := func(depth int) []StorageOutcome {
		list, err := ForecastStorage(ModelSpec{Shape: "e2b", Layers: 2}, StorageOptions{Storage: []string{"nvme"}, Users: []int{256}, Depth: depth})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	one, few, all := at(1), at(32), at(0)
	if one[0].Rate > few[0].Rate/10 || few[0].Rate >= all[0].Rate {
		t.Errorf("%.0f rows a second one by one, %.0f with 32 under way, %.0f without a bound", one[0].Rate, few[0].Rate, all[0].Rate)
	}
	if one[1].Outcome != all[1].Outcome {
		t.Errorf("a device that gathers is told one command, whatever the depth: %+v, %+v", one[1], all[1])
	}
	if _, err := ForecastStorage(ModelSpec{Shape: "e2b", Layers: 2}, StorageOptions{Depth: -1}); err == nil {
		t.Error("a depth of -1")
	}
}

// A device of the model is found again from its own figures, those of 8 KiB and what is not
// steady unseen.
func TestFitStorage(t *testing.T) {
	p, err := flash.Load("sata-ssd")
	if err != nil {
		t.Fatal(err)
	}
	var first, again []StoragePoint
	for _, bytes := range []int{4 << 10, 8 << 10, 16 << 10} {
		for _, depth := range []int{1, 2, 4, 8, 16} {
			x := flash.Random(p, bytes, depth, 1000)
			first = append(first, x)
			if x.IOPS *= 1.05; depth == 8 {
				x.IOPS /= 4
			}
			again = append(again, x)
		}
	}
	f, err := fitStorage(first, again)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Points) != 15 || f.Steady != 12 || f.Within != 12 || f.Worst > FitMark || f.Unsteady {
		t.Errorf("%+v", f)
	}
	for _, x := range f.Points {
		mean := math.Sqrt(x.Measured * x.Again)
		if x.Steady != (x.Depth != 8) || x.Fitted != (x.Steady && x.Bytes != 8<<10) || math.Abs(x.Error-(x.Model/mean-1)) > 1e-12 ||
			math.Abs(x.Spread-(x.Again/x.Measured-1)) > 1e-12 {
			t.Errorf("%+v", x)
		}
	}
	for i := range again {
		again[i].IOPS = first[i].IOPS * 1.5
	}
	if f, err = fitStorage(first, again); err != nil || f.Steady != 0 || !f.Points[0].Fitted || !f.Unsteady {
		t.Errorf("nothing steady: %+v, %v", f, err)
	}
}

func TestProbeFileOfAFolder(t *testing.T) {
	dir := t.TempDir()
	file, remove, err := probeFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() != probeBytes || filepath.Dir(file) != dir {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	own := filepath.Join(dir, "own")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, remove, err = probeFile(own)
	if err != nil || file != own || remove() != nil {
		t.Errorf("%s, %v", file, err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Error("a file of the user's is gone")
	}
}
