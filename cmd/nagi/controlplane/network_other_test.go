//go:build !linux

package controlplane_test

// insideVariable stays unset where there are no network namespaces.
const insideVariable = "NAGI_TEST_WITHOUT_NETWORK"

func startInside() error { return startAndAsk() }
