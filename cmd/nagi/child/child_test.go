package child

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string) *Child {
	t.Helper()
	c, err := Start(Spec{Name: "the program", Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)

	return c
}

func withDeadline(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)

	return ctx
}

func TestAddress(t *testing.T) {
	c := shell(t,
		`echo noise >&2; echo 'time=now level=INFO msg=listening what=grpc address=127.0.0.1:7300' >&2; exec sleep 60`)
	address, err := c.Address(withDeadline(t, 10*time.Second), "grpc")
	if err != nil || address != "127.0.0.1:7300" {
		t.Errorf("got %q, %v", address, err)
	}
	if err := c.Stop(withDeadline(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	if err := c.Stop(withDeadline(t, 10*time.Second)); err != nil {
		t.Errorf("stopping an ended program: %v", err)
	}
}

func TestDeathIsToldWithTheLastLines(t *testing.T) {
	c := shell(t, `for i in $(seq 100); do echo line $i; done; echo the reason >&2; printf unfinished; exit 3`)
	_, err := c.Address(withDeadline(t, 10*time.Second), "grpc")
	if err == nil || !strings.Contains(err.Error(), "the program ended: exit status 3") ||
		!strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "unfinished") ||
		strings.Contains(err.Error(), "line 50\n") {
		t.Errorf("got %v", err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	c := shell(t, `trap "" TERM; echo 'msg=listening what=trap address=x'; while :; do sleep 0.1; done`)
	if _, err := c.Address(withDeadline(t, 10*time.Second), "trap"); err != nil {
		t.Fatal(err)
	}
	err := c.Stop(withDeadline(t, 50*time.Millisecond))
	if err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v", err)
	}
	<-c.Done()
}

func TestStartTellsTheMend(t *testing.T) {
	_, err := Start(Spec{Name: "manager", Path: "/nonexistent/manager"})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string]map[string]string{
		"":                               {},
		"no pairs at all":                {},
		"a=1 b=two":                      {"a": "1", "b": "two"},
		`a="one two" b="a \"quote\"" c=`: {"a": "one two", "b": `a "quote"`, "c": ""},
	} {
		if diff := cmp.Diff(want, parseLine(line)); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

// A program that hangs at its start says why, if it says anything.
func TestSilenceIsToldWithTheLastLines(t *testing.T) {
	c := shell(t, `echo waiting for a route >&2; echo 'msg=listening what=metrics address=x' >&2; exec sleep 60`)
	if _, err := c.Address(withDeadline(t, 10*time.Second), "metrics"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	_, err := c.Address(ctx, "grpc")
	if err == nil || !strings.Contains(err.Error(), "waiting for a route") {
		t.Errorf("got %v", err)
	}
}
