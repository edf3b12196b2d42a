package grammar

// Limit sets how many bytes of masks v keeps, 64 MiB where nobody says. Fewer cost time
// for schemas that alternate, never an answer. It must be called before v is used.
func (v *Vocab) Limit(bytes int) { v.cache.limit = bytes }
