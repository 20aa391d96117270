package sora

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// told are the commands that errors tell.
var told = regexp.MustCompile("`(kubectl [^`]+)`")

// TestMendsAreTrue: the commands that a 401 and a 403 tell do what they are told for, as
// they are written.
func TestMendsAreTrue(t *testing.T) {
	s, _ := demanding(t)
	channel := t.Name()
	for _, v := range s.views {
		v.join(channel, sendrecv(alice), sendrecv(bob))
	}
	shipRole(t, "nagi-editor")
	caller := newAccount(t, createNamespace(t))
	body := edgeBody(channel, alice, bob)
	run := func(authorization string, wantStatus int, replacements ...string) string {
		t.Helper()
		status, got := s.postAs(authorization, pauseTarget, body)
		command := told.FindStringSubmatch(got)
		if status != wantStatus || command == nil {
			t.Fatalf("%d %s", status, got)
		}
		words := strings.Fields(strings.NewReplacer(replacements...).Replace(command[1]))
		words = append(words, "--kubeconfig="+apiServer(t).Kubeconfig)
		output, err := exec.CommandContext(t.Context(), apiServer(t).Kubectl, words[1:]...).Output()
		if err != nil {
			t.Fatalf("%s: %v", words, err)
		}

		return strings.TrimSpace(string(output))
	}
	token := "Bearer " + run("", http.StatusUnauthorized, "SERVICEACCOUNT", caller.name+" --namespace="+caller.namespace)
	run(token, http.StatusForbidden, "NAME", caller.name)
	settled(t, "the granted right", func() bool {
		status, _ := s.postAs(token, pauseTarget, body)

		return status == http.StatusOK
	})
}
