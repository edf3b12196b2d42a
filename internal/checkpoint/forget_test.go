package checkpoint

import "testing"

func TestForgetMeta(t *testing.T) {
	c, err := openBytes(smallGGUF(3))
	if err != nil {
		t.Fatal(err)
	}
	before, tensors := c.Meta(), len(c.Tensors())
	c.ForgetMeta()
	if _, ok := c.Meta().Uint("n"); ok || len(c.Meta().Keys()) != 0 {
		t.Error("a key is still there")
	}
	if _, ok := before.Uint("n"); !ok || len(c.Tensors()) != tensors {
		t.Error("something else is gone too")
	}
}
