package v1alpha1_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// all is both sides, for what is about something else.
const all = "receivers: {everyone: {}}, senders: {everyone: {}}"

// ids is a list of so many ids.
func ids(n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat("i#, ", n), ", ") + "]"
}

// numbered makes the ids of a list differ.
func numbered(list string) string {
	var s strings.Builder
	n := 0
	for _, letter := range list {
		if letter == '#' {
			n++
			s.WriteString(strings.Repeat("x", n))

			continue
		}
		s.WriteRune(letter)
	}

	return s.String()
}

func TestCreateAccepts(t *testing.T) {
	longest := strings.Repeat("凪", 85) // 255 bytes in UTF-8
	for name, spec := range map[string]string{
		"one connection each": `{channelID: sora, receivers: {connectionIDs: [VTGYC92AZX6M72K860BPREFTMC]}, ` +
			`senders: {connectionIDs: [3X0W1C23KS1TQAAYMKA9TXJS4G]}}`,
		"several connections": `{channelID: sora, receivers: {connectionIDs: [A, B]}, senders: {connectionIDs: [C, D]}}`,
		"the same several connections": `{channelID: sora, receivers: {connectionIDs: [A, B]}, ` +
			`senders: {connectionIDs: [A, B]}}`,
		"one of the same connections": `{channelID: sora, receivers: {connectionIDs: [A]}, ` +
			`senders: {connectionIDs: [A, B]}}`,
		"clients":                `{channelID: sora, receivers: {clientIDs: [alice, bob]}, senders: {clientIDs: [carol]}}`,
		"the same client":        `{channelID: sora, receivers: {clientIDs: [alice]}, senders: {clientIDs: [alice]}}`,
		"a connection, a client": `{channelID: sora, receivers: {connectionIDs: [A]}, senders: {clientIDs: [A]}}`,
		"everyone, a client":     `{channelID: sora, receivers: {everyone: {}}, senders: {clientIDs: [bob]}}`,
		"a connection, everyone": `{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}}`,
		"everyone, everyone":     `{channelID: sora, receivers: {everyone: {}}, senders: {everyone: {}}}`,
		"everyone but clients": `{channelID: sora, receivers: {everyoneExcept: {clientIDs: [assistant]}}, ` +
			`senders: {clientIDs: [camera-3, camera-4]}}`,
		"everyone but connections": `{channelID: sora, receivers: {everyoneExcept: {connectionIDs: [A]}}, ` +
			`senders: {everyone: {}}}`,
		"everyone but both": `{channelID: sora, receivers: {clientIDs: [wall]}, ` +
			`senders: {everyoneExcept: {connectionIDs: [A], clientIDs: [stage]}}}`,
		"everyone but the same": `{channelID: sora, receivers: {everyoneExcept: {connectionIDs: [A]}}, ` +
			`senders: {everyoneExcept: {connectionIDs: [A]}}}`,
		"64 ids": `{channelID: sora, receivers: {clientIDs: ` + numbered(ids(64)) + `}, senders: {everyone: {}}}`,
		"64 ids of 255 bytes, 4 times": `{channelID: ` + longest + `, receivers: {everyoneExcept: {connectionIDs: ` +
			longIDs() + `, clientIDs: ` +
			longIDs() + `}}, senders: {everyoneExcept: {connectionIDs: ` + longIDs() + `, clientIDs: ` + longIDs() + `}}}`,
		"any characters in an id": `{channelID: "a b/c\n凪\u0000\"", receivers: {clientIDs: ["=,!", " ", "\t"]}, ` +
			`senders: {everyone: {}}}`,
		"video":                 `{channelID: sora, ` + all + `, kinds: [Video]}`,
		"audio":                 `{channelID: sora, ` + all + `, kinds: [Audio]}`,
		"both kinds":            `{channelID: sora, ` + all + `, kinds: [Audio, Video]}`,
		"kinds without a value": `{channelID: sora, ` + all + `, kinds: null}`,
		"a reason":              `{channelID: sora, ` + all + `, reason: "camera test: \"3\" & 4, 休憩"}`,
		"a reason of 256 bytes": `{channelID: sora, ` + all + `, reason: ` + longest + `x}`,
		"expiry":                `{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z"}`,
		"expiry without quotes": `{channelID: sora, ` + all + `, expiresAt: 2026-12-01T09:00:00Z}`,
		"expiry in the past":    `{channelID: sora, ` + all + `, expiresAt: "1970-01-01T00:00:00Z"}`,
		"expiry with offset":    `{channelID: sora, ` + all + `, expiresAt: "2026-12-01T18:00:00.123456789+09:00"}`,
		"1970 in UTC alone":     `{channelID: sora, ` + all + `, expiresAt: "1969-12-31T23:30:00-01:00"}`,
		"last expiry":           `{channelID: sora, ` + all + `, expiresAt: "9999-12-31T23:59:59Z"}`,
		"leap day":              `{channelID: sora, ` + all + `, expiresAt: "2028-02-29T23:59:59Z"}`,
		"deleted at once when expired": `{channelID: sora, ` + all +
			`, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 0}`,
		"deleted a year after expiring": `{channelID: sora, ` + all +
			`, expiresAt: "9999-12-31T23:59:59Z", ttlSecondsAfterExpired: 31536000}`,
		"seconds as a float": `{channelID: sora, ` + all +
			`, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 60.0}`,
		"receivers watched": `{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}, ` +
			`deleteAfterDisconnectSeconds: 60}`,
		"senders watched": `{channelID: sora, receivers: {clientIDs: [alice]}, senders: {connectionIDs: [B]}, ` +
			`deleteAfterDisconnectSeconds: 0}`,
		"watched for longest": `{channelID: sora, receivers: {everyone: {}}, senders: {connectionIDs: [B]}, ` +
			`deleteAfterDisconnectSeconds: 31536000}`,
		"everything": `{channelID: sora, receivers: {connectionIDs: [A]}, senders: {connectionIDs: [B]},
			kinds: [Video, Audio], reason: camera test,
			expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 3600, deleteAfterDisconnectSeconds: 60}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := api.Create(t.Context(), pause(t, "valid", spec), client.DryRunAll); err != nil {
				t.Errorf("refused: %v\n%s", err, spec)
			}
		})
	}
}

// longIDs is the largest list there can be.
func longIDs() string {
	list := make([]string, 64)
	for i := range list {
		list[i] = strings.Repeat("凪", 84) + string(rune('a'+i/10)) + string(rune('a'+i%10)) + "x"
	}

	return "[" + strings.Join(list, ", ") + "]"
}
