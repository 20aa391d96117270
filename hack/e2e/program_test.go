package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nagi-rtc/nagi/cmd/nagi/child"
)

// program is one process of a system. A test may kill it and start it again.
type program struct {
	*child.Child

	path string
	name string
	args []string
	dir  string // Of its log.

	relays   []*relay
	log      *os.File
	ended    bool // By a test.
	isFrozen bool
}

func (s *system) newProgram(executable, name string) *program {
	p := &program{path: filepath.Join(cmp.Or(s.layout.stepped, programs), executable), name: name, dir: s.dir}
	s.programs = append(s.programs, p)

	return p
}

// newWayToAPI makes a relay to the API server, and a kubeconfig that leads through
// it. A user that is not empty is whom the API server takes the program for.
func (s *system) newWayToAPI(p *program, user string) (*relay, string, error) {
	r, err := newRelay()
	if err != nil {
		return nil, "", err
	}
	p.relays = append(p.relays, r)
	config, err := clientcmd.LoadFromFile(s.plane.Kubeconfig)
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		_, address, _ := strings.Cut(strings.TrimSuffix(cluster.Server, "/"), "://")
		r.to(address)
		cluster.Server = "https://" + r.address()
	}
	for _, info := range config.AuthInfos {
		info.Impersonate = user
	}
	path := filepath.Join(s.dir, p.name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return nil, "", fmt.Errorf("write a kubeconfig: %w", err)
	}

	return r, path, nil
}

// start starts the program on free ports. Its log goes on where it ended.
func (p *program) start() error {
	var err error
	if p.log == nil {
		if p.log, err = os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return fmt.Errorf("make the log of %s: %w", p.name, err)
		}
	}
	p.ended = false
	env := append(os.Environ(), clockVariable+"="+p.clockFile())
	if _, err := os.Stat(p.clockFile()); err != nil {
		if err := p.setClock(0); err != nil {
			return err
		}
	}
	p.Child, err = child.Start(child.Spec{
		Name: p.name, Path: p.path, Output: p.log, Env: env,
		Args: append([]string{"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"}, p.args...),
	})

	return err
}

func (p *program) logPath() string { return filepath.Join(p.dir, p.name+".log") }

// kill ends the program at once.
func (p *program) kill() {
	p.ended = true
	p.Kill()
}

// freeze stops the program where it is; the test's end lets it go on.
func (p *program) freeze(t *testing.T) {
	t.Helper()
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	p.isFrozen = true
}

func (p *program) thaw(t *testing.T) {
	t.Helper()
	if err := p.Thaw(); err != nil {
		t.Fatal(err)
	}
	p.isFrozen = false
}

func (p *program) stop() error {
	if p.Child == nil {
		return nil
	}
	var problems []error
	if p.isFrozen {
		problems = append(problems, p.Thaw())
	}
	if err := p.EndError(); err != nil && !p.ended {
		problems = append(problems, err)
	}
	for _, r := range p.relays {
		r.pass()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	problems = append(problems, p.Stop(ctx), p.log.Close(), raceIn(p.logPath()))

	return errors.Join(problems...)
}

// ask gets a page of the program's metrics listener.
func (p *program) ask(t *testing.T, page string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	address, err := p.Address(ctx, "metrics")
	if err != nil {
		t.Fatal(err)
	}
	status, text, err := get(ctx, http.DefaultClient, "http://"+address+page)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}

	return status, text
}

// awaitReady waits until the program says that it is ready.
func (p *program) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// awaitUnready waits until the program says that it is not ready, in words that
// contain each of those given, and returns its words.
func (p *program) awaitUnready(t *testing.T, words ...string) string {
	t.Helper()

	return await(t, fmt.Sprintf("%s to say that it is not ready: %q", p.name, words), func() (string, bool) {
		status, text := p.ask(t, "/readyz")
		for _, word := range words {
			if !strings.Contains(text, word) {
				return fmt.Sprint(status, " ", text), false
			}
		}

		return text, status == http.StatusServiceUnavailable
	})
}

// metric adds up the samples of a metric that have all of the labels given, each
// in the form name="value".
func (p *program) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	_, text := p.ask(t, "/metrics")
	sum := 0.0
lines:
	for line := range strings.Lines(text) {
		series, value, _ := cutLast(strings.TrimSpace(line), " ")
		if metric, _, _ := strings.Cut(series, "{"); metric != name {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue lines
			}
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum += number
	}

	return sum
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}

	return text[:at], text[at+len(separator):], true
}

// wrote returns what the program has written so far.
func (p *program) wrote(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(p.logPath())
	if err != nil {
		t.Fatal(err)
	}

	return string(log)
}

// inOffice waits until exactly one of the managers that answer writes status, and
// returns it and the others.
func (s *system) inOffice(t *testing.T, candidates ...*manager) (leader *manager, others []*manager) {
	t.Helper()
	if len(candidates) == 0 {
		candidates = s.managers
	}
	await(t, "one manager in office", func() (int, bool) {
		leader, others = nil, nil
		leaders := 0
		for _, m := range candidates {
			if m.metric(t, "nagi_manager_in_office") == 1 {
				leader, leaders = m, leaders+1
			} else {
				others = append(others, m)
			}
		}

		return leaders, leaders == 1
	})

	return leader, others
}
