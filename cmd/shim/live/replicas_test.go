package live

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// TestFind: everybody's knowledge counts; one that hangs costs patience only, and
// alone it is no answer.
func TestFind(t *testing.T) {
	a := func() *manager { return &manager{connections: []string{"a"}, occupied: true} }
	b := func() *manager { return &manager{connections: []string{"b"}, occupied: true} }
	for name, test := range map[string]struct {
		managers   []*manager
		wanted     []string
		want       []string
		outOfTouch bool
		err        error
	}{
		"everybody":       {[]*manager{a(), b()}, nil, []string{"a", "b"}, false, nil},
		"by id":           {[]*manager{a(), b()}, []string{"a", "b"}, []string{"a", "b"}, false, nil},
		"one is silent":   {[]*manager{{silent: true}, a(), b()}, []string{"a", "b"}, []string{"a", "b"}, false, nil},
		"unknown, silent": {[]*manager{{silent: true}, a()}, []string{"c"}, nil, false, nil},
		"one is dead":     {[]*manager{{dead: true}, a()}, nil, []string{"a"}, false, nil},
		"out of touch":    {[]*manager{{outOfTouch: true}, a()}, []string{"c"}, nil, true, nil},
		"all are silent":  {[]*manager{{silent: true}}, []string{"a"}, nil, false, ErrNoReplica},
		"all are dead":    {[]*manager{{dead: true}, {dead: true}}, []string{"a"}, nil, false, ErrNoReplica},
		"one is just back": {
			[]*manager{{dead: true}, {connections: []string{"a"}, occupied: true, refuses: 5}},
			[]string{"a"}, []string{"a"}, false, nil,
		},
		"not served": {[]*manager{{connectionsError: status.Error(codes.InvalidArgument, "namespace")}}, []string{"a"}, nil,
			false, ErrNotServed},
		"starting": {[]*manager{{connectionsError: unavailable}}, []string{"a"}, nil, false, ErrNoReplica},
		"has just begun": {
			[]*manager{{explainError: unavailable}, {silent: true}}, []string{"a"}, nil, false, ErrNotCurrent,
		},
		"all just begun": {[]*manager{{explainError: unavailable}}, nil, nil, false, ErrNotCurrent},
		"one just begun": {[]*manager{{explainError: unavailable}, a()}, []string{"c"}, nil, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			channel, err := serve(t, test.managers...).Find(t.Context(), "sora", test.wanted, nil)
			if test.wanted == nil {
				channel, err = serve(t, test.managers...).Channel(t.Context(), "sora")
			}
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("%v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			var got []string
			for _, connection := range channel.Connections() {
				got = append(got, connection.GetConnectionId())
			}
			if !slices.Equal(got, test.want) || channel.OutOfTouch() != test.outOfTouch || channel.Empty() {
				t.Errorf("%v, out of touch %v, want %v", got, channel.OutOfTouch(), test.want)
			}
		})
	}
}

// TestInTouchWins: of two descriptions of one connection, that of a media server in
// touch counts.
func TestInTouchWins(t *testing.T) {
	lost := &manager{connections: []string{"a"}, occupied: true, outOfTouch: true}
	r := serve(t, lost, &manager{connections: []string{"a"}, occupied: true})
	for range 20 {
		channel, err := r.Find(t.Context(), "sora", []string{"a"}, nil)
		if err != nil || channel.Connection("a").GetOutOfTouch() {
			t.Fatalf("%v %v", channel, err)
		}
	}
}

// TestBelief: that nothing is paused is believed only of a replica that knows the
// channel, or when nobody knows it.
func TestBelief(t *testing.T) {
	for name, test := range map[string]struct {
		managers []*manager
		want     int // edges; -1: an error
		err      error
	}{
		"nobody":                    {[]*manager{{}, {}}, 0, nil},
		"known and empty":           {[]*manager{{occupied: true}, {silent: true}}, 0, nil},
		"positive":                  {[]*manager{{}, {occupied: true, edges: []string{"a", "b"}}}, 2, nil},
		"positive though one fails": {[]*manager{{listError: unavailable}, {occupied: true, edges: []string{"a"}}}, 1, nil},
		"empty though one fails":    {[]*manager{{occupied: true, listError: unavailable}, {occupied: true}}, 0, nil},
		"empty though one is dead":  {[]*manager{{dead: true}, {}}, 0, nil},
		"empty though one hangs":    {[]*manager{{silent: true}, {}}, 0, nil},
		"recovers": {
			[]*manager{{occupied: true, edges: []string{"a"}, listError: unavailable, recovers: 3}}, 1, nil,
		},
		"fresh, the other behind":   {[]*manager{{}, {occupied: true, listError: unavailable}}, -1, ErrNotCurrent},
		"fresh, the other lost one": {[]*manager{{}, {outOfTouch: true, listError: unavailable}}, -1, ErrNotCurrent},
		"all behind":                {[]*manager{{listError: unavailable}, {listError: unavailable}}, -1, ErrNotCurrent},
		"all dead":                  {[]*manager{{dead: true}}, -1, ErrNoReplica},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			paused, err := serve(t, test.managers...).List(ctx, "sora", 1, 100)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) ||
				err == nil && len(paused.Receivers) != test.want {
				t.Errorf("%v, %v; want %d, %v", paused, err, test.want, test.err)
			}
		})
	}
}

