package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is where the programs come from, and where what is built of them may lie.
type source struct {
	root, work string
}

// build makes the static executable of a program for a platform, os/arch, and
// returns its path. Nothing of the machine, of the folder or of its environment
// gets into the executable.
func (s source) build(ctx context.Context, program, platform string) (string, error) {
	system, architecture, found := strings.Cut(platform, "/")
	if !found {
		return "", fmt.Errorf("platform %q: write os/arch, such as linux/amd64", platform)
	}
	path, err := filepath.Abs(filepath.Join(s.work, system+"-"+architecture, program))
	if err != nil {
		return "", fmt.Errorf("name the executable: %w", err)
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path,
		"./cmd/"+program)
	command.Dir = s.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+architecture,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build for %s: %w\n%s", platform, err, output)
	}

	return path, nil
}
