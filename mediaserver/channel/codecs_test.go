package channel

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// answering is a client that answers offers by hand and keeps what it is told. Its media
// transport never comes up.
type answering struct {
	dismissals
	rejects string // the codec as in a=rtpmap; empty: none
	refuses string // how an m-line that brings a stream of refused is answered; empty: it is received
	refused string // the sender's connection id
	session *session
	offer   string

	mu       sync.Mutex
	wanted   int // re-offers
	rejected []signaling.RTPStreamRejected
}

func (a *answering) Renegotiate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted++
}

func (a *answering) Notify(message any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if told, ok := message.(signaling.RTPStreamRejected); ok {
		a.rejected = append(a.rejected, told)
	}
}

// joinAs joins a channel with the rest of a connect message, and answers the offer.
func joinAs(t *testing.T, registry *Registry, role, rest, rejects string) *answering {
	t.Helper()
	message, err := signaling.Decode([]byte(`{"type":"connect","role":"` + role + `","channel_id":"sora"` + rest + `}`))
	if err != nil {
		t.Fatal(err)
	}
	a := &answering{rejects: rejects}
	joined, err := registry.Join(t.Context(), message.(signaling.Connect), a)
	if err != nil {
		t.Fatal(err)
	}
	a.session = joined.(*session)
	t.Cleanup(func() { joined.Leave("over") })
	offer, err := joined.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.answer(t, offer.SDP)

	return a
}

// renegotiate takes the re-offers that are wanted.
func (a *answering) renegotiate(t *testing.T) {
	t.Helper()
	for a.wanted > 0 {
		a.wanted = 0
		offer, err := a.session.Reoffer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.answer(t, offer)
	}
}

func (a *answering) answer(t *testing.T, offer string) {
	t.Helper()
	a.offer = offer
	sections := strings.Split(strings.ReplaceAll(offer, "a=setup:actpass", "a=setup:active"), "\r\nm=")
	for i, section := range sections[1:] {
		switch {
		case a.rejects != "" && strings.Contains(section, " "+a.rejects+"/"):
			section = regexp.MustCompile(`^video 9`).ReplaceAllString(section, "video 0")
		case strings.Contains(section, "a=recvonly"):
			section = strings.ReplaceAll(section, "a=recvonly", fmt.Sprintf("a=sendonly\r\na=ssrc:%d cname:x", i+1))
		case a.refuses == "rejected" && strings.Contains(section, "msid:"+a.refused):
			section = regexp.MustCompile(`^(audio|video) 9`).ReplaceAllString(section, "$1 0")
		case a.refuses != "" && strings.Contains(section, "msid:"+a.refused):
			section = strings.ReplaceAll(section, "a=sendonly", "a="+a.refuses)
		default:
			section = strings.ReplaceAll(section, "a=sendonly", "a=recvonly")
		}
		sections[i+1] = strings.TrimSuffix(section, "\r\n")
	}
	if err := a.session.Answer(t.Context(), strings.Join(sections, "\r\nm=")+"\r\n"); err != nil {
		t.Fatalf("%v\n%s", err, offer)
	}
}

// connected has everybody told that the member's transport is up.
func (a *answering) connected() {
	a.session.channel.mu.Lock()
	defer a.session.channel.mu.Unlock()
	a.session.channel.connected(a.session.member)
}

func (a *answering) id() string { return a.session.member.id() }

// codecsIn are the codecs of video in an offer by m-line, those that the client rejected in
// brackets.
func codecsIn(offer string) []string {
	var codecs []string
	for _, section := range strings.Split(offer, "\r\nm=")[1:] {
		name := regexp.MustCompile(`a=rtpmap:\d+ (\w+)/90000`).FindStringSubmatch(section)
		switch {
		case strings.HasPrefix(section, "video 0"):
			codecs = append(codecs, "["+name[1]+"]")
		case name != nil:
			codecs = append(codecs, name[1])
		}
	}

	return codecs
}

