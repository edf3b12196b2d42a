package gemma

// Begun tells, of each group of weights that stay, in order of use, whether its reading has begun.
func (m *Model) Begun() (begun []bool) {
	r := m.weights.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range m.weights.plan.kept {
		begun = append(begun, k.group.kept.state != fetchIdle)
	}
	return begun
}
