package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// imageName is the annotation by which containerd, and Docker, name what they import.
const imageName = "io.containerd.image.name"

// writeArchive writes an OCI image layout with the one index in it, packed as tar:
// what `ctr images import` takes.
func writeArchive(path, name string, index v1.ImageIndex) error {
	dir, err := os.MkdirTemp("", "nagi-layout-")
	if err != nil {
		return fmt.Errorf("make a directory for the layout: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	laid, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("lay the image out: %w", err)
	}
	if err := laid.AppendIndex(index, layout.WithAnnotations(map[string]string{imageName: name})); err != nil {
		return fmt.Errorf("lay the image out: %w", err)
	}

	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if err := errors.Join(packDirectory(file, dir), file.Close()); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}

	return nil
}

// packDirectory packs the files of a directory in the order of their names, without
// what differs from one writing to the next.
func packDirectory(to io.Writer, dir string) error {
	w := tar.NewWriter(to)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}

		return packFile(w, filepath.Join(dir, path), path)
	})

	return errors.Join(err, w.Close())
}

func packFile(w *tar.Writer, path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o644,
		ModTime: created, Format: tar.FormatUSTAR,
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, file)

	return err
}
