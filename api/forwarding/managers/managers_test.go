package managers

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for entry, right := range map[string]bool{
		"127.0.0.1:7300": true, "[::1]:7300": true, "managers.nagi.svc:7300": true,
		"": false, "127.0.0.1": false, ":7300": false, "host:0": false, "host:grpc": false, "host:70000": false,
	} {
		if err := Parse([]string{entry}); (err == nil) != right {
			t.Errorf("Parse(%q): %v", entry, err)
		}
	}
	if Parse(nil) == nil {
		t.Error("Parse of nothing: no error")
	}
}

// resolver answers as the test says.
type resolver struct {
	mu      sync.Mutex
	answers map[string][]string
	err     error
	// hangs are names whose lookups end with their context.
	hangs map[string]bool
	asked int
}

func (r *resolver) lookup(ctx context.Context, host string) ([]string, error) {
	r.mu.Lock()
	answers, err, hangs := r.answers[host], r.err, r.hangs[host]
	r.asked++
	r.mu.Unlock()
	if hangs {
		<-ctx.Done()

		return nil, ctx.Err()
	}

	return answers, err
}

func (r *resolver) set(host string, err error, answers ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[host], r.err = answers, err
}

// inRun runs a Set in a bubble and hands its resolver and what it said to test.
func inRun(
	t *testing.T, entries []string, resolver *resolver,
	test func(t *testing.T, expect func(when string, want ...string)),
) {
	synctest.Test(t, func(t *testing.T) {
		set, err := New(entries, resolver.lookup, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			set.Run(ctx, func(addresses []string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, strings.Join(addresses, " "))
			})
		}()
		test(t, func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %q, want %q", when, told, want)
			}
			if len(want) > 0 && strings.Join(set.Addresses(), " ") != want[len(want)-1] {
				t.Errorf("%s: Addresses are %q, want %q", when, set.Addresses(), want[len(want)-1])
			}
			told = nil
			if len(want) > 0 {
				told = append(told, want...)
			}
		})
		cancel()
		<-ended
	})
}

func TestNamesAreLookedUpAgainAndKeepWhatTheyHad(t *testing.T) {
	r := &resolver{answers: map[string][]string{"managers": {"192.0.2.1"}}}
	inRun(t, []string{"managers:7300"}, r, func(_ *testing.T, expect func(string, ...string)) {
		first := "192.0.2.1:7300"
		expect("at first", first)
		r.set("managers", nil, "192.0.2.2", "192.0.2.1")
		time.Sleep(LookupInterval)
		both := "192.0.2.1:7300 192.0.2.2:7300"
		expect("a second address", first, both)
		r.set("managers", errors.New("the resolver is down"))
		time.Sleep(3 * LookupInterval)
		expect("the resolver fails", first, both)
		r.set("managers", nil)
		time.Sleep(LookupInterval)
		expect("no addresses", first, both)
		r.set("managers", nil, "192.0.2.2")
		time.Sleep(LookupInterval)
		expect("one is gone", first, both, "192.0.2.2:7300")
	})
}

func TestASilentResolverDelaysNobodyElse(t *testing.T) {
	r := &resolver{
		answers: map[string][]string{"lively": {"192.0.2.1", "192.0.2.9"}}, hangs: map[string]bool{"dead": true},
	}
	inRun(t, []string{"dead:7300", "192.0.2.9:7300", "lively:7300"}, r,
		func(_ *testing.T, expect func(string, ...string)) {
			expect("at once", "192.0.2.9:7300", "192.0.2.1:7300 192.0.2.9:7300")
			time.Sleep(10 * LookupInterval)
			expect("later", "192.0.2.9:7300", "192.0.2.1:7300 192.0.2.9:7300")
		})
	if r.asked < 20 {
		t.Errorf("%d lookups within %s, want about 22", r.asked, 10*LookupInterval)
	}
}
