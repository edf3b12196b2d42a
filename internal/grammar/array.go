package grammar

// arrayNode reads an array.
func (c *compiler) arrayNode(s *spec, next int32) int32 {
	fewest, most, prefix := 0, -1, 0
	for _, m := range s.members {
		fewest = max(fewest, m.minItems)
		most = least(most, m.maxItems)
		prefix = max(prefix, len(m.prefix))
	}
	if most >= 0 && most < fewest {
		return c.choice()
	}
	end := c.style.inner(c.builder, c.text("]", next))
	last := most
	behind := end
	if most < 0 { // from here on all items are alike
		last = max(prefix, fewest, 1)
		behind = c.add(node{op: opChoice})
		again := c.style.comma(c.builder, c.call(c.rule(s.itemAt(last)), behind))
		if c.err != nil {
			return 0
		}
		c.nodes[behind].to = []int32{end, again}
	}
	for i := last - 1; i >= 0 && c.err == nil; i-- {
		item := c.call(c.rule(s.itemAt(i)), behind)
		if i > 0 {
			item = c.style.comma(c.builder, item)
		}
		if i >= fewest {
			item = c.choice(end, item)
		}
		behind = item
	}
	return c.text("[", c.style.inner(c.builder, behind))
}

// itemAt are the schemas for the item at index i.
func (s *spec) itemAt(i int) []*schema {
	var all []*schema
	for _, m := range s.members {
		switch {
		case i < len(m.prefix):
			all = append(all, m.prefix[i])
		case m.items != nil:
			all = append(all, m.items)
		}
	}
	return all
}
