package plume

import (
	"strings"
	"testing"
)

func TestCardHoldsWhatAStepComputesWith(t *testing.T) {
	m, err := LoadMachine("laptop")
	if err != nil {
		t.Fatal(err)
	}
	at := func(vram, ram int64) *Forecast {
		m.VRAM = vram
		f, err := MakeForecast(ModelSpec{Shape: "e2b"}, ForecastOptions{Machine: m, Options: Options{RAM: ram}, Contexts: []int{16}})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := at(0, 0); f.Card != nil || strings.Contains(f.String(), "VRAM") {
		t.Errorf("a card out of nowhere: %+v", f.Card)
	}
	large := at(8<<30, 0)
	if c := large.Card; c.Held != c.Of || c.Of < 1300<<20 || c.Of > large.RAMBytes || !strings.Contains(large.String(), "would hold all") {
		t.Errorf("%+v of %d bytes:\n%s", c, large.RAMBytes, large)
	}
	small := at(1<<30, 0)
	if c := small.Card; c.Held != 1<<30 || c.Of != large.Card.Of || !strings.Contains(small.String(), "would hold 1024 of the") {
		t.Errorf("%+v:\n%s", c, small)
	}
	// Weights that stream from storage on the processor's side would lie on the card all the same.
	if c := at(8<<30, 800<<20).Card; c.Of < 1250<<20 {
		t.Errorf("%+v", c)
	}
}
