package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// markVariable is an environment variable by which the processes that one nagi
// started, and those that they started, are found.
const markVariable = "NAGI_E2E_MARK"

// oneMachine is a running nagi.
type oneMachine struct {
	command   *exec.Cmd
	mark      string
	temporary string // Its TMPDIR, empty but for what it writes.
	output    *transcript
	ended     chan struct{}
}

// transcript is what a program has written so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()

	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()

	return tr.text.String()
}

// startNagi starts nagi on free ports, and kills what is left of it when the test
// ends.
func startNagi(t *testing.T, args ...string) *oneMachine {
	t.Helper()

	return startNagiIn(t, nil, nil, args...)
}

// startNagiIn starts nagi by way of a command line that ends with nagi's own, in
// the namespaces that the attributes say.
func startNagiIn(t *testing.T, attributes *syscall.SysProcAttr, before []string, args ...string) *oneMachine {
	t.Helper()
	for _, listener := range []string{
		"signaling", "media", "shim", "manager", "manager-metrics", "shim-metrics", "mediaserver-metrics",
	} {
		args = append([]string{"--" + listener + "-listen=127.0.0.1:0"}, args...)
	}
	n := &oneMachine{
		mark: t.Name() + time.Now().String(), temporary: t.TempDir(),
		output: &transcript{}, ended: make(chan struct{}),
	}
	line := slices.Concat(before, []string{filepath.Join(programs, "nagi")}, args)
	n.command = exec.CommandContext(context.WithoutCancel(t.Context()), line[0], line[1:]...)
	n.command.Env = append(os.Environ(), markVariable+"="+n.mark, "TMPDIR="+n.temporary)
	n.command.SysProcAttr = attributes
	n.command.Stdout, n.command.Stderr = n.output, n.output
	n.command.WaitDelay = time.Second
	if err := n.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		_ = n.command.Wait() // The state is asked for where it matters.
	}()
	t.Cleanup(func() {
		_ = n.command.Process.Kill()
		<-n.ended
		for pid := range n.processes(t) {
			t.Errorf("process %d was left behind", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("nagi wrote:\n%s", n.output)
		}
	})

	return n
}

// processes are those that carry the mark, with their command lines.
func (n *oneMachine) processes(t *testing.T) map[int]string {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, path := range environments {
		environment, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environment, []byte(markVariable+"="+n.mark+"\x00")) {
			continue // Gone meanwhile, somebody else's, or not ours.
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/environ", &pid); err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			found[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
		}
	}

	return found
}

func (n *oneMachine) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := n.command.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until nagi has ended and returns its exit code.
func (n *oneMachine) awaitEnd(t *testing.T) int {
	t.Helper()
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Fatal("nagi did not end")
	}

	return n.command.ProcessState.ExitCode()
}

// awaitNothingLeft waits until no process is left, and no file but those with the
// extension that may stay.
func (n *oneMachine) awaitNothingLeft(t *testing.T, mayStay ...string) {
	t.Helper()
	type rest struct {
		processes map[int]string
		files     []string
	}
	await(t, "nothing left behind", func() (rest, bool) {
		left := rest{n.processes(t), n.files(t, mayStay)}

		return left, len(left.processes) == 0 && len(left.files) == 0
	})
}

