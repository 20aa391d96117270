package sora

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// operationsOf are all operations with the arguments of a channel in which alice and bob
// are, in an order in which each can succeed, and the rights that each takes.
func operationsOf(channel string) []struct{ operation, body, lacks, role string } {
	edge, who := edgeBody(channel, alice, bob), channelBody(channel)
	with := func(key, value string) string {
		return strings.TrimSuffix(who, "}") + `,"` + key + `":"` + value + `"}`
	}

	return []struct{ operation, body, lacks, role string }{
		{pauseTarget, edge, "create and update rtpstreampauses.rtp.nagi.dev", "nagi-editor"},
		{listTarget, who, "list rtpstreampauses.rtp.nagi.dev", "nagi-viewer"},
		{whoTarget, who, "list connections.rtp.nagi.dev", "nagi-viewer"},
		{resumeTarget, edge, "delete rtpstreampauses.rtp.nagi.dev", "nagi-editor"},
		{disconnectConnectionTarget, with("connection_id", carol), "delete connections.rtp.nagi.dev", "nagi-editor"},
		{disconnectClientTarget, with("client_id", "nobody"), "delete connections.rtp.nagi.dev", "nagi-editor"},
		{disconnectChannelTarget, channelBody(channel + "-other"), "delete connections.rtp.nagi.dev", "nagi-editor"},
	}
}

// TestShippedRoles: an editor, a viewer and somebody without a right do by the shim,
// which runs under its own shipped roles, what they may, and are told what they may not
// and how they could.
func TestShippedRoles(t *testing.T) {
	s, log := demanding(t)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	if err := s.handler.Ready(); err != nil {
		t.Fatalf("the shipped roles are not enough: %v", err)
	}
	namespace := createNamespace(t)
	editor, viewer := newAccount(t, namespace), newAccount(t, namespace)
	stranger, elsewhere := newAccount(t, namespace), newAccount(t, namespace)
	editor.bind(t, "default", "nagi-editor")
	viewer.bind(t, "default", "nagi-viewer")
	elsewhere.bind(t, namespace, "nagi-editor")
	var tokens []string
	for _, caller := range []struct {
		account account
		may     []string
	}{
		{editor, []string{"nagi-viewer", "nagi-editor"}}, {viewer, []string{"nagi-viewer"}},
		{stranger, nil}, {elsewhere, nil},
	} {
		token := caller.account.token(t, "nagi")
		tokens = append(tokens, token)
		for _, op := range operationsOf(channel) {
			status, got := s.postAs("Bearer "+token, op.operation, op.body)
			if slices.Contains(caller.may, op.role) {
				if status != http.StatusOK {
					t.Errorf("%s, %s: %d %s", caller.account.user(), op.operation, status, got)
				}

				continue
			}
			message := caller.account.user() + " lacks the right to " + op.lacks + " in the namespace default: " +
				"grant it with `kubectl create rolebinding NAME --namespace=default --clusterrole=" + op.role +
				" --serviceaccount=" + caller.account.namespace + ":" + caller.account.name + "`"
			forbids := strings.Contains(got, `"error_type":"FORBIDDEN"`) && strings.Contains(got, message)
			if status != http.StatusForbidden || !forbids {
				t.Errorf("%s, %s: %d %s\nwant %s", caller.account.user(), op.operation, status, got, message)
			}
		}
	}
	if found := s.find(channel); len(found) != 0 {
		t.Errorf("%d pauses stay", len(found))
	}
	if strings.Contains(log.String(), `served" operation=List`) {
		t.Errorf("who looks is logged:\n%s", log)
	}
	for _, want := range []string{
		`msg="request served" operation=PauseRtpStream by=` + editor.user() + " channel_id=" + channel,
		`msg="request served" operation=DisconnectConnection by=` + editor.user(),
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("not logged: %s\n%s", want, log)
		}
	}
	s.proveSecret(t, log, tokens...)
}

