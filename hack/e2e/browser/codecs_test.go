package browser

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestEachDecodesWhatTheOthersSend has three clients in a channel that send three codecs. Each is decoded by
// the others as what it was sent in, and a pause stops exactly its edge, whichever codec that has.
func TestEachDecodesWhatTheOthersSend(t *testing.T) {
	join := newSDKWith(t)
	for _, codecs := range codecsOfThree(t) {
		t.Run(strings.Join(codecs[:], " "), func(t *testing.T) {
			channelID := "browser-codecs-" + strings.Join(codecs[:], "-")
			var tabs [3]sdkTab
			for i, clientID := range []string{"alice", "bob", "carol"} {
				options := fmt.Sprintf(`{videoCodecType: %q, videoH264Params: {profile_level_id: "42e034"}}`, codecs[i])
				tabs[i] = join(channelID, clientID, "sendrecv", options)
			}
			alice, bob, carol := tabs[0], tabs[1], tabs[2]
			for _, receiver := range tabs {
				for i, sender := range tabs {
					if sender != receiver {
						eventually(t, "everybody decodes everybody", func() error { return receiver.decodes(t, sender, codecs[i]) })
					}
				}
			}
			for _, tab := range tabs {
				var streams []string // What it sends, and what it gets of the two others.
				if err := evaluate(t, tab.tab, "retransmits()", &streams); err != nil || len(streams) != 3 {
					t.Errorf("of three streams of video %v have a retransmission stream (%v)", streams, err)
				}
			}
			for round, stopped := range []sdkTab{bob, carol} {
				other := carol
				if stopped == carol {
					other = bob
				}
				edge := map[string]string{
					"channel_id": channelID, "recv_connection_id": alice.connectionID, "send_connection_id": stopped.connectionID,
				}
				pausedBobResumes(t, round, edge, alice, stopped, other)
				if err := alice.decodes(t, stopped, codecs[slices.Index(tabs[:], stopped)]); err != nil {
					t.Error(err)
				}
			}
			for _, tab := range tabs {
				leave(t, tab)
			}
		})
	}
}

// codecsOfThree are what three clients send. Together they have each codec that the browser can encode; a
// Chromium without the licence for H264 cannot encode that one.
func codecsOfThree(t *testing.T) [][3]string {
	t.Helper()
	all := [][3]string{{"VP8", "VP9", "AV1"}}
	if slices.Contains(encodedBy(t, newBrowser(t)("about:blank")), "video/H264") {
		all = append(all, [3]string{"VP9", "H264", "VP8"})
	}

	return all
}

// encodedBy are the types of video that a tab's browser can encode.
func encodedBy(t *testing.T, tab context.Context) (types []string) {
	t.Helper()
	capabilities := `RTCRtpSender.getCapabilities("video").codecs.map((codec) => codec.mimeType)`
	if err := evaluate(t, tab, capabilities, &types); err != nil {
		t.Fatal(err)
	}
	t.Logf("the browser encodes %v", types)

	return types
}

// decodes tells whether the tab decodes what a sender sends, as the codec that it sends.
func (s sdkTab) decodes(t *testing.T, sender sdkTab, codec string) error {
	t.Helper()
	video := s.received(t)[sender.connectionID]["video"]
	if video.Codec != "video/"+codec || video.FramesDecoded == 0 {
		return fmt.Errorf("%s of %s: want %s, has %+v", s.connectionID, sender.connectionID, codec, video)
	}

	return nil
}

// forget has a tab answer, from now on, as a browser without the codec does.
func forget(codec string) string {
	return fmt.Sprintf(`(() => {
		const { createAnswer } = RTCPeerConnection.prototype
		const known = RTCRtpReceiver.getCapabilities("video").codecs.filter(({ mimeType }) => mimeType !== "video/%s")
		RTCPeerConnection.prototype.createAnswer = function (...options) {
			for (const transceiver of this.getTransceivers()) {
				const video = transceiver.receiver.track.kind === "video" && transceiver.direction !== "stopped"
				if (video) transceiver.setCodecPreferences(known)
			}
			return createAnswer.apply(this, options)
		}
	})()`, codec)
}

