package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/plume-run/plume"
)

// errLeave ends the chat without being an error.
var errLeave = errors.New("leave")

// chatCommand is one /command.
type chatCommand struct {
	name, args, help string
	run              func(c *conversation, ctx context.Context, arg string) error
}

// chatCommands is a function since /help, one of them, lists them.
func chatCommands() []chatCommand {
	return []chatCommand{
		{"help", "", "list the commands", (*conversation).help},
		{"system", "[TEXT]", "set the instructions, or take them away", (*conversation).setSystem},
		{"reset", "", "forget the conversation", (*conversation).reset},
		{"retry", "", "answer the last message again", (*conversation).retry},
		{"undo", "", "take the last message and its answer back", (*conversation).undo},
		{"think", "[on|off]", "let the model think first, or not", (*conversation).setThink},
		{"stats", "[on|off]", "show the last answer's statistics, or all from now on", (*conversation).showStats},
		{"history", "", "show the conversation", (*conversation).history},
		{"save", "FILE", "write the conversation to a JSON file", (*conversation).save},
		{"load", "FILE", "go on with a saved conversation", func(c *conversation, _ context.Context, file string) error { return c.load(file) }},
		{"exit", "", "leave (also Ctrl-D)", func(*conversation, context.Context, string) error { return errLeave }},
	}
}

func commandHelp() string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	for _, c := range chatCommands() {
		fmt.Fprintf(&b, "  %-18s %s\n", strings.TrimSpace("/"+c.name+" "+c.args), c.help)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// command runs a line that begins with "/".
func (c *conversation) command(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(strings.TrimPrefix(line, "/"), " ")
	if name == "bye" || name == "quit" {
		name = "exit"
	}
	for _, cmd := range chatCommands() {
		if cmd.name == name {
			return cmd.run(c, ctx, strings.TrimSpace(arg))
		}
	}
	return fmt.Errorf("unknown command /%s; /help lists them", name)
}

func (c *conversation) help(context.Context, string) error {
	fmt.Fprintln(c.err, commandHelp())
	return nil
}

func (c *conversation) setSystem(_ context.Context, text string) error {
	c.system = text
	return nil
}

func (c *conversation) reset(context.Context, string) error {
	c.messages, c.lastResult = nil, nil
	return c.s.Reset()
}

// undo takes messages back up to and with the last one of the user.
func (c *conversation) undo(context.Context, string) error {
	for n := len(c.messages) - 1; n >= 0; n-- {
		if c.messages[n].Role == plume.RoleUser {
			c.messages = c.messages[:n]
			return nil
		}
	}
	return errors.New("there is no message to take back")
}

func (c *conversation) retry(ctx context.Context, _ string) error {
	n := len(c.messages)
	for n > 0 && c.messages[n-1].Role != plume.RoleUser {
		n--
	}
	if n == 0 {
		return errors.New("there is no message to answer")
	}
	c.messages = c.messages[:n]
	return c.answer(ctx)
}

// setSwitch reads on, off, or nothing, which turns *b over.
func setSwitch(b *bool, arg string) error {
	switch arg {
	case "":
		*b = !*b
	case "on":
		*b = true
	case "off":
		*b = false
	default:
		return fmt.Errorf("want on or off, got %q", arg)
	}
	return nil
}

func (c *conversation) setThink(_ context.Context, arg string) error {
	if err := setSwitch(&c.think, arg); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "thinking is %s\n", map[bool]string{true: "on", false: "off"}[c.think])
	return nil
}

func (c *conversation) showStats(_ context.Context, arg string) error {
	if arg != "" {
		return setSwitch(&c.autoStats, arg)
	}
	if c.lastResult == nil {
		return errors.New("there is no answer yet")
	}
	printStats(c.err, c.m, c.s, c.lastResult)
	return nil
}

func (c *conversation) history(context.Context, string) error {
	if c.system != "" {
		fmt.Fprintf(c.err, "%-10s %s\n", plume.RoleSystem, oneLine(c.system, 80))
	}
	for _, m := range c.messages {
		fmt.Fprintf(c.err, "%-10s %s\n", m.Role, oneLine(m.Content, 80))
	}
	return nil
}

// savedMessage is one entry of a saved conversation, in the form of OpenAI's
// API, so that other programs can read it.
type savedMessage struct {
	Role      plume.Role `json:"role"`
	Content   string     `json:"content"`
	Reasoning string     `json:"reasoning_content,omitempty"`
}

// save writes the conversation in one step: FILE is whole or as it was.
func (c *conversation) save(_ context.Context, file string) (err error) {
	if file == "" {
		return errors.New("/save needs a file name")
	}
	list := []savedMessage{}
	if c.system != "" {
		list = append(list, savedMessage{Role: plume.RoleSystem, Content: c.system})
	}
	for _, m := range c.messages {
		list = append(list, savedMessage{m.Role, m.Content, m.Reasoning})
	}
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".plume-chat-*.part")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("save conversation: %w", err)
	}
	fmt.Fprintf(c.err, "saved %d messages to %s\n", len(list), file)
	return nil
}

// load replaces the conversation by a saved one.
func (c *conversation) load(file string) error {
	if file == "" {
		return errors.New("/load needs a file name")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("load conversation: %w", err)
	}
	msgs, err := plume.ParseMessages(data)
	if err != nil {
		return fmt.Errorf("load conversation %s: %w", file, err)
	}
	c.system = ""
	if len(msgs) > 0 && msgs[0].Role == plume.RoleSystem {
		c.system, msgs = msgs[0].Content, msgs[1:]
	}
	c.messages, c.lastResult = msgs, nil
	fmt.Fprintf(c.err, "loaded %d messages from %s\n", len(msgs), file)
	return nil
}
