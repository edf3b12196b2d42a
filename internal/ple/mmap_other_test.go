//go:build !linux && !darwin

package ple

func faultPast(Source) error { return nil }
