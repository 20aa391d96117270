package v1alpha1_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the API server says of more than one object below.
const (
	noReceivers = "spec.receivers: Required value: say who does not get the streams: connectionIDs, clientIDs, " +
		"everyone ({}) or everyoneExcept"
	noSenders = "spec.senders: Required value: say whose streams are withheld: connectionIDs, clientIDs, " +
		"everyone ({}) or everyoneExcept"
	nobody = ": Required value: it names nobody: set connectionIDs, clientIDs, everyone ({}) or everyoneExcept; " +
		"a member without a value does not count"
	exclusive = ": Invalid value: connectionIDs, clientIDs, everyone and everyoneExcept exclude each other: " +
		"keep exactly one of them"
	exceptsNobody = ": Required value: name whom to except: connectionIDs, clientIDs or both; " +
		"without an exception write everyone: {}"
	emptyList  = ": Required value: the list is empty: name 1 to 64 ids; everybody is everyone: {}"
	emptyID    = `: Invalid value: "": an id is empty: fill it in, or remove it from the list`
	longID     = ": an id is longer than 255 bytes in UTF-8: shorten it"
	notOneLine = ": reason must be one line: remove line breaks, tabs and other control characters"
	notATime   = ": expiresAt must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z " +
		"or 2026-12-01T18:00:00+09:00: correct it, or remove it for a pause without an end"
	secondsRange     = " must be from 0 to 31536000 seconds (365 days): correct it, or remove it to keep the object"
	needsConnections = "spec.deleteAfterDisconnectSeconds: Forbidden: it needs connections to watch: " +
		"name connectionIDs in receivers or senders, or remove deleteAfterDisconnectSeconds"
	needsExpiry = "spec.ttlSecondsAfterExpired: Forbidden: it counts from expiresAt: set expiresAt, " +
		"or remove ttlSecondsAfterExpired"
)

var (
	tooManyBytes      = strings.Repeat("凪", 86) // 258 bytes in 86 characters
	tooManyCharacters = strings.Repeat("a", 256)
)

type refused struct {
	spec     string
	messages []string
}

func testRefused(t *testing.T, tests map[string]refused) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := api.Create(t.Context(), pause(t, "invalid", test.spec), client.DryRunAll)
			wantRefusal(t, err, test.messages...)
		})
	}
}

