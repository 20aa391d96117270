package rtc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// answerTo is an answer by which the client receives whatever it is offered to receive.
func answerTo(offer string) string {
	head, sections := splitSections(offer)
	kept := []string{"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"}
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, "a=group:") {
			kept = append(kept, line)
		}
	}
	for _, section := range sections {
		direction := "inactive"
		for line := range strings.SplitSeq(strings.TrimSuffix(section, "\r\n"), "\r\n") {
			switch key, _, _ := strings.Cut(line, ":"); {
			case key == "a=sendonly":
				direction = "recvonly"
			case key == "a=mid", key == "a=rtpmap", line[0] == 'm', line[0] == 'c':
				kept = append(kept, line)
			}
		}
		kept = append(kept, "a=ice-ufrag:Xq9v", "a=ice-pwd:J4F1bTWz3kYxJq9vJ4F1bTWz", "a=fingerprint:"+digest,
			"a=setup:active", "a="+direction)
	}

	return strings.Join(kept, "\r\n") + "\r\n"
}

// audience is a peer that is sent the streams of so many senders and has been offered them.
func audience(t *testing.T, senders int) (peer *Peer, last *Downlink) {
	t.Helper()
	peer = newConnection(t, newEngine(t), false).peer
	for i := range senders {
		for _, format := range []codecs.Format{opus, vp8} {
			d, err := peer.AddDownlink(fmt.Sprint("SENDER", i), format)
			must(t, err)
			last = d
		}
	}
	renegotiate(t, peer)

	return peer, last
}

func renegotiate(t *testing.T, peer *Peer) {
	t.Helper()
	offer, err := peer.Offer()
	must(t, err)
	must(t, peer.Answer(answerTo(offer)))
}

// A re-offer and its answer cost what has changed, not all m-lines.
func TestReofferCostsWhatChanged(t *testing.T) {
	perChange := func(senders int) float64 {
		peer, last := audience(t, senders)
		received := answerTo(joinSections(minimalSession, peer.sections()))
		var ended string

		return testing.AllocsPerRun(10, func() {
			must(t, last.Remove())
			offer, err := peer.Offer()
			must(t, err)
			if ended == "" {
				ended = answerTo(offer)
			}
			must(t, peer.Answer(ended))
			last, err = peer.AddDownlink("ANOTHER", last.format)
			must(t, err)
			_, err = peer.Offer()
			must(t, err)
			must(t, peer.Answer(received))
			if last.negotiated == nil {
				t.Fatal("the new stream is not negotiated")
			}
		})
	}
	few, many := perChange(10), perChange(100)
	if t.Logf("%.0f and %.0f allocations", few, many); many > 1.2*few {
		t.Errorf("%.0f allocations with 200 m-lines, %.0f with 20", many, few)
	}
}

// What is answered otherwise than before is read, and refused where it does not fit, though its offer is the same.
func TestAnswerThatChanges(t *testing.T) {
	peer, last := audience(t, 2)
	must(t, last.Remove())
	renegotiate(t, peer)
	replaced, err := peer.AddDownlink("REPLACED", last.format)
	must(t, err)
	offer, err := peer.Offer()
	must(t, err)
	// The client does not take it yet; later it does, and nothing else has changed.
	must(t, peer.Answer(strings.Replace(answerTo(offer), "a=mid:3", "a=inactive\r\na=mid:3", 1)))
	if replaced.negotiated != nil {
		t.Fatal("negotiated though the client does not receive it")
	}
	if refused := peer.Refused(); !slices.Equal(refused, []*Downlink{replaced}) {
		t.Errorf("%d streams are refused", len(refused))
	}
	renegotiate(t, peer)
	if replaced.negotiated == nil {
		t.Error("not negotiated though the client receives it")
	}
	if refused := peer.Refused(); len(refused) > 0 {
		t.Errorf("%d streams are still refused", len(refused))
	}
	if again := peer.ReceivedAgain(); !slices.Equal(again, []*Downlink{replaced}) {
		t.Errorf("%d streams are received again", len(again))
	}
	renegotiate(t, peer)
	if refused, again := peer.Refused(), peer.ReceivedAgain(); len(refused)+len(again) > 0 {
		t.Errorf("%d streams are refused and %d received again by an answer that changes nothing", len(refused), len(again))
	}
	offer, err = peer.Offer()
	must(t, err)
	must(t, peer.Answer(strings.Replace(answerTo(offer), "a=mid:3", "a=inactive\r\na=mid:3", 1)))
	if refused := peer.Refused(); !slices.Equal(refused, []*Downlink{replaced}) {
		t.Errorf("%d streams are refused that were received before", len(refused))
	}
	offer, err = peer.Offer()
	must(t, err)
	if err := peer.Answer(strings.Replace(answerTo(offer), "a=mid:2", "a=mid:9", 1)); !errors.Is(err, ErrInvalidAnswer) {
		t.Errorf("an m-line under another mid: %v", err)
	}
}

// Pion takes a carriage return for the end of a line where one begins. An m-line behind it would be one more than was
// counted.
func TestHiddenSection(t *testing.T) {
	peer, _ := audience(t, 1)
	offer, err := peer.Offer()
	must(t, err)
	if err := peer.Answer(answerTo(offer) + "\rm=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"); !errors.Is(err, ErrInvalidAnswer) {
		t.Errorf("an m-line more than offered: %v", err)
	}
}

// A direction at session level holds for m-lines that say nothing else than before.
func TestDirectionAtSessionLevel(t *testing.T) {
	peer := newConnection(t, newEngine(t), false).peer
	d, err := peer.AddDownlink("SENDER", vp8)
	must(t, err)
	for _, direction := range []string{"a=inactive", "a=recvonly"} {
		if d.negotiated != nil {
			t.Fatal("negotiated though the client does not receive it")
		}
		offer, err := peer.Offer()
		must(t, err)
		must(t, peer.Answer(strings.Replace(strings.Replace(answerTo(offer), "a=recvonly\r\n", "", 1), "m=",
			direction+"\r\nm=", 1)))
	}
	if d.negotiated == nil {
		t.Error("not negotiated though the client receives it")
	}
}
