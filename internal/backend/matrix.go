package backend

// NewMatrix puts a weight whose stored rows are raw into a slab of its own.
func NewMatrix(b Backend, spec MatrixSpec, raw []byte) (Matrix, error) {
	s, err := b.NewSlab(b.MatrixBytes(spec.Type, spec.Out, spec.In))
	if err != nil {
		return nil, err
	}
	m, err := b.Place(s, 0, spec)
	if err != nil {
		return nil, err
	}
	return m, b.Fill(m, 0, raw)
}
