package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func plots() map[string]Plot {
	return map[string]Plot{
		"logarithmic":  &Lines{Title: `a < b & "c"`, X: "x", Y: "y", LogX: true, Series: []Line{{"one", []Point{{1, 2}, {10, 3}}}, {"<two>", []Point{{1, 0}, {1000, 5}}}}},
		"flat":         &Lines{Title: "flat", Series: []Line{{"none", []Point{{1, 0}, {2, 0}}}}},
		"both logs":    &Lines{Title: "logs", LogX: true, LogY: true, Series: []Line{{"one", []Point{{0.01, 100}, {1, 0.5}, {2, 0}}}}},
		"only zeros":   &Lines{Title: "zeros", LogX: true, LogY: true, Series: []Line{{"one", []Point{{1, 0}, {2, 0}}}}},
		"zeros on x":   &Lines{Title: "zeros", LogX: true, Series: []Line{{"one", []Point{{0, 1}, {2, 3}}}, {"two", []Point{{0, 1}}}}},
		"only 0 on x":  &Lines{Title: "zeros", LogX: true, Series: []Line{{"one", []Point{{0, 1}}}}},
		"one point":    &Lines{Title: "point", LogX: true, Series: []Line{{"one", []Point{{5, 1}}}}},
		"bars":         &Bars{Title: "memory", Unit: "MiB", Apart: "on storage", Rows: []Row{{"m", []Part{{"big", 900, false}, {"tiny", 1, false}, {"disk", 300, true}}}}},
		"without bars": &Bars{Title: "nothing", Unit: "MiB", Apart: "on storage"},
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	for name, p := range plots() {
		for _, text := range []string{Inline(p), SVG(p)} {
			dec := xml.NewDecoder(strings.NewReader(text))
			for {
				_, err := dec.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v in %s", name, err, text)
				}
			}
			for _, bad := range []string{"NaN", "Inf"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: %s in %s", name, bad, text)
				}
			}
		}
	}
}

// picturePixels draws and decodes a picture.
func picturePixels(t *testing.T, p Plot) image.Image {
	t.Helper()
	var b bytes.Buffer
	if err := PNG(&b, p); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if want := image.Rect(0, 0, width*scale, p.height()*scale); img.Bounds() != want {
		t.Errorf("%v large, want %v", img.Bounds(), want)
	}
	return img
}

// at is the colour at a place in units.
func at(img image.Image, x, y float64) color.RGBA {
	return color.RGBAModel.Convert(img.At(int(x*scale), int(y*scale))).(color.RGBA)
}

func TestEveryPlotBecomesAPicture(t *testing.T) {
	for _, p := range plots() {
		picturePixels(t, p)
	}
}

func TestPicturesShowWhatIsPlotted(t *testing.T) {
	white, first := color.RGBA{0xff, 0xff, 0xff, 0xff}, parseColour(colour(0))
	l := &Lines{Title: "title", X: "x", Y: "y", Series: []Line{{"one", []Point{{0, 0}, {10, 10}}}}}
	img := picturePixels(t, l)
	x, y := l.axes()
	if got := at(img, x.place(5), y.place(5)); got != first {
		t.Errorf("%v in the middle of the line, want %v", got, first)
	}
	if got := at(img, x.place(1.3), y.place(9.3)); got != white {
		t.Errorf("%v beside it, want white", got)
	}
	for name, area := range map[string]image.Rectangle{
		"title": image.Rect(left, 4, left+40, 20), "text from below": image.Rect(2, 100, 20, 250), "legend": image.Rect(width-right+26, top, width-right+60, top+14),
	} {
		dark := 0
		for py := area.Min.Y * scale; py < area.Max.Y*scale; py++ {
			for px := area.Min.X * scale; px < area.Max.X*scale; px++ {
				if r, _, _, _ := img.At(px, py).RGBA(); r < 0x6000 {
					dark++
				}
			}
		}
		if dark < 10 {
			t.Errorf("%s: %d dark pixels", name, dark)
		}
	}
	b := &Bars{Title: "t", Unit: "MiB", Apart: "apart", Rows: []Row{{"m", []Part{{"a", 50, false}, {"b", 25, false}, {"c", 25, true}}}}}
	img = picturePixels(t, b)
	bar, mid := axis{0, 100, left, width - right, false}, float64(top+18+(barHeight-8)/2)
	for value, want := range map[float64]color.RGBA{25: first, 60: parseColour(colour(1)), 88: white} {
		if got := at(img, bar.place(value), mid); got != want {
			t.Errorf("%v at %g of the bar, want %v", got, value, want)
		}
	}
}

func TestAxis(t *testing.T) {
	a := axis{low: 0, high: 100, from: 300, to: 100}
	if got := a.place(50); got != 200 {
		t.Errorf("50 lies at %g, want 200", got)
	}
	l := axis{low: 1, high: 100, from: 0, to: 200, log: true}
	if got := l.place(10); math.Abs(got-100) > 1e-9 {
		t.Errorf("10 of 1 to 100 lies at %g, want 100", got)
	}
	if got, want := l.ticks(), []float64{1, 2, 5, 10, 20, 50, 100}; !slices.Equal(got, want) {
		t.Errorf("ticks %v, want %v", got, want)
	}
	wide := axis{low: 1, high: 1e5, from: 0, to: 200, log: true}
	if got := wide.ticks(); len(got) != 6 {
		t.Errorf("ticks %v, want powers of ten", got)
	}
}
