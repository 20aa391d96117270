package sora

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// of returns the body of a request about the edge.
func bodyOf(e edge) string {
	body, err := compactJSON(e.echo())
	if err != nil {
		panic(err)
	}

	return string(body)
}

func clientsOf(channel, recv, send string) edge {
	return edge{channel, end{id: recv, client: true}, end{id: send, client: true}}
}

// TestClientPauses: whichever side names a client.
func TestClientPauses(t *testing.T) {
	s := newShim(t, 2)
	seconds := new(int64(60))
	for name, test := range map[string]struct {
		recv, send         end
		receivers, senders v1alpha1.Side
		seconds            *int64
		body               string
	}{
		"both": {
			end{"client-VTG", true}, end{"client-3X0", true}, v1alpha1.Side{ClientIDs: []string{"client-VTG"}},
			v1alpha1.Side{ClientIDs: []string{"client-3X0"}}, nil,
			`"recv_client_id":"client-VTG","send_client_id":"client-3X0"`,
		},
		"receiver": {
			end{"client-VTG", true}, end{bob, false}, v1alpha1.Side{ClientIDs: []string{"client-VTG"}},
			v1alpha1.Side{ConnectionIDs: []string{bob}}, seconds,
			`"recv_client_id":"client-VTG","send_connection_id":"` + bob + `"`,
		},
		"sender": {
			end{alice, false}, end{"client-3X0", true}, v1alpha1.Side{ConnectionIDs: []string{alice}},
			v1alpha1.Side{ClientIDs: []string{"client-3X0"}}, seconds,
			`"recv_connection_id":"` + alice + `","send_client_id":"client-3X0"`,
		},
	} {
		channel := t.Name() + name
		for _, v := range s.views {
			v.join(channel, sendrecv(alice), sendrecv(bob))
		}
		body := fmt.Sprintf(`{"channel_id":%q,%s}`, channel, test.body)
		for range 2 {
			s.expect(pauseTarget, body, http.StatusOK, body)
		}
		found := s.find(channel)
		if len(found) != 1 || found[0].Name != (edge{channel, test.recv, test.send}).name() ||
			!reflect.DeepEqual(found[0].Spec, v1alpha1.RtpStreamPauseSpec{
				ChannelID: channel, Receivers: test.receivers, Senders: test.senders, DeleteAfterDisconnectSeconds: test.seconds,
			}) {
			t.Fatalf("%s: %+v", name, found)
		}
		// Listed by its live edge, and withholding from who names the connections.
		if _, got := s.post(listTarget, channelBody(channel)); strings.Count(got, `"recv_connection_id":"`+alice) != 1 {
			t.Errorf("%s: %s", name, got)
		}
		s.expectFailure(resumeTarget, edgeBody(channel, alice, bob), http.StatusBadRequest, stillPaused, found[0].Name)
		s.expect(resumeTarget, body, http.StatusOK, body)
		if left := s.find(channel); len(left) != 0 {
			t.Errorf("%s: %d objects left", name, len(left))
		}
	}
}

