package main

import "github.com/spf13/cobra"

func newRender() *cobra.Command {
	var text bool
	cmd := &cobra.Command{
		Use:   "render MODEL",
		Short: "Show the exact prompt of a conversation",
		Long: `Read JSON objects from stdin, one a line, and print the exact prompt of each as
one JSON string:

  {"messages": [{"role": "user", "content": "Hi"}], "tools": null,
   "thinking": false, "generation_prompt": true, "template": "small"}

Only messages must be there; generation_prompt is true when it is left out, and
template ("small" or "large") is the model's own. A line that fails is reported
with its number and gives null.`,
		Example: `  echo '{"messages":[{"role":"user","content":"Hi"}]}' | plume render demo
  plume render demo --text < chat.jsonl`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			tok, err := openTokenizer(cmd, args[0])
			if err != nil {
				return err
			}
			instead := "null"
			if text {
				instead = ""
			}
			return eachLine(cmd, instead, func(line []byte) ([]byte, error) {
				prompt, err := tok.RenderJSON(line)
				if err != nil || text {
					return []byte(prompt), err
				}
				return marshal(prompt)
			})
		},
	}
	cmd.Flags().BoolVar(&text, "text", false, "print the prompt itself, for people")
	return cmd
}
