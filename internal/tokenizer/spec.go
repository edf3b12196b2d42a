package tokenizer

import (
	"errors"
	"fmt"
)

// Kind is the class of a vocabulary entry, in GGUF's numbers.
type Kind uint8

// The kinds of tokenizer.ggml.token_type.
const (
	Normal      Kind = 1
	Unknown     Kind = 2
	Control     Kind = 3
	UserDefined Kind = 4
	Unused      Kind = 5
	Byte        Kind = 6
)

// String names the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Normal:
		return "normal"
	case Unknown:
		return "unknown"
	case Control:
		return "control"
	case UserDefined:
		return "user defined"
	case Unused:
		return "unused"
	case Byte:
		return "byte"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Spec is a vocabulary as files describe it, not yet checked; [New] checks it.
type Spec struct {
	// Tokens holds the text of every id, with '▁' for space. Every id from 0
	// has one; texts are non-empty, valid UTF-8 and distinct. The 256 byte
	// tokens "<0x00>" … "<0xFF>" must be among them.
	Tokens []string
	// Kinds is parallel to Tokens. nil means: Byte for byte tokens, Control
	// for the ids in Special, Normal for the rest.
	Kinds []Kind
	// Merges lists the merge rules by rank, each "left right": the parts are
	// separated by the first space after byte 0.
	Merges []string
	// Special lists the ids whose text is matched in raw input when Encode is
	// told to. nil means: all of kind Control, UserDefined or Unknown.
	Special []int32
	// BOS, EOS, Unknown and Pad are ids, −1 where there is none.
	BOS, EOS, Unknown, Pad int32
	// AddBOS says that a prompt begins with BOS. Always true for the files
	// that exist (early GGUF files say false by mistake); Encode never adds it.
	AddBOS bool
}

// Limits that follow from packing two ids and a rank into one table word.
const (
	idBits    = 21
	rankBits  = 64 - 2*idBits
	maxTokens = 1<<idBits - 1
	maxMerges = 1<<rankBits - 1
	maxText   = 1<<31 - 1 // bytes of all token texts together
)

const (
	metaRune  = '\u2581' // '▁', how the vocabulary writes a space
	metaSpace = "\u2581"
)

// llamaUserDefined are the delimiters that GGUF files mark UserDefined instead
// of Control, so that a detokeniser does not hide them from a parser.
var llamaUserDefined = map[string]bool{
	"<|channel>": true, "<channel|>": true,
	"<|tool_call>": true, "<tool_call|>": true,
	"<|tool_response>": true, "<tool_response|>": true,
	`<|"|>`: true,
}

// byteValue returns b for the byte token "<0xHH>". Upper-case digits only
// when strict: the encoder looks for that spelling, the decoder takes both.
func byteValue(piece string, strict bool) (byte, bool) {
	if len(piece) != 6 || piece[:3] != "<0x" || piece[5] != '>' {
		return 0, false
	}
	hi, ok1 := hexDigit(piece[3], strict)
	lo, ok2 := hexDigit(piece[4], strict)
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte, strict bool) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	case !strict && 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// splitMerge cuts "left right" at the first space after byte 0.
func splitMerge(m string) (left, right string, err error) {
	for i := 1; i < len(m); i++ {
		if m[i] == ' ' {
			return m[:i], m[i+1:], nil
		}
	}
	return "", "", errors.New("want two parts with a space between")
}
