// Command images makes the container images of Nagi's programs, from nothing but
// the program: no daemon, no root and no registry takes part. The same sources and
// the same Go make the same bytes. With arguments, NAME=FILE, it makes images of those
// executables instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	if flags.NArg() > 0 {
		return wrap(flags.Args(), *out, *registry, *tag)
	}
	for _, program := range programs {
		name := fmt.Sprintf("%s/nagi-%s:%s", *registry, program, *tag)
		index, err := buildIndex(ctx, source{root: *root, work: work}, program, strings.Split(*platforms, ","))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := archiveIndex(filepath.Join(*out, "nagi-"+program+".tar"), name, index); err != nil {
			return err
		}
	}

	return nil
}

// wrap makes images of executables that there are already, for this machine: NAME=FILE.
func wrap(executables []string, out, registry, tag string) error {
	for _, executable := range executables {
		name, file, _ := strings.Cut(executable, "=")
		image := fmt.Sprintf("%s/%s:%s", registry, name, tag)
		index, err := indexOf(name, map[string]string{"linux/" + runtime.GOARCH: file})
		if err != nil {
			return fmt.Errorf("%s: %w", image, err)
		}
		if err := archiveIndex(filepath.Join(out, name+".tar"), image, index); err != nil {
			return err
		}
	}

	return nil
}

// archiveIndex writes the archive of an image, and says what it is.
func archiveIndex(path, name string, index v1.ImageIndex) error {
	if err := writeArchive(path, name, index); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%s %s %s\n", path, name, digest)

	return nil
}
