package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newDetokenize() *cobra.Command {
	var text bool
	cmd := &cobra.Command{
		Use:   "detokenize MODEL",
		Short: "Turn token ids into text",
		Long: `Read JSON arrays of token ids from stdin, one a line, and print one JSON string
for each. A line that fails is reported with its number and gives null.

With --text, the text itself is printed, and ids may also stand without
brackets, separated by commas or spaces.`,
		Example: `  echo '[541, 2089, 750]' | plume detokenize demo
  echo '541 2089 750' | plume detokenize demo --text`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			tok, err := openTokenizer(cmd, args[0])
			if err != nil {
				return err
			}
			if text {
				return eachLine(cmd, "", func(line []byte) ([]byte, error) {
					ids, err := parseIDs(strings.Trim(strings.TrimSpace(string(line)), "[]"))
					if err != nil {
						return nil, err
					}
					s, err := tok.Decode(ids)
					return []byte(s), err
				})
			}
			return eachLine(cmd, "null", func(line []byte) ([]byte, error) {
				ids, err := decodeIDs(line)
				if err != nil {
					return nil, fmt.Errorf("want a JSON array of token ids: %w", err)
				}
				s, err := tok.Decode(ids)
				if err != nil {
					return nil, err
				}
				return marshal(s)
			})
		},
	}
	cmd.Flags().BoolVar(&text, "text", false, "print the text itself, for people")
	return cmd
}

// decodeIDs reads a JSON array of token ids.
func decodeIDs(line []byte) ([]int32, error) {
	var list []*int32 // pointers, since null would be id 0 otherwise
	if err := json.Unmarshal(line, &list); err != nil {
		return nil, err
	} else if list == nil {
		return nil, errors.New("got null")
	}
	ids := make([]int32, len(list))
	for i, id := range list {
		if id == nil {
			return nil, fmt.Errorf("element %d is null", i)
		}
		ids[i] = *id
	}
	return ids, nil
}

// parseIDs reads token ids separated by commas or white space.
func parseIDs(list string) ([]int32, error) {
	var ids []int32
	for _, field := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		id, err := strconv.ParseInt(field, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read token ids: %q is not a number", field)
		}
		ids = append(ids, int32(id))
	}
	if len(ids) == 0 {
		return nil, errors.New("read token ids: none given")
	}
	return ids, nil
}
