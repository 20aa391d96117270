package peers

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func newPeers(t *testing.T, name string, keys ...string) *Peers {
	t.Helper()
	p := New(Config{
		Name: name, Log: slog.New(slog.DiscardHandler),
		Placements: func() []forwardingv1.PlacementClient { return nil },
	})
	for _, key := range keys {
		p.Members("manager of "+key, &forwardingv1.Members{Whole: true, Key: []byte(key), Set: []*forwardingv1.Member{
			{Name: "a", PeerAddress: "192.0.2.1:5000"}, {Name: "b", PeerAddress: "192.0.2.2:5000"},
		}})
	}

	return p
}

func showing(values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, SignalingPath, nil)
	for _, value := range values {
		r.Header.Add(Header, value)
	}

	return r
}

// TestPass proves which passes are believed: those signed with a key that both have, for
// this media server and purpose, of this time, and once.
func TestPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := newPeers(t, "a", "one", "two"), newPeers(t, "b", "three", "two")
		stranger := newPeers(t, "a", "another namespace's")
		sign := func(p *Peers, target string, purpose purpose) string {
			value, err := p.sign(Pass{Client: "198.51.100.7:40000"}, target, purpose)
			if err != nil {
				t.Fatal(err)
			}

			return value
		}
		good := sign(a, "b", toServe)
		pass, err := b.Verify(showing(good))
		if err != nil || pass.Client != "198.51.100.7:40000" || pass.From != "a" {
			t.Fatalf("the pass is %+v, %v", pass, err)
		}
		if pass, err := b.Verify(showing()); pass != nil || err != nil {
			t.Errorf("none is %v, %v", pass, err)
		}
		value, codes, _ := strings.Cut(sign(a, "b", toServe), ".")
		for name, values := range map[string][]string{
			"replayed":            {good},
			"of a stranger":       {sign(stranger, "b", toServe)},
			"for another":         {sign(a, "c", toServe)},
			"for another purpose": {sign(a, "b", toAsk)},
			"changed":             {"x" + value + "." + codes},
			"without codes":       {value},
			"with empty codes":    {value + "..."},
			"twice":               {sign(a, "b", toServe), sign(a, "b", toServe)},
			"nonsense":            {"nonsense"},
		} {
			if pass, err := b.Verify(showing(values...)); err == nil {
				t.Errorf("one that is %s is believed: %+v", name, pass)
			}
		}
		late := sign(a, "b", toServe)
		time.Sleep(validFor + time.Second)
		if _, err := b.Verify(showing(late)); err == nil {
			t.Error("one of another time is believed")
		}
		// Nor is it at any time after it was used.
		again := sign(a, "b", toServe)
		for i := range 100 {
			if _, err := b.Verify(showing(again)); (err == nil) != (i == 0) {
				t.Fatalf("after %d s: %v", i, err)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestKeys proves that the keys of a replica that is away stay good until another's have
// come in its place, and a while longer.
func TestKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newPeers(t, "a", "old")
		believes := func(key string) bool {
			value, err := newPeers(t, "b", key).sign(Pass{}, "a", toServe)
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Verify(showing(value))

			return err == nil
		}
		a.Left("manager of old")
		time.Sleep(time.Hour)
		if !believes("old") || len(a.directory.others()) != 1 {
			t.Error("what was known is forgotten with the last replica")
		}
		a.Members("manager of new", &forwardingv1.Members{Whole: true, Key: []byte("new")})
		if !believes("old") || !believes("new") {
			t.Error("both keys are to be good while others may have one alone")
		}
		if len(a.directory.others()) != 0 {
			t.Error("members are those that a live replica tells")
		}
		time.Sleep(keptFor + time.Second)
		a.Members("manager of new", &forwardingv1.Members{Whole: true, Key: []byte("new")})
		if believes("old") || !believes("new") {
			t.Error("the key of one that is gone is good for ever")
		}
	})
}

// TestMembers proves how differences are taken.
func TestMembers(t *testing.T) {
	t.Parallel()
	p := newPeers(t, "a", "key")
	if p.Place("b") == nil || p.Place("a") != nil || !p.Known(netip.MustParsePrefix("192.0.2.2/32")) {
		t.Error("the members told are not known")
	}
	p.Members("manager of key", &forwardingv1.Members{
		Set: []*forwardingv1.Member{{Name: "c", PeerAddress: "192.0.2.3:5000"}}, Removed: []string{"b"},
	})
	if p.Place("b") != nil || p.Place("c") == nil || p.Known(netip.MustParsePrefix("192.0.2.2/32")) {
		t.Error("the difference is not taken")
	}
	p.Members("unheard", &forwardingv1.Members{Set: []*forwardingv1.Member{{Name: "d"}}})
	if p.Place("d") != nil {
		t.Error("a difference to nothing is taken")
	}
}

// TestStrangersAtPeers proves that who shows no pass is answered nothing.
func TestStrangersAtPeers(t *testing.T) {
	t.Parallel()
	p := newPeers(t, "a", "key")
	for _, values := range [][]string{nil, {"nonsense"}} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, showing(values...))
		if w.Code != http.StatusForbidden {
			t.Errorf("%v is answered %d", values, w.Code)
		}
	}
}
