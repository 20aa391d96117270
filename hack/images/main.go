// Command images makes the container images of Nagi's programs, from nothing but
// the program: no daemon, no root and no registry takes part. The same sources and
// the same Go make the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

// programs are those that a cluster runs, by their folder in cmd.
var programs = []string{"manager", "shim", "mediaserver"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("images", flag.ExitOnError)
	root := flags.String("root", "../..", "the source tree")
	out := flags.String("out", "../../dist/images", "directory that the archives are written to")
	registry := flags.String("registry", "localhost", "what names the images begin with, such as registry.example/nagi")
	tag := flags.String("tag", "dev", "tag of the images")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "what the images run on")
	_ = flags.Parse(arguments) // It ends the process on an error.

	work, err := os.MkdirTemp("", "nagi-images-")
	if err != nil {
		return fmt.Errorf("make a directory to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("make the directory of the archives: %w", err)
	}
	for _, program := range programs {
		name := fmt.Sprintf("%s/nagi-%s:%s", *registry, program, *tag)
		index, err := buildIndex(ctx, source{root: *root, work: work}, program, strings.Split(*platforms, ","))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		path := filepath.Join(*out, "nagi-"+program+".tar")
		if err := writeArchive(path, name, index); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%s %s %s\n", path, name, digest)
	}

	return nil
}