func leave(t *testing.T, tab sdkTab) {
	t.Helper()
	if err := evaluate(t, tab.tab, "leave()", new(any)); err != nil {
		t.Fatal(err)
	}
}

// TestReceiverWithoutACodec is told which streams it misses for that, once each, and gets all others, those
// that come later too. What it misses can be paused like anything.
func TestReceiverWithoutACodec(t *testing.T) {
	const channelID = "browser-without"
	join := newSDKWith(t)
	bob := join(channelID, "bob", "sendonly", `{videoCodecType: "AV1"}`)
	carol := join(channelID, "carol", "sendonly", `{videoCodecType: "VP8"}`)
	alice := join(channelID, "alice", "recvonly", "{before: () => "+forget("AV1")+"}")
	hearsButDoesNotSee := func(sender sdkTab) {
		t.Helper()
		before := alice.received(t)
		eventually(t, "alice hears who sends AV1", func() error {
			return alice.audioGoesOn(t, sender.connectionID, before, alice.received(t))
		})
		if video, is := alice.received(t)[sender.connectionID]["video"]; is {
			t.Errorf("alice gets %+v of %s", video, sender.connectionID)
		}
	}
	eventually(t, "alice decodes carol", func() error { return alice.decodes(t, carol, "VP8") })
	hearsButDoesNotSee(bob)

	edge := map[string]string{
		"channel_id": channelID, "recv_connection_id": alice.connectionID, "send_connection_id": bob.connectionID,
	}
	for _, target := range []string{"Sora_20200401.PauseRtpStream", "Sora_20200401.ResumeRtpStream"} {
		if err := call(target, edge, new(map[string]string)); err != nil {
			t.Error(err)
		}
	}

	dave := join(channelID, "dave", "sendonly", `{videoCodecType: "AV1"}`)
	hearsButDoesNotSee(dave)
	leave(t, carol)
	erin := join(channelID, "erin", "sendonly", `{}`)
	eventually(t, "alice decodes erin", func() error { return alice.decodes(t, erin, "VP9") })

	var told []map[string]any
	if err := evaluate(t, alice.tab, `notified("rtp-stream.rejected")`, &told); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0]["codec_type"] != "AV1" || told[0]["send_connection_id"] != bob.connectionID ||
		told[1]["send_connection_id"] != dave.connectionID {
		t.Errorf("alice was told %v", told)
	}
}

// TestSenderWithoutItsCodec asked to send what its browser does not know: its picture never comes, and all else
// does, for who is there and for who comes.
func TestSenderWithoutItsCodec(t *testing.T) {
	const channelID = "browser-sender-without"
	join := newSDKWith(t)
	bob := join(channelID, "bob", "sendrecv", `{videoCodecType: "VP8"}`)
	alice := join(channelID, "alice", "sendrecv", `{videoCodecType: "AV1", before: () => `+forget("AV1")+`}`)
	eventually(t, "alice gets bob", func() error { return alice.goesOn(t, bob.connectionID, nil) })
	carol := join(channelID, "carol", "sendrecv", `{videoCodecType: "VP8"}`)
	eventually(t, "alice gets carol", func() error { return alice.goesOn(t, carol.connectionID, nil) })
	for _, receiver := range []sdkTab{bob, carol} {
		before := receiver.received(t)
		eventually(t, "the others hear alice", func() error {
			return receiver.audioGoesOn(t, alice.connectionID, before, receiver.received(t))
		})
		if video, is := receiver.received(t)[alice.connectionID]["video"]; is {
			t.Errorf("%s gets %+v of alice", receiver.connectionID, video)
		}
	}
	leave(t, bob)
	before := alice.received(t)
	eventually(t, "alice still gets carol", func() error { return alice.goesOn(t, carol.connectionID, before) })
}
