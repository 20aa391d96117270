package bot

import (
	"maps"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// What is published on a peer connection is with sound, in three sizes or one, whoever offers.
func TestPublication(t *testing.T) {
	for name, negotiate := range map[string]func(t *testing.T, p *Publication, server *webrtc.PeerConnection){
		"the publication offers": func(t *testing.T, p *Publication, server *webrtc.PeerConnection) {
			offer, err := p.Offer()
			if err != nil {
				t.Fatal(err)
			}
			take(t, server, webrtc.SDPTypeOffer, offer)
			if err := p.Accept(own(t, server, server.CreateAnswer)); err != nil {
				t.Fatal(err)
			}
		},
		"the server offers": func(t *testing.T, p *Publication, server *webrtc.PeerConnection) {
			for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
				receiving := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
				if _, err := server.AddTransceiverFromKind(kind, receiving); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := p.Answer(own(t, server, server.CreateOffer))
			if err != nil {
				t.Fatal(err)
			}
			take(t, server, webrtc.SDPTypeAnswer, answer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			video, want := embedded(true), map[string]bool{"audio": true, "r0": true, "r1": true, "r2": true}
			if name == "the server offers" { // pion offers to receive one size.
				video, want = embedded(false), map[string]bool{"audio": true, "": true}
			}
			api, err := newAPI()
			if err != nil {
				t.Fatal(err)
			}
			server, err := api.NewPeerConnection(webrtc.Configuration{})
			if err != nil {
				t.Fatal(err)
			}
			came := make(chan string, 10)
			server.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
				if track.Kind() == webrtc.RTPCodecTypeAudio {
					came <- "audio"
				} else {
					came <- track.RID()
				}
			})
			p, err := NewPublication(t.Context(), video)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := ClosePeer(server); err != nil {
					t.Error(err)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}()
			negotiate(t, p, server)
			got := make(map[string]bool)
			for deadline := time.After(20 * time.Second); !maps.Equal(got, want); {
				select {
				case name := <-came:
					got[name] = true
				case <-deadline:
					t.Fatalf("%v came, want %v", got, want)
				}
			}
			if published := p.Published(); published.Keyframes == 0 || published.AudioPackets == 0 {
				t.Errorf("published %+v", published)
			}
		})
	}
}

func take(t *testing.T, server *webrtc.PeerConnection, kind webrtc.SDPType, description string) {
	t.Helper()
	if err := server.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: description}); err != nil {
		t.Fatal(err)
	}
}

// own is the server's description, with all candidates.
func own[O any](
	t *testing.T, server *webrtc.PeerConnection, create func(*O) (webrtc.SessionDescription, error),
) string {
	t.Helper()
	description, err := create(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(server)
	if err := server.SetLocalDescription(description); err != nil {
		t.Fatal(err)
	}
	<-gathered

	return server.LocalDescription().SDP
}
