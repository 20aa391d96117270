package sora

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestListChannelConnections(t *testing.T) {
	s := newShim(t, 2)
	channel := t.Name()
	quiet := member(bob, forwardingv1.Role_ROLE_SENDONLY)
	quiet.Audio, quiet.Video.BitRate = nil, 0
	s.views[0].join(channel, sendrecv(alice))
	s.views[1].join(channel, sendrecv(alice), quiet)
	s.expect(whoTarget, channelBody(channel), http.StatusOK, `[`+
		`{"audio":false,"channel_id":"`+channel+`","client_id":"client-3X0","connection_id":"`+bob+
		`","created_time":1600000000123456,"multistream":true,"role":"sendonly","session_id":"SESSION",`+
		`"simulcast":false,"spotlight":false,"video":{"codec_type":"VP8"}},`+
		`{"audio":{"codec_type":"OPUS"},"channel_id":"`+channel+`","client_id":"client-VTG",`+
		`"connection_id":"`+alice+`","created_time":1600000000123456,"multistream":true,"role":"sendrecv",`+
		`"session_id":"SESSION","simulcast":false,"spotlight":false,"video":{"bit_rate":500,"codec_type":"VP8"}}]`)
	s.expect(whoTarget, channelBody("nobody"), http.StatusOK, "[]")
	// One replica that fails hides nothing that the other knows.
	s.views[0].set(func(v *view) { v.failing = status.Error(codes.Unavailable, "starting") })
	if _, got := s.post(whoTarget, channelBody(channel)); strings.Count(got, "connection_id") != 2 {
		t.Errorf("%s", got)
	}
}

func TestDisconnect(t *testing.T) {
	s := newShim(t, 2, func(c *Config) { c.PauseTimeout = 500 * time.Millisecond })
	channel := t.Name()
	phone := sendrecv("PHONE")
	phone.ClientId = "client-3X0"
	// The media server has reached one replica alone.
	s.views[1].join(channel, sendrecv(alice), sendrecv(bob), phone, sendrecv(carol))
	remain := func(want ...string) {
		t.Helper()
		_, got := s.post(whoTarget, channelBody(channel))
		for _, id := range want {
			if !strings.Contains(got, `"connection_id":"`+id+`"`) || strings.Count(got, `"connection_id"`) != len(want) {
				t.Fatalf("%s, want %v", got, want)
			}
		}
	}
	for range 2 { // naming who is not there is no error
		body := `{"channel_id":"` + channel + `","connection_id":"` + alice + `"}`
		s.expect(disconnectConnectionTarget, body, http.StatusOK, body)
		remain(bob, "PHONE", carol)
	}
	body := `{"channel_id":"` + channel + `","client_id":"client-3X0","reason":{"why":["<late>",1e9]}}`
	s.expect(disconnectClientTarget, body, http.StatusOK, body)
	remain(carol)
	s.expect(disconnectChannelTarget, channelBody(channel), http.StatusOK, channelBody(channel))
	remain()
	for _, nobody := range []string{"", strings.Repeat("x", 256)} {
		s.expect(disconnectChannelTarget, channelBody(nobody), http.StatusOK, channelBody(nobody))
	}
	s.expectFailure(disconnectClientTarget, channelBody(channel), http.StatusBadRequest, invalidJSON, "client_id")

	s.views[1].set(func(v *view) { v.outOfTouch = true })
	s.expectFailure(disconnectChannelTarget, channelBody(channel), http.StatusServiceUnavailable, notConfirmed,
		"out of touch")
}
