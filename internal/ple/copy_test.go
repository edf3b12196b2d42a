package ple

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestCheckCopy(t *testing.T) {
	table := make([]byte, 50_000)
	for i := range table {
		table[i] = byte(i * i >> 3)
	}
	n := int64(len(table))
	same := bytes.NewReader(table)
	if err := CheckCopy(same, bytes.NewReader(slices.Clone(table)), n); err != nil {
		t.Error(err)
	}
	if err := CheckCopy(same, bytes.NewReader(table[:40_000]), n); err == nil || errors.Is(err, ErrOther) {
		t.Errorf("a shorter one: %v", err)
	}
	other := slices.Clone(table)
	other[len(other)-1]++
	if err := CheckCopy(same, bytes.NewReader(other), n); !errors.Is(err, ErrOther) {
		t.Errorf("another one: %v", err)
	}
	if err := CheckCopy(bytes.NewReader(table[:7]), bytes.NewReader(table[:7]), 7); err != nil {
		t.Errorf("a tiny one: %v", err)
	}
}
