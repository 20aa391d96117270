//go:build !race

package e2e

// raceEnabled: the tests, and so the programs, run with the race detector.
const raceEnabled = false
