package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

func newTokenize() *cobra.Command {
	var text, plain bool
	cmd := &cobra.Command{
		Use:   "tokenize MODEL",
		Short: "Turn text into token ids",
		Long: `Read JSON strings from stdin, one a line, and print one JSON array of token ids
for each. BOS is not added. A line that fails is reported with its number and
gives null.

With --text, lines are plain text, and each token is printed as ID:PIECE.`,
		Example: `  echo '"Hello, world!"' | plume tokenize demo
  echo 'Hello, world!' | plume tokenize demo --text`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			tok, err := openTokenizer(cmd, args[0])
			if err != nil {
				return err
			}
			if text {
				return eachLine(cmd, "", func(line []byte) ([]byte, error) {
					return piecesText(tok, tok.Encode(string(line), !plain)), nil
				})
			}
			return eachLine(cmd, "null", func(line []byte) ([]byte, error) {
				var s *string
				if err := json.Unmarshal(line, &s); err != nil {
					return nil, fmt.Errorf("want a JSON string: %w", err)
				} else if s == nil {
					return nil, errors.New("want a JSON string, got null")
				}
				ids := tok.Encode(*s, !plain)
				if ids == nil {
					ids = []int32{}
				}
				return json.Marshal(ids)
			})
		},
	}
	cmd.Flags().BoolVar(&text, "text", false, "plain text in, pieces out, for people")
	cmd.Flags().BoolVar(&plain, "no-special", false, `take the texts of special tokens ("<|turn>") as plain text`)
	return cmd
}

// openTokenizer opens the vocabulary of a model by name.
func openTokenizer(cmd *cobra.Command, name string) (*plume.Tokenizer, error) {
	path, err := modelPath(cmd, name)
	if err != nil {
		return nil, err
	}
	return plume.OpenTokenizer(path)
}

// piecesText prints tokens for people.
func piecesText(tok *plume.Tokenizer, ids []int32) []byte {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		piece, _ := tok.Piece(id)
		fmt.Fprintf(&b, "%d:%q", id, piece)
	}
	return []byte(b.String())
}
