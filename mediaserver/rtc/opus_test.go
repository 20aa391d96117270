package rtc

import (
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// What a client wants of Opus stands in its offers: a rate where it sends alone, since nobody but a sender can keep to
// one.
func TestOpusInOffers(t *testing.T) {
	engine := newEngine(t)
	for name, c := range map[string]struct {
		opus          codecs.OpusParameters
		sends, is     string // the parameters where the client sends, and where it receives
		packetization string
	}{
		"as Sora offers it": {
			opus:  codecs.OpusParameters{Stereo: true, SpropStereo: true, InbandFEC: true, MinPTime: 10},
			sends: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
			is:    "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
		},
		"a rate": {
			opus:  codecs.OpusParameters{InbandFEC: true, MinPTime: 10, MaxAverageBitRate: 32_000},
			sends: "minptime=10;useinbandfec=1;stereo=0;sprop-stereo=0;maxaveragebitrate=32000",
			is:    "minptime=10;useinbandfec=1;stereo=0;sprop-stereo=0",
		},
		"all": {
			opus:          codecs.OpusParameters{DTX: true, MinPTime: 20, PTime: 60, MaxPlaybackRate: 16_000},
			sends:         "minptime=20;useinbandfec=0;stereo=0;sprop-stereo=0;usedtx=1;maxplaybackrate=16000",
			is:            "minptime=20;useinbandfec=0;stereo=0;sprop-stereo=0;usedtx=1;maxplaybackrate=16000",
			packetization: "60",
		},
	} {
		t.Run(name, func(t *testing.T) {
			peer, err := engine.NewPeer(PeerConfig{
				Audio: &Uplink{MaxBitRate: 1, Receiver: newRecorder()},
				Video: &Uplink{Format: vp8, MaxBitRate: 1, Receiver: newRecorder()},
				Opus:  c.opus,
			})
			must(t, err)
			_, err = peer.AddDownlink("SENDER", opus)
			must(t, err)
			offer, err := peer.Offer()
			must(t, err)
			media := lines(t, offer)
			for line, want := range map[int]string{0: c.sends, 2: c.is} {
				if !strings.Contains(media[line], "a=fmtp:111 "+want+"\r\n") {
					t.Errorf("m-line %d has no %q:\n%s", line, want, media[line])
				}
				if has := strings.Contains(media[line], "a=ptime:"); has != (c.packetization != "") ||
					has && !strings.Contains(media[line], "a=ptime:"+c.packetization+"\r\n") {
					t.Errorf("m-line %d: want ptime %q:\n%s", line, c.packetization, media[line])
				}
			}
			if strings.Contains(media[1], "stereo") || strings.Contains(media[1], "ptime") {
				t.Errorf("video has parameters of Opus:\n%s", media[1])
			}
			must(t, peer.Close())
		})
	}
}
