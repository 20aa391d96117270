//go:build linux && cluster

package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// reader does what the documentation says, in a copy of the sources, as whoever has cloned them.
type reader struct {
	dir string
	key *ecdsa.PrivateKey // Of those who sign clients' tokens.
}

// newReader copies the sources, and writes the file that the reader is to bring: jwks.json.
func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{dir: t.TempDir()}
	r.run(t, `cd "$SOURCES" && git ls-files --cached --others --exclude-standard -z | xargs -0 cp --parents `+
		`--target-directory="$OLDPWD"`)
	r.run(t, `ln -s "$SOURCES/bin" bin`)
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: r.key.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "jwks.json"), keys, 0o600); err != nil {
		t.Fatal(err)
	}

	return r
}

// sources is the root of the sources that are tested.
func (*reader) sources(t *testing.T) string {
	t.Helper()
	sources, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}

	return sources
}

// run runs lines of a shell where the sources are.
func (r *reader) run(t *testing.T, lines string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", lines)
	command.Dir = r.dir
	command.WaitDelay = patience / 10 // Lines that fail may leave a program in the background behind.
	command.Env = append(os.Environ(), "SOURCES="+r.sources(t))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", lines, err, output)
	}
}

// onEachNode runs lines of a shell on every node of the cluster.
func (r *reader) onEachNode(t *testing.T, lines string) {
	t.Helper()
	r.run(t, `for pid in "$NAGI_CLUSTER"/node-*/pid; do
	nsenter --mount --net --target="$(cat "$pid")" --wd="$PWD" bash -euc '`+lines+`'
done`)
}

// does does what a document says, line by line.
func (r *reader) does(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		t.Log(command)
		if strings.Contains(command, "ctr ") {
			r.onEachNode(t, command)
		} else {
			r.run(t, command)
		}
	}
}

// says returns the indented lines of a section of a document.
func (r *reader) says(t *testing.T, document, section string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, document))
	if err != nil {
		t.Fatal(err)
	}
	_, said, found := strings.Cut(string(text), "\n"+section+"\n")
	if !found {
		t.Fatalf("%s has no %q", document, section)
	}
	said, _, _ = strings.Cut(said, "\n## ")
	var all []string
	for line := range strings.Lines(said) {
		if command, indented := strings.CutPrefix(line, "    "); indented {
			command, _, _ = strings.Cut(command, " #")
			all = append(all, strings.TrimSpace(command))
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s, %q says nothing to do", document, section)
	}

	return all
}

// token is what a client shows a media server to be let into a channel.
func (r *reader) token(channel, clientID string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: r.key}, nil)
	if err != nil {
		panic(err) // The key is one.
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{"channel_id": channel, "client_id": clientID}).Serialize()
	if err != nil {
		panic(err)
	}

	return token
}
