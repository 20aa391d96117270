package objects

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Why a watch ended, as metrics and logs name it.
const (
	endTimedOut = "timed_out" // At its own time: the one end after which nothing is lost.
	endEarly    = "closed_early"
	endLost     = "connection_lost"
	endExpired  = "expired"   // 410: the version is compacted.
	endError    = "error"     // Another error event, such as 504 for a version from the future.
	endFrame    = "malformed" // What came is no event.
	endSilent   = "silent"
	endRefused  = "refused" // It did not begin.
)

const (
	// shortWatch and longWatch bound the random time that a watch lasts.
	shortWatch, longWatch = 5 * time.Minute, 10 * time.Minute
	// A watch has timed out when it lasted as long as it was to last, from early
	// before to late after. One that is found ended much later was ended by
	// something else, such as this process having stood still.
	early, late = time.Second, 5 * time.Second
)

// watchEnd is why a watch ended.
type watchEnd struct {
	cause string
	err   error
}

// event is one frame of a watch.
type event struct {
	Type   string             `json:"type"`
	Object stdjson.RawMessage `json:"object"`
}

// watch takes events from the held version on until the watch ends, and says why.
func (s *Store) watch(ctx context.Context) watchEnd {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lasting := s.config.WatchTime
	if lasting == 0 {
		lasting = shortWatch + rand.N(longWatch-shortWatch)
	}
	lasting = lasting.Truncate(time.Second)

	var slow, silent atomic.Bool
	opening := time.AfterFunc(requestTimeout, func() { slow.Store(true); cancel() })
	began := time.Now()
	body, err := s.connection.open(ctx, map[string]string{
		"watch":               "true",
		"resourceVersion":     strconv.FormatUint(s.Version(), 10),
		"allowWatchBookmarks": "true",
		"timeoutSeconds":      strconv.Itoa(int(lasting / time.Second)),
	})
	opening.Stop()
	if err != nil {
		if slow.Load() {
			err = fmt.Errorf("no answer within %s", requestTimeout)
		}

		return watchEnd{endRefused, err}
	}
	defer body.Close()

	s.hear()
	s.setWatching(nil)
	silence := time.AfterFunc(s.config.StaleAfter, func() { silent.Store(true); cancel() })
	defer silence.Stop()
	end := s.takeEvents(body, func() { s.hear(); silence.Reset(s.config.StaleAfter) })
	lasted := time.Since(began)
	switch {
	case silent.Load():
		return watchEnd{endSilent, fmt.Errorf("neither an event nor a bookmark for %s", s.config.StaleAfter)}
	case end.cause == endEarly && lasted >= lasting-early && lasted <= lasting+late:
		return watchEnd{endTimedOut, nil}
	}

	return end
}

// takeEvents reads frames until there are no more.
func (s *Store) takeEvents(body io.Reader, hear func()) watchEnd {
	defer s.setHandling(false)
	frames := stdjson.NewDecoder(handlingReader{body, s})
	for {
		var e event
		if err := frames.Decode(&e); err != nil {
			return readEnd(err)
		}
		hear()
		if e.Type == "ERROR" {
			return errorEnd(e.Object)
		}
		if err := s.takeEvent(e); err != nil {
			return watchEnd{endFrame, err}
		}
	}
}

func (s *Store) takeEvent(e event) error {
	switch e.Type {
	case "BOOKMARK":
		version, err := bookmarkVersion(e.Object)
		if err != nil {
			return err
		}
		s.handOver(nil, version)

		return nil
	case "ADDED", "MODIFIED", "DELETED":
		changes, version, err := s.apply(e)
		if err != nil {
			return err
		}
		s.handOver(changes, version)

		return nil
	}

	return fmt.Errorf("an event of the unknown type %q", e.Type)
}

func bookmarkVersion(raw []byte) (uint64, error) {
	var partial struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := stdjson.Unmarshal(raw, &partial); err != nil {
		return 0, fmt.Errorf("read a bookmark: %w", err)
	}

	return parseVersion(partial.Metadata.ResourceVersion)
}

// apply changes what is held by one event.
func (s *Store) apply(e event) ([]Change, uint64, error) {
	i, err := s.held.read(e.Object) // Only this goroutine changes what is held.
	if err != nil {
		return nil, 0, err
	}
	version, err := parseVersion(i.version)
	if err != nil {
		return nil, 0, err
	}
	before := s.held.objects[i.name].pause
	unread := s.held.undecodable[i.name]
	s.mu.Lock()
	if e.Type == "DELETED" {
		s.held.drop(i.name)
	} else {
		s.held.put(i)
	}
	s.mu.Unlock()
	if u, ok := s.held.undecodable[i.name]; ok && (u.UID != unread.UID || u.version != unread.version) {
		s.logUndecodable(u)
	}

	return difference(before, s.held.objects[i.name].pause), version, nil
}

func readEnd(err error) watchEnd {
	var syntax *stdjson.SyntaxError
	var typed *stdjson.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return watchEnd{endEarly, errors.New("the API server ended the watch early")}
	case errors.As(err, &syntax) || errors.As(err, &typed):
		return watchEnd{endFrame, fmt.Errorf("read an event: %w", err)}
	}

	return watchEnd{endLost, fmt.Errorf("the watch broke off: %w", err)}
}

func errorEnd(raw []byte) watchEnd {
	var status metav1.Status
	if err := stdjson.Unmarshal(raw, &status); err != nil {
		return watchEnd{endFrame, fmt.Errorf("read an error event: %w", err)}
	}
	err := apierrors.FromObject(&status)
	if status.Code == http.StatusGone {
		return watchEnd{endExpired, err}
	}

	return watchEnd{endError, err}
}

// handlingReader notes from when the watch has brought something until it is read
// for more, which is when all of it has been handed over.
type handlingReader struct {
	io.Reader
	store *Store
}

func (h handlingReader) Read(p []byte) (int, error) {
	h.store.setHandling(false)
	n, err := h.Reader.Read(p)
	h.store.handling.Store(true)

	return n, err //nolint:wrapcheck // A reader's io.EOF is told as it is.
}