// TestNamesOfMany: each part of the answer has the same names.
func TestNamesOfMany(t *testing.T) {
	want := []string{"most", "few"}
	paused, err := serve(t, &manager{occupied: true, edges: []string{"a", "b", "c"}, pauseNames: want}).List(t.Context(),
		"sora", 1, 2)
	if err != nil || paused.Count != 3 || !slices.Equal(paused.PauseNames, want) {
		t.Errorf("%v, %v", paused, err)
	}
}

// TestServing: a replica that cannot tell yet who is there serves all the same.
func TestServing(t *testing.T) {
	if err := serve(t, &manager{explainError: unavailable}).Serving(t.Context()); err != nil {
		t.Error(err)
	}
	if err := serve(t, &manager{connectionsError: unavailable}).Serving(t.Context()); !errors.Is(err, ErrNoReplica) {
		t.Error(err)
	}
	// Of those that are behind the API server, one that is not is enough.
	if err := serve(t, &manager{stale: true}, &manager{}).Serving(t.Context()); err != nil {
		t.Error(err)
	}
	for _, other := range []*manager{{stale: true}, {dead: true}, {silent: true}, {connectionsError: unavailable}} {
		if err := serve(t, &manager{stale: true}, other).Serving(t.Context()); !errors.Is(err, ErrNotCurrent) ||
			!strings.Contains(err.Error(), "do not hear from the API server") {
			t.Errorf("beside %+v: %v", other, err)
		}
	}
}

// TestWaitEnforced: of an edge, a replica says so; of clients, also that nobody is
// in the channel, where no other replica knows better.
func TestWaitEnforced(t *testing.T) {
	hosts := func() *manager { return &manager{occupied: true, mediaServers: []string{"mediaserver-0"}} }
	clients, edge := Pause{UID: "u", ChannelID: "sora"}, Pause{UID: "u", ChannelID: "sora", Recv: "a", Send: "b"}
	gone, refused := status.Error(codes.NotFound, "gone"), status.Error(codes.FailedPrecondition, "too many")
	for name, test := range map[string]struct {
		managers []*manager
		pause    Pause
		want     string
		// late: the answer is the end of the wait.
		late bool
	}{
		"enforced":           {[]*manager{hosts()}, edge, "", false},
		"one hangs":          {[]*manager{{silent: true}, hosts()}, edge, "", false},
		"one is dead":        {[]*manager{{dead: true}, hosts()}, edge, "", false},
		"nobody is there":    {[]*manager{{}, {}}, edge, "deadline exceeded", true},
		"deleted":            {[]*manager{{silent: true}, {waitError: gone}}, edge, "deleted while", false},
		"refused":            {[]*manager{{silent: true}, {waitError: refused}}, edge, "cannot come to act: too many", false},
		"all fail":           {[]*manager{{waitError: unavailable}, {dead: true}}, edge, "behind", true},
		"clients, enforced":  {[]*manager{hosts()}, clients, "", false},
		"clients, nobody":    {[]*manager{{}, {}}, clients, "", false},
		"clients, one hangs": {[]*manager{{silent: true}, {}}, clients, "", false},
		"clients, behind":    {[]*manager{{explainError: unavailable}, {dead: true}}, clients, "behind", true},
		"clients, another knows": {
			[]*manager{{}, {occupied: true, explainError: unavailable}}, clients, "has not confirmed", true,
		},
		"clients, not acknowledged": {[]*manager{{occupied: true}}, clients, "has not confirmed", true},
		"clients, a server is lost": {
			[]*manager{{}, {outOfTouch: true, explainError: unavailable}}, clients, "has not confirmed", true,
		},
		"clients, deleted":            {[]*manager{{explainError: gone}}, clients, "deleted while", false},
		"clients, refused, nobody in": {[]*manager{{waitError: refused}}, clients, "cannot come to act: too many", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := 20 * time.Second
			if test.late {
				patience = 2 * time.Second
			}
			r := serve(t, test.managers...)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := r.WaitEnforced(ctx, test.pause)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestLaggingReplica: a pause of clients is confirmed once every replica that answers
// has it: whoever comes may hear of the last one first.
func TestLaggingReplica(t *testing.T) {
	has := time.Now().Add(600 * time.Millisecond)
	r := serve(t, &manager{}, &manager{has: has}, &manager{dead: true})
	if err := r.WaitEnforced(t.Context(), Pause{UID: "u", ChannelID: "sora"}); err != nil || time.Now().Before(has) {
		t.Errorf("%v, %v too early", err, time.Until(has))
	}
}

func TestDisconnect(t *testing.T) {
	for name, test := range map[string]struct {
		managers []*manager
		err      error
	}{
		"done by one":       {[]*manager{{}, {occupied: true, dismissed: 1}}, nil},
		"nobody":            {[]*manager{{}, {}}, nil},
		"the other is lost": {[]*manager{{}, {occupied: true, listError: unavailable}}, ErrNotCurrent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := serve(t, test.managers...).DisconnectChannel(ctx, "sora"); !errors.Is(err, test.err) {
				t.Errorf("%v, want %v", err, test.err)
			}
		})
	}
}

func TestManagersFlag(t *testing.T) {
	for _, entries := range [][]string{nil, {"manager"}, {":7300"}, {"127.0.0.1:7300", ""}} {
		if _, err := NewReplicas(entries, "default", managers.Credentials{}, quiet); err == nil ||
			!strings.Contains(err.Error(), "--managers") {
			t.Errorf("%q: %v", entries, err)
		}
	}
}