// Whatever each client sends, with its profile and bit rate, is what it is offered to send, and what the others
// are offered to receive. VP9 is what a client sends that chooses nothing, as with Sora.
func TestCodecsAreMixed(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	var senders []*answering
	for _, c := range []struct{ video, sends string }{
		{``, "VP9"},
		{`,"video":{"codec_type":"VP8","bit_rate":700}`, "VP8"},
		{`,"video":{"codec_type":"H264","h264_params":{"profile_level_id":"640C1F"}}`, "H264"},
		{`,"video":{"codec_type":"AV1"}`, "AV1"},
		{`,"video":{"bit_rate":900,"vp9_params":{"profile_id":2}}`, "VP9"},
	} {
		sender := joinAs(t, registry, "sendonly", c.video, "")
		if got := codecsIn(sender.offer); !slices.Equal(got, []string{c.sends}) {
			t.Errorf("connect with %s is offered to send %v, want %s", c.video, got, c.sends)
		}
		senders = append(senders, sender)
	}
	for i, want := range map[int]string{
		1: "b=TIAS:700000\r\n", 2: ";profile-level-id=640c1f\r\n", 4: "b=TIAS:900000\r\n",
	} {
		if !strings.Contains(senders[i].offer, want) {
			t.Errorf("sender %d is offered no %q:\n%s", i, want, senders[i].offer)
		}
	}
	if strings.Contains(senders[0].offer, "b=") {
		t.Errorf("a rate that nobody named:\n%s", senders[0].offer)
	}

	receiver := joinAs(t, registry, "recvonly", "", "")
	if got := codecsIn(receiver.offer); !slices.Equal(got, []string{"VP9", "VP8", "H264", "AV1", "VP9"}) {
		t.Errorf("the receiver is offered %v", got)
	}
	for _, want := range []string{";profile-level-id=640c1f\r\n", " profile-id=2\r\n", " profile-id=0\r\n"} {
		if !strings.Contains(receiver.offer, want) {
			t.Errorf("the receiver is offered no %q", want)
		}
	}
	if strings.Contains(receiver.offer, "b=") {
		t.Error("the receiver is told a sender's rate")
	}
}

// A receiver that rejects a sender's codec is told so, and is not asked again; others of the codec are told as
// they come. Pauses of these edges are acknowledged like any.
func TestRejectedCodecIsTold(t *testing.T) {
	const noAudio = `,"audio":false,"video":{"codec_type":"AV1"}`
	registry := newRegistry(t, 1, nil)
	first := joinAs(t, registry, "sendonly", noAudio, "")
	receiver := joinAs(t, registry, "recvonly", "", "AV1")
	first.connected()
	receiver.connected()
	expect := func(what string, senders ...*answering) {
		t.Helper()
		var want, got []string
		for _, s := range senders {
			want = append(want, s.id()+" to "+receiver.id()+" AV1 [video]")
		}
		for _, told := range receiver.rejected {
			kind, err := told.Kinds[0].MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s to %s %s [%s]",
				told.SendConnectionID, told.RecvConnectionID, told.CodecType, kind))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	expect("after the answer", first)
	if receiver.wanted > 0 {
		t.Error("another offer is wanted, which would say nothing new")
	}

	second := joinAs(t, registry, "sendonly", noAudio, "")
	second.connected()
	expect("after another of the codec has come", first, second)
	if receiver.wanted > 0 {
		t.Error("it is asked again")
	}
	joinAs(t, registry, "sendonly", `,"video":{"codec_type":"VP8"}`, "")
	receiver.renegotiate(t)
	if got := codecsIn(receiver.offer); !slices.Equal(got, []string{"[AV1]", "VP8"}) {
		t.Errorf("it is offered %v", got)
	}
	expect("after one of another codec has come", first, second)

	side := func(a *answering) *forwardingv1.Side {
		ids := &forwardingv1.IDs{Ids: []string{a.id()}}

		return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{ConnectionIds: ids}}
	}
	registry.Apply(tables.Table{
		ChannelID: "sora", Instance: first.session.channel.instance, Version: 1, Whole: true,
		Set: []*forwardingv1.Pause{{
			Uid: "1", Receivers: side(receiver), Senders: side(second),
			Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
		}},
	})
	states := registry.States("sora", first.session.channel.instance, 0)
	if len(states.Set) != 1 || states.Set[0].GetState() != forwardingv1.State_STATE_MATCHING {
		t.Errorf("the pause of an edge that is not negotiated: %v", states.Set)
	}
	if len(receiver.reasons) > 0 {
		t.Errorf("the receiver was dismissed: %q", receiver.reasons)
	}
}

