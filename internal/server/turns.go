package server

// callsMade are the calls of the assistant's turn that comes last, which answers of
// tools may stand behind. The chat template leaves an answer behind no call out of
// the prompt; a client must hear of that, as it does from the original services.
type callsMade struct {
	any bool
	ids map[string]bool
}

// turn begins a turn: of the assistant, or of somebody who makes no calls.
func (c *callsMade) turn() { *c = callsMade{} }

// made adds a call to the turn; its id may be "".
func (c *callsMade) made(id string) {
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	c.any, c.ids[id] = true, true
}

// answered checks the answer at a path, of a tool, to the call with an id. An answer
// that names its tool instead has the id "" and may name any.
func (c *callsMade) answered(path, id string) *apiError {
	switch {
	case !c.any:
		return refuse(path, "a tool's answer stands right behind the assistant's turn with the call, and no call is there")
	case id != "" && !c.ids[id]:
		return refuse(path, "no call %s in the assistant's turn before it", quote(id))
	}
	return nil
}