// TestSingleRights: each right is asked for, and lets its holder do what it is for and
// nothing else.
func TestSingleRights(t *testing.T) {
	s, _ := demanding(t)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	namespace := createNamespace(t)
	disconnects := []string{disconnectConnectionTarget, disconnectClientTarget, disconnectChannelTarget}
	for name, test := range map[string]struct {
		resource string
		verbs    []string
		may      []string
		lacks    string // Of Pause.
	}{
		"create":            {v1alpha1.Plural, []string{"create"}, nil, "update"},
		"update":            {v1alpha1.Plural, []string{"update"}, nil, "create"},
		"create and update": {v1alpha1.Plural, []string{"create", "update"}, []string{pauseTarget}, ""},
		"delete":            {v1alpha1.Plural, []string{"delete"}, []string{resumeTarget}, "create and update"},
		"list":              {v1alpha1.Plural, []string{"list"}, []string{listTarget}, "create and update"},
		"others": {
			v1alpha1.Plural, []string{"get", "patch", "watch", "deletecollection"}, nil, "create and update",
		},
		"list connections":   {connectionsResource, []string{"list"}, []string{whoTarget}, "create and update"},
		"delete connections": {connectionsResource, []string{"delete"}, disconnects, "create and update"},
	} {
		caller := newAccount(t, namespace)
		caller.grant(t, "default", test.resource, test.verbs...)
		token := caller.token(t, "nagi")
		for _, op := range operationsOf(channel) {
			want := http.StatusForbidden
			if slices.Contains(test.may, op.operation) {
				want = http.StatusOK
			}
			status, got := s.postAs("Bearer "+token, op.operation, op.body)
			told := strings.Contains(got, "lacks the right to "+test.lacks+" rtpstreampauses")
			if status != want || want == http.StatusForbidden && op.operation == pauseTarget && !told {
				t.Errorf("who may %s, %s: %d %s", name, op.operation, status, got)
			}
		}
	}
}

// TestTokens: whose token is not good is told so before anything else is looked at, with
// a challenge (RFC 6750 section 3), and the error names neither token nor reason.
func TestTokens(t *testing.T) {
	s, log := demanding(t)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	namespace := createNamespace(t)
	editor, removed := newAccount(t, namespace), newAccount(t, namespace)
	editor.bind(t, "default", "nagi-editor")
	removed.bind(t, "default", "nagi-editor")
	good := editor.token(t, "nagi")
	orphan := removed.token(t, "nagi")
	removed.delete(t)
	changed := good[:len(good)-8] + "AAAAAAAA"
	const (
		none    = `Bearer realm="nagi"`
		shape   = `Bearer realm="nagi", error="invalid_request"`
		invalid = `Bearer realm="nagi", error="invalid_token"`
	)
	tokens := []string{good, orphan}
	for name, test := range map[string]struct{ header, challenge string }{
		"good":                         {"Bearer " + good, ""},
		"small letters":                {"bearer  " + good, ""},
		"signed here, good for longer": {"Bearer " + resigned(t, good, 3600), ""},
		"none":                         {"", none},
		"expired":                      {"Bearer " + resigned(t, good, -3600), invalid},
		"the API server's audience":    {"Bearer " + editor.token(t), invalid},
		"another audience":             {"Bearer " + editor.token(t, "vault"), invalid},
		"several audiences":            {"Bearer " + editor.token(t, "vault", "nagi"), ""},
		"of who is gone":               {"Bearer " + orphan, invalid},
		"of another cluster":           {"Bearer " + changed, invalid},
		"nonsense":                     {"Bearer nonsense", invalid},
		"no token":                     {"Bearer", shape},
		"two tokens":                   {"Bearer " + good + " " + good, shape},
		"another scheme":               {"Basic " + good, shape},
		"no characters of a token":     {"Bearer {" + good + "}", shape},
		"two headers":                  {"Bearer " + good + "\r\nAuthorization: Bearer " + good, shape},
	} {
		header := "x-sora-target: " + pauseTarget + "\r\n"
		if test.header != "" {
			header += "Authorization: " + test.header + "\r\n"
			for word := range strings.FieldsSeq(test.header) {
				if strings.Count(word, ".") == 2 {
					tokens = append(tokens, strings.Trim(word, "{}"))
				}
			}
		}
		got := s.exchange(request("POST", "/", header, edgeBody(channel, alice, bob)))
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		for _, token := range tokens {
			if strings.Contains(got, signature(token)) {
				t.Errorf("%s: the answer has a token: %s", name, got)
			}
		}
		if test.challenge == "" {
			if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
				t.Errorf("%s: %s", name, got)
			}

			continue
		}
		if !strings.HasPrefix(head, "HTTP/1.1 401 ") ||
			!strings.Contains(head, "\r\nwww-authenticate: "+test.challenge+"\r\n") ||
			!strings.Contains(body, `"error_type":"UNAUTHENTICATED"`) ||
			!strings.Contains(body, "`kubectl create token SERVICEACCOUNT --audience=nagi`") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Nobody reads what strangers send: half a body is no reason to wait.
	half := "POST / HTTP/1.1\r\nHost: shim\r\nContent-Length: 7000000\r\nx-sora-target: " + pauseTarget + "\r\n\r\n{"
	if got := s.exchange(half); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("with half a body: %s", got)
	}
	s.proveSecret(t, log, tokens...)
}

