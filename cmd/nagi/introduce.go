package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// introduce prints where everything is, and the commands to copy.
func (s *system) introduce(w io.Writer) error {
	l := s.options.listeners
	text := fmt.Sprintf(`
Everything runs. Ctrl-C ends it and leaves nothing behind.

  Page          http://%s/
  Signalling    ws://%s/signaling   (channel %s)
                ws://%s/signaling   (the other media server: whoever comes there is in the same channel)
  Sora's API    http://%s/
  kubeconfig    %s
  kubectl       %s
`, l.signaling, l.signaling, s.options.channel, l.second.signaling, l.shim, s.config, s.kubectl)
	if len(s.bots) >= 2 {
		text += s.soraCommands() + s.kubectlCommands()
	}
	if len(s.bots) > 0 {
		text += "\nWhat arrives, per second:\n\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("print the introduction: %w", err)
	}

	return nil
}

// soraCommands stop and resume the first bot's reception of the second, by the
// connection ids that they have now.
func (s *system) soraCommands() string {
	receiver, sender, shim := s.bots[0], s.bots[1], s.options.listeners.shim
	edge := [][2]string{
		{"channel_id", s.options.channel},
		{"recv_connection_id", receiver.ConnectionID()},
		{"send_connection_id", sender.ConnectionID()},
	}
	channel := edge[:1]
	var text strings.Builder
	fmt.Fprintf(&text, "\nStop %s from receiving %s's video, go on, and list what is stopped, with HTTPie or curl:\n\n",
		receiver.ClientID(), sender.ClientID())
	for _, form := range []func(address, target string, fields [][2]string) string{httpie, curl} {
		for _, request := range []struct {
			target string
			fields [][2]string
		}{
			{"Sora_20200401.PauseRtpStream", edge},
			{"Sora_20200401.ResumeRtpStream", edge},
			{"Sora_20200401.ListPauseRtpStreams", channel},
			{"Sora_20201013.ListChannelConnections", channel},
		} {
			text.WriteString(form(shim, request.target, request.fields) + "\n")
		}
		text.WriteString("\n")
	}

	return text.String()
}

// kubectlCommands do the same by client ids.
func (s *system) kubectlCommands() string {
	receiver, sender := s.bots[0].ClientID(), s.bots[1].ClientID()
	name := receiver + "-ignores-" + sender
	kubectl := shellQuote(s.kubectl) + " --kubeconfig " + shellQuote(s.config)

	return fmt.Sprintf(`The same with kubectl, by client ids, so that it survives a reconnect:

%[1]s apply -f - <<'EOF'
apiVersion: rtp.nagi.dev/v1alpha1
kind: RtpStreamPause
metadata:
  name: %[2]s
  namespace: default
spec:
  channelID: %[3]s
  receivers: {clientIDs: [%[4]s]}
  senders: {clientIDs: [%[5]s]}
EOF
%[1]s get rsp
%[1]s delete rsp %[2]s
%[1]s explain rtpstreampause.spec
`, kubectl, name, jsonString(s.options.channel), receiver, sender)
}

// httpie is a request in the form that Sora's documentation has; all values are
// strings.
func httpie(address, target string, fields [][2]string) string {
	var line strings.Builder
	fmt.Fprintf(&line, "http POST %s/ x-sora-target:%s", address, target)
	for _, field := range fields {
		line.WriteString(" " + shellQuote(field[0]+"="+field[1]))
	}

	return line.String()
}

func curl(address, target string, fields [][2]string) string {
	pairs := make([]string, len(fields))
	for i, field := range fields {
		pairs[i] = jsonString(field[0]) + ":" + jsonString(field[1])
	}
	body := "{" + strings.Join(pairs, ",") + "}"

	return fmt.Sprintf("curl -H 'x-sora-target: %s' -d %s http://%s/", target, shellQuote(body), address)
}

// jsonString quotes text for JSON, and for YAML, which contains it.
func jsonString(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return `""` // Cannot happen: every string marshals.
	}

	return string(quoted)
}

// plainRunes need no quotes in a POSIX shell.
const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=/.:-"

// shellQuote quotes what a POSIX shell would not take literally.
func shellQuote(text string) string {
	if text != "" && strings.Trim(text, plainRunes) == "" {
		return text
	}

	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
