package serve

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/internal/bounds"
)

// unfinished makes calls by HTTP/2 that send a message without its last byte, and counts
// those that are answered before ctx ends.
func (r *reviewing) unfinished(ctx context.Context, calls int) (answered chan struct{}, wait func()) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	answered = make(chan struct{}, calls)
	var under sync.WaitGroup
	message := binary.BigEndian.AppendUint32([]byte{0}, forwardingv1.MaxMessageBytes)
	message = append(message, make([]byte, forwardingv1.MaxMessageBytes-1)...)
	for range calls {
		under.Go(func() {
			body, write := io.Pipe()
			defer func() { _ = write.Close() }()
			go func() { _, _ = io.Copy(write, bytes.NewReader(message)) }()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost,
				"http://"+r.connection.Target()+"/nagi.forwarding.v1.View/WaitEnforced", body)
			if err != nil {
				return
			}
			request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
			if response, err := transport.RoundTrip(request); err == nil {
				_ = response.Body.Close()
				answered <- struct{}{}
			}
		})
	}

	return answered, func() {
		under.Wait()
		transport.CloseIdleConnections()
	}
}

// room is how many strangers there is room for, from the network of the tests.
func (s *Server) room() (room int) {
	here := bounds.NetworkOf("127.0.0.1:1")
	for s.strangers.Enter(here) == bounds.None {
		room++
	}
	for range room {
		s.strangers.Leave(here)
	}

	return room
}

// What strangers send before their tokens are looked at is bounded: calls beyond the
// bound are refused unread, and those within it end. Who is known does not notice.
func TestStrangersSendLittleBeforeTheyAreKnown(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, time.Minute, namespace)
	accountWith(t, namespace, "shim", shippedRules(t, "shim"))
	shim := with(t, tokenFor(t, namespace, "shim", nil, forwardingv1.Audience))
	ask := func(ctx context.Context) error {
		_, err := r.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: namespace})

		return err
	}
	expect(t, ask(shim), codes.InvalidArgument, "uid")
	until(t, "it is no stranger any longer", func() bool { return r.room() == maxStrangersPerAddress })

	const calls = 5 * maxStrangersPerAddress
	answered, wait := r.unfinished(within(t, patience), calls)
	until(t, "the others are refused", func() bool { return len(answered) == calls-maxStrangersPerAddress })
	if room := r.room(); room != 0 {
		t.Errorf("there is room for %d more strangers", room)
	}
	expect(t, ask(within(t, patience)), codes.Unavailable, "call again")
	expect(t, ask(shim), codes.InvalidArgument, "uid")
	until(t, "the strangers are gone", func() bool { return r.room() == maxStrangersPerAddress })
	expect(t, ask(within(t, patience)), codes.Unauthenticated, "show a ServiceAccount token")
	wait()
	if len(answered) != calls {
		t.Errorf("%d calls of %d have ended", len(answered), calls)
	}
}
