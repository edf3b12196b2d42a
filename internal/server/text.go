package server

import (
	"fmt"
	"strings"
)

// validText replaces bytes that are not UTF-8, which JSON cannot carry.
func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }

// sizeText prints a number of bytes for people.
func sizeText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// countText prints a number of parameters as "2.3B" or "17.9M".
func countText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1fB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1fK", float64(n)/1e3)
}
