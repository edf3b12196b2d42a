package gemma

import (
	"fmt"
	"slices"
	"testing"
)

func TestSoftTokens(t *testing.T) {
	for _, c := range []struct {
		name, top string
		vocab     int
		want      []int32
	}{
		{"named", `"image_token_id": 7, "audio_token_id": 9, "video_token_id": 8`, 100, []int32{7, 9, 8}},
		{"published", ``, 262144, []int32{258880, 258881, 258884}},
		{"end of a small vocabulary", ``, 320, []int32{319, 318, 317}},
		{"one named", `"audio_token_id": 5`, 320, []int32{319, 5, 317}},
		{"outside the vocabulary", `"image_token_id": 400`, 320, []int32{318, 317}},
	} {
		f, err := parseFields(fmt.Appendf(nil, "{%s}", c.top))
		if err != nil {
			t.Fatal(err)
		}
		if got := softTokens(f, c.vocab); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
