package bot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// layer is one encoding of the video that a bot publishes, with an encoder of its own: a
// keyframe of it brings none of another.
type layer struct {
	track     *webrtc.TrackLocalStaticRTP
	frames    []frame
	payloader *codecs.VP8Payloader
	header    rtp.Header
	index     int  // of the next frame
	paused    bool // the server wants none of it; settled before anything is sent

	keyframeWanted atomic.Bool
}

// addLayers gives the peer connection the video track: in one size, or, with simulcast
// (RFC 8853), in several.
func (pub *publisher) addLayers() error {
	var sender *webrtc.RTPSender
	for i, frames := range pub.clip.layers {
		l := &layer{
			frames: frames, payloader: &codecs.VP8Payloader{EnablePictureID: true}, header: newHeader(),
		}
		var options []func(*webrtc.TrackLocalStaticRTP)
		if len(pub.clip.layers) > 1 {
			options = append(options, webrtc.WithRTPStreamID("r"+strconv.Itoa(i)))
		}
		var err error
		if l.track, err = newTrack(webrtc.MimeTypeVP8, "video", options...); err != nil {
			return err
		}
		if sender == nil {
			sender, err = pub.addTrack(l.track)
		} else {
			err = sender.AddEncoding(l.track)
		}
		if err != nil {
			return fmt.Errorf("add layer %d: %w", i, err)
		}
		pub.layers = append(pub.layers, l)
	}
	for _, l := range pub.layers {
		read := sender.ReadRTCP
		if rid := l.track.RID(); rid != "" {
			read = func() ([]rtcp.Packet, interceptor.Attributes, error) { return sender.ReadSimulcastRTCP(rid) }
		}
		pub.run(func() { pub.readFeedback(l, read) })
	}

	return nil
}

// obey has the bot send none of the layers that an offer says are not wanted for now: the
// "~" of a=simulcast (RFC 8853 section 5.1). It is what browsers do with it.
func (pub *publisher) obey(offer string) {
	_, list, _ := strings.Cut(offer, "\r\na=simulcast:recv ")
	list, _, _ = strings.Cut(list, "\r\n")
	for rid := range strings.SplitSeq(list, ";") {
		for _, l := range pub.layers {
			l.paused = l.paused || rid == "~"+l.track.RID()
		}
	}
}

// rids are the layers as an answer lists them.
func (pub *publisher) rids() []string {
	rids := make([]string, len(pub.layers))
	for i, l := range pub.layers {
		rids[i] = l.track.RID()
		if l.paused {
			rids[i] = "~" + rids[i]
		}
	}

	return rids
}

// next is the next frame, cut into packets.
func (l *layer) next() (frame, [][]byte) {
	if l.keyframeWanted.Swap(false) {
		l.index = nextKeyframe(l.frames, l.index)
	}
	f := l.frames[l.index]
	l.index = (l.index + 1) % len(l.frames)

	return f, l.payloader.Payload(maxPacketBytes-rtpHeaderBytes-extensionBytes, f.data)
}

// extensionBytes is room for a packet's mid and rid.
const extensionBytes = 16

// identify has all packets of the layers say which layer they are of (RFC 8852), and those
// of audio, whose m-line is the first, how loud they are (RFC 6464), by the extensions of
// the m-line that they are sent on. To be called before they are sent.
func (pub *publisher) identify(answer string) error {
	description := &sdp.SessionDescription{}
	if err := description.UnmarshalString(answer); err != nil {
		return fmt.Errorf("read the own answer: %w", err)
	}
	if len(description.MediaDescriptions) > 0 {
		if id, err := extensionID(description.MediaDescriptions[0], sdp.AudioLevelURI); err == nil {
			pub.levelID = id
		}
	}
	if len(pub.layers) == 1 {
		return nil
	}
	for _, media := range description.MediaDescriptions {
		if _, simulcast := media.Attribute("simulcast"); !simulcast {
			continue
		}
		mid, _ := media.Attribute(sdp.AttrKeyMID)
		for _, l := range pub.layers {
			for uri, value := range map[string]string{sdp.SDESMidURI: mid, sdp.SDESRTPStreamIDURI: l.track.RID()} {
				id, err := extensionID(media, uri)
				if err == nil {
					err = l.header.SetExtension(id, []byte(value))
				}
				if err != nil {
					return fmt.Errorf("identify layer %s: %w", l.track.RID(), err)
				}
			}
		}

		return nil
	}

	return fmt.Errorf("the server offered no simulcast")
}

func extensionID(media *sdp.MediaDescription, uri string) (uint8, error) {
	for _, attribute := range media.Attributes {
		if attribute.Key != sdp.AttrKeyExtMap || !strings.HasSuffix(attribute.Value, " "+uri) {
			continue
		}
		number, _, _ := strings.Cut(attribute.Value, " ")
		id, err := strconv.ParseUint(number, 10, 8)

		return uint8(id), err
	}

	return 0, fmt.Errorf("no a=extmap of %s in the answer", uri)
}

// asBrowser makes an answer of pion's what a browser answers to an offer to send several
// layers: it sends them and receives none, names no SSRCs for them, and says which it does
// not send for now.
func (pub *publisher) asBrowser(answer string) string {
	head, sections := answer, []string{}
	if at := strings.Index(answer, "m="); at >= 0 {
		head, sections = answer[:at], strings.SplitAfter(answer[at:], "\r\nm=")
	}
	for i, section := range sections {
		if !strings.Contains(section, "a=simulcast:send") {
			continue
		}
		lines := slices.DeleteFunc(strings.SplitAfter(section, "\r\n"), func(line string) bool {
			return strings.HasPrefix(line, "a=rid:") && strings.HasSuffix(line, " recv\r\n") ||
				strings.HasPrefix(line, "a=simulcast:recv") || strings.HasPrefix(line, "a=ssrc")
		})
		for j, line := range lines {
			if strings.HasPrefix(line, "a=simulcast:send") {
				lines[j] = "a=simulcast:send " + strings.Join(pub.rids(), ";") + "\r\n"
			}
		}
		sections[i] = strings.Join(lines, "")
	}

	return head + strings.Join(sections, "")
}
