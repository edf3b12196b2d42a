package chat

import (
	"encoding/json"
	"os"
	"testing"
)

// golden is one case of the reference's outputs.
type golden struct {
	Text string `json:"text"`
}

func goldens(t testing.TB) []json.RawMessage {
	t.Helper()
	data, err := os.ReadFile("testdata/chats-public.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []json.RawMessage
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestGoldens(t *testing.T) {
	cases := goldens(t)
	if len(cases) != 152 {
		t.Fatalf("%d cases, want 152", len(cases))
	}
	for i, c := range cases {
		var want golden
		if err := json.Unmarshal(c, &want); err != nil {
			t.Fatal(err)
		}
		msgs, o, err := DecodeRequest(c, Options{})
		if err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		if got, err := Render(msgs, o); err != nil || got != want.Text {
			t.Errorf("case %d: %v\n got %q\nwant %q", i, err, got, want.Text)
		}
	}
}
