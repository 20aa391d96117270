package signaling

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestHandshake(t *testing.T) {
	f := start(t, Config{})
	p := f.dial()
	p.send(connectText(`,"client_id":"client","video":{"bit_rate":800},"sdp":"ignored"`))
	want := map[string]any{
		"type": "offer", "sdp": "first", "version": protocolVersion,
		"channel_id": "sora", "connection_id": "id", "client_id": "client", "bundle_id": "bundle", "session_id": "session",
		"config": map[string]any{"iceServers": []any{}}, "mid": map[string]any{"audio": "0", "video": "1"},
		"metadata": map[string]any{},
		"audio":    true, "audio_codec_type": "OPUS", "video": true, "video_codec_type": "VP9", "video_bit_rate": 800.0,
		"multistream": true, "simulcast": false, "simulcast_multicodec": false, "spotlight": false,
		"data_channel_signaling": false, "ignore_disconnect_websocket": false,
	}
	if diff := cmp.Diff(want, p.receive("offer")); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	s := f.seat()
	if s.request.ClientID != "client" || s.request.Role != forwardingv1.Role_ROLE_SENDRECV {
		t.Errorf("the channel got %+v", s.request)
	}

	p.send(`{"type":"candidate","candidate":"early"}`)
	s.expect(t, "candidate early")
	p.send(`{"type":"answer","sdp":"a"}`)
	s.expect(t, "answer a")
	p.send(`{"type":"candidate","candidate":"bad","sdpMid":"0"}`)
	p.send(`{"type":"candidate","candidate":""}`)
	s.expect(t, "candidate ")
	if dropped := measured(t, f.server.metrics.candidatesDropped); dropped != 1 {
		t.Errorf("%v candidates are counted as dropped, want 1", dropped)
	}

	s.client.Notify(ConnectionCreated{Timestamp: time.Now(), Data: []Encoded{}})
	if message := p.receive("notify"); message["event_type"] != "connection.created" {
		t.Errorf("received %v", message)
	}
	p.send(`{"type":"disconnect","reason":"NO-ERROR"}`)
	p.closed(1000, ReasonTypeDisconnect)
	s.expectLeft(t, ReasonTypeDisconnect)
}

// The encodings are what SDKs hand to the browser.
func TestSimulcastIsOffered(t *testing.T) {
	encodings := func(rates ...float64) (list []any) {
		for i, rid := range []string{"r0", "r1", "r2"} {
			encoding := map[string]any{
				"rid": rid, "active": true, "scaleResolutionDownBy": []float64{4, 2, 1}[i], "scalabilityMode": "L1T1",
			}
			if rates != nil {
				encoding["maxBitrate"] = rates[i]
			}
			list = append(list, encoding)
		}

		return list
	}
	for name, test := range map[string]struct {
		connect   string
		simulcast bool
		encodings any
	}{
		"a sender": {connectText(`,"simulcast":true`), true, encodings()},
		"a sender that names rates": {connectText(`,"simulcast":true,"video":{"bit_rate":1500}`), true,
			encodings(125_000, 375_000, 1_000_000)},
		"a sender without video": {connectText(`,"simulcast":true,"video":false`), true, nil},
		"a receiver":             {`{"type":"connect","role":"recvonly","channel_id":"sora","simulcast":true}`, true, nil},
		"nobody":                 {connectText(``), false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Config{}).dial()
			p.send(test.connect)
			offer := p.receive("offer")
			if offer["simulcast"] != test.simulcast {
				t.Errorf("simulcast %v, want %v", offer["simulcast"], test.simulcast)
			}
			if diff := cmp.Diff(test.encodings, offer["encodings"]); diff != "" {
				t.Errorf("encodings (-want +got):\n%s", diff)
			}
		})
	}
}

// The offer says that the channel is a spotlight channel, as SDKs' applications read it.
func TestOfferOfASpotlightChannel(t *testing.T) {
	f := start(t, Config{})
	p := f.dial()
	p.send(connectText(`,"spotlight":true`))
	if offer := p.receive("offer"); offer["spotlight"] != true {
		t.Errorf("received %v", offer)
	}
	if s := f.seat(); s.request.Spotlight == nil {
		t.Errorf("the channel got %+v", s.request)
	}
}

func TestReofferOneAtATime(t *testing.T) {
	f := start(t, Config{})
	p, s := f.offered()
	for range 3 {
		s.client.Renegotiate() // Not before the answer.
	}
	p.send(`{"type":"answer","sdp":"a"}`)
	s.expect(t, "answer a")
	p.receive("re-offer")
	for range 50 {
		s.client.Renegotiate()
	}
	s.client.Notify(RTPStreamPaused{}) // Comes next: no re-offer is before it.
	p.receive("notify")
	p.send(`{"type":"re-answer","sdp":"b"}`)
	s.expect(t, "answer b")
	p.receive("re-offer")
	p.send(`{"type":"update","sdp":"c"}`)
	s.expect(t, "answer c")

	s.client.Notify(RTPStreamResumed{})
	p.receive("notify")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reoffers != 2 {
		t.Errorf("%d re-offers were made, want 2", s.reoffers)
	}
}

func TestChannelRefuses(t *testing.T) {
	f := start(t, Config{})
	set := func(join, offer error) {
		f.room.mu.Lock()
		defer f.room.mu.Unlock()
		f.room.joinErr, f.room.offerErr = join, offer
	}
	for _, test := range []struct {
		join, offer error
		code        int
		reason      string
	}{
		{&CloseError{Code: 4000, Reason: "FULL"}, nil, 4000, "FULL"},
		{errors.New("broken"), nil, CodeError, ReasonInternalError},
		{nil, errors.New("broken"), CodeError, ReasonInternalError},
	} {
		set(test.join, test.offer)
		p := f.dial()
		p.send(connectText(""))
		p.closed(test.code, test.reason)
		if test.join == nil {
			f.seat().expectLeft(t, test.reason)
		}
	}
}

// A flood of candidates is bounded, and does not end the connection.
func TestTooManyCandidates(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	for range maxCandidates + 10 {
		p.send(`{"type":"candidate","candidate":"x"}`)
	}
	s.client.Renegotiate()
	p.receive("re-offer")
	p.send(`{"type":"re-answer","sdp":"b"}`)
	for range maxCandidates {
		s.expect(t, "candidate x")
	}
	s.expect(t, "answer b")
}
