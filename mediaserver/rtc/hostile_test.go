package rtc

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// hostile are answers that a stranger may send, made of a good one. Whatever becomes of them, nothing may panic or
// hang, nor any other client notice.
var hostile = map[string]func(good string) string{
	"good":              func(a string) string { return a },
	"duplicate mids":    func(a string) string { return strings.ReplaceAll(a, "a=mid:1", "a=mid:0") },
	"swapped m-lines":   swapped,
	"no ufrag":          func(a string) string { return strings.ReplaceAll(a, "a=ice-ufrag", "a=x") },
	"empty ufrag":       func(a string) string { return attribute(a, "ice-ufrag", "") },
	"long ufrag":        func(a string) string { return attribute(a, "ice-ufrag", strings.Repeat("u", 5000)) },
	"odd fingerprint":   func(a string) string { return attribute(a, "fingerprint", "sha-999 00:11") },
	"short fingerprint": func(a string) string { return attribute(a, "fingerprint", "sha-256") },
	"setup holdconn":    func(a string) string { return attribute(a, "setup", "holdconn") },
	"setup actpass":     func(a string) string { return attribute(a, "setup", "actpass") },
	"huge numbers": func(a string) string {
		return strings.ReplaceAll(a, "m=video 9",
			"m=video 99999999999999999999")
	},
	"huge SSRC":        func(a string) string { return attribute(a, "ssrc", "99999999999999999999 cname:x") },
	"negative SSRC":    func(a string) string { return attribute(a, "ssrc", "-1 cname:x") },
	"empty SSRC":       func(a string) string { return attribute(a, "ssrc", "") },
	"no SSRC":          func(a string) string { return strings.ReplaceAll(a, "a=ssrc", "a=x") },
	"one SSRC for all": func(a string) string { return attribute(a, "ssrc", "7 cname:x") },
	"odd groups": func(a string) string {
		return a +
			"a=ssrc-group:FID 1\r\na=ssrc-group:FEC-FR x y\r\na=ssrc-group:\r\n"
	},
	"many SSRCs":     func(a string) string { return a + repeated(10_000, "a=ssrc:%d\r\n") },
	"few more SSRCs": func(a string) string { return a + repeated(50, "a=ssrc:%d cname:x\r\n") },
	"rids": func(a string) string {
		return a + repeated(1000, "a=rid:%d send\r\n") +
			"a=simulcast:send 1;2;~;;\r\n"
	},
	"odd extensions": func(a string) string {
		return a + "a=extmap:999999 x\r\na=extmap:\r\na=extmap:0 urn:x\r\na=extmap:1\r\n"
	},
	"odd payload types": func(a string) string {
		return a + "a=rtpmap:96 VP8/0\r\na=rtpmap:999 x\r\na=fmtp:96\r\na=rtcp-fb:* x\r\n"
	},
	"formats in circles": func(a string) string {
		return strings.NewReplacer("apt=98", "apt=99", "a=rtpmap:100 H264", "a=rtpmap:100 rtx").Replace(a)
	},
	"no formats":   func(a string) string { return regexp.MustCompile(`SAVPF [^\r]*`).ReplaceAllString(a, "SAVPF") },
	"many formats": func(a string) string { return strings.ReplaceAll(a, "SAVPF", "SAVPF"+repeated(1000, " %d")) },
	"other clock":  func(a string) string { return strings.ReplaceAll(a, "VP8/90000", "VP8/1") },
	"SCTP parameters": func(a string) string {
		return a + "a=sctp-port:99999999\r\na=max-message-size:-1\r\na=sctp-init:!!\r\n"
	},
	"no BUNDLE": func(a string) string { return regexp.MustCompile(`a=group:[^\r]*\r\n`).ReplaceAllString(a, "") },
	"BUNDLE of strange": func(a string) string {
		return regexp.MustCompile(`a=group:[^\r]*`).ReplaceAllString(a, "a=group:BUNDLE 9 8 7")
	},
	"rejected": func(a string) string {
		return strings.ReplaceAll(strings.ReplaceAll(a, "m=video 9", "m=video 0"), "m=audio 9", "m=audio 0")
	},
	"ICE lite":           func(a string) string { return strings.Replace(a, "t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n", 1) },
	"hostnames":          withCandidates(100, "1 1 udp 2130706431 host%d.example.com 9 typ host"),
	"mDNS names":         withCandidates(100, "1 1 udp 2130706431 0f0f0f0f-0000-4000-8000-%012d.local 9 typ host"),
	"IPv6 zones":         withCandidates(100, "1 1 udp 2130706431 fe80::1%%eth%d 9 typ host"),
	"multicast":          withCandidates(100, "1 1 udp 2130706431 224.0.0.%d 9 typ host"),
	"broadcast":          withCandidates(1, "1 1 udp 2130706431 255.255.255.255 %d typ host"),
	"port 0":             withCandidates(1, "1 1 udp 2130706431 127.0.0.1 %d typ host"),
	"odd candidates":     withCandidates(5, "%d"),
	"candidates no more": withCandidates(4000, "1 1 udp 2130706431 127.0.0.1 %d typ host"),
}

