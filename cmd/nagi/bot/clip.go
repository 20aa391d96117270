package bot

import (
	"bytes"
	_ "embed" // The clip's two files.
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

// The clip is made by hack/clip/make.sh.
var (
	//go:embed clip/clip.ivf
	clipVideo []byte
	//go:embed clip/clip-r0.ivf
	clipR0 []byte
	//go:embed clip/clip-r1.ivf
	clipR1 []byte
	//go:embed clip/clip.ogg
	clipAudio []byte
)

// opusFrameDuration is the length of each of the clip's Opus packets.
const opusFrameDuration = 20 * time.Millisecond

// clip is what bots publish, over and over: VP8 video that begins with a
// keyframe, and Opus audio.
type clip struct {
	// layers are the same pictures in one size, or in three, the smallest first.
	layers [][]frame
	// frameDuration is the time from one frame to the next.
	frameDuration time.Duration
	// audio holds one Opus packet per opusFrameDuration.
	audio [][]byte
}

// frame is one encoded VP8 picture.
type frame struct {
	data     []byte
	keyframe bool
}

// embedded is the clip's video, in one size, or in three.
func embedded(simulcast bool) [][]byte {
	if simulcast {
		return [][]byte{clipR0, clipR1, clipVideo}
	}

	return [][]byte{clipVideo}
}

// loadClip takes IVF files, the smallest picture first, and the clip's audio.
func loadClip(video [][]byte) (*clip, error) {
	c := &clip{}
	for _, file := range video {
		if err := c.loadVideo(file); err != nil {
			return nil, fmt.Errorf("read the clip's video: %w", err)
		}
	}
	if err := c.loadAudio(); err != nil {
		return nil, fmt.Errorf("read the embedded clip's audio: %w", err)
	}

	return c, nil
}

func (c *clip) loadVideo(file []byte) error {
	reader, header, err := ivfreader.NewWith(bytes.NewReader(file))
	if err != nil {
		return err
	}
	c.frameDuration = time.Second * time.Duration(header.TimebaseNumerator) / time.Duration(header.TimebaseDenominator)
	var frames []frame
	for {
		data, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		frames = append(frames, frame{data: data, keyframe: isKeyframe(data)})
	}
	if len(frames) == 0 || !frames[0].keyframe {
		return errors.New("it does not begin with a keyframe")
	}
	c.layers = append(c.layers, frames)

	return nil
}

func (c *clip) loadAudio() error {
	reader, _, err := oggreader.NewWith(bytes.NewReader(clipAudio))
	if err != nil {
		return err
	}
	for {
		packet, header, err := reader.ParseNextPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if kind, ok := header.HeaderType(packet); ok && kind == oggreader.HeaderOpusTags {
			continue
		}
		c.audio = append(c.audio, packet)
	}
	if len(c.audio) == 0 {
		return errors.New("it holds no packets")
	}

	return nil
}

// nextKeyframe is the index of the first keyframe at or after from, past the
// clip's end from its beginning.
func nextKeyframe(frames []frame, from int) int {
	for i := range frames {
		at := (from + i) % len(frames)
		if frames[at].keyframe {
			return at
		}
	}

	return 0
}

// isKeyframe reads the frame tag of RFC 6386 section 9.1: bit 0 is 0 in a keyframe.
func isKeyframe(vp8Frame []byte) bool {
	return len(vp8Frame) > 0 && vp8Frame[0]&1 == 0
}
