package objects

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestConnectionsCutAgainAndAgainLoseNothing(t *testing.T) {
	namespace := newNamespace(t)
	p := newProxy(t, plane)
	s := follow(t, Config{Namespace: namespace, REST: p.config})
	s.ready()
	for round := range 10 {
		o := create(t, namespace, "one")
		p.cut()
		update(t, o, "edited")
		s.until("the store equals etcd", s.equalsEtcd)
		p.cut()
		remove(t, o)
		s.until("the store equals etcd", s.equalsEtcd)
		s.ready()
		if round == 0 && s.timesStale() == 0 {
			t.Error("the store was not stale after its watch had ended")
		}
	}
	lists, ends := s.value("nagi_objects_lists_total"), s.value("nagi_objects_watch_ends_total", "cause=timed_out")
	if lists < 3 || ends != 0 {
		t.Errorf("%v lists, %v watches timed out", lists, ends)
	}
}

// A connection that carries nothing any more, and does not end, is noticed by its
// unanswered pings, long before the watch has been silent for StaleAfter.
func TestHalfOpenConnectionIsGivenUp(t *testing.T) {
	namespace := newNamespace(t)
	p := newProxy(t, plane)
	s := follow(t, Config{Namespace: namespace, REST: p.config})
	s.ready()
	p.freeze(true)
	s.until("the store is stale", s.Stale)
	ends := func(cause string) float64 { return s.value("nagi_objects_watch_ends_total", "cause="+cause) }
	s.until("the watch has lost its connection", func() bool { return ends(endLost) == 1 })
	if ends(endSilent) != 0 {
		t.Error("the watch was silent for too long")
	}
	create(t, namespace, "meanwhile")
	p.freeze(false)
	s.until("the creation is told", func() bool { return s.tells("meanwhile") })
	s.ready()
	if !s.equalsEtcd() {
		t.Error("the store differs from etcd")
	}
}

// A way that answers pings and passes no event, as a proxy may, is given up when
// the watch has been silent for too long.
func TestSilentWatchIsStaleAndListedAnew(t *testing.T) {
	namespace := newNamespace(t)
	s := follow(t, Config{Namespace: namespace, StaleAfter: time.Second})
	s.until("the watch was silent", func() bool { return s.value("nagi_objects_watch_ends_total", "cause=silent") >= 2 })
	if s.timesStale() == 0 || s.value("nagi_objects_lists_total", "cause=silent") == 0 {
		t.Error("the silent watch did not make the store stale, or not list anew")
	}
	create(t, namespace, "one")
	s.until("the store equals etcd", s.equalsEtcd)
}

// injected puts a frame in front of the first watch's own.
type injected struct {
	http.RoundTripper
	frame string
	done  atomic.Bool
}

func (i *injected) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := i.RoundTripper.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusOK && request.URL.Query().Get("allowWatchBookmarks") != "" &&
		!i.done.Swap(true) {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(i.frame), response.Body), response.Body}
	}

	return response, err
}

func TestAWatchThatGoesWrongIsListedAnew(t *testing.T) {
	for name, c := range map[string]struct{ frame, cause string }{
		"compacted": {
			`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`,
			endExpired,
		},
		"from the future": {`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",` +
			`"message":"Too large resource version","reason":"Timeout","code":504}}`, endError},
		"no error":      {`{"type":"ERROR","object":5}`, endFrame},
		"no event":      {`<html>bad gateway</html>`, endFrame},
		"unknown event": {`{"type":"RENAMED","object":{}}`, endFrame},
		"nameless":      {`{"type":"ADDED","object":{"metadata":{"resourceVersion":"5"}}}`, endFrame},
		"no version":    {`{"type":"BOOKMARK","object":{"metadata":{}}}`, endFrame},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t)
			create(t, namespace, "one")
			config := rest.CopyConfig(plane.config)
			config.WrapTransport = func(way http.RoundTripper) http.RoundTripper {
				return &injected{RoundTripper: way, frame: c.frame + "\n"}
			}
			s := follow(t, Config{Namespace: namespace, REST: config})
			s.until("the collection is listed anew", func() bool {
				return s.value("nagi_objects_lists_total", "cause="+c.cause) == 1
			})
			if ends := s.value("nagi_objects_watch_ends_total", "cause="+c.cause); ends != 1 || s.timesStale() == 0 {
				t.Errorf("%v watches ended so, stale %d times", ends, s.timesStale())
			}
			create(t, namespace, "two")
			s.until("the store equals etcd", s.equalsEtcd)
			s.ready()
		})
	}
}
