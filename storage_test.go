package plume

import (
	"math"
	"testing"

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
