package channel

import (
	"slices"
	"strings"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Senders are asked for several sizes of their picture when they say so, and who wants none of them gets the audio.
func TestSimulcastIsWhatConnectAskedFor(t *testing.T) {
	registry := newRegistry(t, 1, nil)
	simulcast := joinAs(t, registry, "sendonly", `,"simulcast":true`, "")
	plain := joinAs(t, registry, "sendonly", "", "")
	if !strings.Contains(simulcast.offer, "a=simulcast:recv r0;r1;r2\r\n") ||
		strings.Contains(plain.offer, "a=simulcast") {
		t.Errorf("offers\n%s\n%s", simulcast.offer, plain.offer)
	}
	for sender, want := range map[*answering]bool{simulcast: true, plain: false} {
		if got := sender.session.member.connection.GetSimulcast(); got != want {
			t.Errorf("a connection with simulcast %v is listed with %v", want, got)
		}
	}
	for rid, want := range map[string]forwarding.Reasons{"none": forwarding.Unrequested, "r0": 0, "r2": 0} {
		receiver := joinAs(t, registry, "recvonly", `,"simulcast":true,"simulcast_rid":"`+rid+`"`, "")
		for sender, want := range map[*answering]forwarding.Reasons{simulcast: want, plain: 0} {
			e := receiver.session.member.incoming[sender.session.member]
			if got := e.reasons(media.Video, false); got != want ||
				e.streams[media.Video].withheld&forwarding.Unrequested != want {
				t.Errorf("%s: video is withheld for %b, want %b", rid, got, want)
			}
			told := e.streams[media.Video].facts(media.Video).GetWithheld()
			if got := slices.Contains(told, forwardingv1.Withheld_WITHHELD_UNREQUESTED); got != (want != 0) {
				t.Errorf("%s: video is said to be withheld for %v", rid, told)
			}
			if got := e.reasons(media.Audio, false); got != 0 {
				t.Errorf("%s: audio is withheld for %b", rid, got)
			}
		}
	}
}
