package signaling

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// longAnswerText is an answer as a browser sends it in a big channel.
func longAnswerText(tb testing.TB, kind string) []byte {
	tb.Helper()
	text, err := json.Marshal(map[string]string{"type": kind,
		"sdp": strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:7\r\n", 5000)})
	if err != nil {
		tb.Fatal(err)
	}

	return text
}

// A long answer is unquoted, and made a string; nothing more is copied of it.
func TestLongAnswerIsCopiedTwice(t *testing.T) {
	text := longAnswerText(t, "re-answer")
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	if got, most := result.AllocedBytesPerOp(), int64(len(text)*5/2); got > most {
		t.Errorf("%d bytes were allocated for an answer of %d", got, len(text))
	}
}

// What is long means what it means when it is short.
func TestLongMessagesMeanTheSame(t *testing.T) {
	padding := strings.Repeat(" ", longAnswer)
	for _, text := range []string{
		`{"type":"answer","sdp":"v=0\r\n"}`,
		`{"type":"re-answer","sdp":"\u00e9\ud800"}`,
		`{"type":"update","sdp":"v=0","other":1e999}`,
		`{"type":"answer","sdp":"v=0","sdp":"v=1"}`,
		`{"type":"answer","SDP":"v=0"}`,
		`{"Type":"answer","sdp":"v=0"}`,
		`{"type":"answer","sdp":null}`,
		`{"type":"answer","sdp":""}`,
		`{"type":"answer","sdp":7}`,
		`{"type":7,"sdp":"v=0"}`,
		`{"type":"pong","sdp":"v=0"}`,
		`{"type":"answer","sdp":"v=0"`,
		`["answer"]`,
		"{\"type\":\"answer\",\"sdp\":\"\xff\"}",
	} {
		short, shortErr := Decode([]byte(text))
		long, longErr := Decode([]byte(text + padding))
		if !reflect.DeepEqual(short, long) || !reflect.DeepEqual(shortErr, longErr) {
			t.Errorf("%s: %v, %v; long: %v, %v", text, short, shortErr, long, longErr)
		}
	}
}

func BenchmarkDecodeLongAnswer(b *testing.B) {
	text := longAnswerText(b, "re-answer")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
