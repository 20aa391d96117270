package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user and group are nobody's on a node, and not root's.
	user = "65532:65532"
	// maxImageBytes is what an image may take unpacked.
	maxImageBytes = 60 << 20
)

// created is the time of everything in an image: a real one would make other bytes
// each time.
var created = time.Unix(0, 0).UTC()

// buildIndex makes the image of a program for each platform, and the index by which
// a node finds its own.
func buildIndex(ctx context.Context, from source, program string, platforms []string) (v1.ImageIndex, error) {
	executables := map[string]string{}
	for _, platform := range platforms {
		executable, err := from.build(ctx, program, platform)
		if err != nil {
			return nil, err
		}
		executables[platform] = executable
	}

	return indexOf(program, executables)
}

// indexOf makes the images of the executables, which are named by their platforms.
func indexOf(program string, executables map[string]string) (v1.ImageIndex, error) {
	index := v1.ImageIndex(empty.Index)
	for _, platform := range slices.Sorted(maps.Keys(executables)) {
		executable := executables[platform]
		image, err := newImage(program, executable, platform)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", platform, err)
		}
		system, architecture, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: architecture}},
		})
	}

	return index, nil
}

// newImage makes an image that holds an executable, as /program, and nothing else:
// no shell, no libraries, no package manager, and no certificates, since the
// programs are given those that they are to trust.
func newImage(program, executable, platform string) (v1.Image, error) {
	content, err := os.ReadFile(executable)
	if err != nil {
		return nil, fmt.Errorf("read the executable: %w", err)
	}
	if len(content) > maxImageBytes {
		return nil,
			fmt.Errorf("%s has %d bytes, more than the %d that an image may have", program, len(content), maxImageBytes)
	}
	packed, err := pack(program, content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make the layer: %w", err)
	}

	system, architecture, _ := strings.Cut(platform, "/")
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	configured, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS: system, Architecture: architecture, Created: v1.Time{Time: created},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + program}, User: user, WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":    "nagi-" + program,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	image, err := mutate.Append(configured, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "make images"},
	})
	if err != nil {
		return nil, fmt.Errorf("add the layer: %w", err)
	}

	return image, nil
}

// pack is the tar archive of one executable, which root owns and nobody may change.
func pack(name string, content []byte) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o555,
		ModTime: created, Format: tar.FormatUSTAR,
	}
	if err := w.WriteHeader(header); err != nil {
		return nil, fmt.Errorf("pack the executable: %w", err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, fmt.Errorf("pack the executable: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack the executable: %w", err)
	}

	return packed.Bytes(), nil
}