// TestAudienceOfTheAPIServer: tokens for the API server are accepted where its audience
// is named.
func TestAudienceOfTheAPIServer(t *testing.T) {
	viewer := newAccount(t, createNamespace(t))
	viewer.bind(t, "default", "nagi-viewer")
	plain := viewer.token(t)
	audience := claimsOf(t, plain)["aud"].([]any)[0].(string)
	s := newShim(t, 1, reviewing(newClient(t, apiServer(t).Config), audience))
	s.views[0].join(t.Name(), sendrecv(alice))
	for token, want := range map[string]int{
		plain: http.StatusOK, viewer.token(t, "nagi"): http.StatusOK, viewer.token(t, "vault"): http.StatusUnauthorized,
	} {
		if status, got := s.postAs("Bearer "+token, listTarget, channelBody(t.Name())); status != want {
			t.Errorf("for %v: %d %s", claimsOf(t, token)["aud"], status, got)
		}
	}
}

// TestAnonymous: where no token is asked for, one that is sent counts all the same, as
// with the API server itself.
func TestAnonymous(t *testing.T) {
	s, _ := demanding(t, func(c *Config) { c.AllowAnonymous = true })
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	if err := s.handler.Ready(); err != nil {
		t.Fatal(err)
	}
	viewer := newAccount(t, createNamespace(t))
	viewer.bind(t, "default", "nagi-viewer")
	body := edgeBody(channel, alice, bob)
	for header, want := range map[string]int{
		"":                                  http.StatusOK,
		"Bearer " + viewer.token(t, "nagi"): http.StatusForbidden,
		"Bearer nonsense":                   http.StatusUnauthorized,
		"Basic YTpi":                        http.StatusUnauthorized,
	} {
		status, got := s.postAs(header, pauseTarget, body)
		told := strings.Contains(got, "or no such header: none is asked for here")
		if status != want || want == http.StatusUnauthorized && !told {
			t.Errorf("%.9s: %d %s", header, status, got)
		}
	}
	// Where tokens are not looked at, programs may send what they sent to others.
	blind := newShim(t, 1)
	blind.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	if status, got := blind.postAs("Bearer nonsense", pauseTarget, body); status != http.StatusOK {
		t.Errorf("%d %s", status, got)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an API that would serve nobody is made")
	}
}

// TestRequestedBy: who asked for what the object says stands on it.
func TestRequestedBy(t *testing.T) {
	s, _ := demanding(t, func(c *Config) { c.AllowAnonymous = true })
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	namespace := createNamespace(t)
	first, second := newAccount(t, namespace), newAccount(t, namespace)
	first.bind(t, "default", "nagi-editor")
	second.bind(t, "default", "nagi-editor")
	body := edgeBody(channel, alice, bob)
	pause := func(when, header, want string) {
		t.Helper()
		if status, got := s.postAs(header, pauseTarget, body); status != http.StatusOK {
			t.Fatalf("%s: %d %s", when, status, got)
		}
		found := s.find(channel)
		if len(found) != 1 {
			t.Fatalf("%s: %d objects", when, len(found))
		}
		if by, named := found[0].Annotations[v1alpha1.RequestedByAnnotation]; by != want || named != (want != "") {
			t.Errorf("%s: %q, want %q", when, by, want)
		}
	}
	edit := func() {
		t.Helper()
		found := s.find(channel)[0]
		found.Spec.ExpiresAt = &metav1.Time{Time: found.CreationTimestamp.Add(-1)}
		if err := s.objects.Update(t.Context(), &found); err != nil {
			t.Fatal(err)
		}
	}
	bearers := []string{"Bearer " + first.token(t, "nagi"), "Bearer " + second.token(t, "nagi")}
	pause("made", bearers[0], first.user())
	pause("asked for again by another", bearers[1], first.user())
	pause("asked for again by nobody", "", first.user())
	edit()
	pause("edited back by another", bearers[1], second.user())
	edit()
	pause("edited back by nobody", "", "")
	pause("asked for again by one", bearers[0], "")
	// Who may resume ends it, whoever asked for it.
	if status, got := s.postAs(bearers[1], resumeTarget, body); status != http.StatusOK || len(s.find(channel)) != 0 {
		t.Errorf("%d %s", status, got)
	}
	pause("made by nobody", "", "")
}

// TestSubjects: what kubectl is told of a user, whom some identity provider named.
func TestSubjects(t *testing.T) {
	for user, want := range map[string]string{
		"system:serviceaccount:apps:bot": "--serviceaccount=apps:bot",
		"alice@example.org":              "--user=alice@example.org",
		"https://issuer.example.org#1":   "--user=USER",
		"system:serviceaccount:a:$(id)":  "--user=USER",
		"a; rm -rf ~":                    "--user=USER",
		"`reboot`":                       "--user=USER",
		"":                               "--user=USER",
	} {
		if got := subject(user); got != want {
			t.Errorf("%q: %s", user, got)
		}
	}
}
