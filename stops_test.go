package plume

import (
	"strings"
	"testing"
)

func TestStopMatcher(t *testing.T) {
	tests := []struct {
		name, text string
		stops      []string
		want       string
		found      bool
	}{
		{"none", "a fox and a crow", nil, "a fox and a crow", false},
		{"middle", "a fox and a crow", []string{" and"}, "a fox", true},
		{"first of two", "a fox and a crow", []string{"crow", "fox"}, "a ", true},
		{"start", "stop here", []string{"stop"}, "", true},
		{"prefix only", "one\nUse", []string{"\nUser:"}, "one\nUse", false},
		{"overlapping beginnings", "aab aaab", []string{"aaab"}, "aab ", true},
		{"false start then match", "ababac", []string{"abac"}, "ab", true},
		{"nested", "xabcy", []string{"bc", "abcd"}, "xa", true},
		{"multibyte", "日本語です", []string{"語"}, "日本", true},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.text); size++ {
			m := stopMatcher{stops: tt.stops}
			var got strings.Builder
			found := false
			for at := 0; at < len(tt.text) && !found; at += size {
				var show string
				show, found = m.push(tt.text[at:min(at+size, len(tt.text))])
				got.WriteString(show)
				for _, s := range tt.stops {
					if strings.Contains(got.String(), s) {
						t.Errorf("%s: pieces of %d: %q shows %q", tt.name, size, got.String(), s)
					}
				}
			}
			if !found {
				got.WriteString(m.flush())
			}
			if got.String() != tt.want || found != tt.found {
				t.Errorf("%s: pieces of %d: got %q, %v, want %q, %v", tt.name, size, got.String(), found, tt.want, tt.found)
			}
		}
	}
}
