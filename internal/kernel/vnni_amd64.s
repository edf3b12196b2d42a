//go:build amd64 && !purego

#include "textflag.h"
#include "vnni_amd64.h"

// func vnniIsEVEX() bool
TEXT ·vnniIsEVEX(SB), NOSPLIT, $0-1
	MOVB $VNNI_IS_EVEX, ret+0(FP)
	RET
