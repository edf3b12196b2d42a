package plume

// CountTokens returns the number of tokens of the prompt that Generate would
// compute for r. Errors are those of Generate that need no computing.
func (m *Model) CountTokens(r Request) (int, error) {
	if err := r.validate(); err != nil {
		return 0, requestError{err}
	}
	a := &answer{m: m}
	ids, err := a.prompt(r)
	return len(ids), err
}
