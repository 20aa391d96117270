package signaling

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func connectText(more string) string {
	return `{"type":"connect","role":"sendrecv","channel_id":"sora"` + more + `}`
}

func TestDecode(t *testing.T) {
	mid, index := "1", uint16(1)
	vp9, opus := &Media{CodecType: "VP9"}, &Media{CodecType: "OPUS", Opus: defaultOpus}
	plain := Connect{Role: forwardingv1.Role_ROLE_SENDRECV, ChannelID: "sora", Audio: opus, Video: vp9}
	with := func(change func(*Connect)) Connect {
		c := plain
		change(&c)

		return c
	}
	longest := strings.Repeat("凪", 85) // 255 bytes
	type decoded struct {
		text string
		want Message
	}
	video := func(fields string, want Media) decoded {
		return decoded{connectText(`,"video":{` + fields + `}`), with(func(c *Connect) { c.Video = &want })}
	}

	for name, test := range map[string]decoded{
		"connect": {connectText(""), plain},
		"everything ignored": {connectText(`,"sdp":"","sora_client":null,"environment":1,"libwebrtc":"x","new":{"a":[]},` +
			`"data_channel_signaling":true,"multistream":true,"simulcast":false,"spotlight":false,"forwarding_filters":[]`),
			plain},
		"keys are exact": {connectText(`,"CLIENT_ID":"x","Video":false`), plain},
		"recvonly": {`{"type":"connect","role":"recvonly","channel_id":"sora"}`,
			with(func(c *Connect) { c.Role = forwardingv1.Role_ROLE_RECVONLY })},
		"sendonly": {`{"type":"connect","role":"sendonly","channel_id":"sora"}`,
			with(func(c *Connect) { c.Role = forwardingv1.Role_ROLE_SENDONLY })},
		"longest ids": {`{"type":"connect","role":"sendrecv","channel_id":"` + longest + `","client_id":"` + longest +
			`","bundle_id":"b"}`, with(func(c *Connect) {
			c.ChannelID, c.ClientID, c.BundleID = longest, longest, "b"
		})},
		"audio off": {connectText(`,"audio":false,"video":true`), with(func(c *Connect) { c.Audio = nil })},
		"video off": {connectText(`,"audio":{},"video":false`), with(func(c *Connect) { c.Video = nil })},
		"codecs": {connectText(`,"audio":{"codec_type":"OPUS","bit_rate":6},"video":{"codec_type":"VP8","bit_rate":50000}`),
			with(func(c *Connect) {
				c.Audio, c.Video = &Media{"OPUS", "", 6, defaultOpus}, &Media{"VP8", "", 50000, Opus{}}
			})},
		"simulcast": {connectText(`,"simulcast":true,"simulcast_rid":"r1"`),
			with(func(c *Connect) { c.Simulcast, c.RequestRID = true, "r1" })},
		"newer name of the rid": {connectText(`,"simulcast_request_rid":"none","simulcast_rid":"r1"`),
			with(func(c *Connect) { c.RequestRID = "none" })},
		"VP9":                    video(`"codec_type":"VP9"`, Media{CodecType: "VP9"}),
		"AV1":                    video(`"codec_type":"AV1","vp9_params":{"profile_id":2}`, Media{CodecType: "AV1"}),
		"H264":                   video(`"codec_type":"H264","h264_params":{}`, Media{CodecType: "H264"}),
		"profile of the default": video(`"vp9_params":{"profile_id":2,"new":1}`, Media{CodecType: "VP9", Profile: "2"}),
		"profile of AV1": video(`"codec_type":"AV1","av1_params":{"profile":1}`,
			Media{CodecType: "AV1", Profile: "1"}),
		"profile of H264": video(`"codec_type":"H264","h264_params":{"profile_level_id":"640C1F"}`,
			Media{CodecType: "H264", Profile: "640c1f"}),
		"no profile": video(`"codec_type":"H264","h264_params":{"profile_level_id":null}`,
			Media{CodecType: "H264"}),
		"Opus, everything": {
			connectText(`,"audio":{"opus_params":{"channels":2,"clock_rate":48000,"maxplaybackrate":16000,"minptime":20,` +
				`"ptime":60,` +
				`"stereo":false,"sprop_stereo":true,"useinbandfec":false,"usedtx":true,"new":[]}}`),
			with(func(c *Connect) {
				c.Audio = &Media{CodecType: "OPUS", Opus: Opus{
					SpropStereo: true, UseDTX: true, MinPTime: 20, PTime: 60, MaxPlaybackRate: 16_000,
				}}
			}),
		},
		"Opus, nothing": {connectText(`,"audio":{"opus_params":{"stereo":null}}`), plain},
		"Opus, one channel": {connectText(`,"audio":{"opus_params":{"channels":1}}`), with(func(c *Connect) {
			c.Audio = &Media{CodecType: "OPUS", Opus: Opus{UseInbandFEC: true, MinPTime: 10}}
		})},
		"Opus, one channel and yet two": {connectText(`,"audio":{"opus_params":{"channels":1,"stereo":true}}`),
			with(func(c *Connect) {
				c.Audio = &Media{CodecType: "OPUS", Opus: Opus{Stereo: true, UseInbandFEC: true, MinPTime: 10}}
			})},
		"spotlight": {connectText(`,"spotlight":true,"spotlight_number":null`), with(func(c *Connect) {
			c.Spotlight = &Spotlight{Number: 5, FocusRID: "r1", UnfocusRID: "r0"}
		})},
		"spotlight, everything": {
			connectText(`,"spotlight":true,"spotlight_number":8,"spotlight_focus_rid":"r2","spotlight_unfocus_rid":"none"`),
			with(func(c *Connect) { c.Spotlight = &Spotlight{Number: 8, FocusRID: "r2", UnfocusRID: RIDNone} }),
		},
		"no spotlight": {connectText(`,"spotlight":false,"spotlight_number":99,"spotlight_focus_rid":7`), plain},
		"metadata": {connectText(`,"metadata":{"access_token": "x"},"signaling_notify_metadata":[1, 2]`),
			with(func(c *Connect) { c.Metadata, c.NotifyMetadata = []byte(`{"access_token":"x"}`), []byte("[1,2]") })},
		"client's name": {connectText(`,"sora_client":"Sora JavaScript SDK"`),
			with(func(c *Connect) { c.SoraClient = "Sora JavaScript SDK" })},
		"answer":    {`{"type":"answer","sdp":"v=0"}`, Answer{SDP: "v=0"}},
		"re-answer": {`{"type":"re-answer","sdp":"v=0"}`, Answer{SDP: "v=0", Re: true}},
		"update":    {`{"type":"update","sdp":"v=0"}`, Answer{SDP: "v=0", Re: true}},
		"candidate": {
			`{"type":"candidate","candidate":"candidate:1","sdpMid":"1","sdpMLineIndex":1,"usernameFragment":"x"}`,
			Candidate{"candidate:1", &mid, &index},
		},
		"candidate, no line": {`{"type":"candidate","candidate":"","sdpMid":null}`, Candidate{}},
		"pong":               {`{"type":"pong","stats":[{}]}`, Pong{}},
		"disconnect":         {`{"type":"disconnect","reason":"NO-ERROR"}`, Disconnect{"NO-ERROR"}},
		"disconnect, bare":   {`{"type":"disconnect","reason":7}`, Disconnect{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Connect{})); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// refused are texts with the reason that their sender is closed with.
var refused = map[string]string{
	"":                              ReasonFailureJSONDecode,
	"hello":                         ReasonFailureJSONDecode,
	"{\"type\":\"pong\"":            ReasonFailureJSONDecode,
	"\"\xff\"":                      ReasonFailureJSONDecode,
	"null":                          ReasonInvalidJSON,
	"[]":                            ReasonInvalidJSON,
	"7":                             ReasonInvalidJSON,
	"{}":                            ReasonMissingType,
	`{"type":null}`:                 ReasonMissingType,
	`{"type":1}`:                    ReasonMissingType,
	`{"Type":"pong"}`:               ReasonMissingType,
	`{"type":"offer","sdp":"v=0"}`:  ReasonUnknownType,
	`{"type":"CONNECT"}`:            ReasonUnknownType,
	`{"type":"answer"}`:             ReasonInvalidJSON,
	`{"type":"answer","sdp":""}`:    ReasonInvalidJSON,
	`{"type":"re-answer","sdp":{}}`: ReasonInvalidJSON,
	`{"type":"candidate"}`:          ReasonInvalidJSON,
	`{"type":"candidate","candidate":"","sdpMid":0}`:                                           ReasonInvalidJSON,
	`{"type":"candidate","candidate":"","sdpMLineIndex":-1}`:                                   ReasonInvalidJSON,
	`{"type":"candidate","candidate":"","sdpMLineIndex":"0"}`:                                  ReasonInvalidJSON,
	`{"type":"connect","channel_id":"sora"}`:                                                   ReasonInvalidRole,
	`{"type":"connect","role":"upstream","channel_id":"sora"}`:                                 ReasonInvalidRole,
	`{"type":"connect","role":"sendrecv"}`:                                                     ReasonInvalidChannelID,
	`{"type":"connect","role":"sendrecv","channel_id":""}`:                                     ReasonInvalidChannelID,
	`{"type":"connect","role":"sendrecv","channel_id":1}`:                                      ReasonInvalidChannelID,
	`{"type":"connect","role":"sendrecv","channel_id":"` + strings.Repeat("x", 256) + `"}`:     ReasonInvalidChannelID,
	connectText(`,"client_id":""`):                                                             ReasonInvalidClientID,
	connectText(`,"client_id":{}`):                                                             ReasonInvalidClientID,
	connectText(`,"client_id":"` + strings.Repeat("凪", 86) + `"`):                              ReasonInvalidClientID,
	connectText(`,"bundle_id":""`):                                                             ReasonInvalidBundleID,
	connectText(`,"audio":1`):                                                                  ReasonInvalidAudioFormat,
	connectText(`,"audio":{"codec_type":1}`):                                                   ReasonInvalidAudioFormat,
	connectText(`,"audio":{"bit_rate":5}`):                                                     ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":true}`):                                               ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"stereo":1}}`):                                       ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"channels":3}}`):                                     ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"clock_rate":16000}}`):                               ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"ptime":121}}`):                                      ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"minptime":2.5}}`):                                   ReasonInvalidAudioFormat,
	connectText(`,"audio":{"opus_params":{"maxplaybackrate":"16000"}}`):                        ReasonInvalidAudioFormat,
	connectText(`,"audio":{"codec_type":"PCMU"}`):                                              ReasonUnknownCodecType,
	connectText(`,"video":"VP8"`):                                                              ReasonInvalidVideoFormat,
	connectText(`,"video":{"bit_rate":0}`):                                                     ReasonInvalidVideoFormat,
	connectText(`,"video":{"bit_rate":1.5}`):                                                   ReasonInvalidVideoFormat,
	connectText(`,"video":{"bit_rate":1e99}`):                                                  ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"OPUS"}`):                                              ReasonUnknownCodecType,
	connectText(`,"audio":{"codec_type":"VP9"}`):                                               ReasonUnknownCodecType,
	connectText(`,"video":{"codec_type":"H265"}`):                                              ReasonH265,
	connectText(`,"video":{"vp9_params":2}`):                                                   ReasonInvalidVideoFormat,
	connectText(`,"video":{"vp9_params":{"profile_id":4}}`):                                    ReasonInvalidVideoFormat,
	connectText(`,"video":{"vp9_params":{"profile_id":"0"}}`):                                  ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"AV1","av1_params":{"profile":-1}}`):                   ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"H264","h264_params":{"profile_level_id":42}}`):        ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"H264","h264_params":{"profile_level_id":"42e0"}}`):    ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"H264","h264_params":{"profile_level_id":"42e01\r"}}`): ReasonInvalidVideoFormat,
	connectText(`,"video":{"codec_type":"vp8"}`):                                               ReasonUnknownCodecType,
	connectText(`,"multistream":false`):                                                        ReasonLegacyStream,
	connectText(`,"multistream":"no"`):                                                         ReasonInvalidJSON,
	connectText(`,"simulcast":"yes"`):                                                          ReasonInvalidJSON,
	connectText(`,"simulcast":true,"simulcast_rid":"r3"`):                                      ReasonInvalidRID,
	connectText(`,"simulcast_request_rid":0`):                                                  ReasonInvalidRID,
	connectText(`,"spotlight":true,"spotlight_number":0`):                                      ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_number":9`):                                      ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_number":1.5`):                                    ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_number":"1"`):                                    ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_focus_rid":"r3"`):                                ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_unfocus_rid":""`):                                ReasonInvalidSpotlight,
	connectText(`,"spotlight":true,"spotlight_unfocus_rid":0`):                                 ReasonInvalidSpotlight,
	connectText(`,"spotlight":"true"`):                                                         ReasonInvalidJSON,
	connectText(`,"spotlight":1`):                                                              ReasonInvalidJSON,
	connectText(`,"forwarding_filter":{"action":"block"}`):                                     ReasonForwardingFilter,
	connectText(`,"forwarding_filters":[{"action":"block"}]`):                                  ReasonForwardingFilter,
	connectText(`,"metadata":"` + strings.Repeat("x", 16<<10) + `"`):                           ReasonInvalidMetadata,
	connectText(`,"signaling_notify_metadata":"` + strings.Repeat("x", 16<<10) + `"`):          ReasonInvalidMetadata,
}

