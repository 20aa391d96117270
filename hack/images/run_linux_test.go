package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// id is the user and the group of the images, as numbers.
const id = 65532

// kubeconfig names an API server that is not there.
const kubeconfig = `apiVersion: v1
kind: Config
current-context: absent
contexts: [{name: absent, context: {cluster: absent, user: absent}}]
clusters: [{name: absent, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: absent, user: {token: none}}]
`

// announced is the line with which a program says where its probes are.
var announced = regexp.MustCompile(`msg=listening what=metrics address=(\S+)`)

// What is in the image is all that a program needs: it runs as the image's user in
// a root directory that holds nothing else and that it cannot write to, says that
// it lives, and ends when it is told to.
func TestImagesRunAlone(t *testing.T) {
	listen := []string{"--metrics-listen=127.0.0.1:0", "--listen=127.0.0.1:0"}
	for program, arguments := range map[string][]string{
		"manager":     {"--kubeconfig=/kubeconfig"},
		"shim":        {"--kubeconfig=/kubeconfig", "--managers=127.0.0.1:1"},
		"mediaserver": {"--media-listen=127.0.0.1:0", "--managers=127.0.0.1:1"},
	} {
		t.Run(program, func(t *testing.T) {
			_, image := imageIn(t, archive(t, root, program))
			dir := unpack(t, layerOf(t, image))
			if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(kubeconfig), 0o444); err != nil {
				t.Fatal(err)
			}
			closeForWriting(t, dir)
			attributes := confined(dir)
			if !permitted(t, attributes) {
				return
			}
			command := exec.CommandContext(t.Context(), "/"+program, append(arguments, listen...)...)
			command.SysProcAttr, command.Dir, command.Env = attributes, "/", []string{}
			runUntilAlive(t, command)
		})
	}
}

// confined lets a process see dir as its root directory, as the user of the images.
func confined(dir string) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: id, Gid: id, NoSetGroups: true}}
	if os.Getuid() != 0 {
		// In a user namespace of its own anybody may do that.
		attributes.Cloneflags = syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: id, HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: id, HostID: os.Getgid(), Size: 1}}
	}

	return attributes
}

// permitted tells whether this system lets its users have a root directory of
// their own.
func permitted(t *testing.T, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	probe := exec.CommandContext(t.Context(), "/absent")
	probe.SysProcAttr, probe.Dir, probe.Env = attributes, "/", []string{}
	err := probe.Run()
	if errors.Is(err, os.ErrPermission) {
		t.Logf("not tried: this system gives its users no root directory of their own: %v", err)

		return false
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a program that is not there ended with %v", err)
	}

	return true
}

// closeForWriting takes from everybody the right to write into dir, until the end.
func closeForWriting(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
}

// runUntilAlive starts a program, asks it whether it lives, and has it end.
func runUntilAlive(t *testing.T, command *exec.Cmd) {
	t.Helper()
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(stderr, &said))
	alive := false
	for lines.Scan() {
		if match := announced.FindStringSubmatch(lines.Text()); match != nil {
			alive = healthy(t, match[1])
			if err := command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
	if err := command.Wait(); err != nil || !alive {
		t.Errorf("it ended with %v, alive before: %t; it said:\n%s", err, alive, said.String())
	}
}

func healthy(t *testing.T, address string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet,
		"http://"+address+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Errorf("ask whether it lives: %v", err)

		return false
	}
	defer response.Body.Close()

	return response.StatusCode == http.StatusOK
}
