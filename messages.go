package plume

import (
	"fmt"

	"github.com/plume-run/plume/internal/chat"
)

// The parts of a conversation.
type (
	// Message is one entry of a conversation. Content is its text; Parts, Result,
	// Reasoning and ToolCalls are for what text cannot say.
	Message = chat.Message
	// Role says who speaks.
	Role = chat.Role
	// Part is one piece of a message's content in list form.
	Part = chat.Part
	// ToolCall is one call of a tool; Arguments is a JSON object.
	ToolCall = chat.ToolCall
	// Tool is the JSON declaration of a function, in OpenAI's form.
	Tool = chat.Tool
)

// The roles of messages.
const (
	RoleSystem    = chat.System
	RoleUser      = chat.User
	RoleAssistant = chat.Assistant
	RoleTool      = chat.ToolRole
)

// SystemMessage returns the instructions that a conversation may begin with.
func SystemMessage(text string) Message { return Message{Role: RoleSystem, Content: text} }

// UserMessage returns a user's turn.
func UserMessage(text string) Message { return Message{Role: RoleUser, Content: text} }

// AssistantMessage returns a model's turn, as [Answer.Message] does.
func AssistantMessage(text, thinking string, calls []ToolCall) Message {
	return Message{Role: RoleAssistant, Content: text, Reasoning: thinking, ToolCalls: calls}
}

// ParseMessages reads a conversation in the JSON form of OpenAI's chat API and
// of transformers: a list of {"role", "content", …}.
func ParseMessages(data []byte) ([]Message, error) {
	msgs, err := chat.DecodeMessages(data)
	if err != nil {
		return nil, requestError{err}
	}
	return msgs, nil
}

// ParseTools reads a list of function declarations. null and an absent list are
// no tools.
func ParseTools(data []byte) ([]Tool, error) {
	tools, err := chat.DecodeTools(data)
	if err != nil {
		return nil, requestError{err}
	}
	return tools, nil
}

// supports reports what in r the vocabulary has no tokens for. A model that
// was never taught a token cannot be made to use it by spelling it out.
func (t *Tokenizer) supports(r Request) error {
	need := func(what string, pieces ...string) error {
		for _, p := range pieces {
			if _, ok := t.tok.ID(p); !ok {
				return unsupportedError{fmt.Errorf("prepare prompt: the model has no %s: no token %s in its vocabulary", what, p)}
			}
		}
		return nil
	}
	if err := need("chat form", "<|turn>", "<turn|>"); err != nil {
		return err
	}
	if r.Thinking {
		if err := need("thinking", "<|think|>", "<|channel>", "<channel|>"); err != nil {
			return err
		}
	}
	tools := len(r.Tools) > 0
	for i, m := range r.Messages {
		tools = tools || len(m.ToolCalls) > 0 || m.Role == RoleTool
		for _, p := range m.Parts {
			if p.Type != chat.TextPart {
				return unsupportedError{fmt.Errorf("prepare prompt: message %d: %s content is not supported", i, p.Type)}
			}
		}
	}
	if tools {
		return need("tools", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", `<|"|>`)
	}
	return nil
}
