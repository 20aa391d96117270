package signaling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// iceLooksAgain is how often the file is looked at, when a client comes.
	iceLooksAgain = time.Second
	// maxICEFile is how long it may be, in bytes, and maxICEServers how many it may name:
	// browsers warn from five on, and refuse some hundred.
	maxICEFile    = 64 << 10
	maxICEServers = 16
)

// noICEServers is what clients are told who need none.
var noICEServers = json.RawMessage(`{"iceServers":[]}`)

// ICEConfig is what clients are told of the way to media: ICE servers, which a TURN
// gateway in front of the media servers needs. It is read from a file with an
// RTCConfiguration (W3C WebRTC section 4.2.1), of which it takes iceServers and
// iceTransportPolicy, and again when the file changes. While the file cannot be read, what
// was read last goes on. Nil stands for none.
type ICEConfig struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	text    []byte
	problem string // why text is not that of the file
	config  json.RawMessage
}

// OpenICEConfig reads the file. Errors hold no credential.
func OpenICEConfig(path string, log *slog.Logger) (*ICEConfig, error) {
	c := &ICEConfig{path: path, log: log, looked: time.Now()}

	return c, c.read()
}

// current is an RTCConfiguration, as clients take it.
func (c *ICEConfig) current() json.RawMessage {
	if c == nil {
		return noICEServers
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < iceLooksAgain {
		return c.config
	}
	c.looked = time.Now()
	problem := ""
	if err := c.read(); err != nil {
		problem = err.Error()
	}
	if problem != c.problem {
		if c.problem = problem; problem != "" {
			c.log.Error("the file of ICE servers cannot be read; what was read last goes on", "error", problem)
		} else {
			c.log.Info("the file of ICE servers can be read again", "file", c.path)
		}
	}

	return c.config
}

func (c *ICEConfig) read() error {
	file, err := os.Open(c.path)
	if err != nil {
		return fmt.Errorf("read the ICE servers: %w; give a file that the media server may read", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxICEFile+1))
	if err != nil {
		return fmt.Errorf("read the ICE servers: %w", err)
	}
	if c.config != nil && bytes.Equal(text, c.text) {
		return nil
	}
	config, err := parseICEConfig(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	c.text, c.config = text, config

	return nil
}

// iceServer is an RTCIceServer.
type iceServer struct {
	URLs       urls   `json:"urls"`
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

// urls are one or several; SDKs are told a list.
type urls []string

func (u *urls) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*u = urls{one}

		return nil
	}

	return json.Unmarshal(text, (*[]string)(u))
}

func parseICEConfig(text []byte) (json.RawMessage, error) {
	if len(text) > maxICEFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxICEFile)
	}
	var config struct {
		ICEServers         []iceServer `json:"iceServers"`
		ICETransportPolicy string      `json:"iceTransportPolicy,omitempty"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		if strings.HasPrefix(err.Error(), "json: unknown field") {
			return nil, fmt.Errorf(
				`%w; an RTCConfiguration's iceServers (urls, username, credential) and iceTransportPolicy are read`, err,
			)
		}

		return nil, errors.New(`it is no RTCConfiguration in JSON, such as ` +
			`{"iceServers": [{"urls": ["turn:turn.example:3478"], "username": "nagi", "credential": "..."}]}`)
	}
	if decoder.More() {
		return nil, errors.New("something follows the RTCConfiguration: leave it out")
	}
	switch {
	case len(config.ICEServers) == 0 || len(config.ICEServers) > maxICEServers:
		return nil, fmt.Errorf("it has %d iceServers: name 1 to %d", len(config.ICEServers), maxICEServers)
	case !slices.Contains([]string{"", "all", "relay"}, config.ICETransportPolicy):
		return nil, fmt.Errorf("iceTransportPolicy %q: write all or relay", config.ICETransportPolicy)
	}
	for i, server := range config.ICEServers {
		if err := server.check(); err != nil {
			return nil, fmt.Errorf("iceServers[%d]: %w", i, err)
		}
	}

	return json.Marshal(config)
}

func (s iceServer) check() error {
	if len(s.URLs) == 0 {
		return errors.New("it has no urls: give one such as turn:turn.example:3478")
	}
	for _, url := range s.URLs {
		scheme, host, _ := strings.Cut(url, ":")
		switch {
		case !slices.Contains([]string{"stun", "stuns", "turn", "turns"}, scheme) || host == "":
			return fmt.Errorf("the URL %q is none of STUN or TURN: write one such as turn:turn.example:3478 (RFC 7065)", url)
		case strings.HasPrefix(scheme, "turn") && (s.Username == "" || s.Credential == ""):
			return fmt.Errorf("the URL %q is of TURN: give username and credential too, without which browsers refuse it", url)
		}
	}

	return nil
}
