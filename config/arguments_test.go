package config

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// judgeArguments finds options that the installed programs do not have: a pod with one
// ends at once, which no API server tells.
func judgeArguments(t *testing.T) {
	t.Helper()
	for _, w := range workloads(t) {
		help := helpOf(t, strings.TrimPrefix(w.name, "nagi-"))
		for _, argument := range w.pod.Spec.Containers[0].Args {
			option, _, _ := strings.Cut(argument, "=")
			if !strings.Contains(help, " "+option+" ") {
				t.Errorf("%s has no option %s", w.name, option)
			}
		}
	}
}

// helped are the help texts of the programs, each of which is built once.
var helped = map[string]string{}

func helpOf(t *testing.T, program string) string {
	t.Helper()
	if text, known := helped[program]; known {
		return text
	}
	path := filepath.Join(t.TempDir(), program)
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", path,
		"../cmd/"+program).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, output)
	}
	text, _ := exec.CommandContext(t.Context(), path, "--help").CombinedOutput() // Its exit code is its own.
	helped[program] = string(text)

	return helped[program]
}