func repeated(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}

	return b.String()
}

func attribute(answer, key, value string) string {
	return regexp.MustCompile(`a=`+key+`:[^\r]*`).ReplaceAllString(answer, "a="+key+":"+value)
}

func swapped(answer string) string {
	parts := strings.Split(answer, "m=")
	parts[1], parts[2] = parts[2], parts[1]

	return strings.Join(parts, "m=")
}

func withCandidates(n int, format string) func(string) string {
	return func(answer string) string {
		without := regexp.MustCompile(`a=(candidate:[^\r]*|end-of-candidates)\r\n`).ReplaceAllString(answer, "")
		head, tail, _ := strings.Cut(without, "a=mid:0\r\n")

		return head + "a=mid:0\r\n" + repeated(n, "a=candidate:"+format+"\r\n") + tail
	}
}

// answerAnew gives an answer to a peer of its own.
func answerAnew(t *testing.T, engine *Engine, answer string) error {
	t.Helper()
	peer, err := engine.NewPeer(PeerConfig{
		Audio: &Uplink{MaxBitRate: 1, Receiver: newRecorder()},
		Video: &Uplink{Format: vp8, MaxBitRate: 1, Receiver: newRecorder()},
	})
	if err != nil {
		t.Fatal(err)
	}
	receiveOneOfEach(t, peer)
	if _, err := peer.Offer(); err != nil {
		t.Fatal(err)
	}
	answered := peer.Answer(answer)
	if answered == nil {
		if _, err := peer.Offer(); err != nil {
			t.Errorf("another offer after an answer that was accepted: %v", err)
		}
	}
	if err := peer.Close(); err != nil {
		t.Errorf("close after a hostile answer: %v", err)
	}

	return answered
}

// receiveOneOfEach adds a stream of each codec.
func receiveOneOfEach(t testing.TB, peer *Peer) {
	t.Helper()
	for _, format := range []codecs.Format{opus, vp8, vp9, h264, av1} {
		if _, err := peer.AddDownlink("SENDER", format); err != nil {
			t.Fatal(err)
		}
	}
}

func goodAnswer(t testing.TB, engine *Engine) string {
	t.Helper()
	c := newConnection(t, engine, true)
	receiveOneOfEach(t, c.peer)
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}

	return c.client.answer(t, offer)
}

func TestHostileAnswers(t *testing.T) {
	engine := newEngine(t)
	good := goodAnswer(t, engine)
	refused := map[string]bool{
		"duplicate mids": true, "swapped m-lines": true, "no ufrag": true, "many SSRCs": true, "many formats": true,
		"huge numbers": true, "short fingerprint": true,
		"empty ufrag": true, "odd fingerprint": true, "setup holdconn": true, "setup actpass": true,
	}
	bystander := connect(t, engine, true)
	for name, change := range hostile {
		err := answerAnew(t, engine, change(good))
		if err != nil && !errors.Is(err, ErrInvalidAnswer) {
			t.Errorf("%s: %v", name, err)
		}
		if refused[name] && err == nil {
			t.Errorf("%s is accepted", name)
		}
		if (name == "good" || strings.HasSuffix(name, "s no more") || name == "hostnames") && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, _ := bind(t, bystander, "SENDER")
	if s, _ := readStream(t, bystander.client, d, 1); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
	}
}

// Nobody is told of a stream that could not be received.
func TestSendingWithoutSSRC(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.peer.Answer(hostile["no SSRC"](c.client.answer(t, offer))); err != nil {
		t.Fatal(err)
	}
	if sends := c.peer.Sends(); len(sends) != 0 {
		t.Errorf("client sends %v", sends)
	}
}

// FuzzAnswer: any text is an answer or an error, soon.
func FuzzAnswer(f *testing.F) {
	engine := newEngine(f)
	good := goodAnswer(f, engine)
	for _, change := range hostile {
		f.Add(change(good))
	}
	f.Add("")
	f.Add("v=0\r\n")
	f.Fuzz(func(t *testing.T, answer string) {
		if err := answerAnew(t, engine, answer); err != nil && !errors.Is(err, ErrInvalidAnswer) &&
			!errors.Is(err, ErrDescriptionTooLarge) {
			t.Fatal(err)
		}
	})
}
