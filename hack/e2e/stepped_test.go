package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockVariable names the file in which a program that buildStepped made finds by how
// many seconds its clock is off, at any time.
const clockVariable = "NAGI_E2E_CLOCK"

// buildStepped builds programs whose time.Now is off by what a file says, into a
// directory, by another source of the package time: no way to set one process's clock
// works without root, and none in a process that runs. Clocks that only count, as for
// time-outs, stay as they are, as when somebody sets a machine's clock.
func buildStepped(t *testing.T, dir string, packages ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(output)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const now = "\tsec, nsec, mono := runtimeNow()\n"
	changed := strings.Replace(string(text), now, now+"\tsec += *stepped\n", 1)
	changed = strings.Replace(changed, "\t_ \"unsafe\" //", "\t\"syscall\"\n\t\"unsafe\" //", 1)
	if strings.Count(changed, "*stepped") != 1 || !strings.Contains(changed, "\"syscall\"") {
		t.Fatalf("%s is other than this test knows it", original)
	}
	changed += `
var stepped = mapStep()

func mapStep() *int64 {
	path, set := syscall.Getenv("` + clockVariable + `")
	if !set {
		return new(int64)
	}
	file, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err)
	}
	mapped, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}

	return (*int64)(unsafe.Pointer(&mapped[0]))
}
`
	source, overlay := filepath.Join(t.TempDir(), "time.go"), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: source}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{source: []byte(changed), overlay: replace} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"build", "-overlay=" + overlay, "-o", dir + string(filepath.Separator)}, packages...)
	build := exec.CommandContext(context.WithoutCancel(t.Context()), "go", args...)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build programs with clocks that can be stepped: %v\n%s", err, output)
	}
}

// stepClock has the clock of a program that buildStepped made be off by that much,
// in whole seconds, from now on; or from its start on.
func (p *program) stepClock(t *testing.T, by time.Duration) {
	t.Helper()
	if err := p.setClock(by); err != nil {
		t.Fatal(err)
	}
}

func (p *program) clockFile() string { return filepath.Join(p.dir, p.name+".clock") }

func (p *program) setClock(by time.Duration) error {
	file, err := os.OpenFile(p.clockFile(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	defer func() { _ = file.Close() }()
	content := binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	if _, err := file.WriteAt(content, 0); err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}

	return nil
}
