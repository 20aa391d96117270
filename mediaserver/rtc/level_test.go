package rtc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// connectLevelled is connect for a client that says how loud its audio is, by an identifier of its own; asked: it was
// asked to.
func connectLevelled(t *testing.T, asked bool) *connection {
	t.Helper()
	c := newConnection(t, newEngine(t), true)
	c.peer.audio.config.Levels = asked
	c.client = newClientWith(t, nil, func(media *webrtc.MediaEngine) {
		must(t, media.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: audioLevel.uri},
			webrtc.RTPCodecTypeAudio))
	}, true, true)
	offer, err := c.peer.Offer()
	must(t, err)
	if got := strings.Contains(lines(t, offer)[0], "a=extmap:1 "+audioLevel.uri); got != asked ||
		strings.Count(offer, audioLevel.uri) > 1 {
		t.Fatalf("offered %v, want %v, on the audio m-line alone:\n%s", got, asked, offer)
	}
	answer := c.client.answer(t, offer)
	if asked {
		answer = strings.ReplaceAll(answer, "extmap:1 ", "extmap:12 ")
	} else {
		answer = strings.Replace(answer, "a=mid:0", "a=extmap:12 "+audioLevel.uri+"\r\na=mid:0", 1)
	}
	must(t, c.peer.Answer(answer))
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)

	return c
}

// How loud a packet is comes from the packet itself, once that is known to be the client's.
func TestAudioLevels(t *testing.T) {
	for name, test := range map[string]struct {
		asked bool
		id    uint8
		value []byte
		want  string
	}{
		"speech":           {true, 12, []byte{0x80 | 25}, "25 true"},
		"no speech":        {true, 12, []byte{100}, "100 true"},
		"silence":          {true, 12, []byte{127}, "127 true"},
		"overload":         {true, 12, []byte{0x80}, "0 true"},
		"more than a byte": {true, 12, []byte{30, 1, 2}, "30 true"},
		"as was offered":   {true, 1, []byte{25}, "0 false"},
		"none":             {true, 0, nil, "0 false"},
		"not asked for":    {false, 12, []byte{25}, "0 false"},
	} {
		t.Run(name, func(t *testing.T) {
			c := connectLevelled(t, test.asked)
			context := ofClient(t, c.peer)
			packet := numbered(1)
			packet.SSRC, packet.PayloadType = ssrcOf(c.client.senders[0]), 111
			if test.id != 0 {
				must(t, packet.SetExtension(test.id, test.value))
			}
			good := sealed(t, context, packet)
			forged := append([]byte(nil), good...)
			forged[len(forged)-1] ^= 1
			arrive(c.peer, udp.NewBatch(0, nil), forged)
			if got := c.audio.received(); len(got) != 0 {
				t.Fatalf("a forged packet was handed on: %+v", got)
			}
			arrive(c.peer, udp.NewBatch(0, nil), good)
			got := c.audio.received()
			if len(got) != 1 || fmt.Sprint(got[0].Level, got[0].HasLevel) != test.want || len(got[0].Payload) != 1 {
				t.Errorf("handed on %+v, want a level of %s", got, test.want)
			}
		})
	}
}
