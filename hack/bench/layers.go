//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

func rid(layer int) string { return "r" + strconv.Itoa(layer) }

// addSources puts what the participant sends on the connection: one stream, or the layers of simulcast.
func addSources(connection *webrtc.PeerConnection, p participant) error {
	if len(p.layers) == 0 {
		_, err := addSource(connection, p)

		return err
	}
	var sender *webrtc.RTPSender
	for i, s := range p.layers {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8},
			"track-"+p.name(), "stream-"+p.name(), webrtc.WithRTPStreamID(rid(i)))
		if err == nil && sender == nil {
			var transceiver *webrtc.RTPTransceiver
			if transceiver, err = connection.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{
				Direction: webrtc.RTPTransceiverDirectionSendonly,
			}); err == nil {
				sender = transceiver.Sender()
			}
		} else if err == nil {
			err = sender.AddEncoding(track)
		}
		if err != nil {
			return fmt.Errorf("add layer %d: %w", i, err)
		}
		s.write = func(packet *rtp.Packet) error { return track.WriteRTP(packet) }
	}
	for i, s := range p.layers {
		go p.takeRequests(s, func() ([]rtcp.Packet, interceptor.Attributes, error) {
			return sender.ReadSimulcastRTCP(rid(i))
		})
	}

	return nil
}

// identify has packets say which layer they are of (RFC 8852), and how loud they are (RFC 6464), by the identifiers in
// the answer, and makes that what a browser's is: it receives no layers, and names no SSRCs of those that it sends.
func (p participant) identify(answer string) (string, error) {
	if len(p.layers) == 0 && p.Speakers == 0 {
		return answer, nil
	}
	description := &sdp.SessionDescription{}
	if err := description.UnmarshalString(answer); err != nil {
		return "", fmt.Errorf("read the own answer: %w", err)
	}
	if p.Speakers > 0 {
		return answer, p.speak(description.MediaDescriptions[0])
	}
	for _, media := range description.MediaDescriptions {
		sends := func(a sdp.Attribute) bool { return a.Key == "simulcast" && strings.HasPrefix(a.Value, "send") }
		if !slices.ContainsFunc(media.Attributes, sends) {
			continue
		}
		media.Attributes = slices.DeleteFunc(media.Attributes, func(a sdp.Attribute) bool {
			return strings.HasPrefix(a.Key, "ssrc") || a.Key == "simulcast" && !sends(a) ||
				a.Key == "rid" && strings.HasSuffix(a.Value, " recv")
		})
		mid, _ := media.Attribute(sdp.AttrKeyMID)
		for i, s := range p.layers {
			for uri, value := range map[string]string{sdp.SDESMidURI: mid, sdp.SDESRTPStreamIDURI: rid(i)} {
				if err := s.header.SetExtension(extensionID(media, uri), []byte(value)); err != nil {
					return "", fmt.Errorf("identify layer %d: %w", i, err)
				}
			}
		}
	}
	text, err := description.Marshal()

	return string(text), err
}

// speak has all packets of who speaks in a spotlight channel say that they are loud, and those of
// the others that they are silence.
func (p participant) speak(audio *sdp.MediaDescription) error {
	if p.source.header.Extension { // As after the first answer.
		return nil
	}
	level := byte(127)
	if p.index < p.Speakers {
		level = 25
	}
	if err := p.source.header.SetExtension(extensionID(audio, sdp.AudioLevelURI), []byte{level}); err != nil {
		return fmt.Errorf("have packets say how loud they are: %w", err)
	}

	return nil
}

// extensionID is 0, which cannot be set, where there is none.
func extensionID(media *sdp.MediaDescription, uri string) uint8 {
	for _, a := range media.Attributes {
		if number, is, _ := strings.Cut(a.Value, " "); a.Key == sdp.AttrKeyExtMap && is == uri {
			id, _ := strconv.ParseUint(number, 10, 8)

			return uint8(id)
		}
	}

	return 0
}