func TestDecodeRefuses(t *testing.T) {
	for text, reason := range refused {
		message, err := Decode([]byte(text))
		var told *CloseError
		if !errors.As(err, &told) || told.Code != CodeError || told.Reason != reason {
			t.Errorf("%.80q gives %v and %v, want %s", text, message, err, reason)
		}
	}
}

// FuzzDecode: any bytes give a message or a reason that fits a close frame.
func FuzzDecode(f *testing.F) {
	for text := range refused {
		f.Add([]byte(text))
	}
	f.Add(
		[]byte(connectText(`,"client_id":"x","audio":{"bit_rate":32},"metadata":{},"signaling_notify_metadata":{"a":[1]}`)),
	)
	f.Add([]byte(`{"type":"answer","sdp":"v=0"}`))
	f.Add([]byte(`{"type":"candidate","candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}`))
	f.Add([]byte(`{"type":"pong"}`))
	f.Add([]byte(`{"type":"disconnect"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		message, err := Decode(text)
		if err != nil {
			var told *CloseError
			if !errors.As(err, &told) || told.Code != CodeError || told.Reason == "" || len(told.Reason) > 123 {
				t.Fatalf("%q gives %v", text, err)
			}

			return
		}
		c, ok := message.(Connect)
		if !ok {
			return
		}
		if len(c.ChannelID) < 1 || len(c.ChannelID) > 255 || len(c.ClientID) > 255 || len(c.BundleID) > 255 ||
			c.Role == forwardingv1.Role_ROLE_UNSPECIFIED {
			t.Fatalf("%q passes as %+v", text, c)
		}
	})
}

// Of a long message nothing is kept but what is looked at, however long the connection lasts.
func TestConnectKeepsNoFrame(t *testing.T) {
	const bound = 1 << 10
	long := strings.Repeat("x", 100<<10)
	message, err := Decode([]byte(connectText(`,"sora_client":"` + long + `","signaling_notify_metadata":[` +
		strings.Repeat(" ", 100<<10) + `]`)))
	if err != nil {
		t.Fatal(err)
	}
	connect := message.(Connect)
	if got := cap(connect.NotifyMetadata); got > bound {
		t.Errorf("metadata of %d bytes keeps %d", len(connect.NotifyMetadata), got)
	}
	before := allocated()
	kept := make([]string, 200)
	for i := range kept {
		message, err := Decode([]byte(connectText(`,"sora_client":"` + long + `"`)))
		if err != nil {
			t.Fatal(err)
		}
		kept[i] = message.(Connect).SoraClient
	}
	if each := (allocated() - before) / len(kept); each > bound {
		t.Errorf("%d bytes of sora_client keep %d", len(kept[0]), each)
	}
	runtime.KeepAlive(kept)
}

// allocated is how many bytes of the heap are in use.
func allocated() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)

	return int(stats.HeapAlloc)
}
