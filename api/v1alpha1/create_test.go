package v1alpha1_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestCreateAccepts(t *testing.T) {
	longest := strings.Repeat("凪", 85) // 255 bytes in UTF-8
	for name, spec := range map[string]string{
		"connection ids":               `{channelID: sora, recvConnectionID: VTGYC92AZX6M72K860BPREFTMC, sendConnectionID: 3X0W1C23KS1TQAAYMKA9TXJS4G}`,
		"client ids":                   `{channelID: sora, recvClientID: alice, sendClientID: bob}`,
		"equal client ids":             `{channelID: sora, recvClientID: alice, sendClientID: alice}`,
		"connection and client id":     `{channelID: sora, recvConnectionID: A, sendClientID: bob}`,
		"client and connection id":     `{channelID: sora, recvClientID: alice, sendConnectionID: B}`,
		"client id equal to the other": `{channelID: sora, recvClientID: A, sendConnectionID: A}`,
		"open receiver, connection id": `{channelID: sora, sendConnectionID: B}`,
		"open receiver, client id":     `{channelID: sora, sendClientID: bob}`,
		"open sender, connection id":   `{channelID: sora, recvConnectionID: A}`,
		"open sender, client id":       `{channelID: sora, recvClientID: alice}`,
		"video":                        `{channelID: sora, recvClientID: alice, kinds: [Video]}`,
		"audio":                        `{channelID: sora, recvClientID: alice, kinds: [Audio]}`,
		"both kinds":                   `{channelID: sora, recvClientID: alice, kinds: [Audio, Video]}`,
		"expiry":                       `{channelID: sora, recvClientID: alice, expiresAt: "2026-12-01T09:00:00Z"}`,
		"expiry in the past":           `{channelID: sora, recvClientID: alice, expiresAt: "1970-01-01T00:00:00Z"}`,
		"expiry with offset":           `{channelID: sora, recvClientID: alice, expiresAt: "2026-12-01T18:00:00.123456789+09:00"}`,
		"last expiry":                  `{channelID: sora, recvClientID: alice, expiresAt: "9999-12-31T23:59:59Z"}`,
		"leap day":                     `{channelID: sora, recvClientID: alice, expiresAt: "2028-02-29T23:59:59Z"}`,
		"receiver watched":             `{channelID: sora, recvConnectionID: A, deleteAfterDisconnect: 60s}`,
		"sender watched":               `{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 1h30m}`,
		"watched, deleted at once":     `{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 0s}`,
		"watched for longest":          `{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 999999h}`,
		"any characters in an id":      `{channelID: "a b/c\n凪\u0000\"", recvClientID: "=,!"}`,
		"255 bytes everywhere":         `{channelID: ` + longest + `, recvClientID: ` + longest + `, sendClientID: ` + longest + `}`,
		"everything":                   `{channelID: sora, recvConnectionID: A, sendConnectionID: B, kinds: [Video, Audio], expiresAt: "2026-12-01T09:00:00Z", deleteAfterDisconnect: 60s}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := api.Create(t.Context(), pause(t, "valid", spec), client.DryRunAll); err != nil {
				t.Errorf("refused: %v\n%s", err, spec)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	tooManyBytes := strings.Repeat("凪", 86) // 258 bytes in 86 characters
	for name, test := range map[string]struct{ spec, message string }{
		"no spec":              {`null`, "spec: Required value"},
		"empty spec":           {`{}`, "spec.channelID: Required value"},
		"no channel":           {`{recvClientID: alice}`, "spec.channelID: Required value"},
		"empty channel":        {`{channelID: "", recvClientID: alice}`, "spec.channelID in body should be at least 1 chars long"},
		"number as channel":    {`{channelID: 7, recvClientID: alice}`, "spec.channelID in body must be of type string"},
		"no side":              {`{channelID: sora}`, "name at least one side: set recvConnectionID, recvClientID, sendConnectionID or sendClientID"},
		"null side":            {`{channelID: sora, recvClientID: null}`, "name at least one side"},
		"two receivers":        {`{channelID: sora, recvConnectionID: A, recvClientID: alice}`, "recvConnectionID and recvClientID exclude each other: remove one of them"},
		"two senders":          {`{channelID: sora, sendConnectionID: A, sendClientID: alice}`, "sendConnectionID and sendClientID exclude each other: remove one of them"},
		"own stream":           {`{channelID: sora, recvConnectionID: A, sendConnectionID: A}`, "recvConnectionID and sendConnectionID are equal, but no connection receives its own stream: name two connections"},
		"unknown field":        {`{channelID: sora, recvClientID: alice, sender: bob}`, `unknown field "spec.sender"`},
		"other letters":        {`{channelID: sora, recvClientId: alice}`, `unknown field "spec.recvClientId"`},
		"empty recvConnection": {`{channelID: sora, recvConnectionID: ""}`, "spec.recvConnectionID in body should be at least 1 chars long"},
		"empty recvClient":     {`{channelID: sora, recvClientID: ""}`, "spec.recvClientID in body should be at least 1 chars long"},
		"empty sendConnection": {`{channelID: sora, sendConnectionID: ""}`, "spec.sendConnectionID in body should be at least 1 chars long"},
		"empty sendClient":     {`{channelID: sora, sendClientID: ""}`, "spec.sendClientID in body should be at least 1 chars long"},

		"256 characters":                {`{channelID: ` + strings.Repeat("a", 256) + `, recvClientID: alice}`, "spec.channelID: Too long: may not be more than 255"},
		"258 bytes, channel":            {`{channelID: ` + tooManyBytes + `, recvClientID: alice}`, "channelID is longer than 255 bytes in UTF-8: shorten it"},
		"258 bytes, recvConnection":     {`{channelID: sora, recvConnectionID: ` + tooManyBytes + `}`, "recvConnectionID is longer than 255 bytes in UTF-8: shorten it"},
		"258 bytes, recvClient":         {`{channelID: sora, recvClientID: ` + tooManyBytes + `}`, "recvClientID is longer than 255 bytes in UTF-8: shorten it"},
		"258 bytes, sendConnection":     {`{channelID: sora, sendConnectionID: ` + tooManyBytes + `}`, "sendConnectionID is longer than 255 bytes in UTF-8: shorten it"},
		"258 bytes, sendClient":         {`{channelID: sora, sendClientID: ` + tooManyBytes + `}`, "sendClientID is longer than 255 bytes in UTF-8: shorten it"},
		"no kind":                       {`{channelID: sora, recvClientID: alice, kinds: []}`, "spec.kinds in body should have at least 1 items"},
		"one kind twice":                {`{channelID: sora, recvClientID: alice, kinds: [Video, Video]}`, `spec.kinds[1]: Duplicate value: "Video"`},
		"three kinds":                   {`{channelID: sora, recvClientID: alice, kinds: [Video, Audio, Video]}`, "spec.kinds: Too many: 3: must have at most 2 items"},
		"kind in small letters":         {`{channelID: sora, recvClientID: alice, kinds: [video]}`, `spec.kinds[0]: Unsupported value: "video": supported values: "Video", "Audio"`},
		"kinds as a string":             {`{channelID: sora, recvClientID: alice, kinds: Video}`, "spec.kinds in body must be of type array"},
		"expiry in words":               {`{channelID: sora, recvClientID: alice, expiresAt: tomorrow}`, "spec.expiresAt in body must be of type date-time"},
		"expiry without zone":           {`{channelID: sora, recvClientID: alice, expiresAt: "2026-12-01T09:00:00"}`, "spec.expiresAt in body should match"},
		"expiry in small letters":       {`{channelID: sora, recvClientID: alice, expiresAt: "2026-12-01t09:00:00z"}`, "expiresAt must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z: correct it"},
		"expiry before clocks":          {`{channelID: sora, recvClientID: alice, expiresAt: "0001-01-01T00:00:00Z"}`, "expiresAt must be a date and time in the years 1970 to 9999 in UTC"},
		"expiry after UTC's 9999":       {`{channelID: sora, recvClientID: alice, expiresAt: "9999-12-31T23:59:59-01:00"}`, "expiresAt must be a date and time in the years 1970 to 9999 in UTC"},
		"no such day":                   {`{channelID: sora, recvClientID: alice, expiresAt: "2026-02-30T09:00:00Z"}`, "spec.expiresAt in body must be of type date-time"},
		"watch without connection":      {`{channelID: sora, recvClientID: alice, deleteAfterDisconnect: 60s}`, "deleteAfterDisconnect needs a connection to watch: set recvConnectionID or sendConnectionID, or remove deleteAfterDisconnect"},
		"watch for a negative time":     {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: "-5s"}`, "deleteAfterDisconnect must be from 0s to 999999h, such as 60s or 1h30m: correct it, or remove it to keep the object"},
		"watch in words":                {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 1 minute}`, "spec.deleteAfterDisconnect in body should match"},
		"watch for milliseconds":        {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 500ms}`, "spec.deleteAfterDisconnect in body should match"},
		"watch for a number":            {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 60}`, "spec.deleteAfterDisconnect in body must be of type duration"},
		"watch for longer than longest": {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 999999h999999h}`, "deleteAfterDisconnect must be from 0s to 999999h"},
		"watch for too many letters":    {`{channelID: sora, sendConnectionID: B, deleteAfterDisconnect: 999999h999999h999999h}`, "spec.deleteAfterDisconnect: Too long: may not be more than 20"},
	} {
		t.Run(name, func(t *testing.T) {
			err := api.Create(t.Context(), pause(t, "invalid", test.spec), client.DryRunAll)
			wantRefusal(t, err, test.message)
		})
	}
}

func wantRefusal(t *testing.T, err error, message string) {
	t.Helper()
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Fatalf("got %v, want a refusal that says %q", err, message)
	}
	if !strings.Contains(err.Error(), message) {
		t.Errorf("refused with\n  %v\nwant it to say\n  %s", err, message)
	}
}
