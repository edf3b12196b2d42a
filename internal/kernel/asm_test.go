//go:build amd64 && !purego

package kernel

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// eachAsm calls f for every amd64 assembly function: its file, name and instructions.
func eachAsm(t *testing.T, f func(file, name string, lines []string)) {
	t.Helper()
	for _, file := range []string{"vec_amd64.s", "dot_amd64.s", "dot512_amd64.s", "ints_amd64.s", "ints512_amd64.s", "quantmul_amd64.s", "quantvnni_amd64.s", "quantmul512_amd64.s", "pack_amd64.s"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "\nTEXT ·")
		for _, p := range parts[1:] {
			name, body, _ := strings.Cut(p, "(SB)")
			var lines []string
			for _, l := range strings.Split(body, "\n")[1:] {
				if strings.HasPrefix(l, "\t") {
					lines = append(lines, strings.TrimSpace(l))
				} else if strings.HasPrefix(l, "DATA") || strings.HasPrefix(l, "GLOBL") {
					break
				}
			}
			f(file, name, lines)
		}
	}
}

// TestAsmRegisters: avo falls back to registers that only AVX-512 has when it runs out of the others.
func TestAsmRegisters(t *testing.T) {
	evex := regexp.MustCompile(`\b([XY](1[6-9]|2[0-9]|3[01])|Z[0-9]+|K[0-7])\b|^VPDPBUSD |^VPDPBUSDY\(.*(1[6-9]|2[0-9]|3[01])`)
	seen := 0
	eachAsm(t, func(file, name string, lines []string) {
		if strings.Contains(file, "512") {
			return
		}
		seen++
		for _, l := range lines {
			if r := evex.FindString(l); r != "" {
				t.Errorf("%s: %s uses %s: %s", file, name, r, l)
			}
		}
	})
	if seen < 140 {
		t.Errorf("saw %d functions without AVX-512, want more: is the test blind?", seen)
	}
}

// TestAsmNoLegacySSE: one SSE instruction in AVX code costs hundreds of cycles while the upper
// halves are in use, so every vector instruction must be a V one, and VZEROUPPER must stand
// before every RET.
func TestAsmNoLegacySSE(t *testing.T) {
	vector := regexp.MustCompile(`\b[XYZ][0-9]+\b`)
	eachAsm(t, func(file, name string, lines []string) {
		clean := true // until the first vector instruction
		for _, l := range lines {
			op, _, _ := strings.Cut(l, " ")
			switch {
			case op == "VZEROUPPER":
				clean = true
			case op == "RET" && !clean:
				t.Errorf("%s: %s returns without VZEROUPPER", file, name)
			case vector.MatchString(l) && !strings.HasPrefix(op, "V") && !clean:
				t.Errorf("%s: %s has a legacy instruction: %s", file, name, l)
			case strings.HasPrefix(op, "V") && vector.MatchString(l):
				clean = false
			}
		}
	})
}
