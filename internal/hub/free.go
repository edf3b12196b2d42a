package hub

// FreeBytes is what an ordinary user may still write below dir, which must exist.
func FreeBytes(dir string) (int64, error) { return freeBytes(dir) }
