package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// platform is what this machine can run.
var platform = "linux/" + runtime.GOARCH

const root = "../.."

// copySource lays the sources of the programs somewhere else, where a path that
// gets into an executable is another one.
func copySource(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"api", "cmd", "config", "controllers", "internal", "mediaserver"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return dir
}

// archive makes one program's archive as `make images` does, and returns it.
func archive(t *testing.T, from, program string) []byte {
	t.Helper()
	index, err := buildIndex(t.Context(), source{root: from, work: t.TempDir()}, program, []string{platform})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := writeArchive(path, "registry.example/nagi-"+program+":v1", index); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	return content
}

// unpack lays the files of an archive below a directory.
func unpack(t *testing.T, packed io.Reader) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(packed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, header.FileInfo().Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// imageIn reads the one image of an archive back, as whoever imports it does.
func imageIn(t *testing.T, packed []byte) (name string, image v1.Image) {
	t.Helper()
	laid, err := layout.ImageIndexFromPath(unpack(t, bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(laid); err != nil {
		t.Fatalf("the layout is not valid: %v", err)
	}
	top, err := laid.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 {
		t.Fatalf("the layout names %d images, want 1", len(top.Manifests))
	}
	index, err := laid.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(platforms.Manifests) != 1 || platforms.Manifests[0].Platform.String() != platform {
		t.Fatalf("the index is for %+v, want %s alone", platforms.Manifests, platform)
	}
	image, err = index.Image(platforms.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}

	return top.Manifests[0].Annotations[imageName], image
}

// An image is the same bytes wherever and however often it is made, and holds one
// executable that root owns and that runs as somebody else.
func TestImages(t *testing.T) {
	elsewhere := copySource(t)
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			packed := archive(t, root, program)
			if !bytes.Equal(packed, archive(t, elsewhere, program)) {
				t.Error("made twice, in two folders, it is not the same bytes")
			}
			name, image := imageIn(t, packed)
			if want := "registry.example/nagi-" + program + ":v1"; name != want {
				t.Errorf("it is imported as %q, want %q", name, want)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.Config.User != user {
				t.Errorf("it runs as %q, want %q", config.Config.User, user)
			}
			content := tarOf(t, image)
			if len(content) != 1 || content[0].Name != program || content[0].Mode != 0o555 || content[0].Uid != 0 ||
				content[0].Size > maxImageBytes {
				t.Errorf("it holds %+v, want /%s alone, of root's, at most %d bytes", content, program, maxImageBytes)
			}
		})
	}
}

// Executables that there are already are packed in the same way, under the names that they are given.
func TestOtherExecutables(t *testing.T) {
	dir := t.TempDir()
	executable := filepath.Join(dir, "executable")
	if err := os.WriteFile(executable, []byte("\x7fELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--out=" + dir, "pause=" + executable}); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "pause.tar"))
	if err != nil {
		t.Fatal(err)
	}
	name, image := imageIn(t, packed)
	if content := tarOf(t, image); name != "localhost/pause:dev" || len(content) != 1 || content[0].Name != "pause" ||
		content[0].Size != 4 {
		t.Errorf("it is imported as %q and holds %+v", name, content)
	}
}

// tarOf is the headers of what an image holds.
func tarOf(t *testing.T, image v1.Image) []tar.Header {
	t.Helper()
	var headers []tar.Header
	for r := tar.NewReader(layerOf(t, image)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, *header)
	}
}

func layerOf(t *testing.T, image v1.Image) io.Reader {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("the image has %d layers, want 1", len(layers))
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = content.Close() })

	return content
}

func TestWhatIsTooLargeIsNoImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxImageBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := newImage("large", path, platform); err == nil {
		t.Error("an executable of more than 60 MiB became an image")
	}
}

func TestPlatformsAreChecked(t *testing.T) {
	if _, err := (source{root: root, work: t.TempDir()}).build(t.Context(), "shim", "linux"); err == nil {
		t.Error("linux alone passed as a platform")
	}
}