// An id that a template left empty is an error, and never everybody.
func TestCreateRefusesSides(t *testing.T) {
	testRefused(t, map[string]refused{
		"no sides":                  {`{channelID: sora}`, []string{noReceivers, noSenders}},
		"receivers without a value": {`{channelID: sora, receivers: null, senders: {everyone: {}}}`, []string{noReceivers}},
		"senders without a value":   {`{channelID: sora, receivers: {everyone: {}}, senders: null}`, []string{noSenders}},
		"empty receivers": {
			`{channelID: sora, receivers: {}, senders: {everyone: {}}}`, []string{"spec.receivers" + nobody},
		},
		"empty senders": {`{channelID: sora, receivers: {everyone: {}}, senders: {}}`, []string{"spec.senders" + nobody}},
		"clients without a value": {
			`{channelID: sora, receivers: {clientIDs: null}, senders: {everyone: {}}}`, []string{"spec.receivers" + nobody},
		},
		"connections without a value": {
			`{channelID: sora, receivers: {everyone: {}}, senders: {connectionIDs: null}}`, []string{"spec.senders" + nobody},
		},
		"everyone without a value": {
			`{channelID: sora, receivers: {everyone: null}, senders: {everyone: {}}}`, []string{"spec.receivers" + nobody},
		},
		"exception without a value": {`{channelID: sora, receivers: {everyoneExcept: null}, senders: {everyone: {}}}`,
			[]string{"spec.receivers" + nobody}},
		"no client": {`{channelID: sora, receivers: {clientIDs: []}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.clientIDs" + emptyList}},
		"no connection": {`{channelID: sora, receivers: {everyone: {}}, senders: {connectionIDs: []}}`,
			[]string{"spec.senders.connectionIDs" + emptyList}},
		"empty client": {`{channelID: sora, receivers: {clientIDs: [""]}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.clientIDs[0]" + emptyID}},
		"empty connection": {`{channelID: sora, receivers: {everyone: {}}, senders: {connectionIDs: [A, ""]}}`,
			[]string{"spec.senders.connectionIDs[1]" + emptyID}},
		"client without a value": {`{channelID: sora, receivers: {clientIDs: [null]}, senders: {everyone: {}}}`,
			[]string{unchecked, `spec.receivers.clientIDs[0]: Invalid value: "null": spec.receivers.clientIDs[0] in body ` +
				`must be of type string: "null"`}},
		"number as client": {`{channelID: sora, receivers: {clientIDs: [7]}, senders: {everyone: {}}}`,
			[]string{unchecked, `spec.receivers.clientIDs[0]: Invalid value: "integer": spec.receivers.clientIDs[0] in ` +
				`body must be of type string: "integer"`}},
		"client twice": {`{channelID: sora, receivers: {clientIDs: [alice, bob, alice]}, senders: {everyone: {}}}`,
			[]string{`spec.receivers.clientIDs[2]: Duplicate value: "alice"`}},
		"65 clients": {`{channelID: sora, receivers: {clientIDs: ` + numbered(ids(65)) + `}, senders: {everyone: {}}}`,
			[]string{unchecked, "spec.receivers.clientIDs: Too many: 65: must have at most 64 items"}},
		"client instead of a list": {`{channelID: sora, receivers: {clientIDs: alice}, senders: {everyone: {}}}`,
			[]string{unchecked, `spec.receivers.clientIDs: Invalid value: "string": spec.receivers.clientIDs in body must ` +
				`be of type array: "string"`}},
		"word as a side": {`{channelID: sora, receivers: everyone, senders: {everyone: {}}}`, []string{
			unchecked, `spec.receivers: Invalid value: "string": spec.receivers in body must be of type object: "string"`,
		}},
		"list as a side": {`{channelID: sora, receivers: [alice], senders: {everyone: {}}}`, []string{
			unchecked, `spec.receivers: Invalid value: "array": spec.receivers in body must be of type object: "array"`,
		}},
		"everyone as a truth": {`{channelID: sora, receivers: {everyone: true}, senders: {everyone: {}}}`,
			[]string{unchecked, `spec.receivers.everyone: Invalid value: "boolean": spec.receivers.everyone in body must ` +
				`be of type object: "boolean"`}},
		"members of everyone": {`{channelID: sora, receivers: {everyone: {clientIDs: [alice]}}, senders: {everyone: {}}}`,
			[]string{`strict decoding error: unknown field "spec.receivers.everyone.clientIDs"`}},
		"two members": {`{channelID: sora, receivers: {clientIDs: [alice], connectionIDs: [A]}, senders: {everyone: {}}}`,
			[]string{"spec.receivers" + exclusive}},
		"everyone and clients": {
			`{channelID: sora, receivers: {everyone: {}}, senders: {everyone: {}, clientIDs: [alice]}}`,
			[]string{"spec.senders" + exclusive},
		},
		"everyone and everyone but": {
			`{channelID: sora, receivers: {everyone: {}, everyoneExcept: {clientIDs: [alice]}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers" + exclusive},
		},
		"all members": {`{channelID: sora, receivers: {connectionIDs: [A], clientIDs: [a], everyone: {}, ` +
			`everyoneExcept: {clientIDs: [b]}}, senders: {everyone: {}}}`, []string{"spec.receivers" + exclusive}},
		"everyone but nobody": {`{channelID: sora, receivers: {everyoneExcept: {}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.everyoneExcept" + exceptsNobody}},
		"everyone but no client": {
			`{channelID: sora, receivers: {everyoneExcept: {clientIDs: []}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.everyoneExcept.clientIDs: Required value: the list is empty: name 1 to 64 ids; " +
				"remove the list where it excepts nobody"},
		},
		"everyone but an empty id": {
			`{channelID: sora, receivers: {everyoneExcept: {clientIDs: [""]}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.everyoneExcept.clientIDs[0]" + emptyID},
		},
		"everyone but clients without a value": {
			`{channelID: sora, receivers: {everyoneExcept: {clientIDs: null}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.everyoneExcept" + exceptsNobody},
		},
		"own stream": {`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {connectionIDs: [A]}}`,
			[]string{"spec: Invalid value: receivers and senders name the same single connection, " +
				"but no connection receives its own stream: name two connections"}},
	})
}

func TestCreateRefuses(t *testing.T) {
	testRefused(t, map[string]refused{
		"no spec":    {`null`, []string{unchecked, "spec: Required value"}},
		"empty spec": {`{}`, []string{unchecked, "spec.channelID: Required value"}},
		"no channel": {`{` + all + `}`, []string{unchecked, "spec.channelID: Required value"}},
		"channel without a value": {
			`{channelID: null, ` + all + `}`, []string{unchecked, "spec.channelID: Required value"},
		},
		"empty channel": {`{channelID: "", ` + all + `}`,
			[]string{`spec.channelID: Invalid value: "": channelID is empty: name the channel`}},
		"number as channel": {`{channelID: 7, ` + all + `}`, []string{unchecked, `spec.channelID: Invalid value: ` +
			`"integer": spec.channelID in body must be of type string: "integer"`}},
		"unknown field": {
			`{channelID: sora, ` + all + `, sender: bob}`, []string{`strict decoding error: unknown field "spec.sender"`},
		},
		"other letters": {`{channelID: sora, receivers: {clientIds: [alice]}, senders: {everyone: {}}}`,
			[]string{`strict decoding error: unknown field "spec.receivers.clientIds"`}},
		"256 characters": {`{channelID: ` + tooManyCharacters + `, ` + all + `}`,
			[]string{unchecked, "spec.channelID: Too long: may not be more than 255 bytes"}},
		"258 bytes, channel": {`{channelID: ` + tooManyBytes + `, ` + all + `}`, []string{
			`spec.channelID: Invalid value: "` + tooManyBytes + `": channelID is longer than 255 bytes in UTF-8: shorten it`,
		}},
		"258 bytes, client": {`{channelID: sora, receivers: {clientIDs: [` + tooManyBytes + `]}, senders: {everyone: {}}}`,
			[]string{`spec.receivers.clientIDs[0]: Invalid value: "` + tooManyBytes + `"` + longID}},
		"256 characters, client": {
			`{channelID: sora, receivers: {clientIDs: [` + tooManyCharacters + `]}, senders: {everyone: {}}}`,
			[]string{unchecked, "spec.receivers.clientIDs[0]: Too long: may not be more than 255 bytes"},
		},
		"258 bytes, exception": {
			`{channelID: sora, receivers: {everyoneExcept: {connectionIDs: [` + tooManyBytes + `]}}, senders: {everyone: {}}}`,
			[]string{`spec.receivers.everyoneExcept.connectionIDs[0]: Invalid value: "` + tooManyBytes + `"` + longID},
		},
		"no kind": {`{channelID: sora, ` + all + `, kinds: []}`, []string{"spec.kinds: Required value: " +
			"the list is empty: name Video, Audio or both, or remove kinds for Video alone"}},
		"one kind twice": {`{channelID: sora, ` + all + `, kinds: [Video, Video]}`,
			[]string{"spec.kinds: Invalid value: one kind is named twice: name each once"}},
		"three kinds": {`{channelID: sora, ` + all + `, kinds: [Video, Audio, Video]}`,
			[]string{unchecked, "spec.kinds: Too many: 3: must have at most 2 items"}},
		"kind in small letters": {`{channelID: sora, ` + all + `, kinds: [video]}`,
			[]string{unchecked, `spec.kinds[0]: Unsupported value: "video": supported values: "Video", "Audio"`}},
		"kinds as a string": {`{channelID: sora, ` + all + `, kinds: Video}`,
			[]string{unchecked, `spec.kinds: Invalid value: "string": spec.kinds in body must be of type array: "string"`}},
		"empty reason": {`{channelID: sora, ` + all + `, reason: ""}`,
			[]string{`spec.reason: Invalid value: "": reason is empty: write one line, or remove it`}},
		"two lines": {`{channelID: sora, ` + all + `, reason: "camera\ntest"}`,
			[]string{`spec.reason: Invalid value: "camera\ntest"` + notOneLine}},
		"an escape sequence": {`{channelID: sora, ` + all + `, reason: "\e[31mred"}`,
			[]string{`spec.reason: Invalid value: "\x1b[31mred"` + notOneLine}},
		"a line separator": {`{channelID: sora, ` + all + `, reason: "camera\u2028test"}`,
			[]string{`spec.reason: Invalid value: "camera\u2028test"` + notOneLine}},
		"258 bytes, reason": {`{channelID: sora, ` + all + `, reason: ` + tooManyBytes + `}`, []string{
			`spec.reason: Invalid value: "` + tooManyBytes + `": reason is longer than 256 bytes in UTF-8: shorten it`,
		}},
		"257 characters, reason": {`{channelID: sora, ` + all + `, reason: ` + tooManyCharacters + `x}`,
			[]string{unchecked, "spec.reason: Too long: may not be more than 256 bytes"}},
		"expiry in words": {`{channelID: sora, ` + all + `, expiresAt: tomorrow}`,
			[]string{`spec.expiresAt: Invalid value: "tomorrow"` + notATime}},
		"empty expiry": {
			`{channelID: sora, ` + all + `, expiresAt: ""}`, []string{`spec.expiresAt: Invalid value: ""` + notATime},
		},
		"expiry as a number": {`{channelID: sora, ` + all + `, expiresAt: 1764579600}`, []string{
			unchecked, `spec.expiresAt: Invalid value: "integer": spec.expiresAt in body must be of type string: "integer"`,
		}},
		"expiry without time": {`{channelID: sora, ` + all + `, expiresAt: "2026-12-01"}`,
			[]string{`spec.expiresAt: Invalid value: "2026-12-01"` + notATime}},
		"expiry without zone": {`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00"}`,
			[]string{`spec.expiresAt: Invalid value: "2026-12-01T09:00:00"` + notATime}},
		"expiry in small letters": {`{channelID: sora, ` + all + `, expiresAt: "2026-12-01t09:00:00z"}`,
			[]string{`spec.expiresAt: Invalid value: "2026-12-01t09:00:00z"` + notATime}},
		"expiry in a leap second": {`{channelID: sora, ` + all + `, expiresAt: "2016-12-31T23:59:60Z"}`,
			[]string{`spec.expiresAt: Invalid value: "2016-12-31T23:59:60Z"` + notATime}},
		"expiry at 24 o'clock": {`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T24:00:00Z"}`,
			[]string{`spec.expiresAt: Invalid value: "2026-12-01T24:00:00Z"` + notATime}},
		"expiry before 1970": {`{channelID: sora, ` + all + `, expiresAt: "1969-12-31T23:59:59.9Z"}`,
			[]string{`spec.expiresAt: Invalid value: "1969-12-31T23:59:59.9Z"` + notATime}},
		"expiry in year 1": {`{channelID: sora, ` + all + `, expiresAt: "0001-01-01T00:00:00Z"}`,
			[]string{`spec.expiresAt: Invalid value: "0001-01-01T00:00:00Z"` + notATime}},
		"expiry after UTC's 9999": {`{channelID: sora, ` + all + `, expiresAt: "9999-12-31T23:59:59-01:00"}`,
			[]string{`spec.expiresAt: Invalid value: "9999-12-31T23:59:59-01:00"` + notATime}},
		"no such day": {`{channelID: sora, ` + all + `, expiresAt: "2026-02-30T09:00:00Z"}`,
			[]string{`spec.expiresAt: Invalid value: "2026-02-30T09:00:00Z"` + notATime}},
		"no leap year": {`{channelID: sora, ` + all + `, expiresAt: "2100-02-29T09:00:00Z"}`,
			[]string{`spec.expiresAt: Invalid value: "2100-02-29T09:00:00Z"` + notATime}},
		"deletion without expiry": {`{channelID: sora, ` + all + `, ttlSecondsAfterExpired: 60}`, []string{needsExpiry}},
		"deletion before expiry": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: -1}`,
			[]string{"spec.ttlSecondsAfterExpired: Invalid value: -1: ttlSecondsAfterExpired" + secondsRange},
		},
		"deletion too late": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 31536001}`,
			[]string{"spec.ttlSecondsAfterExpired: Invalid value: 31536001: ttlSecondsAfterExpired" + secondsRange},
		},
		"deletion after a duration": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 1d}`,
			[]string{unchecked, `spec.ttlSecondsAfterExpired: Invalid value: "string": spec.ttlSecondsAfterExpired in body ` +
				`must be of type integer: "string"`},
		},
		"half a second": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 1.5}`,
			[]string{`<nil>: Invalid value: "": Checked value must be of type integer (default format) in ` +
				`spec.ttlSecondsAfterExpired`, unchecked, `spec.ttlSecondsAfterExpired: Invalid value: "number": ` +
				`spec.ttlSecondsAfterExpired in body must be of type integer: "number"`},
		},
		"beyond int64": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 9223372036854775808}`,
			[]string{`<nil>: Invalid value: "": Checked value must be of type integer (default format) in ` +
				`spec.ttlSecondsAfterExpired`, unchecked, `spec.ttlSecondsAfterExpired: Invalid value: "number": ` +
				`spec.ttlSecondsAfterExpired in body must be of type integer: "number"`},
		},
		"beyond int32": {
			`{channelID: sora, ` + all + `, expiresAt: "2026-12-01T09:00:00Z", ttlSecondsAfterExpired: 2147483648}`,
			[]string{"spec.ttlSecondsAfterExpired: Invalid value: 2147483648: ttlSecondsAfterExpired" + secondsRange},
		},
		"watch without connections": {
			`{channelID: sora, receivers: {clientIDs: [alice]}, senders: {everyone: {}}, deleteAfterDisconnectSeconds: 60}`,
			[]string{needsConnections},
		},
		"watch of excepted connections": {`{channelID: sora, receivers: {everyoneExcept: {connectionIDs: [A]}}, ` +
			`senders: {everyone: {}}, deleteAfterDisconnectSeconds: 60}`, []string{needsConnections}},
		"watch for a negative time": {
			`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}, deleteAfterDisconnectSeconds: -5}`,
			[]string{"spec.deleteAfterDisconnectSeconds: Invalid value: -5: deleteAfterDisconnectSeconds" + secondsRange},
		},
		"watch for a duration": {
			`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}, deleteAfterDisconnectSeconds: 60s}`,
			[]string{unchecked, `spec.deleteAfterDisconnectSeconds: Invalid value: "string": ` +
				`spec.deleteAfterDisconnectSeconds in body must be of type integer: "string"`},
		},
		"watch for too long": {`{channelID: sora, receivers: {connectionIDs: [A]}, senders: {everyone: {}}, ` +
			`deleteAfterDisconnectSeconds: 31536001}`, []string{
			"spec.deleteAfterDisconnectSeconds: Invalid value: 31536001: deleteAfterDisconnectSeconds" + secondsRange,
		}},
		"three mistakes": {`{channelID: sora, senders: {}, reason: "a\tb", ttlSecondsAfterExpired: 1}`,
			[]string{`spec.reason: Invalid value: "a\tb"` + notOneLine, noReceivers, "spec.senders" + nobody, needsExpiry}},
	})
}

// A client that asks for no strictness has its misspelt fields dropped. What is left
// still names nobody.
func TestMisspeltSidesNameNobody(t *testing.T) {
	for name, test := range map[string]refused{
		"clientID": {
			`{channelID: sora, receivers: {clientID: alice}, senders: {everyone: {}}}`, []string{"spec.receivers" + nobody},
		},
		"clientIds": {
			`{channelID: sora, receivers: {everyone: {}}, senders: {clientIds: [alice]}}`, []string{"spec.senders" + nobody},
		},
		"everybody": {
			`{channelID: sora, receivers: {everybody: {}}, senders: {everyone: {}}}`, []string{"spec.receivers" + nobody},
		},
		"receiver":     {`{channelID: sora, receiver: {clientIDs: [alice]}, senders: {everyone: {}}}`, []string{noReceivers}},
		"recvClientID": {`{channelID: sora, recvClientID: alice}`, []string{noReceivers, noSenders}},
		"except client": {`{channelID: sora, receivers: {everyoneExcept: {client: alice}}, senders: {everyone: {}}}`,
			[]string{"spec.receivers.everyoneExcept" + exceptsNobody}},
	} {
		t.Run(name, func(t *testing.T) {
			err := lenient.Create(t.Context(), pause(t, "misspelt", test.spec), client.DryRunAll)
			wantRefusal(t, err, test.messages...)
		})
	}
}
