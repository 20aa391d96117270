package peers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Header is where a pass is.
const Header = "Nagi-Pass"

const (
	// validFor is how far the clocks of two media servers, and the way between them, may be
	// apart.
	validFor = 10 * time.Second
	// maxCodes bounds the codes of one pass.
	maxCodes = maxKeys
)

// purpose keeps what was signed for one thing from being shown for another.
type purpose string

const (
	toServe purpose = "serve" // a client's WebSocket
	toAsk   purpose = "ask"   // what is hosted
)

// Pass is what a media server says of a client that it passes on. It is believed when it
// is signed with a key that a manager has given to both.
type Pass struct {
	// From is who passes the client on.
	From string `json:"from"`
	// Client is the client's address, host:port.
	Client string `json:"client,omitempty"`
	// ConnectionID is what the connection is called, and Decision the SHA-256 of the
	// authority's answer, in JSON, which is then the first frame: where the client has been
	// admitted already.
	ConnectionID string `json:"connection_id,omitempty"`
	Decision     []byte `json:"decision,omitempty"`

	Target  string    `json:"target"`
	Purpose purpose   `json:"purpose"`
	Time    time.Time `json:"time"`
	Nonce   string    `json:"nonce"`
}

var errNoKeys = errors.New("no manager has said yet who the other media servers are")

// sign makes the header's value: the pass, and a code by each key.
func (p *Peers) sign(pass Pass, target string, purpose purpose) (string, error) {
	keys := p.directory.keys()
	if len(keys) == 0 {
		return "", errNoKeys
	}
	pass.From, pass.Target, pass.Purpose, pass.Time, pass.Nonce = p.config.Name, target, purpose, time.Now(), rand.Text()
	text, err := json.Marshal(pass)
	if err != nil {
		return "", fmt.Errorf("write a pass: %w", err)
	}
	value := base64.RawURLEncoding.EncodeToString(text)
	parts := []string{value}
	for _, key := range keys {
		parts = append(parts, base64.RawURLEncoding.EncodeToString(code(key, value)))
	}

	return strings.Join(parts, "."), nil
}

func code(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("nagi pass\x00" + text))

	return mac.Sum(nil)
}

// Verify returns the pass that a WebSocket's request shows; nil: it shows none, and is a
// client's own. An error is one that is not to be believed.
func (p *Peers) Verify(r *http.Request) (*Pass, error) {
	if r.Header.Get(Header) == "" {
		return nil, nil //nolint:nilnil // Documented.
	}

	return p.verify(r, toServe)
}

// What is wrong with a pass. Whoever shows it learns no more than that it is.
var (
	errNoPass    = errors.New("there is not one pass")
	errMalformed = errors.New("the pass is none")
	errSignature = errors.New("the pass is not signed by a media server of this namespace")
	errTarget    = errors.New("the pass is for something else")
	errTime      = errors.New("the pass is of another time: are the clocks set?")
	errUsed      = errors.New("the pass has been used")
)

func (p *Peers) verify(r *http.Request, wanted purpose) (*Pass, error) {
	values := r.Header.Values(Header)
	if len(values) != 1 {
		return nil, errNoPass
	}
	value, codes, _ := strings.Cut(values[0], ".")
	if !p.signed(value, strings.SplitN(codes, ".", maxCodes+1)) {
		return nil, errSignature
	}
	text, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return nil, errMalformed
	}
	var pass Pass
	if json.Unmarshal(text, &pass) != nil {
		return nil, errMalformed
	}
	switch now := time.Now(); {
	case pass.Target != p.config.Name || pass.Purpose != wanted:
		return nil, errTarget
	case now.Sub(pass.Time).Abs() > validFor:
		return nil, errTime
	case !p.nonces.use(pass.Nonce, now):
		return nil, errUsed
	}

	return &pass, nil
}

// signed tells whether one of the codes is by one of the keys. Each key is used once,
// however many codes a stranger shows.
func (p *Peers) signed(value string, codes []string) bool {
	codes = codes[:min(len(codes), maxCodes)]
	for _, key := range p.directory.keys() {
		expected := []byte(base64.RawURLEncoding.EncodeToString(code(key, value)))
		for _, shown := range codes {
			if hmac.Equal([]byte(shown), expected) {
				return true
			}
		}
	}

	return false
}

// nonces are those of the passes that were shown, for as long as they would be valid: a
// pass that somebody overheard opens nothing more. Only what is signed is remembered.
type nonces struct {
	mu           sync.Mutex
	recent, late map[string]struct{}
	since        time.Time
}

func newNonces() *nonces {
	return &nonces{recent: make(map[string]struct{}), late: make(map[string]struct{}), since: time.Now()}
}

// use tells whether a nonce is used for the first time. A pass is valid for twice validFor
// at most, since its time may be ahead of ours.
func (n *nonces) use(nonce string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if age := now.Sub(n.since); age > 2*validFor {
		n.late, n.recent, n.since = n.recent, make(map[string]struct{}), now
		if age > 4*validFor {
			clear(n.late)
		}
	}
	_, recent := n.recent[nonce]
	_, late := n.late[nonce]
	if recent || late {
		return false
	}
	n.recent[nonce] = struct{}{}

	return true
}
