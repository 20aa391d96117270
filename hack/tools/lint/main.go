// Command lint is golangci-lint with kube-api-linter among its linters, which
// golangci-lint itself does not hold.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter" // Registers itself, for "type: module" in .golangci.yml.
)

const golangciLint = "github.com/golangci/golangci-lint/v2"

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		fmt.Fprintln(os.Stderr, "golangci-lint:", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo is what `golangci-lint version` prints, and part of its cache's keys.
func buildInfo() commands.BuildInfo {
	info := commands.BuildInfo{Version: "unknown", Commit: "unknown", Date: "unknown"}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	info.GoVersion = build.GoVersion
	for _, module := range build.Deps {
		switch module.Path {
		case golangciLint:
			info.Version = module.Version
		case "sigs.k8s.io/kube-api-linter":
			info.Commit = "with kube-api-linter " + module.Version
		}
	}

	return info
}