// files are the files and directories that lie in TMPDIR, but for those with the
// given extensions and for the directories that hold such a one.
func (n *oneMachine) files(t *testing.T, except []string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(n.temporary, func(path string, entry os.DirEntry, err error) error {
		if err == nil && path != n.temporary && !slices.Contains(except, filepath.Ext(path)) &&
			(len(except) == 0 || !entry.IsDir()) {
			files = append(files, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // Removed while it was looked at.
		}

		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	return files
}

// awaitOutput waits for output that matches, from an offset on, and returns the
// first group of the match (or all of it) and the offset behind it.
func (n *oneMachine) awaitOutput(t *testing.T, pattern string, from int) (string, int) {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	var behind int
	match := await(t, "output like "+pattern, func() (string, bool) {
		text := n.output.String()[from:]
		at := expression.FindStringSubmatchIndex(text)
		if at == nil {
			select {
			case <-n.ended:
				t.Fatal("nagi ended")
			default:
			}

			return "", false
		}
		behind = from + at[1]

		return text[at[len(at)-2]:at[len(at)-1]], true
	})

	return match, behind
}

// sh runs a line that nagi printed, as its reader would.
func sh(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, output, &complaints)
	}

	return string(output)
}

// Rows of the live display.
const (
	flowing = `bot-1 +bot-2 +([1-9][0-9]+) +[1-9][0-9]+ +[12][0-9] +[1-9][0-9]+\n`
	paused  = `bot-1 +bot-2 +0 +[1-9][0-9]+ +0 +[0-9]+   video paused\n`
)

// TestOneMachine copies the printed commands, sees the display follow them, and
// proves that Ctrl-C leaves nothing behind.
func TestOneMachine(t *testing.T) {
	t.Parallel()
	n := startNagi(t, "--channel=a channel's name")
	_, at := n.awaitOutput(t, flowing, 0)
	text := n.output.String()
	line := func(pattern string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)^` + pattern).FindString(text)
		if found == "" {
			t.Fatalf("no line like %s was printed:\n%s", pattern, text)
		}

		return found
	}

	sh(t, line(`curl .*PauseRtpStream' .*`))
	_, at = n.awaitOutput(t, paused, at)
	if list := sh(t, line(`curl .*ListPauseRtpStreams.*`)); !strings.Contains(list, `"role":"sendrecv"`) {
		t.Errorf("the printed command lists %s", list)
	}
	sh(t, line(`curl .*ResumeRtpStream.*`))
	_, at = n.awaitOutput(t, flowing, at)

	sh(t, line(`\S+kubectl .* apply -f - <<'EOF'\n(?:.*\n)*?EOF\n`))
	_, at = n.awaitOutput(t, paused, at)
	if list := sh(t, line(`\S+kubectl .* get rsp`)); !strings.Contains(list, "bot-1-ignores-bot-2") {
		t.Errorf("kubectl lists %s", list)
	}
	if explanation := sh(t, line(`\S+kubectl .* explain .*`)); !strings.Contains(explanation, "receivers") {
		t.Errorf("kubectl explains %s", explanation)
	}
	sh(t, line(`\S+kubectl .* delete rsp .*`))
	n.awaitOutput(t, flowing, at)

	n.signal(t, os.Interrupt)
	if code := n.awaitEnd(t); code != 0 {
		t.Errorf("after Ctrl-C the exit code is %d", code)
	}
	n.awaitNothingLeft(t)
}

// TestOneMachineTwoInterrupts proves that a forced end leaves nothing behind either.
func TestOneMachineTwoInterrupts(t *testing.T) {
	t.Parallel()
	n := startNagi(t, "--bots=1")
	n.awaitOutput(t, `What arrives`, 0)
	n.signal(t, os.Interrupt)
	n.signal(t, syscall.SIGTERM)
	n.awaitEnd(t)
	n.awaitNothingLeft(t)
}

// TestOneMachineKilled proves that even SIGKILL leaves nothing behind.
func TestOneMachineKilled(t *testing.T) {
	t.Parallel()
	n := startNagi(t)
	n.awaitOutput(t, `What arrives`, 0)
	if len(n.processes(t)) < 7 {
		t.Fatalf("too few processes carry the mark: %v", n.processes(t))
	}
	n.signal(t, os.Kill)
	n.awaitNothingLeft(t)
}

// TestOneMachineChildDies proves that the death of a part ends the whole with a
// reason.
func TestOneMachineChildDies(t *testing.T) {
	t.Parallel()
	n := startNagi(t)
	n.awaitOutput(t, `What arrives`, 0)
	for pid, line := range n.processes(t) {
		if strings.Contains(line, "/shim ") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code := n.awaitEnd(t); code != 1 {
		t.Errorf("the exit code is %d, want 1", code)
	}
	if output := n.output.String(); !strings.Contains(output, "shim ended: signal: killed; its last lines:\n") ||
		!strings.Contains(output, "what=http") {
		t.Error("the output does not tell that the shim was killed, with its last lines")
	}
	n.awaitNothingLeft(t, ".log")
}

// TestOneMachinePortTaken proves that a port that is taken is told at once, with
// its flag.
func TestOneMachinePortTaken(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n := startNagi(t, "--shim-listen=127.0.0.1:"+port)
	if code := n.awaitEnd(t); code != 1 {
		t.Errorf("the exit code is %d, want 1", code)
	}
	if output := n.output.String(); !strings.Contains(output, "tcp port "+port) ||
		!strings.Contains(output, "--shim-listen") {
		t.Error("the output does not name the port and the flag")
	}
	n.awaitNothingLeft(t)
}

// TestBotsOnOneMachine proves that others can join the channel that nagi opened, at either
// media server.
func TestBotsOnOneMachine(t *testing.T) {
	t.Parallel()
	n := startNagi(t, "--bots=1", "--channel=lobby")
	first, _ := n.awaitOutput(t, `Signalling +(ws://\S+)`, 0)
	second, _ := n.awaitOutput(t, `(ws://\S+) +\(the other media server`, 0)
	n.awaitOutput(t, `What arrives`, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, url := range []string{first, second} {
		b, err := bot.Join(ctx, bot.Config{URL: url, ChannelID: "lobby", Role: bot.SendOnly})
		if err != nil {
			t.Fatal(err)
		}
		n.awaitOutput(t, `bot-1 +`+b.ConnectionID()+` +[1-9][0-9]+ +[1-9][0-9]+ +[12][0-9] +[1-9][0-9]+\n`, 0)
		if err := b.Leave(ctx); err != nil {
			t.Error(err)
		}
	}
	n.signal(t, syscall.SIGTERM)
	if code := n.awaitEnd(t); code != 0 {
		t.Errorf("after SIGTERM the exit code is %d", code)
	}
}
