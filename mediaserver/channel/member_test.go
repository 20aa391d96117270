package channel

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// dismissals is a client that keeps why it was closed.
type dismissals struct{ reasons []string }

func (d *dismissals) Notify(any)                 {}
func (d *dismissals) Renegotiate()               {}
func (d *dismissals) Close(_ int, reason string) { d.reasons = append(d.reasons, reason) }

// newRegistry makes a registry with sockets of its own; edit, which may be nil, changes
// its configuration.
func newRegistry(tb testing.TB, workers int, edit func(*Config)) *Registry {
	tb.Helper()
	socket, err := udp.Listen("127.0.0.1:0", workers)
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := rtc.New(rtc.Config{Socket: socket})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	config := Config{
		Engine: engine, Changed: func(string) {}, WithoutTable: Forward,
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	if edit != nil {
		edit(&config)
	}

	return New(config)
}

// TestAReceiverWhoseTransportIsGoneHarmsNobodyElse: the sender announces itself
// at the moment that one receiver's transport has ended and its leaving is still
// under way.
func TestAReceiverWhoseTransportIsGoneHarmsNobodyElse(t *testing.T) {
	registry := newRegistry(t, 2, nil)
	join := func() (*session, *dismissals) {
		t.Helper()
		client := &dismissals{}
		s, err := registry.Join(t.Context(), signaling.Connect{
			ChannelID: "sora", Role: forwardingv1.Role_ROLE_SENDRECV, Video: &signaling.Media{CodecType: "VP8"},
		}, client)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Leave("test") })

		return s.(*session), client
	}
	sender, sendersClient := join()
	broken, brokenClient := join()
	whole, wholeClient := join()
	if err := broken.member.peer.Close(); err != nil {
		t.Fatal(err)
	}

	ch := sender.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.announce(sender.member, []media.Kind{media.Video})

	if len(brokenClient.reasons) != 1 || brokenClient.reasons[0] != signaling.ReasonInternalError {
		t.Errorf("the broken receiver was dismissed for %q", brokenClient.reasons)
	}
	if len(sendersClient.reasons)+len(wholeClient.reasons) != 0 {
		t.Errorf("dismissed too: sender %q, whole receiver %q", sendersClient.reasons, wholeClient.reasons)
	}
	if e := whole.member.incoming[sender.member]; len(e.streams) != 1 {
		t.Errorf("the whole receiver got %d streams, want the sender's video", len(e.streams))
	}
}

// A client whose media transport ends is told why.
func TestReasonsOfMediaThatEnds(t *testing.T) {
	for err, want := range map[error]string{
		rtc.ErrICEFailed:       signaling.ReasonTransportFailed,
		rtc.ErrClosedByClient:  signaling.ReasonTransportFailed,
		rtc.ErrMediaUnanswered: signaling.ReasonMediaUnanswered,
		rtc.ErrUnreadableMedia: signaling.ReasonUnreadableMedia,
	} {
		client := &dismissals{}
		s := &session{member: &member{client: client}, log: slog.New(slog.DiscardHandler)}
		s.mediaClosed(fmt.Errorf("of a test: %w", err))
		if len(client.reasons) != 1 || client.reasons[0] != want {
			t.Errorf("%v: closed with %q, want %s", err, client.reasons, want)
		}
	}
}

// What a client asks of Opus when it connects is in its offer.
func TestOpusOfConnectIsInTheOffer(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	for connect, want := range map[string]string{
		`{"type":"connect","role":"sendonly","channel_id":"sora"}`: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
		`{"type":"connect","role":"sendonly","channel_id":"sora","audio":{"bit_rate":24,"opus_params":` +
			`{"stereo":false,"sprop_stereo":false,"maxplaybackrate":16000,"minptime":20,"usedtx":true,` +
			`"useinbandfec":false}}}`: "minptime=20;useinbandfec=0;stereo=0;sprop-stereo=0;usedtx=1;" +
			"maxplaybackrate=16000;maxaveragebitrate=24000",
	} {
		message, err := signaling.Decode([]byte(connect))
		if err != nil {
			t.Fatal(err)
		}
		session, err := registry.Join(t.Context(), message.(signaling.Connect), &dismissals{})
		if err != nil {
			t.Fatal(err)
		}
		offer, err := session.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		session.Leave("over")
		if !strings.Contains(offer.SDP, "a=fmtp:111 "+want+"\r\n") {
			t.Errorf("%s: the offer has no %s:\n%s", connect, want, offer.SDP)
		}
	}
}
