package plume

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads an amount of memory: digits, perhaps with a fraction, and a unit, as
// in "1500MiB", "2GiB", "1.5G" or "800000000". K, M, G and T, with or without "iB", count
// by 1024; "KB", "MB", "GB" and "TB" by 1000. Case does not matter.
func ParseSize(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	number, unit := text[:end], strings.TrimSpace(text[end:])
	factor, ok := sizeUnits[unit]
	x, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil {
		return 0, requestError{fmt.Errorf("size %q, want a number and a unit, as 1500MiB, 2GiB or 1.5G", s)}
	}
	if x *= factor; x < 1 || x >= math.MaxInt64 {
		return 0, requestError{fmt.Errorf("size %q is out of range", s)}
	}
	return int64(x), nil
}

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}
