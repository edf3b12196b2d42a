package sysinfo

import (
	"runtime"
	"testing"
)

func TestFreeMemory(t *testing.T) {
	n := FreeMemory()
	tells := runtime.GOOS == "darwin" || runtime.GOOS == "windows"
	if tells != (n > 0) || n > 1<<50 || tells && n < 1<<20 {
		t.Errorf("%d bytes on %s", n, runtime.GOOS)
	}
}