// TestAbsentClients: a pause of clients is armed while they are not there.
func TestAbsentClients(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 500 * time.Millisecond })
	channel := t.Name()
	e := clientsOf(channel, "teacher", "pupil")
	body := bodyOf(e)
	s.expect(pauseTarget, body, http.StatusOK, body) // nobody is in the channel
	s.expect(resumeTarget, body, http.StatusOK, body)
	s.expect(resumeTarget, body, http.StatusOK, body) // of what is not paused
	for _, v := range s.views {
		v.join(channel, sendrecv(alice))
	}
	s.expect(pauseTarget, body, http.StatusOK, body) // somebody else is

	// A connection id is one of somebody who is there.
	mixed := edge{channel, end{"teacher", true}, end{carol, false}}
	s.expectFailure(pauseTarget, bodyOf(mixed), http.StatusBadRequest, connectionNotFound, carol)
	mixed.send.id = alice
	s.expect(pauseTarget, bodyOf(mixed), http.StatusOK, bodyOf(mixed))

	// One replica does not know yet who hosts the channel, and the other does and
	// does not confirm.
	unknown := t.Name() + "unknown"
	s.views[1].join(unknown, sendrecv(alice))
	s.views[1].set(func(v *view) { v.holding = true })
	s.expectFailure(pauseTarget, bodyOf(clientsOf(unknown, "teacher", "pupil")), http.StatusServiceUnavailable,
		notConfirmed, "the pause is stored")
	s.views[1].set(func(v *view) { v.holding = false })
	// A media server out of touch may host it.
	s.views[1].set(func(v *view) { v.outOfTouch = true })
	lost := bodyOf(clientsOf(t.Name()+"lost", "teacher", "pupil"))
	s.expectFailure(pauseTarget, lost, http.StatusServiceUnavailable, notConfirmed, "the pause is stored")
	s.expectFailure(resumeTarget, lost, http.StatusServiceUnavailable, notConfirmed, "the pause is deleted")
	s.views[1].set(func(v *view) { v.outOfTouch = false })
	for _, v := range s.views {
		v.set(func(v *view) { v.failing = status.Error(codes.InvalidArgument, "not served") })
	}
	s.expectFailure(resumeTarget, body, http.StatusServiceUnavailable, notConfirmed,
		"no manager serves the namespace default")
}

// TestClientsStillPaused: every live edge between the two is looked at.
func TestClientsStillPaused(t *testing.T) {
	s := newShim(t, 1)
	channel := t.Name()
	phone := sendrecv(carol)
	phone.ClientId = "client-3X0" // another device of bob's
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob), phone)
	body := bodyOf(clientsOf(channel, "client-VTG", "client-3X0"))
	s.create("clients-one", of(channel, func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.Senders.ConnectionIDs = []string{carol}
	}))
	s.expect(pauseTarget, body, http.StatusOK, body)
	s.expectFailure(resumeTarget, body, http.StatusBadRequest, stillPaused, `"names":["clients-one"]`)
	s.create("clients-two", of(channel, nil))
	s.expectFailure(resumeTarget, body, http.StatusBadRequest, stillPaused, `"names":["clients-one","clients-two"]`)
	other := bodyOf(edge{channel, end{carol, false}, end{"client-VTG", true}})
	s.expect(resumeTarget, other, http.StatusOK, other)

	for i := range maxExplained {
		many := sendrecv(fmt.Sprintf("PUPIL%d", i))
		many.ClientId = "pupil"
		s.views[0].join(channel, many)
	}
	pupils := bodyOf(clientsOf(channel, "client-VTG", "pupil"))
	s.expect(resumeTarget, pupils, http.StatusOK, pupils)
	pupils = bodyOf(clientsOf(channel, "client-3X0", "pupil"))
	s.expectFailure(resumeTarget, pupils, http.StatusBadRequest, tooMany, "200 connections")
}

func TestClientArguments(t *testing.T) {
	s := newShim(t, 1)
	for body, want := range map[string]string{
		`{"channel_id":"c","recv_client_id":"","send_client_id":"b"}`:                                 invalidClientID,
		`{"channel_id":"c","recv_client_id":"a","send_client_id":"` + strings.Repeat("x", 256) + `"}`: invalidClientID,
		`{"channel_id":"","recv_client_id":"a","send_client_id":"b"}`:                                 channelNotFound,
		`{"channel_id":"c","recv_client_id":"a","recv_connection_id":"x","send_client_id":"b"}`:       ambiguousIDs,
		`{"channel_id":"c","recv_client_id":7,"send_client_id":"b"}`:                                  invalidJSON,
		`{"channel_id":"c","recv_client_id":"a"}`:                                                     invalidJSON,
	} {
		for _, operation := range []string{pauseTarget, resumeTarget} {
			s.expectFailure(operation, body, http.StatusBadRequest, want, "")
		}
	}
	// Equal clients are two devices of one person.
	same := bodyOf(clientsOf(t.Name(), "a", "a"))
	s.expect(pauseTarget, same, http.StatusOK, same)
}
