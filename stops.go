package plume

import "strings"

// stopMatcher looks for stop strings in text that arrives in pieces. Text is
// let through as soon as it can no longer be the beginning of a stop string,
// so that no part of one is ever shown.
type stopMatcher struct {
	stops []string
	hit   string // the stop string that was met
	held  string // the longest end of the text so far that may begin a stop string
}

// push takes the next piece and returns what may be shown. found says that
// a stop string is complete: the text before it is returned and the rest is
// dropped. Of several that match, the one that begins first wins.
func (m *stopMatcher) push(piece string) (show string, found bool) {
	if len(m.stops) == 0 {
		return piece, false
	}
	text := m.held + piece
	m.held = ""
	first := -1
	for _, s := range m.stops {
		if at := strings.Index(text, s); at >= 0 && (first < 0 || at < first) {
			first, m.hit = at, s
		}
	}
	if first >= 0 {
		return text[:first], true
	}
	keep := m.pending(text)
	m.held = text[len(text)-keep:]
	return text[:len(text)-keep], false
}

// pending returns the length of the longest end of text that is a proper
// beginning of a stop string.
func (m *stopMatcher) pending(text string) int {
	longest := 0
	for _, s := range m.stops {
		for n := min(len(s)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, s[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// flush returns what was held back, when no more text comes.
func (m *stopMatcher) flush() string {
	held := m.held
	m.held = ""
	return held
}