// A receiver is told, once, of a stream whose m-line it does not receive, though it has nothing against the codec.
// Others of the codec come, and the stream itself where a later answer receives it.
func TestStreamThatIsNotReceivedIsTold(t *testing.T) {
	for _, refuses := range []string{"inactive", "sendonly", "rejected"} {
		t.Run(refuses, func(t *testing.T) {
			registry := newRegistry(t, 1, nil)
			receiver := joinAs(t, registry, "recvonly", "", "")
			receiver.connected()
			taken := joinAs(t, registry, "sendonly", "", "")
			taken.connected()
			receiver.renegotiate(t)
			refused := joinAs(t, registry, "sendonly", "", "")
			receiver.refuses, receiver.refused = refuses, refused.id()
			receiver.renegotiate(t)
			if len(receiver.rejected) > 0 {
				t.Fatalf("told of somebody whose coming it was not told of: %v", receiver.rejected)
			}
			refused.connected()
			later := joinAs(t, registry, "sendonly", "", "")
			later.connected()
			receiver.renegotiate(t)

			var told []string
			for _, about := range receiver.rejected {
				kind, err := about.Kinds[0].MarshalText()
				if err != nil {
					t.Fatal(err)
				}
				told = append(told, fmt.Sprintf("%s %s %s", about.SendConnectionID, kind, about.CodecType))
			}
			if want := []string{refused.id() + " audio OPUS", refused.id() + " video VP9"}; !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
			for _, sender := range []*answering{taken, refused, later} {
				want := 2
				if sender == refused && refuses == "rejected" {
					want = 0
				}
				if n := strings.Count(receiver.offer, "a=msid:"+sender.id()); n != want {
					t.Errorf("%d streams of %s are offered, want %d", n, sender.id(), want)
				}
			}
		})
	}
}

// Odd profiles use up none of the room that each codec's default has in everybody's session.
func TestProfilesAreBounded(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	const noAudio = `,"audio":false,"video":{"codec_type":"H264","h264_params":{"profile_level_id":"%06x"}}`
	receiver := joinAs(t, registry, "recvonly", "", "")
	for i := range maxProfiles {
		joinAs(t, registry, "sendonly", fmt.Sprintf(noAudio, i), "").session.Leave("over")
		receiver.renegotiate(t)
	}
	message, err := signaling.Decode([]byte(`{"type":"connect","role":"sendonly","channel_id":"sora"` +
		fmt.Sprintf(noAudio, maxProfiles) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	var told *signaling.CloseError
	if _, err := registry.Join(t.Context(), message.(signaling.Connect), &answering{}); !errors.As(err, &told) ||
		told.Reason != signaling.ReasonTooManyProfiles {
		t.Errorf("one more profile: %v", err)
	}

	joinAs(t, registry, "sendonly", fmt.Sprintf(noAudio, 0), "")
	for _, codec := range []string{"VP8", "VP9", "H264", "AV1"} {
		joinAs(t, registry, "sendonly", `,"audio":false,"video":{"codec_type":"`+codec+`"}`, "")
	}
	receiver.renegotiate(t)
	if n := strings.Count(receiver.offer, "a=sendonly"); n != 5 {
		t.Errorf("%d streams are offered, want 5:\n%s", n, receiver.offer)
	}
}
